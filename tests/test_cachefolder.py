"""What is kept to be made once, and whom it is believed from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from csirt import cachefolder
from csirt.cachefolder import MAX_ENTRY, CacheFolder


@pytest.fixture
def kept(tmp_path: Path) -> CacheFolder:
    """A cache folder that does not exist yet."""
    return CacheFolder(tmp_path / "deep" / "cache")


def test_what_is_put_is_there_again(kept: CacheFolder) -> None:
    """Under its key, as it was; the folder is its owner's alone."""
    assert kept.get("a1") is None
    kept.put("a1", b"one")
    kept.put("b2", b"")
    assert (kept.get("a1"), kept.get("b2"), kept.get("c3")) == (b"one", b"", None)
    assert kept.path.stat().st_mode & 0o777 == 0o700


def test_a_broken_entry_is_none_and_is_written_again(kept: CacheFolder) -> None:
    """Cut short, changed in one bit, of another key, or something else altogether."""
    for damage in (lambda raw: raw[:-1], lambda raw: raw[:-1] + b"x", lambda raw: b"", lambda raw: b"\0" * 500):
        kept.put("a1", b"value")
        (file,) = kept.path.iterdir()
        file.write_bytes(damage(file.read_bytes()))
        assert kept.get("a1") is None
        kept.put("a1", b"value")
        assert kept.get("a1") == b"value"
    os.rename(file, kept.path / "b2.cache")
    assert kept.get("b2") is None


def test_what_a_stranger_could_have_written_is_not_used(kept: CacheFolder, caplog: pytest.LogCaptureFixture) -> None:
    """A folder or file that others may write, and links: nothing is read there, nothing written."""
    kept.put("a1", b"value")
    (file,) = kept.path.iterdir()
    file.chmod(0o622)
    assert kept.get("a1") is None
    file.chmod(0o600)
    kept.path.chmod(0o770)
    assert kept.get("a1") is None
    kept.put("b2", b"value")
    assert [path.name for path in kept.path.iterdir()] == ["a1.cache"]
    assert "mode 0700" in caplog.text
    kept.path.chmod(0o700)
    assert kept.get("a1") == b"value"
    file.rename(kept.path / "real")
    file.symlink_to(kept.path / "real")
    assert kept.get("a1") is None
    elsewhere = CacheFolder(kept.path.parent / "link")
    elsewhere.path.symlink_to(kept.path)
    assert elsewhere.get("a1") is None


def test_it_stays_within_its_bounds(tmp_path: Path) -> None:
    """By number and by size; what was used longest ago goes first, and what is too large is not taken."""
    few = CacheFolder(tmp_path / "few", max_entries=3)
    for number in range(3):
        few.put(f"k{number}", b"x")
        os.utime(few.path / f"k{number}.cache", (number, number))
    assert few.get("k0") == b"x"  # used just now
    few.put("k3", b"x")
    assert sorted(path.stem for path in few.path.iterdir()) == ["k0", "k2", "k3"]
    small = CacheFolder(tmp_path / "small", max_bytes=1_000)
    for number in range(9):
        small.put(f"k{number}", b"x" * 300)
    assert sum(path.stat().st_size for path in small.path.iterdir()) <= 1_000
    small.put("huge", b"x" * (MAX_ENTRY + 1))
    assert small.get("huge") is None


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tmp_path: Path) -> None:
    """No exception escapes."""
    (tmp_path / "file").write_text("")
    nowhere = CacheFolder(tmp_path / "file" / "cache")
    nowhere.put("a1", b"value")
    assert nowhere.get("a1") is None


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The unit's folder before the user's."""
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cachefolder.below("rules").path == tmp_path / "user" / "csirt" / "rules"
    monkeypatch.setenv("CACHE_DIRECTORY", f"{tmp_path}/unit:{tmp_path}/other")
    assert cachefolder.below("rules").path == tmp_path / "unit" / "rules"
