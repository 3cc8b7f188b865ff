"""IPFIX over TCP: messages become datagrams of the spool."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.collect import ipfix, streams
from csirt.collect.ipfix import Messages
from csirt.collect.receiver import Receiver
from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.model import spool as form
from csirt.model.chunk import Datagrams
from csirt.sources.spool import SpoolSource

Blocks = Callable[[bytes], list[bytes]]


def message(body: bytes = b"", *, version: int = 10, length: int | None = None) -> bytes:
    """An IPFIX message with that body."""
    return struct.pack(">HHIII", version, len(body) + 16 if length is None else length, 0, 0, 1) + body


def template(ident: int = 256) -> bytes:
    """A template of source and destination address and octets."""
    fields = struct.pack(">HHHHHHHH", ident, 3, 8, 4, 12, 4, 1, 8)
    return struct.pack(">HH", 2, 4 + len(fields)) + fields


def flows(count: int, ident: int = 256) -> bytes:
    """A set of records of that template."""
    records = b"".join(struct.pack(">IIQ", 0x0A010000 + n, 0x0A020000, 100 + n) for n in range(count))
    return struct.pack(">HH", ident, 4 + len(records)) + records


def wait(item: Receiver, done: Callable[[dict[str, object]], bool]) -> None:
    """Until the counters say so."""
    deadline = time.monotonic() + 10
    while not done(item.stats()):
        assert time.monotonic() < deadline, item.stats()
        time.sleep(0.01)


def found(folder: Path, read_blocks: Blocks) -> list[bytes]:
    """The payloads in a folder's sealed segments, with IPv4 headers of 28 bytes."""
    paths = sorted(folder.glob("*" + form.PCAPNG))
    return [block[28:] for path in paths for block in read_blocks(path.read_bytes())]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=6), st.booleans())
def test_framing_depends_on_lengths_alone(bodies: list[bytes], cuts: list[int], broken: bool) -> None:
    """However a stream is split, the messages are the same; what is no IPFIX ends it, what came before is kept."""
    sent = [message(body) for body in bodies]
    stream = b"".join(sent) + (b"GET / HTTP/1.1\r\n" if broken else sent[0][:-1] if sent else b"")
    framer, got, at = Messages(), [], 0
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        got += framer.feed(stream[at:cut])
        at = max(at, cut)
    assert got == sent and framer.broken == broken
    assert framer.begun == (not broken and bool(sent))
    assert framer.finish() == [] and framer.partial == int(not broken and bool(sent))


@pytest.mark.parametrize("bad", [message(version=9), message(length=15), message(length=0), b"\x00\x0a\x00\x0f"])
def test_what_is_no_message_is_refused_by_its_first_bytes(bad: bytes) -> None:
    """Another version, or a length below the header's: four bytes are enough to tell."""
    framer = Messages()
    assert framer.feed(message(b"good") + bad[:4]) == [message(b"good")] and framer.broken


def test_messages_become_datagrams(receiver: Callable[..., Receiver], tmp_path: Path, read_blocks: Blocks) -> None:
    """Each message, however it arrives, is one datagram in a lane of its own, from the peer's address, to ours, in
    order; a message cut off by the end of the connection is counted."""
    item = receiver(transport="tcp")
    assert ipfix.BATCH < 600  # they do not all fit the slots
    sent = [message(bytes([number % 251]) * (number % 700)) for number in range(600)]
    with socket.create_connection(item.address, source_address=("127.0.0.9", 0)) as stream:
        stream.sendall(b"".join(sent) + message(b"half")[:-1])
    wait(item, lambda stats: stats["partial"] == 1)
    item.stop()
    folder = tmp_path / "spool/s@tcp"
    assert found(folder, read_blocks) == sent
    (path,) = folder.glob("*" + form.PCAPNG)
    assert {block[12:20] for block in read_blocks(path.read_bytes())} == {bytes([127, 0, 0, 9, 127, 0, 0, 1])}
    stats = item.stats()
    assert (stats["received"], stats["spooled"], stats["lane"], stats["connections"]) == (600, 600, "tcp", 0)
    assert stats["closed"] == {} and (folder / "stats-tcp.json").exists()


def test_the_longest_message_is_read_back(receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    """A message of nearly 65,535 bytes, longer than a datagram can be, of either family, goes through spool, source and
    decoder like any other."""
    item = receiver(listen="[::]:0", transport="tcp")
    count = (65_535 - 16 - len(template()) - 4) // 16
    body = template() + flows(count)
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, item.address[1])) as stream:
            stream.sendall(message(body))
    wait(item, lambda stats: stats["received"] == 2)
    item.stop()
    source, decoder = SpoolSource("s", "netflow", str(tmp_path / "spool/s@tcp")), NetflowDecoder("s")
    (segment,) = source.inputs()
    chunk = segment.read(None, 100)
    assert chunk is not None and isinstance(chunk.data, Datagrams) and chunk.lost == {}
    assert chunk.data.length.tolist() == [len(message(body))] * 2 and len(message(body)) > 65_507
    decoded = decoder.decode(chunk)
    assert sum(batch.rows for batch in decoded.batches) == 2 * count and decoded.dropped == {}


def test_one_bad_connection_harms_no_other(
    receiver: Callable[..., Receiver], tmp_path: Path, read_blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are no IPFIX close their connection, counted; so do a message that never ends and silence; a fourth
    connection is served meanwhile."""
    monkeypatch.setattr(streams, "STALLED", 0.4)
    monkeypatch.setattr(streams, "IDLE", 1.2)
    item = receiver(transport="tcp")
    with (
        socket.create_connection(item.address) as wrong,
        socket.create_connection(item.address) as slow,
        socket.create_connection(item.address) as silent,
        socket.create_connection(item.address) as good,
    ):
        for connection in (wrong, slow, silent):
            connection.settimeout(10)
        wrong.sendall(message(b"first") + message(version=9))
        slow.sendall(message(b"never whole")[:9])
        for number in range(20):
            good.sendall(message(bytes([number])))
            time.sleep(0.1)
            if number == 3:
                slow.sendall(b"x")  # a byte now and then keeps nothing alive
        assert all(connection.recv(1) == b"" for connection in (wrong, slow, silent))
    wait(item, lambda stats: stats["connections"] == 0)
    item.stop()
    stats = item.stats()
    assert stats["closed"] == {"not_ipfix": 1, "stalled": 1, "idle": 1} and stats["partial"] == 1
    assert found(tmp_path / "spool/s@tcp", read_blocks)[0] == message(b"first")
    assert stats["received"] == stats["spooled"] == 21


def test_connections_are_limited_per_address(
    receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One address that opens too many is refused the rest; another is served."""
    monkeypatch.setattr(streams, "MAX_PER_ADDRESS", 2)
    item = receiver(transport="tcp")
    opened = [socket.create_connection(item.address) for _ in range(4)]
    with socket.create_connection(item.address, source_address=("127.0.0.2", 0)) as other:
        other.sendall(message(b"x"))
        wait(item, lambda stats: stats["received"] == 1 and stats["refused"] == 2)
    for connection in opened:
        connection.close()


def test_a_full_spool_drops_and_holds_nobody_up(receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    """At the spool's limit messages are dropped and counted; both senders go on sending at once."""
    item = receiver(transport="tcp", limit=20_000)
    opened = [socket.create_connection(item.address) for _ in range(2)]
    for _ in range(100):
        for connection in opened:
            connection.sendall(message(b"x" * 1000))
    wait(item, lambda stats: stats["received"] == 200)
    for connection in opened:
        connection.close()
    item.stop()
    stats = item.stats()
    assert stats["received"] == stats["spooled"] + stats["spool_dropped"]["spool_full"] == 200 > stats["spooled"]


@pytest.mark.skipif(shutil.which("softflowd") is None, reason="softflowd is not installed")
def test_a_real_exporter(receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    """softflowd by TCP: every flow it counts is decoded."""
    from scapy.all import IP, UDP, Ether, wrpcap

    packets = [Ether() / IP(src=f"10.1.0.{n + 1}", dst="10.2.0.1") / UDP(sport=1000 + n, dport=53) for n in range(90)]
    wrpcap(str(tmp_path / "traffic.pcap"), packets)
    item = receiver(transport="tcp")
    command = ["softflowd", "-d", "-r", str(tmp_path / "traffic.pcap"), "-v", "10", "-P", "tcp"]
    command += ["-n", f"127.0.0.1:{item.address[1]}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    wait(item, lambda stats: stats["received"] != 0 and stats["connections"] == 0)
    item.stop()
    source, decoder = SpoolSource("s", "netflow", str(tmp_path / "spool/s@tcp")), NetflowDecoder("s")
    (segment,) = source.inputs()
    chunk = segment.read(None, 1_000)
    assert chunk is not None
    decoded = decoder.decode(chunk)
    assert sum(batch.rows for batch in decoded.batches if batch.dataset == "flow") == 90
    assert decoded.dropped == {} and item.stats()["closed"] == {}
