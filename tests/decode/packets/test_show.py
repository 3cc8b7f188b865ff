"""One packet's dissection for people."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from csirt.decode.packets.show import dissection_text
from csirt.errors import NotFound, Unreachable
from tests.decode.packets import frames as f

CAPTURE = f.DATA / "zeek" / "http-vlan-0.pcap"
needs = pytest.mark.skipif(
    shutil.which("tshark") is None or not f.DATA.is_dir(), reason="needs tshark and the shared captures"
)


@needs
def test_shows_layers_and_fields_of_the_frame() -> None:
    """Frame 3, counted from 0, is the request: its layers by name, its host, no colours."""
    text = dissection_text(CAPTURE, 3)
    assert "Layer IP" in text and "Layer HTTP" in text
    assert "Host: bro.org" in text
    assert "\x1b" not in text


@needs
def test_works_in_any_thread() -> None:
    """The daemon answers from worker threads, where no event loop exists."""
    seen: list[str] = []
    worker = threading.Thread(target=lambda: seen.append(dissection_text(CAPTURE, 0)))
    worker.start()
    worker.join(60)
    assert seen and "Layer TCP" in seen[0]


@needs
def test_a_frame_that_is_not_there() -> None:
    """A frame beyond the end, and a file that is no capture, are not found."""
    with pytest.raises(NotFound, match="no frame 999"):
        dissection_text(CAPTURE, 999)
    with pytest.raises(NotFound):
        dissection_text(Path(__file__), 0)


def test_missing_file_and_missing_tshark(tmp_path: Path) -> None:
    """A capture that retention deleted, and a machine without tshark, are said so."""
    with pytest.raises(NotFound, match="gone"):
        dissection_text(tmp_path / "gone.pcap", 0)
    path = tmp_path / "x.pcap"
    path.write_bytes(b"")
    with pytest.raises(Unreachable, match="not installed"):
        dissection_text(path, 0, tshark=str(tmp_path / "no-tshark"))
