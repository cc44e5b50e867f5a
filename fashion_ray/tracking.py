"""MLflow, and the only module that knows it. In: a root and a job's plain values. Out: runs and registered models.

The server is MLFLOW_TRACKING_URI; without it a SQLite file and an artifact folder below a local root.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from fashion_ray import __version__
from fashion_ray.config import without_password
from fashion_ray.errors import ConflictError, UserError
from fashion_ray.storage import Store

log = logging.getLogger(__name__)

URI_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT = "fashion_ray"
MODEL = "fashion_ray"
"""The registered model's name."""

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


@dataclass(frozen=True)
class Tracking:
    """Where runs are tracked; plain strings, so it travels to other processes."""

    uri: str
    artifacts: str | None

    def client(self) -> MlflowClient:
        """A client of the server or the local store."""
        return MlflowClient(tracking_uri=self.uri)


@dataclass(frozen=True)
class TrackedRun:
    """An open run."""

    tracking: Tracking
    run_id: str

    def parameters(self, values: Mapping[str, object]) -> None:
        """Log flat parameters; logged again under the same run they must be the same. Secrets in URIs are blanked."""
        params = [Param(key, without_password(str(value))[:6000]) for key, value in sorted(values.items())]
        self.tracking.client().log_batch(self.run_id, params=params)

    def has_parameters(self) -> bool:
        """Whether any were logged."""
        return bool(self.tracking.client().get_run(self.run_id).data.params)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step, all at once."""
        stamp = int(time.time() * 1000)
        entries = [Metric(_metric_name(key), float(value), stamp, step) for key, value in values.items()]
        for start in range(0, len(entries), 900):
            self.tracking.client().log_batch(self.run_id, metrics=entries[start : start + 900])

    def tags(self, values: Mapping[str, object]) -> None:
        """Set tags."""
        self.tracking.client().log_batch(
            self.run_id, tags=[RunTag(key, without_password(str(value))) for key, value in values.items()]
        )

    def file(self, content: bytes | str, path: str) -> None:
        """Log an artifact under a path such as `plots/curves.png`."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            local = Path(temporary) / name
            local.write_bytes(content.encode() if isinstance(content, str) else content)
            self.tracking.client().log_artifact(self.run_id, str(local), folder or None)

    def end(self, status: str) -> None:
        """Close it as FINISHED, FAILED or KILLED."""
        self.tracking.client().set_terminated(self.run_id, status)

    def folder(self, local: str | Path, path: str) -> None:
        """Log a folder of artifacts."""
        self.tracking.client().log_artifacts(self.run_id, str(local), path)


def locate(store: Store) -> Tracking:
    """The tracking store of a root, made ready for use. Raises UserError for a remote root without a server."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = os.environ.get(URI_VARIABLE)
    if uri:
        tracking = Tracking(uri, None)
        _experiment(tracking)
        return tracking
    if not store.is_local:
        raise UserError(
            f"{URI_VARIABLE} is not set: the root {store.uri!r} is remote, where no SQLite file can lie; expected the address "
            f"of an MLflow server, for example export {URI_VARIABLE}=http://mlflow.example:5000"
        )
    folder = Path(store.path("mlflow"))
    folder.mkdir(parents=True, exist_ok=True)
    tracking = Tracking(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
    with open(folder / ".lock", "w") as lock:  # processes that create one SQLite store at the same time fail in its migrations
        fcntl.flock(lock, fcntl.LOCK_EX)
        _experiment(tracking)
    return tracking


@contextmanager
def run(
    tracking: Tracking,
    job: str,
    parameters: Mapping[str, object],
    *,
    name: str = "",
    tags: Mapping[str, object] | None = None,
    claim: str = "",
) -> Iterator[TrackedRun]:
    """A run of a job, ended as FINISHED, FAILED or KILLED by how the block ends; one of the same claim is continued.

    `name` is what MLflow's pages call it, the job's own where there is none.
    """
    tracked = open_run(tracking, name or job, {"job": job, **(tags or {})}, claim=claim)
    client = tracking.client()
    try:
        if not tracked.has_parameters():
            tracked.parameters(parameters)  # they cannot be changed later, and where a run goes on may differ
        yield tracked
    except KeyboardInterrupt:
        client.set_terminated(tracked.run_id, "KILLED")
        raise
    except BaseException as error:
        tracked.tags({"error": str(error)[:1000]})
        client.set_terminated(tracked.run_id, "FAILED")
        raise
    client.set_terminated(tracked.run_id, "FINISHED")


def open_run(tracking: Tracking, name: str, tags: Mapping[str, object], *, claim: str = "") -> TrackedRun:
    """A new run, or the one that was opened with this claim: it has it from its first moment, so none is opened twice."""
    client, experiment = tracking.client(), _experiment(tracking)
    if claim:
        found = client.search_runs([experiment], f"tags.claim = '{claim}'", max_results=1)
        if found:
            tracked = TrackedRun(tracking, found[0].info.run_id)
            client.update_run(tracked.run_id, status="RUNNING")
            tracked.tags(tags)
            return tracked
    first = {"code_version": __version__, **tags, **({"claim": claim} if claim else {})}
    created = client.create_run(
        experiment, run_name=name, tags={key: without_password(str(value)) for key, value in first.items()}
    )
    return TrackedRun(tracking, created.info.run_id)


def inside(parent: TrackedRun) -> dict[str, object]:
    """The tags of a run that is shown nested in another."""
    return {"mlflow.parentRunId": parent.run_id}


def register(tracked: TrackedRun, artifact: str, model_version: str) -> tuple[str, str]:
    """Register a bundle that was logged under `artifact`; its MLflow version and its alias.

    The first bundle becomes champion, later ones challenger. The same bundle again is not registered again.
    """
    client = tracked.tracking.client()
    try:
        client.create_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = [
        found for found in client.search_model_versions(f"name='{MODEL}'") if found.tags.get("model_version") == model_version
    ]
    if known:
        aliases = client.get_model_version(MODEL, known[0].version).aliases
        return str(known[0].version), aliases[0] if aliases else ""
    created = client.create_model_version(
        MODEL, source=f"runs:/{tracked.run_id}/{artifact}", run_id=tracked.run_id, tags={"model_version": model_version}
    )
    alias = CHALLENGER if _by_alias(client, CHAMPION) else CHAMPION
    client.set_registered_model_alias(MODEL, alias, created.version)
    return str(created.version), alias


def save_pyfunc(
    folder: Path, *, loader: str, data: Path, code: Path, inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]], example: Mapping[str, list[Any]], requirements: Sequence[str],
    settings: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write a folder that MLflow loads as a pyfunc: some data, and the module that its `_load_pyfunc` is in.

    `code` is the folder of the package that holds the module; inputs and outputs are columns as in MLflow's schema files;
    `settings` are the defaults of `model_config`. Nothing is pickled, unlike with a `PythonModel` object.
    """
    import mlflow.pyfunc  # two seconds, for training alone
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    schemas = [Schema.from_json(json.dumps(list(columns))) for columns in (inputs, outputs)]
    mlflow.pyfunc.save_model(
        str(folder), loader_module=loader, data_path=str(data), code_paths=[str(code)],
        signature=ModelSignature(inputs=schemas[0], outputs=schemas[1]), input_example=pd.DataFrame(example),
        pip_requirements=list(requirements), model_config=dict(settings),
    )  # fmt: skip


def resolve(tracking: Tracking, model: str) -> str | None:
    """The model_version that an alias or an MLflow version number stands for; none if the registry does not know it."""
    client = tracking.client()
    if model.isdigit():
        try:
            return client.get_model_version(MODEL, model).tags.get("model_version")
        except MlflowException:
            return None
    return _by_alias(client, model)


def registered_version(tracking: Tracking, model_version: str) -> str | None:
    """The MLflow version of a bundle; none if it is not registered."""
    found = tracking.client().search_model_versions(f"name='{MODEL}' and tags.model_version = '{model_version}'")
    return str(found[0].version) if found else None


def tag_version(tracking: Tracking, version: str, tags: Mapping[str, object]) -> None:
    """Note something on a registered version."""
    for key, value in tags.items():
        tracking.client().set_model_version_tag(MODEL, version, key, without_password(str(value))[:5000])


def make_champion(tracking: Tracking, version: str, *, instead_of: str | None) -> None:
    """Move the alias champion to a version, and the alias previous to the one that had it; the version is no challenger then.

    `instead_of` is the model_version that the decision was made against. Raises ConflictError if another is champion by now.
    """
    client = tracking.client()
    before = version_of(tracking, CHAMPION)
    if _by_alias(client, CHAMPION) != instead_of:
        raise ConflictError(f"--champion: version {before} became champion meanwhile; run the same command again")
    if before is not None and before != version:
        client.set_registered_model_alias(MODEL, PREVIOUS, before)  # first: a run that dies here has lost nothing
    client.set_registered_model_alias(MODEL, CHAMPION, version)
    if version_of(tracking, CHALLENGER) == version:
        client.delete_registered_model_alias(MODEL, CHALLENGER)


def version_of(tracking: Tracking, alias: str) -> str | None:
    """The MLflow version that has an alias."""
    try:
        return str(tracking.client().get_model_version_by_alias(MODEL, alias).version)
    except MlflowException:
        return None


def known_models(tracking: Tracking) -> list[str]:
    """What `resolve` would find, for messages."""
    client = tracking.client()
    try:
        registered = client.get_registered_model(MODEL)
    except MlflowException:
        return []
    versions = [str(found.version) for found in client.search_model_versions(f"name='{MODEL}'")]
    return [*sorted(registered.aliases), *sorted(versions, key=int)]


def figures_of(tracking: Tracking, runs: Sequence[str], metric: str) -> dict[tuple[str, str], float]:
    """A metric of training runs, named by id or by --name, by their --split and --split-seed. Raises UserError."""
    client, experiment = tracking.client(), _experiment(tracking)
    found: dict[tuple[str, str], float] = {}
    for name in runs:
        wanted = f"attributes.run_id = '{name}'" if re.fullmatch(r"[0-9a-f]{32}", name) else f"params.name = '{name}'"
        matches = client.search_runs([experiment], f"{wanted} and tags.job = 'train'", max_results=2)
        if len(matches) != 1 or metric not in matches[0].data.metrics:
            raise UserError(
                f"--runs-a, --runs-b: {name!r} stands for {len(matches)} training runs"
                + (f", without the metric {metric}" if len(matches) == 1 else "")
                + "; expected the id or the --name of one finished run"
            )
        data = matches[0].data
        found[data.params.get("split", ""), data.params.get("split_seed", "")] = float(data.metrics[metric])
    return found


def _by_alias(client: MlflowClient, alias: str) -> str | None:
    try:
        return client.get_model_version_by_alias(MODEL, alias).tags.get("model_version")
    except MlflowException:
        return None


def _experiment(tracking: Tracking) -> str:
    client = tracking.client()
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=tracking.artifacts))
    except MlflowException:
        found = client.get_experiment_by_name(EXPERIMENT)  # another process was faster
        if found is None:
            raise
        return str(found.experiment_id)


def _metric_name(key: str) -> str:
    """MLflow allows letters, digits, `_-. /:` in the names of metrics."""
    return re.sub(r"[^A-Za-z0-9_\-. /:]", "_", key)


def flat(options: Any) -> dict[str, object]:
    """An options dataclass as flat parameters, tuples as their parts with commas between."""
    values = {name: getattr(options, name) for name in options.__dataclass_fields__}
    return {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in values.items()}
