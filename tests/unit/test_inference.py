"""A bundle on an engine answers as the network of the bundle does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fashion_ray.models import bundle
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring.inference import Inference
from tests.unit.test_bundle import card, network


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize("tta_flip", [False, True])
def test_scoring_answers_as_the_network_does(engine: str, tta_flip: bool, tmp_path: Path) -> None:
    files = bundle.dump(replace(card(), tta_flip=tta_flip), network())
    read, expected = bundle.load(files, name="a bundle")
    choice = EngineChoice(name=engine, precision="f32", device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (5, *read.decoded_size, 3), dtype=np.uint8)
    for _ in range(2):  # the second finds what the first exported
        inference = Inference(files, name="a bundle", choice=choice, threads=1, cache=str(tmp_path))
        found = inference.of_pixels(pixels, {})
        mirrored = inference.of_pixels(pixels[:, :, ::-1], {})
        with torch.inference_mode():
            embeddings, *logits = expected(torch.from_numpy(pixels))
        np.testing.assert_allclose(found.embeddings, embeddings.numpy(), atol=1e-4 * float(embeddings.abs().max()))
        for target, values in zip(expected.targets, logits, strict=True):
            np.testing.assert_allclose(found.logits[target], values.numpy(), atol=1e-4 * float(values.abs().max()))
        assert np.allclose(found.embeddings, mirrored.embeddings, atol=1e-4 * float(embeddings.abs().max())) == tta_flip
