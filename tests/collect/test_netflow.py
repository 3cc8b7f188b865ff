"""The UDP receiver on a real socket, its segments read by tshark."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csirt.clock import Clock
from csirt.collect import mmsg, netflow
from csirt.collect.receiver import Receiver
from csirt.model import spool as form

NO_TSHARK = shutil.which("tshark") is None


def _send(address: tuple[str, int], payloads: list[bytes], *, pause_every: int = 40) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for number, payload in enumerate(payloads):
            sender.sendto(payload, address)
            if number % pause_every == 0:
                time.sleep(0.001)


def _payloads(count: int) -> list[bytes]:
    return [b"\xff\xfe" + number.to_bytes(4, "big") + b"x" * (number % 1400) for number in range(count)]


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*" + form.PCAPNG))


def _tshark(path: Path, *fields: str) -> list[list[str]]:
    command = ["tshark", "-n", "-r", str(path), "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    command += ["-d", "udp.port==1-65535,data", "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_waiting_fits_the_buffer() -> None:
    """Datagrams wait for others as long as was asked for, but no longer than the fastest flood needs to fill the
    receive buffer, and not at all where that is hardly anything, or where it was not asked for."""
    assert netflow.pause(32 << 20, 0.03) == 0.03
    assert netflow.pause(4 << 20, 0.03) == pytest.approx(0.0039, rel=0.01)
    assert netflow.pause(106_496, 0.03) == 0
    assert netflow.pause(32 << 20, 0) == 0


def test_a_full_batch_is_followed_at_once(receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes as much as he can takes again without waiting; who empties the socket lets others gather, once."""
    monkeypatch.setattr(netflow, "BATCH", 8)
    seen: list[int | float] = []
    take = netflow.DatagramLoop._take
    gate = threading.Semaphore(0)

    def noted(self: Any, opened: socket.socket) -> int:
        got = take(self, opened)
        seen.extend([got] if got else [])
        return got

    class Gated(Clock):
        def sleep(self, seconds: float) -> None:
            seen.append(seconds)
            gate.acquire()

    def until(wanted: list[int | float]) -> None:
        deadline = time.monotonic() + 10
        while seen != wanted and time.monotonic() < deadline:
            time.sleep(0.002)
        assert seen == wanted

    monkeypatch.setattr(netflow.DatagramLoop, "_take", noted)
    item = receiver(clock=Gated())
    _send(item.address, [b"a"])
    until([1, 0.03])
    _send(item.address, [b"x"] * 19)
    gate.release()
    until([1, 0.03, 8, 8, 3, 0.03])
    gate.release()


def test_nothing_is_lost_and_the_stop_empties_the_socket(
    receiver: Callable[..., Receiver], tmp_path: Path, read_blocks: Callable[[bytes], list[bytes]]
) -> None:
    """Every datagram sent at a moderate rate is in the spool, in order, even those sent just before the stop."""
    item = receiver()
    sent = _payloads(3000)
    _send(item.address, sent)
    item.stop()
    found = [block[28:] for path in _segments(tmp_path / "spool/s") for block in read_blocks(path.read_bytes())]
    assert found == sent
    stats = item.stats()
    assert (stats["received"], stats["spooled"], stats["kernel_dropped"]) == (3000, 3000, 0)
    assert stats["bytes"] == sum(map(len, sent)) and stats["spool_dropped"] == {}
    assert 0 < stats["receive_buffer"]["granted"] <= stats["receive_buffer"]["asked"] == 32 << 20


@pytest.mark.skipif(NO_TSHARK, reason="tshark is not installed")
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
def test_tshark_reads_a_segment(receiver: Callable[..., Receiver], tmp_path: Path, listen: str) -> None:
    """tshark finds every datagram, no malformed frame, every checksum good or absent, and our own address."""
    item = receiver(listen=listen)
    address = item.address
    _send(address, _payloads(300))
    item.stop()
    (path,) = _segments(tmp_path / "spool/s")
    version = "ipv6" if "[" in listen else "ip"
    names = ["frame.number", f"{version}.src", f"{version}.dst", "udp.dstport", "udp.checksum.status", "udp.length"]
    rows = _tshark(path, *names, "_ws.malformed", "_ws.expert.message")
    assert len(rows) == 300
    status = "1" if version == "ipv6" else "3"  # good; not present
    for number, row in enumerate(rows):
        expected = [str(number + 1), address[0], address[0], str(address[1]), status, str(14 + number % 1400), ""]
        assert row[:-1] == expected
        # What it says of one of the ports that traceroute uses, which the kernel may give to who sends.
        assert row[-1] == "" or row[-1].startswith("Possible traceroute: hop #")


def test_a_dual_socket_takes_both_families(
    receiver: Callable[..., Receiver], tmp_path: Path, read_blocks: Callable[[bytes], list[bytes]]
) -> None:
    """`[::]` receives IPv4 and IPv6 exporters; each is framed in its own family with its own address."""
    item = receiver(listen="[::]:0")
    port = item.address[1]
    _send(("127.0.0.1", port), [b"four"])
    _send(("::1", port), [b"six"])
    item.stop()
    (path,) = _segments(tmp_path / "spool/s")
    four, six = sorted(read_blocks(path.read_bytes()), key=len)
    assert four[0] >> 4 == 4 and four[12:16] == socket.inet_aton("127.0.0.1") and four[28:] == b"four"
    assert six[0] >> 4 == 6 and six[8:24] == socket.inet_pton(socket.AF_INET6, "::1") and six[48:] == b"six"


def test_without_recvmmsg(
    receiver: Callable[..., Receiver],
    tmp_path: Path,
    read_blocks: Callable[[bytes], list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where libc has no recvmmsg the plain loop writes the same segments."""
    monkeypatch.setattr(mmsg, "receiver", mmsg.RecvLoop)
    item = receiver(listen="[::]:0")
    sent = _payloads(500)
    _send(("127.0.0.1", item.address[1]), sent)
    item.stop()
    (path,) = _segments(tmp_path / "spool/s")
    found = read_blocks(path.read_bytes())
    assert [block[28:] for block in found] == sent
    assert {block[12:16] for block in found} == {socket.inet_aton("127.0.0.1")}


@pytest.mark.parametrize("plain", [False, True])
def test_what_the_kernel_drops_is_counted(
    receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    """received + kernel_dropped = sent, exactly, when a small buffer overflows while the receiver is held up."""
    if plain:
        monkeypatch.setattr(mmsg, "receiver", mmsg.RecvLoop)
    take = netflow.DatagramLoop._take
    held: list[float] = []

    def slow(self: Any, opened: socket.socket) -> int:
        if not held:
            held.append(1)
            time.sleep(0.4)
        return take(self, opened)

    monkeypatch.setattr(netflow.DatagramLoop, "_take", slow)
    monkeypatch.setattr(netflow.sockets, "set_buffer", lambda opened, _: opened.setsockopt(1, 8, 4096) or 4096)
    item = receiver()
    _send(item.address, [b"y" * 1000] * 400, pause_every=10_000)
    time.sleep(0.5)
    _send(item.address, [b"z"])  # SO_RXQ_OVFL comes with the next datagram
    time.sleep(0.1)
    item.stop()
    stats = item.stats()
    assert stats["kernel_dropped"] > 0
    assert stats["received"] + stats["table"] == 401
    assert stats["rxq_ovfl"] == stats["table"]
