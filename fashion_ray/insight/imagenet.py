"""The network before fine-tuning, as a bundle. In: sizes of pictures. Out: files that embed and classify as it does.

The classic way to find similar products takes the 1,000 class probabilities of a network for ImageNet as features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from fashion_ray.models import backbones, bundle, weights
from fashion_ray.models.network import Geometry, Network

BACKBONE, TARGET = "efficientnet_lite0", "imagenet"
DEFAULT_GEOMETRY = Geometry(decoded_size=(80, 60), input_size=(160, 120))


def files(geometry: Geometry) -> dict[str, bytes]:
    """A bundle of the pretrained trunk with its own classifier as the only head."""
    trunk = backbones.build(BACKBONE, "pretrained", input_size=geometry.input_size)
    state = weights.packaged(BACKBONE)
    weight, bias = state["_fc.weight"], state["_fc.bias"]
    head = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    card = bundle.Card(
        backbone=BACKBONE,
        embedding_dim=trunk.spec.embedding_dim,
        mean=trunk.spec.mean,
        std=trunk.spec.std,
        decoded_size=geometry.decoded_size,
        input_size=geometry.input_size,
        head="linear",
        dropout=0.0,
        classes={TARGET: [str(number) for number in range(len(bias))]},
        levels=(),
        paths=(),
        temperatures={TARGET: 1.0},
        thresholds={TARGET: 0.0},
    )
    return bundle.dump(card, Network(geometry, trunk, {TARGET: head}))


def class_scores(logits: np.ndarray) -> np.ndarray:
    """float32 probabilities (rows, classes)."""
    wide = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    found: np.ndarray = (wide / wide.sum(axis=1, keepdims=True)).astype(np.float32)
    return found
