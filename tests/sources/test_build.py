"""Configured sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from csirt.config import Config, Source
from csirt.sources.build import open_source
from csirt.sources.capture import CaptureSource
from csirt.sources.logfile import LogSource
from csirt.sources.spool import SpoolSource


def _open(tmp_path: Path, **section: Any) -> Any:
    config = Config.parse({"state": str(tmp_path), "decode": {"dissect": []}})
    return open_source(Source(id="s", **section), config)


def test_each_type_has_its_source(tmp_path: Path, make: Any) -> None:
    """Types map to sources with the id and kind their decoders go by; building touches nothing."""
    expected = {"netflow": SpoolSource, "syslog": SpoolSource, "capture": CaptureSource, "log": LogSource}
    for kind, cls in expected.items():
        source = _open(
            tmp_path, type=kind, path=str(tmp_path / "none"), parser="p" if kind in ("log", "syslog") else ""
        )
        assert isinstance(source, cls) and (source.id, source.kind) == ("s", kind)
        assert source.inputs() == [] and source.exhausted()
    assert list(tmp_path.iterdir()) == []


def test_a_listener_source_reads_its_spool_folder(tmp_path: Path, make: Any) -> None:
    """Without a path a source reads what its collector wrote."""
    (tmp_path / "spool/s").mkdir(parents=True)
    (tmp_path / "spool/s/a.pcap").write_bytes(make.pcap([]))
    source = _open(tmp_path, type="netflow", settle=0)
    assert [item.path.name for item in source.inputs()] == ["a.pcap"]
