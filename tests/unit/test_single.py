"""One picture: what is wrong with the file, and the answers as people read them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_ray.catalog.pictures import MAX_BYTES
from fashion_ray.errors import UserError
from fashion_ray.models import backbones, bundle
from fashion_ray.models.bundle import Card
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import Network, build_heads
from fashion_ray.scoring.models import ResolvedModel
from fashion_ray.scoring.single import describe_picture, read_picture, score_picture


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """PyTorch's engine sets the threads of its process, which here is that of all tests."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def picture(form: str = "JPEG", size: tuple[int, int] = (60, 80)) -> bytes:
    """Noise in a file format."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_reads_the_bytes_of_a_picture(form: str, tmp_path: Path) -> None:
    path = tmp_path / "shirt"
    path.write_bytes(picture(form))
    assert read_picture(str(path)) == picture(form)


def refused(path: Path) -> str:
    """What the user is told."""
    with pytest.raises(UserError) as caught:
        read_picture(str(path))
    message = str(caught.value)
    assert message.startswith(f"--image: {str(path)!r} ") and "expected" in message
    return message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "missing.jpg")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not_an_image"),
        (b"no picture at all", "not_an_image"),
        (picture()[:-300], "truncated"),
        (picture("PNG")[:-300], "truncated"),
        (picture(size=(60, 4)), "too_small"),
        (picture("PPM"), "not_an_image"),
    ],
)
def test_a_file_that_is_no_usable_picture_says_why(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    message = refused(path)
    assert reason in message and "JPEG, PNG or WebP" in message


def test_a_file_that_is_too_large_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.jpg"
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole, which takes no room

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the file was opened")

    monkeypatch.setattr("builtins.open", refuse)
    assert str(MAX_BYTES) in refused(path)


def test_describes_every_target_with_its_likeliest_labels() -> None:
    answers: dict[str, list[tuple[str | None, float]]] = {
        "articleType": [("Shirts", 0.91234), (None, 0.05), ("Tops", 0.01)],
        "season": [("Summer", 1.0)],
    }
    first, *lines = describe_picture("photos/1.jpg", answers).splitlines()
    assert first == "photos/1.jpg"
    assert [line.split()[0] for line in lines] == ["articleType", "season"]
    assert lines[0].endswith("Shirts 0.912, (other) 0.050, Tops 0.010")
    assert lines[1].endswith("Summer 1.000")
    assert lines[0].index("Shirts") == lines[1].index("Summer")


def test_describes_nothing_as_the_path_alone() -> None:
    assert describe_picture("1.jpg", {}) == "1.jpg"


def test_scores_a_picture_with_the_answer_first(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classes: dict[str, list[str | None]] = {"season": ["Fall", "Spring", "Summer", "Winter"], "usage": ["Casual", "Sports"]}
    trunk = backbones.skeleton("test_resnet")
    card = Card(
        backbone="test_resnet", embedding_dim=96, mean=trunk.spec.mean, std=trunk.spec.std, decoded_size=(80, 60),
        input_size=(64, 48), head="linear", dropout=0.0, classes=classes, levels=(), paths=(),
        temperatures={"season": 1.0, "usage": 1.0}, thresholds={"season": 1.0, "usage": 1.0},
    )  # fmt: skip
    network = Network(card.geometry, trunk, build_heads("linear", 96, classes, 0.0)).eval()
    model = ResolvedModel(name="champion", files=bundle.dump(card, network), card=card)
    choice = EngineChoice(name="torch", precision="f32", device="cpu")
    answers = score_picture(picture("PNG"), model, choice, cache=str(tmp_path))
    pixels = torch.from_numpy(np.asarray(Image.open(io.BytesIO(picture("PNG")))).copy())[None]
    with torch.inference_mode():
        _, *logits = network(pixels)
    for (target, names), values in zip(classes.items(), logits, strict=True):
        expected = sorted(zip(torch.softmax(values[0], 0).tolist(), names, strict=True), reverse=True)[:3]
        assert [label for label, _ in answers[target]] == [name for _, name in expected]
        assert [chance for _, chance in answers[target]] == pytest.approx([chance for chance, _ in expected], abs=1e-4)
