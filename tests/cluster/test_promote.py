"""Promotion on a cluster: a worse champion gives way, a night follows the alias, and MLflow serves the new one without Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fashion_ray import snapshots, tracking
from fashion_ray.errors import ConflictError, UserError
from fashion_ray.models import bundle
from fashion_ray.promotion.describe import describe, report
from fashion_ray.promotion.options import PromoteOptions
from fashion_ray.promotion.promote import Contest, Outcome, hold, prepare, roll_back, settle
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.models import resolve
from fashion_ray.scoring.single import score_picture
from fashion_ray.serving.package import package
from fashion_ray.storage import Store
from fashion_ray.tracking import CHALLENGER, CHAMPION, PREVIOUS
from tests.cluster.conftest import CHOICE
from tests.cluster.test_score import night

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(store: Store, catalog: snapshots.Snapshot, model: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A root of these tests' own with the shared catalog, a champion that was damaged, and the trained model as challenger."""
    mine = Store(str(tmp_path_factory.mktemp("promotion")))
    for file in catalog.files:
        mine.write_bytes(store.read_bytes(file), file)
    snapshots.publish(mine, "catalog", catalog.name, dict(catalog.manifest), base=None)
    for files in (damaged(model), model.files):
        register(mine, files, tmp_path_factory.mktemp("package") / "bundle")
    return mine


def damaged(model: ResolvedModel) -> dict[str, bytes]:
    """The same trunk with heads that take each class for its neighbour."""
    card, network = bundle.load(model.files, name="test")
    for module in network.heads.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = module.weight.data.roll(1, 0)
            module.bias.data = module.bias.data.roll(1, 0)
    return bundle.dump(card, network)


def register(store: Store, files: dict[str, bytes], folder: Path) -> None:
    """What jobs/train.py does with a bundle at its end."""
    version = bundle.read_card(files[bundle.CARD], name="test").model_version
    for name, content in files.items():
        store.write_bytes(content, "models", version, name)
    package(folder, files)
    with tracking.run(tracking.locate(store), "train", {"split": "stored"}) as run:
        run.folder(folder, "bundle")
        tracking.register(run, "bundle", version)


def contest(store: Store, cache: str, **options: object) -> Contest:
    catalog = snapshots.current(store, "catalog")
    assert catalog is not None
    chosen = replace(PromoteOptions(root=store.uri, cache=cache), **options)  # type: ignore[arg-type]
    return prepare(chosen, store, catalog, tracking.locate(store))


@pytest.fixture(scope="module")
def outcome(home: Store, cache: str) -> Outcome:
    """Both models on the validation side, which has the most rows that neither was trained on."""
    return hold(contest(home, cache, side="validation", target="masterCategory"), home, CHOICE)


def aliases(store: Store) -> dict[str, str | None]:
    tracked = tracking.locate(store)
    return {alias: tracking.version_of(tracked, alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)}


def test_a_better_challenger_becomes_champion_and_a_night_and_mlflow_follow(
    home: Store, outcome: Outcome, model: ResolvedModel, cache: str
) -> None:
    tracked = tracking.locate(home)
    assert aliases(home) == {CHAMPION: "1", CHALLENGER: "2", PREVIOUS: None}
    assert outcome.promoted and outcome.objections == [], describe(outcome)
    decided = outcome.comparisons["masterCategory"]
    assert decided.challenger_accuracy > decided.champion_accuracy + 0.2 and decided.rows == outcome.contest.lineages[0].rows
    assert any("validation" in warning for warning in outcome.warnings)
    refused = replace(outcome, objections=["not better by 0.1"])
    with tracking.run(tracked, "promote", {}) as run:
        assert "is not promoted" in settle(refused, run)
    assert aliases(home)[CHAMPION] == "1"
    with tracking.run(tracked, "promote", {}) as run:
        page = report(outcome, home, run)
        assert "is champion now, as version 2" in settle(outcome, run)
    assert aliases(home) == {CHAMPION: "2", CHALLENGER: None, PREVIOUS: "1"}
    assert "<strong>promoted</strong>" in Path(page).read_text()
    tags = tracked.client().get_model_version(tracking.MODEL, "2").tags
    assert tags["promotion_decision"] == "promoted" and "significantly better" in tags["promotion_because"]
    assert tags["promotion_run_id"] == run.run_id and tags["promotion_masterCategory"] == decided.sentence()
    metrics = tracked.client().get_run(run.run_id).data.metrics
    assert metrics["promote/masterCategory/won"] == decided.won

    scores = night(home, resolve("champion", home, tracked), cache).snapshot
    rows = home.read_table(scores.folder, columns=["model_version"])
    assert set(rows["model_version"].to_pylist()) == {model.card.model_version}

    served(home, model, cache)
    assert "champion is now version 1 again" in roll_back(tracked)
    assert aliases(home) == {CHAMPION: "1", CHALLENGER: None, PREVIOUS: "2"}
    with pytest.raises(ConflictError, match="became champion meanwhile"):
        tracking.make_champion(tracked, "2", instead_of=model.card.model_version)
    roll_back(tracked)
    assert aliases(home)[CHAMPION] == "2", "a second roll back undoes the first"


SERVE = """
import json, sys
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/fashion_ray@champion", model_config=json.loads(sys.argv[2]))
found = model.predict(pandas.DataFrame({"image": [open(sys.argv[3], "rb").read(), b"junk"]}))
assert "ray" not in sys.modules, "Ray was imported"
import fashion_ray
print(json.dumps({"rows": found.to_dict("records"), "code": fashion_ray.__file__}))
"""


def served(home: Store, model: ResolvedModel, cache: str) -> None:
    """The champion in a process that has neither Ray nor this package's source nor leave to unpickle."""
    catalog = snapshots.current(home, "catalog")
    assert catalog is not None
    picture = Path(home.path("picture.jpg"))
    picture.write_bytes(home.read_table(catalog.files[0], columns=["image"])["image"][0].as_py())
    settings = json.dumps({"engine": CHOICE.name, "precision": CHOICE.precision, "cache": cache})
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHONPATH", "MLFLOW_", "RAY_"))}
    done = subprocess.run(
        [sys.executable, "-c", SERVE, tracking.locate(home).uri, settings, str(picture)],
        env={**variables, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        cwd=home.path("models"), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    good, bad = found["rows"]
    for target, top in score_picture(picture.read_bytes(), model, CHOICE, cache=cache).items():
        assert (good[f"{target}_predicted"], good[f"{target}_probability"]) == pytest.approx(top[0])
    assert bad["error"].startswith("not_an_image") and bad["masterCategory_predicted"] is None
    assert not Path(found["code"]).is_relative_to(PROJECT), "the model brings its own code"


def test_a_contest_that_cannot_be_held_is_the_users_error(home: Store, cache: str, model: ResolvedModel) -> None:
    version = model.card.model_version
    with pytest.raises(UserError, match="are the same model"):
        contest(home, cache, challenger=version, champion=version)
    with pytest.raises(UserError, match="--target: got 'season'"):
        contest(home, cache, challenger="1", champion="2", target="season")
    card, network = bundle.load(model.files, name="test")
    stranger = bundle.dump(replace(card, temperatures=dict.fromkeys(card.temperatures, 3.0)), network)
    unregistered = bundle.read_card(stranger[bundle.CARD], name="stranger").model_version
    for name, content in stranger.items():
        home.write_bytes(content, "models", unregistered, name)
    with pytest.raises(UserError, match="is not registered"):
        contest(home, cache, challenger=unregistered, champion="2")
    assert contest(home, cache, challenger=unregistered, champion="2", dry_run=True).version is None
    with pytest.raises(UserError, match="registry knows no 'nobody'"):
        contest(home, cache, challenger="nobody")
