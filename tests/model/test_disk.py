"""What bulk data leaves free."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from csirt.model import disk

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("size", "left", "scarce"), [(1000, 17, False), (1000, 15, True), (64, 9, False), (64, 7, True), (64, 0, True)]
)
def test_sixteen_mebibytes_or_an_eighth_of_a_small_disk_stay_free(
    size: int, left: int, scarce: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Below that, received bytes and events stop, so that people can still write."""
    found = SimpleNamespace(f_bavail=left * MIB // 4096, f_frsize=4096, f_blocks=size * MIB // 4096)
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    assert disk.scarce(tmp_path) is scarce


def test_what_is_reserved_is_in_no_file_until_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for place changes neither a file's size nor what it holds, and a cut gives back what was not written;
    where it cannot be asked for, nothing changes."""
    handle = os.open(tmp_path / "x", os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(handle, b"begun", 0)
        disk.reserve(handle, 5, MIB)
        assert os.fstat(handle).st_size == 5 and os.pread(handle, 10, 0) == b"begun"
        before = os.fstat(handle).st_blocks
        os.ftruncate(handle, 5)
        assert os.fstat(handle).st_blocks <= before and os.pread(handle, 10, 0) == b"begun"
        monkeypatch.setattr(disk, "_fallocate", lambda: None)
        disk.reserve(handle, 5, MIB)
        assert os.fstat(handle).st_size == 5
    finally:
        os.close(handle)
    disk.reserve(handle, 0, MIB)  # a refusal is no error: the write will say so


def test_a_folder_is_synced_and_one_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was renamed into it survives; no handle stays open either way."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    before = len(os.listdir("/proc/self/fd"))
    disk.sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        disk.sync_folder(tmp_path / "nowhere")
    assert synced == [str(tmp_path)] and len(os.listdir("/proc/self/fd")) == before
