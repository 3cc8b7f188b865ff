"""What the spool holds."""

from __future__ import annotations

import os
from pathlib import Path

from csirt.collect import room
from csirt.model import spool as form


def test_records_are_counted_up_to_any_damage(tmp_path: Path) -> None:
    """Both kinds of segment are counted; a torn or hostile tail, an empty or missing file end the count quietly."""
    record = form.RECORD.pack(form.RECORD_MAGIC, 4, 0, bytes(16), 4, 17, 0, 0) + b"text"
    block = (6).to_bytes(4, "little") + (36).to_bytes(4, "little") + bytes(28)
    for name, head, unit in (
        ("a.frames", form.FRAMES_HEADER.pack(form.FRAMES_MAGIC, bytes(16)), record),
        ("a.pcapng", form.pcapng_header(bytes(16)), block),
    ):
        path = tmp_path / name
        for tail, extra in (
            (b"", 0),
            (unit[:-1], 0),
            (unit[:4] + bytes(40), 0),
            (unit[:4] + b"\xff" * 60, 0),
            (unit, 1),
        ):
            path.write_bytes(head + unit * 3 + tail)
            assert room.count_records(path) >= 3 + extra
            assert room.count_records(path) <= 4
        path.write_bytes(b"")
        assert room.count_records(path) == 0
    assert room.count_records(tmp_path / "none") == 0


def test_used_counts_every_source_and_follows_no_link(tmp_path: Path) -> None:
    """All files of all sources count, once; a link out of the spool does not."""
    (tmp_path / "spool/a").mkdir(parents=True)
    (tmp_path / "spool/b").mkdir()
    (tmp_path / "spool/a/x").write_bytes(bytes(100))
    (tmp_path / "spool/b/y").write_bytes(bytes(50))
    os.symlink(tmp_path / "spool/a", tmp_path / "spool/c")
    assert room.used(tmp_path / "spool") == 150
    assert room.used(tmp_path / "none") == 0
