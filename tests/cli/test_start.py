"""Start times and what is imported for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.model.records import Case, CaseEvent
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded

HEAVY = ("numba", "polars", "pyarrow", "numpy", "pydantic", "elasticsearch", "scapy", "sigma", "apscheduler")


def imported(*words: str, exit_code: int = 0) -> set[str]:
    """The heavy modules that a command line imports, found in a fresh interpreter; it must end with that exit code."""
    code = (
        "import sys; from csirt.cli import main; from csirt.cli.common import guarded\n"
        f"code = guarded(main, {list(words)!r})\n"
        "sys.stderr.write('\\n' + ' '.join(sorted(sys.modules)))\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == exit_code, done.stderr
    names = set(done.stderr.splitlines()[-1].split())
    return {name for name in HEAVY if name in names}


def test_help_imports_nothing_heavy() -> None:
    """`csirt --help` must answer at once, so it loads no engine."""
    assert imported("--help") == set()


def test_case_lists_import_nothing_heavy_on_the_callers_side() -> None:
    """The caller's process only speaks to the socket."""
    assert imported("--socket", "/nonexistent/csirt.sock", "cases", "list", exit_code=6) == set()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one open case, and a place for what `cases show` remembers."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    change = Commit(
        cases=[Case(id="c" * 32, version=1, severity="high", title="Case", first=1, last=2)],
        case_events=[CaseEvent(case="c" * 32, seq=1, time=1, actor="system", kind="opened")],
    )
    with open_embedded(tmp_path / "store", clock=SYSTEM) as opened:
        opened.commit(change)
    return tmp_path / "store"


@pytest.mark.parametrize("words", [(), ("cases", "list"), ("cases", "show", "c")], ids=" ".join)
def test_cases_of_a_store_without_a_daemon_import_nothing_heavy(store: Path, words: tuple[str, ...]) -> None:
    """Looking at cases needs neither tables nor models, though the store is opened, owned, and the look audited."""
    assert imported("--store", str(store), *words) == set()


def test_a_configuration_costs_no_heavy_import(store: Path, tmp_path: Path) -> None:
    """The configuration is read whole and checked whole for every command, whoever has which role."""
    config = tmp_path / "csirt.toml"
    config.write_text('[control.users]\nkari = "reader"\n[stores]\ngather = "5s"\n[[notify.routes]]\nname = "all"\n')
    assert imported("--store", str(store), "--config", str(config), "cases", "show", "c") == set()
    config.write_text('[control.users]\nkari = "readr"\n')
    assert imported("--store", str(store), "--config", str(config), "cases", "list", exit_code=2) == set()


def test_every_command_has_a_short_help_with_examples() -> None:
    """`-h` answers for every noun, with an example."""
    from click.testing import CliRunner

    from csirt.cli import COMMANDS, main

    for noun in COMMANDS:
        result = CliRunner().invoke(main, [noun, "--help"], obj=None)
        assert result.exit_code == 0, f"{noun}: {result.output}"
