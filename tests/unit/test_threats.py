"""What strangers may hand us, tried for real: docs/threats.md says what each of these is for, and names tests that exist."""

from __future__ import annotations

import ast
import csv
import io
import json
import logging
import os
import pickle
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data  # noqa: F401  (registers the extension types whose values it unpickles)
from PIL import Image

from fashion_ray import cli, spreadsheets, tracking
from fashion_ray.catalog import pictures, schema
from fashion_ray.catalog.corrections import read_corrections
from fashion_ray.catalog.feed_rows import BadRow, check_id
from fashion_ray.catalog.pictures import BadPicture, decode, jpeg_shape, open_rgb, preview
from fashion_ray.catalog.sources import open_source
from fashion_ray.errors import UserError
from fashion_ray.logs import Blanking
from fashion_ray.models import bundle
from fashion_ray.scoring.models import resolve
from fashion_ray.storage import Store
from fashion_ray.tracking import MODEL, locate
from fashion_ray.training.activations import load as load_activations
from tests.unit.paintings import HEIGHT, WIDTH, encoded, pixels_of
from tests.unit.test_bundle import PLAIN, files

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "threats.md"


class Malice:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


# Pictures.


def jpeg_with_a_hidden_frame(height: int, width: int) -> bytes:
    """A JPEG of another size than a careless reader of its header finds: fill bytes lead that one into a comment."""
    whole = encoded(pixels_of(), "JPEG")
    start = whole.index(b"\xff\xc0")
    large = whole[: start + 5] + struct.pack(">HH", height, width) + whole[start + 9 :]
    scan = large.index(b"\xff\xda")
    body = large[:2] + b"\xff\xff\xfe\x01\x00" + bytes(0xFE) + large[2:scan]
    fake = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, HEIGHT, WIDTH, 3) + bytes(9)
    body += b"\xff\xfe" + struct.pack(">H", 1002) + bytes(1000)
    comment = bytes(2 + 2 + 0xFE01 - len(body) - 4) + fake
    return body + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + large[scan:]


def test_a_jpeg_that_hides_a_huge_frame_is_refused_by_its_real_size() -> None:
    content = jpeg_with_a_hidden_frame(60_000, 60_000)
    assert jpeg_shape(content) is None
    with pytest.raises(BadPicture, match="too_large"):
        decode(content, HEIGHT, WIDTH)


@pytest.mark.parametrize("marker", [0x01, 0xC9, 0xD0, 0xD8, 0xDA, 0xFF])
def test_nothing_odd_may_stand_before_the_frame_of_a_plain_jpeg(marker: int) -> None:
    whole = encoded(pixels_of(), "JPEG")
    assert jpeg_shape(whole) is not None
    assert jpeg_shape(whole[:2] + bytes([0xFF, marker]) + struct.pack(">H", 4) + bytes(2) + whole[2:]) is None
    assert jpeg_shape(whole[:2] + b"\xff\xfe\0\x01" + whole[2:]) is None, "a segment shorter than its length"


def gif(side: int, frames: int) -> bytes:
    """An animation of empty frames."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(3) + b"\xff" * 3 + frame * frames + b"\x3b"


def webp(width: int, height: int) -> bytes:
    """An animation with a canvas of this size and one tiny frame."""
    one = io.BytesIO()
    Image.new("RGB", (16, 16)).save(one, "WEBP", lossless=True)
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    frame = bytes(6) + b"\x0f\0\0\x0f\0\0" + bytes(4) + one.getvalue()[12:]
    chunks = [(b"VP8X", b"\x12\0\0\0" + sides), (b"ANIM", bytes(6)), (b"ANMF", frame)]
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(side: int) -> bytes:
    """A TIFF whose tags claim a size."""
    sink = io.BytesIO()
    Image.new("L", (64, 64)).save(sink, "TIFF")
    content = bytearray(sink.getvalue())
    (start,) = struct.unpack("<I", content[4:8])
    for number in range(struct.unpack("<H", content[start : start + 2])[0]):
        place = start + 2 + 12 * number
        if struct.unpack("<H", content[place : place + 2])[0] in (256, 257):
            content[place + 2 : place + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(content)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 60 x 80 with these chunks."""
    header = (b"IHDR", struct.pack(">IIBBBBB", 60, 80, 8, 2, 0, 0, 0))
    chunks = (header, *chunks, (b"IEND", b""))
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


BOMB = zlib.compress(bytes(50_000_000), 9)
BOMBS = {
    "gif": gif(65535, 1), "webp": webp(16384, 16383), "webp under Pillow's own limit": webp(12000, 9000), "tiff": tiff(60_000),
    "png text": png((b"zTXt", b"k\0\0" + BOMB)), "png profile": png((b"iCCP", b"k\0\0" + BOMB)),
    "gif of many frames": gif(100, 50_000),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_bomb_is_refused_before_it_unfolds(name: str) -> None:
    with pytest.raises(BadPicture) as caught:
        open_rgb(BOMBS[name])
    assert caught.value.reason in ("too_large", "truncated", "not_an_image")
    assert preview(BOMBS[name]) is None or len(BOMBS[name]) < pictures.MAX_BYTES


def test_pixels_beyond_the_pictures_own_are_not_unpacked() -> None:
    assert open_rgb(png((b"IDAT", BOMB))).size == (60, 80)


# Ids.


@pytest.mark.parametrize(
    "name",
    ["../1", "/etc/passwd", "a/b", "a\\b", "a\0b", "1\n", "\n1", "<b>", "1 2", "..", ".", "", "-rf", "a" * 129, "a;b", "a%2fb"],
)  # fmt: skip
def test_an_id_that_could_be_a_path_or_markup_is_refused(name: str) -> None:
    with pytest.raises(BadRow, match="bad_id"):
        check_id(name)


# Pickles.


def extension_table(name: str, marker: Path) -> pa.Table:
    """A column whose extension type, or whose value, unpickles what makes the marker."""
    content = pickle.dumps(Malice(marker))
    kinds = {"ray.data.arrow_pickled_object": pa.large_binary(), "ray.data.arrow_tensor_v2": pa.large_list(pa.int64())}
    kind = kinds.get(name, pa.string())
    values = pa.array([content if pa.types.is_large_binary(kind) else [1] if pa.types.is_large_list(kind) else "x"], type=kind)
    said = {b"ARROW:extension:name": name.encode(), b"ARROW:extension:metadata": content}
    fields = [pa.field("id", pa.string()), pa.field("image", pa.binary()), pa.field("season", kind, metadata=said)]
    return pa.Table.from_arrays([pa.array(["1"]), pa.array([encoded(pixels_of())]), values], schema=pa.schema(fields))


EXTENSIONS = ["ray.data.arrow_pickled_object", "ray.data.arrow_tensor_v2", "arrow.py_extension_type"]


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_parquet_feed_whose_column_types_carry_code_does_not_run_it(name: str, tmp_path: Path) -> None:
    feed, marker = tmp_path / "feed", tmp_path / "marker"
    feed.mkdir()
    pq.write_table(extension_table(name, marker), feed / "data.parquet")
    try:
        source = open_source(str(feed), label_column="articleType", seed=0, products=200)
        assert source.read_rows(source.row_files()).num_rows == 1
    except UserError as error:
        assert "expected plain Parquet" in str(error)
    assert not marker.exists()


def test_a_published_table_whose_column_types_carry_code_is_refused(tmp_path: Path) -> None:
    store, marker = Store(str(tmp_path / "root")), tmp_path / "marker"
    (tmp_path / "root").mkdir()
    pq.write_table(extension_table("ray.data.arrow_pickled_object", marker), tmp_path / "root" / "a.parquet")
    for read in (lambda: store.read_table("a.parquet"), lambda: store.read_rows("a.parquet", columns=["season"], rows=[0])):
        with pytest.raises(UserError, match=r"extension type 'ray\.data\.arrow_pickled_object'; expected plain Parquet"):
            read()
    assert not marker.exists()


def test_no_loader_that_unpickles_is_called_anywhere() -> None:
    """torch.load with weights_only, and nothing else that could run what it reads."""
    found = []
    for path in sorted([*ROOT.glob("fashion_ray/**/*.py"), *ROOT.glob("jobs/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                found += [
                    (path.name, name)
                    for name in names
                    if name.split(".")[0] in ("pickle", "joblib", "dill", "shelve", "marshal")
                ]
            if not isinstance(node, ast.Call):
                continue
            call, options = ast.unparse(node.func), {option.arg: ast.unparse(option.value) for option in node.keywords}
            if call in ("eval", "exec", "yaml.load", "pd.read_pickle", "pandas.read_pickle", "torch.jit.load", "os.system"):
                found.append((path.name, call))
            if call == "torch.load" and options.get("weights_only") != "True":
                found.append((path.name, call))
            if options.get("allow_pickle") == "True" or options.get("shell") == "True":
                found.append((path.name, call))
    assert found == []


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"\x80\x04}.", bytes(1000)])
def test_a_cache_file_that_is_none_is_computed_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "entry.arrow").write_bytes(content)
    if content:
        assert load_activations(tmp_path / "entry.arrow") is None
    assert load_activations(tmp_path / "nothing.arrow") is None


# Bundles and the registry.


@pytest.mark.parametrize("backbone", ["hf-hub:someone/model", "hf_hub:someone/model", "local-dir:/etc", "../x", ""])
def test_a_bundle_cannot_send_us_elsewhere_for_its_network(backbone: str) -> None:
    content = files()
    card = bundle.seal(replace(PLAIN, backbone=backbone), {})
    card_json = json.loads(content[bundle.CARD]) | {"backbone": card.backbone}
    with pytest.raises(UserError, match="`backbone` is"):
        bundle.load({**content, bundle.CARD: json.dumps(card_json).encode()}, name="foreign")


def registered(store: Store, version: str) -> tracking.Tracking:
    """A registry whose champion claims to be this version."""
    tracked = locate(store)
    client = tracked.client()
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, source="file:///nowhere", tags={"model_version": version})
    client.set_registered_model_alias(MODEL, "champion", "1")
    return tracked


def test_a_version_out_of_the_registry_is_never_a_path_and_must_be_what_it_names(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    tracked = registered(store, "../../elsewhere")
    with pytest.raises(UserError, match="expected 16 hex digits"):
        resolve("champion", store, tracked)
    for name, content in files().items():
        store.write_bytes(content, "models", "0" * 16, name)
    with pytest.raises(UserError, match=f"holds version {PLAIN.model_version}"):
        resolve("0" * 16, store, tracked)


# Spreadsheets.

FORMULAS = ['=HYPERLINK("http://evil.example","x")', "=1\r=2", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_a_csv_that_we_write_is_a_formula(text: str) -> None:
    safe = text.replace("\r", " ")
    frame = pd.DataFrame({"label": [text, "plain"], text: [-1.5, 2.0]}, index=[text, "other"])
    rows = list(csv.reader(io.StringIO(spreadsheets.to_csv(frame, index=True), newline="")))
    assert rows[0][1:] == ["label", f"'{safe}"] and rows[1] == [f"'{safe}", f"'{safe}", "-1.5"] and rows[2][1] == "plain"


@pytest.mark.parametrize("text", ["=1+1", "+x", "@y", "\uff1d1"])
def test_a_guarded_label_that_comes_back_is_the_label_that_went_out(text: str) -> None:
    sent = spreadsheets.to_csv(pd.DataFrame([{"product_id": "1", "target": "usage", "label": text}]))
    assert read_corrections(sent.encode(), "c.csv", "now").table["label"].to_pylist() == [text]


def test_every_csv_is_written_by_the_module_that_guards_it() -> None:
    writing = [
        path.name for path in ROOT.glob("fashion_ray/**/*.py")
        if path.parent.name != "demo"  # a feed of its own
        and re.search(r"(?<!spreadsheets)\.to_csv\(|csv\.writer|csv\.DictWriter", path.read_text(encoding="utf-8"))
    ]  # fmt: skip
    assert writing == ["spreadsheets.py"]


# Pages.


def test_no_template_turns_escaping_off() -> None:
    for path in ROOT.glob("fashion_ray/pages/templates/*.j2"):
        text = path.read_text(encoding="utf-8")
        assert "| safe" not in text and "|safe" not in text and "autoescape" not in text, path.name
    marked = [path.name for path in ROOT.glob("fashion_ray/**/*.py") if "Markup(" in path.read_text(encoding="utf-8")]
    assert marked == ["browse.py"], "its own script alone"


# Secrets.

SECRET = "hunter2secret"
SECRETS = {
    "source": f"s3://user:{SECRET}@bucket/feed.zip?token={SECRET}",
    "weights": f"https://x.example/w?X-Amz-Signature={SECRET}",
}


def test_no_secret_reaches_a_run_in_mlflow(tmp_path: Path) -> None:
    tracked = locate(Store(str(tmp_path)))
    with pytest.raises(RuntimeError), tracking.run(tracked, "ingest", SECRETS, tags={"from": SECRETS["source"]}) as run:
        raise RuntimeError(f"cannot read {SECRETS['source']}")
    found = tracked.client().get_run(run.run_id)
    assert SECRET not in str(found.to_dictionary()) and "bucket/feed.zip" in found.data.params["source"]


def test_no_secret_reaches_the_log_or_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    line = logging.LogRecord("fashion_ray", logging.INFO, "", 1, "reading %s", (SECRETS["source"],), None)
    said = Blanking("%(message)s").format(line)
    try:
        raise RuntimeError(f"cannot read {SECRETS['weights']}")
    except RuntimeError as error:
        cli._traceback(type(error), error, error.__traceback__)
    printed = capsys.readouterr().err
    assert SECRET not in said + printed and "bucket/feed.zip" in said and "Traceback" in printed and "x.example/w" in printed


# The page itself.


def test_the_threat_page_names_tests_that_exist() -> None:
    named = re.findall(r"`((?:unit|cluster|jobs)/test_\w+\.py)::(test_\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 30
    missing = [
        f"{file}::{test}" for file, test in named
        if not (ROOT / "tests" / file).exists() or f"def {test}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8")
    ]  # fmt: skip
    assert missing == []


def test_every_reason_to_set_something_aside_is_written_down() -> None:
    assert all(schema.REASONS.values())


def test_the_launcher_file_opens_no_port_to_the_world() -> None:
    started = [line for line in (ROOT / "cluster.yaml").read_text(encoding="utf-8").splitlines() if "ray start" in line]
    assert started and all("0.0.0.0" not in line for line in started)
    assert all("--dashboard-host=127.0.0.1" in line for line in started if "--head" in line)
