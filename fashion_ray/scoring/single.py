"""One picture, at once, without a cluster. In: a file. Out: the likeliest labels of each target."""

from __future__ import annotations

import os

import numpy as np

from fashion_ray.catalog.pictures import MAX_BYTES, BadPicture, open_rgb
from fashion_ray.errors import UserError
from fashion_ray.models import decisions
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring.inference import Inference, ResolvedModel


def score_picture(
    picture: bytes, model: ResolvedModel, choice: EngineChoice, *, cache: str
) -> dict[str, list[tuple[str | None, float]]]:
    """(label, probability) of the likeliest labels of each target, the answer first."""
    inference = Inference(model.files, name=model.name, choice=choice, threads=os.cpu_count() or 1, cache=cache)
    output = inference([picture])
    card = model.card
    answers = decisions.decide(output.logits, card.taxonomy, card.temperatures)
    return {
        target: [
            (card.classes[target][index], float(chance))
            for index, chance in zip(answer.top_classes[0], answer.top_probabilities[0], strict=True)
        ]
        for target, answer in answers.items()
    }


def embed_picture(picture: bytes, model: ResolvedModel, choice: EngineChoice, *, cache: str) -> np.ndarray:
    """The embedding of a picture, float32 (1, embedding_dim)."""
    inference = Inference(model.files, name=model.name, choice=choice, threads=os.cpu_count() or 1, cache=cache)
    return inference([picture]).embeddings


def read_picture(path: str) -> bytes:
    """The bytes of a picture file that can be decoded. Raises UserError."""
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise UserError(f"--image: {path!r} has {os.path.getsize(path)} bytes, expected at most {MAX_BYTES}")
        with open(path, "rb") as file:
            content = file.read()
        open_rgb(content)
    except OSError as error:
        raise UserError(f"--image: {path!r} cannot be read ({error.strerror}); expected a picture file") from error
    except BadPicture as error:
        raise UserError(
            f"--image: {path!r} is no usable picture ({error.reason}: {error.detail}); expected JPEG, PNG or WebP"
        ) from error
    return content


def describe_picture(path: str, answers: dict[str, list[tuple[str | None, float]]]) -> str:
    """The answers as a table; a null label is a class too rare to be learned."""
    lines = [path]
    for target, top in answers.items():
        lines.append(f"  {target:<16} " + ", ".join(f"{label or '(other)'} {chance:.3f}" for label, chance in top))
    return "\n".join(lines)
