"""The bytes behind an event: found by content identity, whatever the file is called now."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from csirt import ids
from csirt.clock import Frozen
from csirt.config import Config
from csirt.control.rawevent import find
from csirt.errors import NotFound
from csirt.model.chunk import Position
from csirt.sources.files import open_file
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore, open_embedded


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    with open_embedded(tmp_path / "store", clock=Frozen(1)) as opened:
        yield opened


def datagram(flows: int) -> bytes:
    """A NetFlow v5 datagram (24 octets of header, 48 per record)."""
    head = struct.pack(">HHIIIIBBH", 5, flows, 1000, 1_700_000_000, 0, 1, 0, 0, 0)
    record = struct.pack(">IIIHHIIIIHHBBBBHHBBH", 1, 2, 0, 1, 2, 3, 400, 0, 10, 1024, 445, 0, 2, 6, 0, 0, 0, 24, 24, 0)
    return head + record * flows


def packet(payload: bytes) -> bytes:
    """An Ethernet frame with a UDP packet to port 53."""
    udp = struct.pack(">HHHH", 40_000, 53, 8 + len(payload), 0) + payload
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    )
    return bytes(12) + b"\x08\x00" + ip + udp


def capture(path: Path, frames: list[bytes]) -> None:
    """A pcap file of Ethernet frames, a second apart."""
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
    body = [struct.pack("<IIII", 1_700_000_000 + n, 0, len(f), len(f)) + f for n, f in enumerate(frames)]
    path.write_bytes(head + b"".join(body))


def committed(store: EmbeddedStore, path: Path, source: str) -> str:
    """The segment of a file, after the store was told that it was read."""
    (item,) = open_file(path, source_id=source).inputs()
    store.commit(Commit(position=Position(source, item.fingerprint, 1, done=True)))
    return item.segment


def test_a_datagram_of_a_replayed_file(tmp_path: Path, store: EmbeddedStore) -> None:
    """The octets of the datagram, from a file that was moved since; without the file: not found."""
    path = tmp_path / "one.dat"
    path.write_bytes(datagram(2))
    event = ids.event(committed(store, path, "edge"), 1)
    moved = path.rename(tmp_path / "moved.bin")
    found = find(Config(), store, event, [moved])
    assert found == {"source": "edge", "kind": "datagram", "frame": 0, "hex": datagram(2).hex()}
    with pytest.raises(NotFound, match="--file"):
        find(Config(), store, event)
    other = tmp_path / "other.dat"
    other.write_bytes(datagram(1))
    with pytest.raises(NotFound):
        find(Config(), store, event, [other])


def test_a_packet_is_dissected(tmp_path: Path, store: EmbeddedStore) -> None:
    """A flow's and a dissection row's ordinal lead to their frame of the capture, as tshark shows it."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed (Debian package tshark)")
    path = tmp_path / "x.pcap"
    question = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\x04mail\x07example\x00\x00\x01\x00\x01"
    capture(path, [packet(b"x" * 20), packet(question)])
    segment = committed(store, path, "tap")
    found = find(Config(), store, ids.event(segment, (1 << 63) | 1 << 8), [path])
    assert (found["kind"], found["frame"]) == ("packet", 1)
    assert "mail.example" in found["text"]
    assert find(Config(), store, ids.event(segment, 0 << 16), [path])["frame"] == 0
