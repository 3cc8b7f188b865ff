"""docs/cli.md is what the command line says of itself."""

from __future__ import annotations

from pathlib import Path

from csirt.cli.reference import page

ROOT = Path(__file__).parents[2]


def test_the_reference_does_not_drift() -> None:
    """The page is the one `make docs` would write now."""
    assert (ROOT / "docs" / "cli.md").read_text() == page(), "run `make docs`"
