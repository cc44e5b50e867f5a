"""The catalog page as people get it: by its job, and in a real browser where there is one (chromium)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from fashion_ray.storage import Store
from tests.jobs.conftest import Run, command, environment
from tests.unit.shelves import put_catalog, put_scores

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_a_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium here; tests/unit/test_browse_page.py reads the page without one"
)

HARM = "</script><script>document.body.dataset.harm=1</script><img src=x onerror='document.body.dataset.harm=1'>"
IDS = [f"p{number:03d}" for number in range(70)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with 71 products over two nights; the title and the label of one mean harm."""
    root = tmp_path_factory.mktemp("root")
    store = Store(str(root))
    catalog = put_catalog(store, {product_id: f"Shirt {product_id}" for product_id in IDS} | {"harm": HARM})
    for chance in (0.4, 0.9):
        put_scores(store, dict.fromkeys(IDS, ("Tshirts", chance)) | {"harm": (HARM, 0.45)}, catalog=catalog.name)
    return root


@pytest.fixture(scope="module")
def page(root: Path, run_job: Run) -> Path:
    """The page of all products."""
    done = run_job(root, "browse", "--output", str(root / "catalog.html"), "--limit", "0")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"page .*/catalog.html \(71 of 71 products, 0\.\d MB\)", done.stdout.strip())
    return root / "catalog.html"


@pytest.fixture(scope="module")
def address(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the same products are served; the server ends with status 0 when it is told to."""
    options = ["--serve", "--port", "0"]
    variables = environment(root, tmp_path_factory.mktemp("cache"))
    server = subprocess.Popen(command("browse", *options), env=variables, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    said = re.search(r"http://localhost:\d+/", server.stdout.readline())
    assert said is not None
    yield said[0]
    server.terminate()
    assert server.wait(20) == 0


def seen(address: str, profile: Path) -> str:
    """The page as a browser has it after its script has run."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    done = subprocess.run(
        [str(BROWSER), *options, "--virtual-time-budget=5000", "--dump-dom", address],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return re.sub(r'<script type="application/json".*?</script>|<script>.*?</script>', "", done.stdout, flags=re.DOTALL)


@in_a_browser
def test_a_real_browser_shows_the_page_and_runs_nothing_of_a_title(page: Path, tmp_path: Path) -> None:
    shown = seen(f"file://{page}", tmp_path)
    assert 'data-ready="list"' in shown, "the script ran to its end under the page's policy"
    assert "71 products" in shown and "page 1 of 2" in shown and shown.count("<li>") == 60
    found = seen(f"file://{page}#q=onerror", tmp_path)
    assert "1 product<" in found and "&lt;img src=x" in found and "data-harm" not in found and '<img src="x"' not in found


@in_a_browser
def test_a_product_has_its_own_view(page: Path, tmp_path: Path) -> None:
    shown = seen(f"file://{page}#id=p007", tmp_path)
    assert 'data-ready="p007"' in shown and "Shirt p007" in shown and "90.0%" in shown and "40.0%" in shown
    assert "scores-2 (shown)" in shown and shown.count("cosine") == 5 and shown.count('src="data:image/jpeg') == 6


@in_a_browser
def test_a_served_catalog_is_shown_alike(address: str, tmp_path: Path) -> None:
    shown = seen(f"{address}#target=articleType&label={quote(HARM)}", tmp_path)
    assert 'data-ready="list"' in shown and "1 product<" in shown and "data-harm" not in shown and "/picture?id=harm" in shown
    product = seen(f"{address}#id=p007", tmp_path)
    assert 'data-ready="p007"' in product and "scores-2 (shown)" in product and product.count("cosine") == 5


def test_the_served_catalog_answers(address: str) -> None:
    with urllib.request.urlopen(f"{address}api/products?review=1", timeout=20) as reply:
        assert [one["id"] for one in json.load(reply)["products"]] == ["harm"]


def test_without_scores_the_user_is_told_what_to_run(tmp_path: Path, run_job: Run) -> None:
    done = run_job(tmp_path, "browse")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: no scores below")
    assert "jobs/score.py" in done.stderr and not (tmp_path / "catalog.html").exists()
