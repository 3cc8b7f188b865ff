"""The pseudonym key's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.errors import CsirtError
from csirt.secrets import key_file


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """32 random bytes, mode 0600, the same at every later start, no draft left behind."""
    path = tmp_path / "state" / "pseudonym.key"
    key = key_file(path)
    assert len(key) == 32 and key_file(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["pseudonym.key"]
    assert key_file(tmp_path / "other.key") != key


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    """The sentence says what to do."""
    path = tmp_path / "pseudonym.key"
    key_file(path)
    path.chmod(0o640)
    with pytest.raises(CsirtError, match="chmod 600"):
        key_file(path)


def test_a_file_that_is_no_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    """A new key would silently change every pseudonym."""
    path = tmp_path / "pseudonym.key"
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(CsirtError, match="not a key"):
        key_file(path)
    assert path.read_bytes() == b"short"
