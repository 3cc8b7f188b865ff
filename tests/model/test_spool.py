"""The spool's form on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.model import spool as form


def test_identity_is_in_the_header() -> None:
    """Both kinds of segment carry the UUID; a header that is cut, or not exactly ours, has none."""
    uuid = bytes(range(16))
    raw = form.pcapng_header(uuid)
    assert form.segment_uuid(raw + b"more") == uuid.hex()
    assert form.segment_uuid(form.FRAMES_HEADER.pack(form.FRAMES_MAGIC, uuid)) == uuid.hex()
    for cut in (0, 10, 60, len(raw) - 1):
        assert form.segment_uuid(raw[:cut]) is None
    assert form.segment_uuid(raw.replace(b"csirt collect", b"other program")) is None


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        ("20261123T075300Z-00000001-0123abcd.pcapng", True),
        ("20261123T075300Z-00000001-0123abcd.frames.open", True),
        ("20261123T075300Z-00000001-0123abcd.pcapng.synced", False),
        (".20261123T075300Z-00000001-0123abcd.pcapng.new", False),
        ("capture.pcapng", False),
        ("stats.json", False),
    ],
)
def test_names(name: str, yes: bool) -> None:
    """Segments are told from what lies beside them by name."""
    assert form.is_segment(name) is yes


def test_marks(tmp_path: Path) -> None:
    """A side file holds one number; a missing or torn one holds none."""
    path = tmp_path / "x.pcapng.open"
    mark = form.beside(path, form.SYNCED)
    assert mark.name == "x.pcapng.synced" and form.read_mark(mark) is None
    mark.write_bytes(b"\x01\x02")
    assert form.read_mark(mark) is None
    mark.write_bytes((1 << 40).to_bytes(8, "little"))
    assert form.read_mark(mark) == 1 << 40
