"""Replaying files: which can be told apart, and what is not lost silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.cli import main
from csirt.cli.common import guarded
from tests.decode.netflow.datagrams import v5, v5_record
from tests.spool import write_segment

UUID = bytes(range(16))


def _parts(folder: Path) -> list[str]:
    """A segment, its beginning, and its end under the same UUID, as some tools cut one."""
    datagrams = [(1_700_000_000_000_000 + n, v5([v5_record(sport=2000 + n)], sequence=n)) for n in range(4)]
    for name, some in (("whole", datagrams), ("head", datagrams[:2]), ("tail", datagrams[2:])):
        write_segment(folder / f"{name}.pcapng", "192.0.2.1", some, uuid=UUID)
    return [str(folder / f"{name}.pcapng") for name in ("whole", "head", "tail")]


def test_parts_of_one_segment_are_refused_and_not_half_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two files with one identity, of which neither begins the other, would lose rows: exit 2 with the way out, and
    nothing is stored. A segment and its own beginning are one input."""
    whole, head, tail = _parts(tmp_path)
    store = ["--store", str(tmp_path / "store")]
    assert guarded(main, ["replay", head, tail, *store]) == 2
    assert "same identity" in capfd.readouterr().err
    assert guarded(main, ["replay", head, whole, "--json", *store]) == 0
    assert '"events": 4' in capfd.readouterr().out
