"""Several sockets on one port: who gets what, and that nothing is lost between them."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from csirt import config
from csirt.clock import SYSTEM
from csirt.collect import lanes, netflow, sockets, stats
from csirt.collect.receiver import Receiver
from csirt.errors import Usage
from csirt.metrics import Metrics
from csirt.model import spool as form

Blocks = Callable[[bytes], list[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., list[Receiver]]]:
    """Start a listener's lanes on `tmp_path/spool`; stopped at the end."""
    made: list[Receiver] = []

    def make(workers: int, listen: str = "127.0.0.1:0", **spool: Any) -> list[Receiver]:
        listener = config.Listener(source="edge", kind="netflow", listen=listen, workers=workers)
        made.extend(lanes.start(listener, config.Spool(**spool), tmp_path / "spool", Metrics(), SYSTEM))
        return made

    yield make
    for item in made:
        item.stop()


def _send(sources: list[str], port: int, times: int, *, payload: bytes = b"x") -> int:
    """Datagrams from every address, each from a new source port."""
    for number in range(times):
        for source in sources:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                sender.sendto(payload + number.to_bytes(4, "big"), ("127.0.0.1", port))
    return times * len(sources)


def _found(folder: Path, read_blocks: Blocks) -> list[tuple[str, bytes]]:
    """(sender, payload) of everything in a folder."""
    blocks = [block for path in sorted(folder.glob("*" + form.PCAPNG)) for block in read_blocks(path.read_bytes())]
    return [(socket.inet_ntoa(block[12:16]), block[28:]) for block in blocks]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::]:0"])
def test_an_exporter_stays_in_its_lane(
    start: Callable[..., list[Receiver]], tmp_path: Path, read_blocks: Blocks, listen: str
) -> None:
    """Whatever its source port is, all datagrams of one address go to one lane, the one its address says, in order; a
    hundred neighbours are spread over all."""
    made = start(3, listen)
    sources = [f"127.0.0.{number}" for number in range(1, 101)]
    sent = _send(sources, made[0].address[1], 3)
    for item in made:
        item.stop()
    total = 0
    for number, name in enumerate(("edge", "edge@1", "edge@2")):
        found = _found(tmp_path / "spool" / name, read_blocks)
        total += len(found)
        assert {source for source, _ in found} == {s for s in sources if lanes.lane_of(s, 3) == number}
        for source in {source for source, _ in found}:
            assert [payload[-1] for sender, payload in found if sender == source] == [0, 1, 2]
        assert len(found) > sent / 6
    assert total == sent
    documents = stats.read_all(tmp_path / "spool")
    assert [item["lane"] for item in documents] == ["", "1", "2"]
    assert {len(item["listen"]) for item in documents} == {1} == {len(item["sockets"]) for item in documents}


def test_the_lane_of_an_ipv6_exporter(start: Callable[..., list[Receiver]], tmp_path: Path) -> None:
    """The program folds all four words of its address, as its twin does."""
    made = start(4, "[::1]:0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        for _ in range(5):
            sender.sendto(b"x", ("::1", made[0].address[1]))
    time.sleep(0.2)
    for item in made:
        item.stop()
    assert [item.stats()["received"] for item in made] == [5 * (lanes.lane_of("::1", 4) == n) for n in range(4)]
    assert len({lanes.lane_of(f"2001:db8::{n:x}", 4) for n in range(1, 20)}) == 4


@pytest.mark.parametrize("workers", [1, 3])
def test_sent_is_spooled_and_dropped(
    start: Callable[..., list[Receiver]], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """With one socket and with several, small buffers and a small spool: sent = spooled + what the kernel dropped +
    what the spool dropped, exactly; each socket says what it was granted."""
    monkeypatch.setattr(sockets, "SO_RCVBUFFORCE", 9999)
    monkeypatch.setattr(sockets, "_greatest", lambda: 16_384)
    take = netflow.DatagramLoop._take

    def slow(self: Any, opened: socket.socket) -> int:
        time.sleep(0.02)
        return take(self, opened)

    monkeypatch.setattr(netflow.DatagramLoop, "_take", slow)
    made = start(workers, limit=40_000)
    sources = [f"127.0.0.{number}" for number in range(1, 10)]
    sent = _send(sources, made[0].address[1], 250, payload=b"y" * 700)
    time.sleep(0.3)
    for item in made:
        item.stop()
    counts = stats.together([item.stats() for item in made])
    assert counts["kernel_dropped"] > 0 and counts["spool_dropped"]["spool_full"] > 0
    assert sent == counts["spooled"] + counts["kernel_dropped"] + sum(counts["spool_dropped"].values())
    assert [item["granted"] < 32 << 20 for item in counts["sockets"].values()] == [True] * workers


def test_a_restart_with_handed_sockets_loses_nothing(tmp_path: Path, read_blocks: Blocks) -> None:
    """Two sockets of a unit, a collector that is stopped, killed and started again under traffic: sent = spooled +
    kernel drops + spool drops, and each exporter stays in its lane."""
    (tmp_path / "csirt.toml").write_text(f'state = "{tmp_path}"\n[collect.spool]\nsync = "20ms"\n')
    first = sockets.open_socket("127.0.0.1:0", "udp")
    port = first.getsockname()[1]
    handed = [first, sockets.open_socket(f"127.0.0.1:{port}", "udp")]
    rng = random.Random(4)
    sources, sent = [f"127.0.0.{number}" for number in range(1, 21)], 0
    process = _collector(tmp_path, handed)
    _answers(tmp_path, process)
    for ending in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        sent += _send(sources, port, 20)
        if ending == signal.SIGKILL:  # what is between the kernel and the disk just then dies with the process
            time.sleep(0.3)
        process.send_signal(ending)
        sent += _send(sources, port, 10)
        assert process.wait(20) == (0 if ending == signal.SIGTERM else -ending)
        sent += _send(sources, port, rng.randint(5, 10))  # nobody runs: they wait in the sockets
        process = _collector(tmp_path, handed)
        _answers(tmp_path, process)
    time.sleep(0.3)
    process.terminate()
    assert process.wait(20) == 0
    counts = stats.together(stats.read_all(tmp_path / "spool"))
    assert counts["received"] == counts["spooled"] + sum(counts["spool_dropped"].values())
    assert sent == counts["received"] + counts["kernel_dropped"], counts
    written = [_found(tmp_path / "spool" / name, read_blocks) for name in ("edge", "edge@1")]
    assert sum(map(len, written)) == counts["spooled"]
    for number, found in enumerate(written):
        assert {source for source, _ in found} == {s for s in sources if lanes.lane_of(s, 2) == number}
    for item in handed:
        item.close()


def _collector(folder: Path, handed: list[socket.socket]) -> subprocess.Popen[bytes]:
    """`csirt collect netflow` as a socket unit starts it, with the sockets as descriptors 3 and 4."""
    count = len(handed)
    words = ["collect", "netflow", "--source", "edge", "--workers", str(count), "--config", str(folder / "csirt.toml")]
    script = (
        f"import fcntl, os; kept = [fcntl.fcntl(n, fcntl.F_DUPFD, 100) for n in {[s.fileno() for s in handed]}];"
        f"[os.dup2(n, 3 + i) for i, n in enumerate(kept)]; os.environ['LISTEN_PID'] = str(os.getpid());"
        f"os.execv({sys.executable!r}, {[sys.executable, '-m', 'csirt', *words]!r})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], pass_fds=[item.fileno() for item in handed],
        env={**os.environ, "LISTEN_FDS": str(count), "LISTEN_FDNAMES": ":".join(["edge"] * count)},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _answers(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until both lanes of this process have written their counters."""
    deadline = time.monotonic() + 30
    while sum(item["pid"] == process.pid for item in stats.read_all(folder / "spool")) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)


def _listener(source: str, **more: Any) -> config.Listener:
    return config.Listener(source=source, kind=more.pop("kind", "netflow"), listen="127.0.0.1:0", **more)


def test_sockets_of_a_unit_are_shared_by_name_then_in_order() -> None:
    """Named after a source: its listener's, of its transport; the others go in order, one for each worker; one that is
    left is an error, because nobody would read it."""
    opened = [sockets.open_socket("127.0.0.1:0", kind) for kind in ("udp", "udp", "tcp", "udp", "udp")]
    names = ["x.socket", "relay", "edge", "edge", "x.socket"]
    listeners = [
        _listener("other", workers=2),
        _listener("edge"),
        _listener("edge", transport="tcp"),
        _listener("relay", kind="syslog"),
    ]
    handed = list(zip(names, opened, strict=True))
    try:
        shared = lanes.share(listeners, handed)
        assert shared == [[opened[0], opened[4]], [opened[3]], [opened[2]], [opened[1]]]
        assert lanes.share(listeners, []) == [[], [], [], []]
        with pytest.raises(Usage, match=r"no listener takes: udp 127.0.0.1:\d+ \(x.socket\)"):
            lanes.share([_listener("other"), *listeners[1:]], handed)
    finally:
        for item in opened:
            item.close()


@pytest.mark.parametrize(
    ("more", "kinds", "message"),
    [
        ({"workers": 2}, ["udp"], "2 workers and the socket unit passes 1 sockets.*ReusePort=yes"),
        ({}, ["tcp"], "needs ListenDatagram="),
        ({"transport": "tcp"}, ["udp"], "needs ListenStream="),
        ({"workers": 2, "transport": "tcp"}, [], "only netflow over udp has several workers"),
    ],
)
def test_sockets_that_do_not_fit_are_refused(
    tmp_path: Path, more: dict[str, Any], kinds: list[str], message: str
) -> None:
    """The wrong number or kind of handed sockets is said with what the unit needs, before anything is received."""
    opened = [sockets.open_socket("127.0.0.1:0", kind) for kind in kinds]
    try:
        with pytest.raises(Usage, match=message):
            lanes.start(_listener("edge", **more), config.Spool(), tmp_path / "spool", Metrics(), SYSTEM, handed=opened)
        assert not (tmp_path / "spool").exists()
    finally:
        for item in opened:
            item.close()


def test_without_the_program_the_kernel_divides_by_port_too(
    start: Callable[..., list[Receiver]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An old kernel is said so, and everything is received all the same."""
    monkeypatch.setattr(lanes, "SO_ATTACH_REUSEPORT_CBPF", 9999)
    made = start(2)
    assert "does not divide exporters by address" in caplog.text
    sent = _send(["127.0.0.1"], made[0].address[1], 50)
    time.sleep(0.2)
    for item in made:
        item.stop()
    assert sum(item.stats()["received"] for item in made) == sent
