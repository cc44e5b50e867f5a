"""A bundle as MLflow's pyfunc: the answers of scoring, an error in a row instead of an exception, nothing of this machine."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from fashion_ray.errors import UserError
from fashion_ray.models import backbones, bundle
from fashion_ray.models.bundle import Card
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import Network, build_heads
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.single import score_picture
from fashion_ray.serving import package, pyfunc
from tests.unit.nights import jpeg

CHOICE = EngineChoice(name="torch", precision="f32", device="cpu")
CLASSES: dict[str, list[str | None]] = {"season": ["Fall", "Spring", "Summer", "Winter"], "usage": ["Casual", None]}
SETTINGS = {"engine": "torch", "precision": "f32", "threads": 1}


@pytest.fixture(scope="module")
def model() -> Iterator[ResolvedModel]:
    """A small bundle; PyTorch's engine sets the threads of its process, which here is that of all tests."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    trunk = backbones.skeleton("test_resnet")
    card = Card(
        backbone="test_resnet", embedding_dim=96, mean=trunk.spec.mean, std=trunk.spec.std, decoded_size=(80, 60),
        input_size=(64, 48), head="linear", dropout=0.0, classes=CLASSES, levels=(), paths=(),
        temperatures={"season": 0.1, "usage": 1.0}, thresholds={"season": 0.5, "usage": 1.1},
    )  # fmt: skip
    network = Network(card.geometry, trunk, build_heads("linear", 96, CLASSES, 0.0)).eval()
    files = bundle.dump(card, network)
    yield ResolvedModel(name="champion", files=files, card=bundle.read_card(files[bundle.CARD], name="test"))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def loaded(model: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> pyfunc.PictureModel:
    """As MLflow loads it, from a folder."""
    folder = tmp_path_factory.mktemp("bundle")
    for name, content in model.files.items():
        (folder / name).write_bytes(content)
    return pyfunc._load_pyfunc(str(folder), SETTINGS | {"cache": str(folder)})


def test_answers_are_those_of_scoring_one_picture(loaded: pyfunc.PictureModel, model: ResolvedModel, tmp_path: Path) -> None:
    pictures = [jpeg(f"picture {number}") for number in range(3)]
    table = pd.concat(loaded.predict(pd.DataFrame({"image": [content]})) for content in pictures)
    together = loaded.predict(pd.DataFrame({"image": pictures}))
    assert table["error"].isna().all() and list(table["season_predicted"]) == list(together["season_predicted"])
    assert list(table["season_probability"]) == pytest.approx(list(together["season_probability"]), abs=1e-6)
    for content, row in zip(pictures, table.to_dict("records"), strict=True):
        for target, top in score_picture(content, model, CHOICE, cache=str(tmp_path)).items():
            assert [(one["label"], one["probability"]) for one in row[f"{target}_top3"]] == top
            assert (row[f"{target}_predicted"], row[f"{target}_probability"]) == top[0]
            assert row[f"{target}_needs_review"] == (top[0][1] < model.card.thresholds[target])
    assert table["season_predicted"].notna().all() and len(set(table["season_probability"])) == 3


def test_a_picture_that_cannot_be_read_is_a_row_with_an_error(loaded: pyfunc.PictureModel) -> None:
    good = jpeg("good")
    cells = [b"junk", good, base64.b64encode(good).decode(), base64.encodebytes(good).decode(), "***", None, 3.5, good[:40]]
    table = loaded.predict(pd.DataFrame({"image": cells}, index=list("abcdefgh")))
    assert list(table.index) == list("abcdefgh")
    answered = table["error"].isna()
    assert list(answered) == [False, True, True, True, False, False, False, False]
    assert len(set(table.loc[answered, "season_probability"])) == 1, "text in base64 is the same picture"
    assert table.loc[~answered].drop(columns="error").isna().all(axis=None)
    assert "no base64" in table["error"]["e"] and "NoneType" in table["error"]["f"]


def test_there_may_be_more_pictures_than_a_batch_or_none(loaded: pyfunc.PictureModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyfunc, "ROWS", 2)
    pictures = [jpeg("a"), b"", jpeg("b"), jpeg("a"), jpeg("b")]
    table = loaded.predict(pd.DataFrame({"image": pictures}))
    assert list(table["error"].isna()) == [True, False, True, True, True]
    chances = table["season_probability"]
    assert (chances[0], chances[2]) == (chances[3], chances[4]) and chances[0] != chances[2]
    nothing = loaded.predict(pd.DataFrame({"image": []}))
    assert len(nothing) == 0 and list(nothing.columns) == list(table.columns)


def test_another_column_and_unknown_settings_are_the_users_error(loaded: pyfunc.PictureModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="got the columns picture, expected `image`"):
        loaded.predict(pd.DataFrame({"picture": [b""]}))
    with pytest.raises(UserError, match="model_config: got speed, expected some of engine, precision, threads, cache"):
        pyfunc._load_pyfunc(str(tmp_path), {"speed": "fast"})


def test_the_package_has_a_signature_pinned_requirements_and_no_place_of_this_machine(
    model: ResolvedModel, loaded: pyfunc.PictureModel, tmp_path: Path
) -> None:
    from mlflow.models import Model

    package.package(tmp_path / "model", model.files)
    described = Model.load(str(tmp_path / "model"))
    flavor = described.flavors["python_function"]
    assert flavor["loader_module"] == "fashion_ray.serving.pyfunc" and "python_model" not in flavor
    assert described.get_input_schema().to_dict() == package.inputs()
    answered = loaded.predict(pd.DataFrame({"image": [package.example()]}))
    assert described.get_output_schema().input_names() == list(answered.columns) and answered["error"].isna().all()
    assert not list(tmp_path.rglob("*.pkl")) and (tmp_path / "model/code/fashion_ray/serving/pyfunc.py").is_file()
    lines = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in lines} <= set(package.REQUIRED)
    assert len(lines) >= len(package.REQUIRED) - 1 and not any("+" in line or "/" in line for line in lines)
    written = b"".join(path.read_bytes() for path in (tmp_path / "model").iterdir() if path.is_file())
    places = (str(tmp_path), tempfile.gettempdir(), str(Path.home()), str(Path(package.__file__).parents[2]))
    assert not [place for place in places if place.encode() in written]
