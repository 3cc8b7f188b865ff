"""A folder of segments: what its names say, and what the dead left in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from csirt.collect.folder import next_name, seal_leftovers
from csirt.model import spool as form

HEADER = form.FRAMES_HEADER.pack(form.FRAMES_MAGIC, bytes(16))
RECORD = form.RECORD_HEAD.pack(form.RECORD_MAGIC, 100, 0, bytes(16), 4, 17, 0) + bytes(4) + bytes(100)


def test_names_sort_even_when_the_clock_goes_back(tmp_path: Path) -> None:
    """A later segment's name sorts after every earlier one, whatever the clock says."""
    names = []
    for now in (2_000_000_000_000_000, 1_000_000_000_000_000, 1_500_000_000_000_000):
        names.append(next_name(tmp_path, now, "ab" * 16, form.FRAMES))
        (tmp_path / names[-1]).touch()
    assert names == sorted(names) and all(form.is_segment(name) for name in names)


def test_leftovers_of_the_dead_are_sealed_and_of_the_living_are_not(tmp_path: Path) -> None:
    """An open segment that nobody has locked is sealed, its torn tail as it is; a locked one is left alone."""
    names = [next_name(tmp_path, 10**15 + n * 10**6, f"{n:032x}"[::-1], form.FRAMES) for n in range(2)]
    for name in names:
        (tmp_path / f"{name}.open").write_bytes(HEADER + RECORD + RECORD[:30])
        (tmp_path / f"{name}.synced").write_bytes(bytes(8))
    handle = os.open(tmp_path / f"{names[1]}.open", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert seal_leftovers(tmp_path) == [tmp_path / names[0]]
        assert (tmp_path / names[0]).read_bytes() == HEADER + RECORD + RECORD[:30]
        assert not (tmp_path / f"{names[0]}.synced").exists() and (tmp_path / f"{names[1]}.open").exists()
    finally:
        os.close(handle)
    assert seal_leftovers(tmp_path) == [tmp_path / names[1]]
