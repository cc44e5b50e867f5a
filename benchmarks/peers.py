"""How fast others do the same: same rows, network and input size, Parquet to Parquet. In: a catalog and a bundle. Out: rates.

ray_pattern     Ray's documented batch inference of pictures (docs.ray.io, "Working with images"): `map` a row at a time with
                torchvision transforms, an eager float32 actor in `map_batches`, `write_parquet`; one actor for two CPUs, and
                all else left as it is, or tuned so that every CPU works (an actor a CPU, rows transformed beside them)
torch_loop      what somebody who knows PyTorch writes on one machine: a DataLoader whose processes decode and resize, then
                channels last, bfloat16 autocast and inference_mode; with one loading process, or one a CPU
bare_engine     the limit: scoring's engine on pixels in memory
scoring         jobs/score.py's own code over the whole catalog, as benchmarks/limit.py clocks it

The clock runs from the first read to the last file that is closed. Starting Ray, its actors and loading the network are left
out: readers wait until the network is ready. The DataLoader's processes start within the clock, in about a tenth of a second.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.limit import scored
from benchmarks.material import BenchmarkOptions, Gate, model_of, report, sample
from fashion_ray import cli, cluster
from fashion_ray.catalog.pictures import decode_many
from fashion_ray.errors import ReconciliationError
from fashion_ray.models import bundle, engines
from fashion_ray.models.bundle import Card
from fashion_ray.models.network import Network

BATCH = 64
"""Rows a call of the peers, at which PyTorch is fastest here."""

PARTS = 16
"""Files of the source; tuned, Ray reads each as a block, while by itself it packs so little data into one or two."""


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(BenchmarkOptions, arguments, example="python benchmarks/peers.py --rows 4000")
    model, cpus = model_of(options), options.cpus or os.cpu_count() or 1
    rows = sample(options, ["product_id", "image"])
    rates: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary, cluster.connect(options.address, cpus=options.cpus):
        source, place = Path(temporary) / "source", Path(temporary)
        source.mkdir()
        size = -(-len(rows) // PARTS)
        for part in range(PARTS):
            pq.write_table(rows.slice(part * size, size), source / f"part-{part}.parquet")
        bare = bare_rate(rows, model.files, model.card, cpus)
        for turn in range(options.repeats):
            for layout in ("default", "tuned"):
                target = place / f"ray-{turn}-{layout}"
                rates[f"ray_pattern {layout}"].append(
                    ray_pattern(source, target, model.files, model.card, cpus, tuned=layout == "tuned")
                )
            for workers in sorted({1, cpus}):
                target = place / f"torch-{turn}-{workers}"
                rates[f"torch_loop {workers}"].append(torch_loop(source, target, model.files, workers, cpus))
            rates["bare_engine"].append(bare())
            done, clock_s, _ = scored(options, model, engines.choose("auto", "auto", gpus=0, **engines.of_this_node()), place)
            rates["scoring"].append(done / clock_s)
            shutil.rmtree(place / "root")
    tell({name: median(values) for name, values in rates.items()}, len(rows), cpus)


def tell(found: dict[str, float], rows: int, cpus: int) -> None:
    """Report the medians; of each peer the better way counts."""
    pattern, loop = (
        max(value for name, value in found.items() if name.startswith(peer)) for peer in ("ray_pattern", "torch_loop")
    )
    bare, ours = found["bare_engine"], found["scoring"]
    report(
        "peers",
        {
            "rows": rows, "cpus": cpus, "rows_per_second": {name: round(value, 1) for name, value in found.items()},
            "of_bare_engine": {name: round(value / bare, 4) for name, value in found.items()},
            "torch_loop_of_ray_pattern": round(loop / pattern, 2),
            "scoring_of": {name: round(ours / value, 2) for name, value in found.items()},
        },
        f"scoring {ours:.0f} rows/s, {ours / found['ray_pattern default']:.1f} times Ray's pattern as it is "
        f"({found['ray_pattern default']:.0f}), {ours / found['ray_pattern tuned']:.1f} times it tuned "
        f"({found['ray_pattern tuned']:.0f}), {ours / loop:.1f} times a PyTorch loop ({loop:.0f}), {ours / bare:.2f} of the "
        f"bare engine ({bare:.0f}); start-up left out",
    )  # fmt: skip


class Prepared(nn.Module):
    """The network without its preprocessing: normalised pictures (batch, 3, height, width) to embeddings and logits."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        embeddings = self.network.trunk(images)
        return (embeddings.float(), *self.network.answers(embeddings))


def answers(outputs: tuple[Tensor, ...], card: Card) -> dict[str, np.ndarray]:
    """What both peers write of a batch: a label index and a probability a target, and the embedding."""
    columns = {"embedding": outputs[0].numpy()}
    for target, logits in zip(card.targets, outputs[1:], strict=True):
        chances = torch.softmax(logits.float(), 1).max(1)
        columns |= {f"{target}_predicted": chances.indices.numpy(), f"{target}_probability": chances.values.numpy()}
    return columns


# Ray's pattern


class Predictor:
    """An eager float32 network, as the documentation has it."""

    def __init__(self, files: dict[str, bytes], gate: Gate) -> None:
        self._card, network = bundle.load(files, name="peer")
        self._network = Prepared(network).eval()
        with torch.inference_mode():
            self._network(torch.zeros(2, 3, *self._card.input_size))
        gate.leave()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            outputs = self._network(torch.from_numpy(np.stack(list(batch["pixels"]))))
        return {"product_id": batch["product_id"], **answers(outputs, self._card)}


def ray_pattern(source: Path, target: Path, files: dict[str, bytes], card: Card, cpus: int, *, tuned: bool) -> float:
    """Rows a second. As it is, Ray runs `map` inside an actor; tuned, tasks of a quarter CPU run it beside an actor a CPU."""
    target.mkdir()
    actors = cpus if tuned else max(1, cpus // 2)
    task_cpus, actor_cpus = (0.25, 0.5) if tuned else (None, None)
    gate = Gate(target / "ready", actors)
    transform = transforms.Compose(
        [transforms.Resize(card.input_size), transforms.ToTensor(), transforms.Normalize(card.mean, card.std)]
    )

    def transform_row(row: dict[str, Any]) -> dict[str, Any]:
        gate.wait()
        picture = Image.open(io.BytesIO(row["image"])).convert("RGB")
        return {"product_id": row["product_id"], "pixels": transform(picture).numpy()}

    parts = ray.data.read_parquet(str(source), num_cpus=task_cpus, override_num_blocks=PARTS if tuned else None)
    rows = parts.map(transform_row, num_cpus=task_cpus)
    predictions = rows.map_batches(
        Predictor,
        fn_constructor_kwargs={"files": files, "gate": gate},
        batch_size=BATCH,
        concurrency=actors,
        num_cpus=actor_cpus,
    )
    predictions.write_parquet(str(target / "out"))
    written = list((target / "out").glob("*.parquet"))
    check(written, source)
    return count(source) / (max(file.stat().st_mtime for file in written) - gate.opened())


# A PyTorch loop


class Pictures(torch.utils.data.Dataset[Tensor]):
    """Decoded and resized pictures, uint8 (3, height, width)."""

    def __init__(self, images: list[bytes], size: tuple[int, int]) -> None:
        self._images, self._size = images, list(size)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> Tensor:
        encoded = torch.frombuffer(bytearray(self._images[row]), dtype=torch.uint8)
        picture: Tensor = functional.resize(decode_image(encoded, mode=ImageReadMode.RGB), self._size, antialias=True)
        return picture


def torch_loop(source: Path, target: Path, files: dict[str, bytes], workers: int, cpus: int) -> float:
    """Rows a second with so many loading processes."""
    target.mkdir()
    torch.set_num_threads(cpus)
    card, network = bundle.load(files, name="peer")
    model = Prepared(network).eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (card.mean, card.std))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        model(torch.zeros(BATCH, 3, *card.input_size).contiguous(memory_format=torch.channels_last))
        started = time.perf_counter()
        table = pq.read_table(source)
        ids, writer = table["product_id"], None
        loader = torch.utils.data.DataLoader(
            Pictures(table["image"].to_pylist(), card.input_size), batch_size=BATCH, num_workers=workers
        )
        done = 0
        for pixels in loader:
            images = ((pixels.contiguous(memory_format=torch.channels_last) / 255) - mean) / std
            found = answers(model(images), card)
            columns = {name: pa.array(list(value) if value.ndim > 1 else value) for name, value in found.items()}
            piece = pa.table({"product_id": ids.slice(done, len(pixels)), **columns})
            writer = writer or pq.ParquetWriter(target / "scores.parquet", piece.schema)
            writer.write_table(piece)
            done += len(pixels)
        assert writer is not None
        writer.close()
        seconds = time.perf_counter() - started
    check([target / "scores.parquet"], source)
    return done / seconds


# The limit


def bare_rate(rows: pa.Table, files: dict[str, bytes], card: Card, cpus: int) -> Any:
    """A function that gives the rate of scoring's engine on these rows' pixels, start-up left out."""
    pixels, _ = decode_many(rows["image"].to_pylist(), *card.decoded_size)
    _, network = bundle.load(files, name="limit")
    choice = engines.choose("auto", "auto", gpus=0, **engines.of_this_node())
    engine = engines.make(network, pixel_shape=card.decoded_size, choice=choice, threads=cpus)
    engine(pixels)

    def rate() -> float:
        started = time.perf_counter()
        engine(pixels)
        return len(pixels) / (time.perf_counter() - started)

    return rate


def count(source: Path) -> int:
    """The rows that there are."""
    return sum(pq.ParquetFile(file).metadata.num_rows for file in source.glob("*.parquet"))


def check(written: list[Path], source: Path) -> None:
    """Raises ReconciliationError unless every product came out once."""
    found = sorted(name for file in written for name in pq.read_table(file, columns=["product_id"])["product_id"].to_pylist())
    if found != sorted(pq.read_table(source, columns=["product_id"])["product_id"].to_pylist()):
        raise ReconciliationError(f"a peer wrote {len(found)} rows that are not the {count(source)} it was given")


if __name__ == "__main__":
    cli.run(main)
