"""Pieces of memory that are written together."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from csirt.collect import gathered
from csirt.collect.gathered import Vectors


@pytest.mark.parametrize("fast", [True, False])
def test_vectors_write_what_pieces_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    """The octets at the addresses, one piece after the other, at the offset, with and without the C library; what the
    system refuses is an OSError with its number."""
    if not fast:
        monkeypatch.setattr(gathered, "CALL", None)
    memory = np.arange(200, dtype=np.uint8)
    begin, size = np.array([3, 50, 0]), np.array([10, 1, 100])
    rows = np.stack([begin + memory.ctypes.data, size], axis=1).astype(np.uint64)
    wanted = b"".join(memory[a : a + n].tobytes() for a, n in zip(begin, size, strict=True))
    handle = os.open(tmp_path / "x", os.O_RDWR | os.O_CREAT)
    try:
        assert gathered.write(handle, [b"ab", memoryview(b"c")], 0) == 3
        assert gathered.write(handle, Vectors.of(rows), 3) == 111
        assert (tmp_path / "x").read_bytes() == b"abc" + wanted
    finally:
        os.close(handle)
    with pytest.raises(OSError, match="Bad file descriptor"):
        gathered.write(handle, Vectors.of(rows), 0)


def test_a_signal_does_not_fail_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that a signal interrupts before anything is written is made again."""
    real, calls = gathered.CALL, []

    def interrupted(*given: int) -> int:
        calls.append(given)
        if len(calls) < 3:
            ctypes.set_errno(errno.EINTR)
            return -1
        return int(real(*given))

    monkeypatch.setattr(gathered, "CALL", interrupted)
    memory = np.arange(9, dtype=np.uint8)
    handle = os.open(tmp_path / "x", os.O_RDWR | os.O_CREAT)
    try:
        assert gathered.write(handle, Vectors.of(np.array([[memory.ctypes.data, 9]], np.uint64)), 0) == 9
    finally:
        os.close(handle)
    assert len(calls) == 3 and (tmp_path / "x").read_bytes() == memory.tobytes()
