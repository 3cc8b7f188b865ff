"""Start times and what is imported for them."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("numba", "polars", "pyarrow", "numpy", "pydantic", "elasticsearch", "scapy", "sigma", "apscheduler")


def imported(*words: str) -> set[str]:
    """The heavy modules that a command line imports, found in a fresh interpreter."""
    code = (
        "import sys; from csirt.cli import main; from csirt.cli.common import guarded\n"
        f"guarded(main, {list(words)!r})\n"
        "sys.stderr.write(' '.join(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    names = set(done.stderr.split())
    return {name for name in HEAVY if name in names}


def test_help_imports_nothing_heavy() -> None:
    """`csirt --help` must answer at once, so it loads no engine."""
    assert imported("--help") == set()


def test_case_lists_import_nothing_heavy_on_the_callers_side() -> None:
    """The caller's process only speaks to the socket."""
    assert imported("--socket", "/nonexistent/csirt.sock", "cases", "list") == set()


def test_every_command_has_a_short_help_with_examples() -> None:
    """`-h` answers for every noun, with an example."""
    from click.testing import CliRunner

    from csirt.cli import COMMANDS, main

    for noun in COMMANDS:
        result = CliRunner().invoke(main, [noun, "--help"], obj=None)
        assert result.exit_code == 0, f"{noun}: {result.output}"
