"""Engines: settled once, equal to plain PyTorch, and alike for every row whatever batch it comes in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from fashion_ray.errors import UserError
from fashion_ray.models import backbones, engines
from fashion_ray.models.engines import ENGINES, PRECISIONS, Engine, EngineChoice
from fashion_ray.models.network import Geometry, Network, build_heads

SIZE, BATCH = (40, 30), 64
CLASSES: dict[str, list[str | None]] = {"masterCategory": ["a", "b", "c"], "season": ["d", "e", "f", "g"]}
OPENVINO_F32 = EngineChoice(name="openvino", precision="f32", device="cpu")
OPENVINO_BF16 = EngineChoice(name="openvino", precision="bf16", device="cpu")
TORCH_F32 = EngineChoice(name="torch", precision="f32", device="cpu")
needs_bf16 = pytest.mark.skipif(not engines.cpu_has_bf16(), reason="this CPU has no bfloat16 instructions")


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """PyTorch's engine sets the threads of its process, which here is that of all tests."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def build(name: str, source: str, size: tuple[int, int], input_size: tuple[int, int]) -> Network:
    """A network with heads that tell pictures apart."""
    torch.manual_seed(0)
    trunk = backbones.build(name, source)
    network = Network(
        Geometry(decoded_size=size, input_size=input_size), trunk, build_heads("linear", trunk.spec.embedding_dim, CLASSES, 0.0)
    )
    for parameter in network.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@cache
def small() -> Network:
    """A small network for whatever does not depend on the network."""
    return build("test_efficientnet", "none", SIZE, (64, 48))


@cache
def lite0() -> Network:
    """The default network with its pretrained weights."""
    return build("efficientnet_lite0", "pretrained", (40, 30), (80, 60))


def pixels(rows: int, seed: int = 0) -> np.ndarray:
    """Pictures of patches of colour, none like another: uint8 (rows, height, width, 3)."""
    generator = np.random.default_rng(seed)
    patches = generator.integers(0, 256, (rows, 5, 5, 3), dtype=np.uint8)
    return patches.repeat(SIZE[0] // 5, axis=1).repeat(SIZE[1] // 5, axis=2)


def plain(network: Network, pictures: np.ndarray) -> list[np.ndarray]:
    """What PyTorch says, with no engine at all."""
    with torch.inference_mode():
        return [output.numpy() for output in network.eval()(torch.from_numpy(pictures))]


def make(choice: EngineChoice, network: Network, exported: Path | None = None, batch: int = BATCH) -> Engine:
    """An engine of one thread."""
    return engines.make(network, pixel_shape=SIZE, batch=batch, choice=choice, threads=1, exported=exported)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small network is exported to, by the first engine that is made of it."""
    return tmp_path_factory.mktemp("engines") / "of" / "small.xml"


@pytest.fixture(scope="module")
def openvino_small(small_file: Path) -> Engine:
    """The small network in OpenVINO, float32; it exports the file."""
    return make(OPENVINO_F32, small(), small_file)


@pytest.fixture(scope="module")
def from_file(openvino_small: Engine, small_file: Path) -> Engine:
    """An engine that finds the small network's file; it is given another network, so that what decides is the file."""
    written = small_file.stat().st_mtime_ns
    other = build("test_efficientnet", "none", SIZE, (64, 48))
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    engine = make(OPENVINO_F32, other, small_file)
    assert small_file.stat().st_mtime_ns == written
    return engine


AUTO = [
    # engine, precision, GPUs, CPU has bf16, OpenVINO is here: engine, precision, device
    (("auto", "auto", 0, True, True), ("openvino", "bf16", "cpu")),
    (("auto", "auto", 0, False, True), ("openvino", "f32", "cpu")),
    (("auto", "auto", 0, True, False), ("torch", "bf16", "cpu")),
    (("auto", "auto", 0, False, False), ("torch", "f32", "cpu")),
    (("auto", "auto", 1, False, True), ("torch", "bf16", "cuda")),
    (("auto", "auto", 64, True, True), ("torch", "bf16", "cuda")),
    (("auto", "f32", 1, True, True), ("torch", "f32", "cuda")),
    (("auto", "f32", 0, True, True), ("openvino", "f32", "cpu")),
    (("openvino", "auto", 0, True, True), ("openvino", "bf16", "cpu")),
    (("openvino", "auto", 8, False, True), ("openvino", "f32", "cpu")),
    (("openvino", "auto", 8, True, True), ("openvino", "bf16", "cpu")),
    (("torch", "auto", 0, False, True), ("torch", "f32", "cpu")),
    (("torch", "auto", 2, False, True), ("torch", "bf16", "cuda")),
    (("torch", "bf16", 0, False, True), ("torch", "bf16", "cpu")),
    (("torch", "f32", 2, True, True), ("torch", "f32", "cuda")),
]


@pytest.mark.parametrize(("asked", "expected"), AUTO)
def test_choose(asked: tuple[str, str, int, bool, bool], expected: tuple[str, str, str]) -> None:
    engine, precision, gpus, cpu_has_bf16, has_openvino = asked
    found = engines.choose(engine, precision, gpus=gpus, cpu_has_bf16=cpu_has_bf16, has_openvino=has_openvino)
    assert (found.name, found.precision, found.device) == expected


def test_every_choice_is_settled() -> None:
    for engine, precision, gpus, bf16 in itertools.product(ENGINES, PRECISIONS, (0, 0.5, 1, 8), (False, True)):
        found = engines.choose(engine, precision, gpus=gpus, cpu_has_bf16=bf16)
        assert found.name in ("openvino", "torch") and (engine in ("auto", found.name))
        assert found.precision in ("bf16", "f32") and (precision in ("auto", found.precision))
        assert found.device in ("cpu", "cuda") and not (found.device == "cuda" and (found.name == "openvino" or not gpus))


def test_openvino_that_is_not_installed_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"pip install openvino.*--engine torch"):
        engines.choose("openvino", "auto", gpus=0, cpu_has_bf16=True, has_openvino=False)


@pytest.fixture(scope="module")
def lite0_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the default network is exported to."""
    return tmp_path_factory.mktemp("engines") / "lite0.xml"


def test_openvino_float32_agrees_with_pytorch_on_the_default_network(lite0_file: Path) -> None:
    pictures = pixels(48)
    found, expected = make(OPENVINO_F32, lite0(), lite0_file, batch=48)(pictures), plain(lite0(), pictures)
    assert [output.shape for output in found] == [(48, 1280), (48, 3), (48, 4)]
    assert all(output.dtype == np.float32 for output in found)
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 1e-3 * max(1.0, np.abs(other).max())
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert other.std(axis=0).min() > 0.05  # the pictures do differ
        assert np.array_equal(one.argmax(1), other.argmax(1))


def test_openvino_answers_for_a_picture_and_its_mirror_image_at_once() -> None:
    network = build("test_efficientnet", "none", SIZE, (64, 48))
    alone = plain(network, pixels(5))
    network.tta_flip = True
    pictures = pixels(5)
    found, mirrored = make(OPENVINO_F32, network, batch=8)(pictures), make(OPENVINO_F32, network, batch=8)(pictures[:, :, ::-1])
    for one, other, expected, unlike in zip(found, mirrored, plain(network, pictures), alone, strict=True):
        assert np.abs(one - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())
        assert np.abs(one - other).max() < 1e-4 * max(1.0, np.abs(expected).max())
        assert np.abs(one - unlike).max() > 1e-4 * np.abs(expected).max()


@needs_bf16
def test_openvino_bf16_is_near(lite0_file: Path) -> None:
    pictures = pixels(48)
    found, expected = make(OPENVINO_BF16, lite0(), lite0_file, batch=48)(pictures), plain(lite0(), pictures)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32
        assert 0 < np.abs(one - other).mean() < 0.15 * other.std()
    assert all((one.argmax(1) == other.argmax(1)).mean() >= 0.85 for one, other in zip(found[1:], expected[1:], strict=True))


@pytest.mark.parametrize("choice", [TORCH_F32, EngineChoice(name="torch", precision="bf16", device="cpu")])
def test_pytorchs_engine_agrees_with_pytorch(choice: EngineChoice) -> None:
    pictures = pixels(70)
    found, expected = make(choice, small())(pictures), plain(small(), pictures)
    tolerance = 1e-4 if choice.precision == "f32" else 0.05
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32 and one.shape == other.shape
        assert np.abs(one - other).max() <= tolerance * max(1.0, np.abs(other).max())


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 128, 130])
def test_a_row_is_computed_alike_in_every_batch(rows: int, openvino_small: Engine) -> None:
    pictures = pixels(130)
    whole, part = openvino_small(pictures), openvino_small(pictures[:rows])
    shifted = openvino_small(pictures[130 - rows :])
    for all_rows, first, last in zip(whole, part, shifted, strict=True):
        assert np.array_equal(first, all_rows[:rows])
        assert np.allclose(last, all_rows[130 - rows :], atol=1e-5)


def test_rows_do_not_swap_places(openvino_small: Engine) -> None:
    pictures = pixels(65)
    forwards, backwards = openvino_small(pictures), openvino_small(np.ascontiguousarray(pictures[::-1]))
    for one, other in zip(forwards, backwards, strict=True):
        assert np.allclose(one, other[::-1], atol=1e-5)
        assert len(np.unique(one.round(5), axis=0)) == 65


def test_results_outlive_the_next_call(openvino_small: Engine) -> None:
    first = openvino_small(pixels(64, seed=1))
    kept = [output.copy() for output in first]
    openvino_small(pixels(64, seed=2))
    assert all(np.array_equal(one, other) for one, other in zip(first, kept, strict=True))


@pytest.mark.parametrize("choice", [OPENVINO_F32, TORCH_F32])
def test_no_pictures_give_no_rows(choice: EngineChoice, openvino_small: Engine) -> None:
    engine = openvino_small if choice == OPENVINO_F32 else make(choice, small())
    found = engine(np.zeros((0, *SIZE, 3), dtype=np.uint8))
    assert [output.shape for output in found] == [(0, 256), (0, 3), (0, 4)]
    assert all(output.dtype == np.float32 for output in found)


def test_pictures_may_lie_in_memory_as_they_like(openvino_small: Engine) -> None:
    pictures = pixels(16)[::2]
    plain_copy, by_column, readonly = pictures.copy(), np.asfortranarray(pictures), pictures.copy()
    readonly.setflags(write=False)
    expected = openvino_small(plain_copy)
    for other in (pictures, by_column, readonly):
        assert all(np.array_equal(a, b) for a, b in zip(openvino_small(other), expected, strict=True))


def test_an_exported_file_is_used_again_in_full_precision(openvino_small: Engine, from_file: Engine, small_file: Path) -> None:
    pictures = pixels(BATCH)
    expected = plain(small(), pictures)
    for answers in (openvino_small(pictures), from_file(pictures)):
        for one, other in zip(answers, expected, strict=True):
            assert np.abs(one - other).max() < 1e-5 * max(1.0, np.abs(other).max())
    assert expected[1].std() > 1e-3
    assert sorted(path.name for path in small_file.parent.iterdir()) == ["small.bin", "small.xml"]


def test_the_engine_that_exports_answers_like_those_that_find_the_file(openvino_small: Engine, from_file: Engine) -> None:
    pictures = pixels(BATCH)
    assert all(np.array_equal(one, other) for one, other in zip(openvino_small(pictures), from_file(pictures), strict=True))


def test_a_node_without_bf16_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "cpu_has_bf16", lambda: False)
    with pytest.raises(UserError, match="--precision f32"):
        make(OPENVINO_BF16, small())


def test_a_node_without_bf16_takes_float32(openvino_small: Engine, small_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "cpu_has_bf16", lambda: False)
    assert len(make(OPENVINO_F32, small(), small_file, batch=2)(pixels(2))) == 3


def test_a_node_without_a_gpu_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--engine openvino"):
        make(EngineChoice(name="torch", precision="bf16", device="cuda"), small())


def test_the_network_does_not_learn_or_change_in_an_engine() -> None:
    network = build("test_efficientnet", "none", SIZE, (64, 48)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    make(TORCH_F32, network)(pixels(4))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
