"""The rules of the house, read from the source: who may import what, how long things are, what importing may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = sorted(ROOT.glob("fashion_ray/**/*.py"))
JOBS = sorted(ROOT.glob("jobs/*.py"))
SOURCES = [*LIBRARY, *JOBS]

MAY_IMPORT_RAY = {
    f"fashion_ray.{name}"
    for name in (
        "cluster", "metrics", "catalog.running", "catalog.reading", "training.feeding", "training.worker", "training.run",
        "training.epoch_logger", "scoring.score", "scoring.actor", "scoring.answering", "tuning.running", "insight.spreading",
        "insight.similar",
    )
}  # fmt: skip
MAY_IMPORT_MLFLOW = {"fashion_ray.tracking"}
PURE_PATTERNS = tuple(
    f"fashion_ray.{pattern}"
    for pattern in (
        "config", "errors", "spreadsheets",
        "catalog.schema", "catalog.pictures", "catalog.splits", "catalog.styles", "catalog.plan",
        "catalog.sources", "catalog.trees", "catalog.zips", "catalog.feed_rows", "catalog.published", "catalog.class_folders",
        "catalog.lines", "catalog.tables", "catalog.idx",
        "catalog.options", "catalog.labels", "catalog.reassign", "catalog.corrections",
        "catalog.near_duplicates", "catalog.merging", "catalog.books", "catalog.tasks",
        "catalog.demo*", "catalog.drawing*", "models.*", "training.schedule",
        "training.vocabulary", "training.augment", "training.options", "training.loop", "training.activations",
        "training.topology", "training.evaluation", "training.curves", "training.intervals", "training.reliability",
        "training.slices", "training.mistakes", "training.artifacts", "training.sides", "training.imbalance", "training.review",
        "training.sampling", "training.titles", "training.recipe*", "training.meters", "training.optimizers", "training.rates",
        "training.averaging", "training.losses", "training.mixing", "training.checkpoint", "training.stage_cache",
        "scoring.plan", "scoring.options", "scoring.night", "scoring.careful", "scoring.rows", "scoring.inference",
        "scoring.pictures", "scoring.single", "scoring.timing", "scoring.changes", "scoring.drift", "scoring.gates",
        "catalog.statistics", "pages.*", "browsing.*",
        "promotion.paired", "promotion.five_by_two", "promotion.comparison", "promotion.lineage", "promotion.decision",
        "promotion.options", "serving.pyfunc",
        "tuning.options", "tuning.space", "tuning.trials", "tuning.stopping", "tuning.ledger", "tuning.session",
        "insight.similar_options", "insight.neighbours", "insight.quiet_night", "insight.units", "insight.products",
        "insight.neighbour_lists", "insight.approximate", "insight.embeddings", "insight.imagenet", "insight.precision",
        "logs", "catalog.feed_gates", "nightly.options", "nightly.document",
        "tuning.features", "tuning.trial", "tuning.leaderboard", "tuning.slots",
        "tuning.studies", "tuning.study_runs", "tuning.study_table",
        "insight.features", "insight.heads", "insight.folds", "insight.titles", "insight.suspects", "insight.selection",
        "insight.simulation", "insight.material", "insight.judging", "insight.annotating",
        "insight.audit", "insight.audit_options",
    )
)  # fmt: skip
MAY_BE_ABSENT = {"fashion_ray.catalog.drawing*"}

LONGEST_FILE_LINES, LONGEST_FUNCTION_LINES, LONGEST_JOB_LINES = 350, 60, 49

# (module, function): why its `except Exception` may neither raise nor record a row.
SWALLOWS_ERRORS = {
    ("fashion_ray.tuning.conducting", "_training"): "the error goes into the study's table, and its other trainings go on",
}

# Calls that change the world when they stand at module level.
EFFECTS = (
    "environ.setdefault", "environ.update", "environ.pop", "environ.clear", "os.putenv", "os.unsetenv", ".mkdir", "os.makedirs",
    "open", ".write_text", ".write_bytes", ".touch", ".unlink", "rmtree", "basicConfig", ".addHandler", ".setLevel", ".init",
    "set_tracking_uri", "signal.signal", "os.chdir", "manual_seed", "set_num_threads", "urlopen", "sys.path.insert",
)  # fmt: skip


def module_name(path: Path) -> str:
    """The name that a file is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def name_of(path: Path) -> str:
    """The id of a file in a parametrized test."""
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    """A parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


MODULES = {module_name(path): path for path in LIBRARY}
PURE = sorted(name for name in MODULES if any(fnmatch(name, pattern) for pattern in PURE_PATTERNS))


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Every module that a file imports, at its top or inside a function; `from a import b` is a.b if that is a module."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.update(f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found.update(str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))
    return frozenset(found)


def imports_package(path: Path, package: str) -> bool:
    """Whether a file imports a package or anything in it."""
    return any(name == package or name.startswith(package + ".") for name in imports_of(path))


def test_the_rules_speak_of_files_that_exist() -> None:
    assert JOBS and len(MODULES) > 20
    assert (MAY_IMPORT_RAY | MAY_IMPORT_MLFLOW) - set(MODULES) == set()
    empty = {pattern for pattern in PURE_PATTERNS if not any(fnmatch(name, pattern) for name in MODULES)}
    assert empty <= MAY_BE_ABSENT
    assert not MAY_IMPORT_RAY & set(PURE)


@pytest.mark.parametrize("package", ["ray", "mlflow"])
def test_only_the_edges_import_ray_and_mlflow(package: str) -> None:
    allowed = MAY_IMPORT_RAY if package == "ray" else MAY_IMPORT_MLFLOW
    assert {name for name, path in MODULES.items() if imports_package(path, package)} <= allowed


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_no_edge(name: str) -> None:
    edges = ("ray", "mlflow", "fashion_ray.cluster", "fashion_ray.tracking", *MAY_IMPORT_RAY)
    assert [edge for edge in edges if imports_package(MODULES[name], edge)] == []


@pytest.mark.parametrize("name", ["fashion_ray.config", "fashion_ray.errors"])
def test_config_and_errors_stand_below_everything(name: str) -> None:
    own = {imported for imported in imports_of(MODULES[name]) if imported.split(".")[0] == "fashion_ray"}
    assert own <= {"fashion_ray.errors"}


def test_nothing_imports_the_jobs() -> None:
    assert [name_of(path) for path in SOURCES if imports_package(path, "jobs")] == []


@pytest.mark.parametrize(
    ("names", "unwanted"),
    [
        (PURE, ("ray", "mlflow")),
        (("fashion_ray.catalog.reading", "fashion_ray.training.feeding", "fashion_ray.scoring.pictures"), ("torch",)),
        (("fashion_ray.training.worker", "fashion_ray.training.run"), ("torchmetrics", "torchvision", "timm")),
        (("fashion_ray.training.epoch_logger",), ("torch", "matplotlib", "sklearn")),
    ],
    ids=["pure modules", "readers of pictures", "the side of a training that computes nothing", "the controller"],
)
def test_a_process_loads_no_library_that_it_has_no_use_for(names: tuple[str, ...], unwanted: tuple[str, ...]) -> None:
    script = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    late = [library for library in {unwanted!r} if library in sys.modules]\n"
        "    if late: sys.exit(f'{name} loads {late}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", JOBS, ids=name_of)
def test_a_job_parses_connects_calls_and_reports(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_JOB_LINES
    definitions = [
        node.name for node in ast.walk(tree_of(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    assert definitions == ["main"]
    assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree_of(path)))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_have_a_docstring_and_are_short(path: Path) -> None:
    assert (ast.get_docstring(tree_of(path)) or "").strip()
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE_LINES
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno
        and node.end_lineno - node.lineno >= LONGEST_FUNCTION_LINES
    }
    assert long == {}


def test_the_library_prints_only_in_the_command_line() -> None:
    printing = {
        module_name(path)
        for path in LIBRARY
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing <= {"fashion_ray.cli"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_broad_except_raises_or_records_a_row(path: Path) -> None:
    silent = [
        (module_name(path), function, handler.lineno)
        for function, handler in broad_handlers(tree_of(path))
        if not any(isinstance(node, ast.Raise) or records_a_row(node) for node in ast.walk(handler))
        and (module_name(path), function) not in SWALLOWS_ERRORS
    ]
    assert silent == []


def broad_handlers(tree: ast.Module) -> Iterator[tuple[str, ast.ExceptHandler]]:
    """The handlers of Exception, BaseException or anything at all, with the name of their function."""
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {"Exception"}
            if caught & {"Exception", "BaseException"}:
                around = [found.name for found in functions if found.lineno <= node.lineno <= (found.end_lineno or 0)]
                yield (around[-1] if around else "<module>"), node


def records_a_row(node: ast.AST) -> bool:
    """Whether this is the call that makes a quarantine row."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("quarantine_row")


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_importing_changes_nothing(path: Path) -> None:
    assert list(effects(tree_of(path).body)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['A'] = 'b'",
        "import os\nclass A:\n    os.environ.setdefault('A', 'b')",
        "if True:\n    Path('x').mkdir()",
        "import os\ndel os.environ['A']",
        "x = [os.makedirs(name) for name in 'ab']",
        "def f(place=open('x')): ...",
    ],
)
def test_the_check_for_effects_sees_them(source: str) -> None:
    assert list(effects(ast.parse(source).body))
    assert not list(effects(ast.parse("import os\nTEXT = os.environ.get('A')\ndef f():\n    os.environ['A'] = 'b'").body))


def effects(body: list[ast.stmt]) -> Iterator[str]:
    """What a module does to the world when it is imported: everything outside the bodies of its functions."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call) and f".{ast.unparse(node.func)}".endswith(tuple("." + e.lstrip(".") for e in EFFECTS)):
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, (ast.Store, ast.Del))
            and ast.unparse(node.value).endswith("environ")
        ):
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
            waiting += [*decorators, *node.args.defaults, *(default for default in node.args.kw_defaults if default)]
        else:
            waiting += ast.iter_child_nodes(node)
