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
