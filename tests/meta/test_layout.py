"""The shape of the house: layers, mirror tree, budgets, banned calls. Debt is listed here by name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from csirt.metrics import STAGES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "csirt"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_content" not in path.parts)
ROOMS = (
    "collect",
    "sources",
    "decode",
    "enrich",
    "biflow",
    "detect",
    "correlate",
    "respond",
    "notify",
    "report",
    "stores",
    "cases",
)
# Modules that put the rooms together.
COORDINATORS = {"app.py", "analysis.py", "pipeline.py", "replay.py", "daemon.py", "jobs.py", "watermark.py"}
COORDINATORS |= {"feed.py", "ingest.py", "settle.py", "workers.py"}
MAX_LINES = 500
# What only one module may do, and why.
BANNED = {
    "clock.py": {
        "time.time",
        "time.time_ns",
        "time.monotonic",
        "time.process_time",
        "time.thread_time",
        "datetime.now",
        "datetime.utcnow",
    },
    "content.py": {"yaml.load", "yaml.safe_load", "yaml.unsafe_load"},
}


def name(path: Path) -> str:
    """A file's path below the package."""
    return str(path.relative_to(PACKAGE))


def imports(path: Path) -> set[str]:
    """Every module a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", [path for path in FILES if name(path).split("/")[0] in ROOMS], ids=name)
def test_stages_never_import_each_other(path: Path) -> None:
    """A stage imports the shared nouns and is given the rest."""
    own = name(path).split("/")[0]
    others = {f"csirt.{room}" for room in ROOMS if room != own}
    for module in imports(path):
        package = ".".join(module.split(".")[:2])
        # Every room may name the store's contract; nobody may name a store.
        assert package not in others or module == "csirt.stores.base", f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", [path for path in FILES if name(path).startswith("model/")], ids=name)
def test_the_shared_nouns_import_nothing_above_them(path: Path) -> None:
    """`model/` is the bottom of the house."""
    allowed = {"csirt.model", "csirt.clock", "csirt.ids", "csirt.errors", "csirt.content"}
    for module in imports(path):
        if module.startswith("csirt"):
            assert ".".join(module.split(".")[:2]) in allowed or module == "csirt", f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_can_be_held_in_the_head(path: Path) -> None:
    """No file is longer than 500 lines."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", FILES, ids=name)
def test_clocks_and_yaml_are_read_in_one_place(path: Path) -> None:
    """Only clock.py reads a clock, only content.py loads YAML."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            for owner, banned in BANNED.items():
                assert called not in banned or name(path) == owner, f"{name(path)}:{node.lineno} calls {called}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """A module without a docstring is a room without a sign."""
    assert ast.get_docstring(ast.parse(path.read_text())), name(path)


def test_every_test_states_its_promise() -> None:
    """A test's docstring is the promise it checks; read in order they are the specification."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent, silent


def test_the_order_of_the_data_flow_is_the_same_everywhere() -> None:
    """Folders, metrics, configuration and README name the stages in one order."""
    from dataclasses import fields

    from csirt.config import Config

    assert [room for room in ROOMS if room != "cases"] == list(STAGES)
    sections = [field.name for field in fields(Config) if field.name in STAGES]
    assert sections == [stage for stage in STAGES if stage in sections]
    readme = (ROOT / "README.md").read_text()
    places = [readme.index(f"{stage}/") for stage in STAGES if f"{stage}/" in readme]
    assert len(places) >= 9 and places == sorted(places)


def test_stage_packages_say_what_goes_in_and_out() -> None:
    """Every stage's docstring has the lines In, Out, Drops, State."""
    for room in ROOMS:
        text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
        for line in ("In:", "Out:", "Drops:", "State:"):
            assert line in text, f"{room}/__init__.py lacks {line}"


def test_nothing_names_a_machine() -> None:
    """No path of one machine stands in the repository."""
    import re

    for path in [*FILES, *sorted((ROOT / "tests").rglob("*.py")), ROOT / "README.md", ROOT / "Makefile"]:
        found = re.search(r"(?<![\w.])/(work|root|farm)/", path.read_text())
        assert not found, f"{path.relative_to(ROOT)}: {found}"
