"""The paths that need a GPU: skipped, and saying so, where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fashion_ray.models import backbones
from fashion_ray.models.engines import EngineChoice, choose, make
from fashion_ray.models.network import Geometry, Network, build_heads
from fashion_ray.training.loop import StageLoop
from fashion_ray.training.losses import Batch
from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.recipe import Recipe
from fashion_ray.training.schedule import Stage

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none"),
]

CLASSES = {"articleType": ["Shirts", "Shoes", "Watches"]}


def network() -> Network:
    torch.manual_seed(0)
    trunk = backbones.build("efficientnet_lite0", "none")
    heads = build_heads("batchnorm", trunk.spec.embedding_dim, CLASSES, 0.0)
    return Network(Geometry(decoded_size=(80, 60), input_size=(160, 120)), trunk, heads).eval()


def pictures(rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, 80, 60, 3), dtype=np.uint8)


def test_the_gpu_is_chosen_by_itself() -> None:
    assert choose("auto", "auto", gpus=1, cpu_has_bf16=False) == EngineChoice(name="torch", precision="bf16", device="cuda")


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 2e-2), ("bf16", 0.15)])
def test_the_gpu_engine_answers_like_the_cpu(precision: str, tolerance: float) -> None:
    pixels = pictures(700)
    cpu = make(
        network(), pixel_shape=(80, 60), batch=64, choice=EngineChoice(name="torch", precision="f32", device="cpu"), threads=4
    )(pixels)
    gpu = make(
        network(),
        pixel_shape=(80, 60),
        batch=64,
        choice=EngineChoice(name="torch", precision=precision, device="cuda"),
        threads=4,
    )(pixels)
    for expected, got in zip(cpu, gpu, strict=True):
        assert got.shape == expected.shape and got.dtype == np.float32
        assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("cached", [False, True])
def test_a_stage_learns_on_the_gpu(cached: bool) -> None:
    device = torch.device("cuda")
    learner = network().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = torch.arange(96) % 3
    pixels = torch.from_numpy(pictures(96) // 4) + (labels * 90).to(torch.uint8)[:, None, None, None]
    inputs = pixels
    if cached:
        with torch.inference_mode():
            inputs = learner.trunk.lower(learner.preprocess(pixels.to(device)), 1).to(torch.bfloat16).cpu().clone()
    recipe = Recipe(
        learning_rate=1e-2, heads_learning_rate=1e-2, layer_decay=0.7, weight_decay=0.0, label_smoothing=0.0,
        batchnorm_learns=False, bf16=True,
    )  # fmt: skip
    loop = StageLoop(
        learner, make_optimizer(learner, recipe), recipe, Stage(name="top1", trainable=1, epochs=8), cached=cached,
        steps_per_epoch=3, classes={"articleType": 3}, device=device,
    )  # fmt: skip
    batches = [Batch(inputs[start : start + 32], labels[start : start + 32, None]) for start in range(0, 96, 32)]
    losses = [loop.train_epoch(batches, epoch)["train_loss"] for epoch in range(8)]
    assert losses[-1] < 0.5 * losses[0]
    assert loop.evaluate(batches)["validation_accuracy/articleType"] > 0.9
