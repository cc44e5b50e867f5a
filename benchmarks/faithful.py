"""Whether the fast engines say what the network says. In: a catalog and a bundle. Out: agreement with float32 PyTorch.

Label agreement and mean cosine of embeddings on rows of the whole catalog; accuracy on labelled rows of the test side, where
labels that the model has no class for are left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.material import BenchmarkOptions, model_of, report, sample
from fashion_ray import cli
from fashion_ray.catalog.pictures import decode_many
from fashion_ray.models import bundle, decisions, engines
from fashion_ray.models.bundle import Card
from fashion_ray.models.engines import EngineChoice

TRUTH = EngineChoice(name="torch", precision="f32", device="cpu")
RIVALS = tuple(EngineChoice(name="openvino", precision=precision, device="cpu") for precision in ("f32", "bf16"))


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(BenchmarkOptions, arguments, example="python benchmarks/faithful.py --rows 4000")
    model = model_of(options)
    card, (height, width) = model.card, model.card.decoded_size
    anyone = sample(options, ["image"])
    tested = sample(options, ["image", *card.targets], split="test", at_most=True)
    pixels, _ = decode_many([*anyone["image"].to_pylist(), *tested["image"].to_pylist()], height, width)
    truth = {target: encoded(tested[target].to_pylist(), card.classes[target]) for target in card.targets}
    rows, threads = anyone.num_rows, options.cpus or os.cpu_count() or 1
    figures: dict[str, dict[str, object]] = {}
    reference: tuple[np.ndarray, dict[str, np.ndarray]] | None = None
    for choice in (TRUTH, *RIVALS):
        if choice.precision == "bf16" and not engines.cpu_has_bf16():
            continue  # emulated, it would say nothing of the hardware that has it
        _, network = bundle.load(model.files, name=model.name)
        engine = engines.make(network, pixel_shape=(height, width), choice=choice, threads=threads)
        embeddings, labels = answers(engine(pixels), card)
        reference = reference or (embeddings, labels)
        figures[f"{choice.name} {choice.precision}"] = {
            "agreement": {
                target: share(labels[target][:rows] == reference[1][target][:rows]) for target in card.targets
            },
            "embedding_cosine": round(float(cosines(embeddings[:rows], reference[0][:rows]).mean()), 6),
            "accuracy": {
                target: share((labels[target][rows:] == wanted)[wanted >= 0]) for target, wanted in truth.items()
            },
        }  # fmt: skip
    report("faithful", {"rows": rows, "test_rows": tested.num_rows, "engines": figures}, sentence(figures))


def sentence(figures: dict[str, dict[str, object]]) -> str:
    """The same for people."""
    return f"of {TRUTH.name} {TRUTH.precision}; " + "; ".join(
        f"{name}: agreement {shown(one['agreement'])}, cosine {one['embedding_cosine']}, accuracy {shown(one['accuracy'])}"
        for name, one in figures.items()
    )


def shown(values: object) -> str:
    """Figures by target."""
    assert isinstance(values, dict)
    return " ".join(f"{target} {value}" for target, value in values.items())


def answers(outputs: list[np.ndarray], card: Card) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Embeddings, and the index of the predicted class of each target."""
    embeddings, *logits = outputs
    decided = decisions.decide(dict(zip(card.targets, logits, strict=True)), card.taxonomy, card.temperatures)
    return embeddings, {target: answer.predicted for target, answer in decided.items()}


def encoded(labels: list[str | None], classes: list[str | None]) -> np.ndarray:
    """Indices of classes, -1 where there is no label or no class for it."""
    index = {name: number for number, name in enumerate(classes) if name is not None}
    return np.array([-1 if label is None else index.get(label, -1) for label in labels], dtype=np.int64)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of the rows of two matrices."""
    product = (one * other).sum(axis=1)
    return np.asarray(product / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)))


def share(values: np.ndarray) -> float | None:
    """Of true values; none of nothing."""
    return round(float(values.mean()), 5) if len(values) else None


if __name__ == "__main__":
    cli.run(main)
