"""Which model scores. In: what the user asked for. Out: the files of a bundle."""

from __future__ import annotations

import re

from fashion_ray import tracking
from fashion_ray.config import absolute, is_uri
from fashion_ray.errors import UserError
from fashion_ray.models import bundle
from fashion_ray.scoring.inference import ResolvedModel, card_of, read_bundle
from fashion_ray.storage import Store

VERSION = re.compile(r"[0-9a-f]{16}")


def resolve(model: str, store: Store, tracked: tracking.Tracking) -> ResolvedModel:
    """The model that an alias, a registered version, a model_version or a bundle's path stands for. Raises UserError."""
    if "/" in model or is_uri(model):
        place = Store(absolute(model, option="--model"))
        try:
            files = read_bundle(place, ".")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"--model: no bundle at {model!r}; expected a folder with {bundle.CARD} and {bundle.WEIGHTS}"
            ) from None
        return ResolvedModel(name=model, files=files, card=card_of(files, model))
    version = model if VERSION.fullmatch(model) else tracking.resolve(tracked, model)
    if version is None:
        known = ", ".join(tracking.known_models(tracked)) or "none yet"
        raise UserError(
            f"--model: the registry knows no {model!r} (it has: {known}); expected an alias, a version or a bundle's path. "
            "Train a model first: python jobs/train.py"
        )
    if VERSION.fullmatch(version) is None:
        raise UserError(
            f"--model: the registry says that {model!r} is version {version[:100]!r}, expected 16 hex digits; mend the tag "
            "model_version of its registered version"
        )
    try:
        files = read_bundle(store, f"models/{version}")
    except FileNotFoundError:
        raise UserError(
            f"--model: {model!r} is version {version}, but {store.show('models', version)} is not there; "
            "expected the root that it was trained under"
        ) from None
    card = card_of(files, version)
    if card.model_version != version:
        raise UserError(
            f"--model: {store.show('models', version)} holds version {card.model_version}; expected the bundle of its "
            "name. Restore it"
        )
    return ResolvedModel(name=model, files=files, card=card)
