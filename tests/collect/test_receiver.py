"""A receiver as a process: killed, started again, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from csirt import config
from csirt.clock import SYSTEM
from csirt.collect import segments, stats
from csirt.collect.receiver import Receiver
from csirt.errors import CsirtError, Usage
from csirt.metrics import Metrics
from csirt.model import spool as form


def _start(folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    """`csirt collect netflow` on a free port, and that port once it is in stats.json."""
    file = folder / "csirt.toml"
    file.write_text(f'state = "{folder}"\n[collect.spool]\nsync = "20ms"\n')
    command = [sys.executable, "-m", "csirt", "collect", "netflow", "--source", "edge", "--config", str(file)]
    process = subprocess.Popen([*command, "--listen", "127.0.0.1:0", *options], stderr=subprocess.DEVNULL)
    path = folder / "spool/edge/stats.json"
    deadline = time.monotonic() + 30
    while True:
        assert time.monotonic() < deadline and process.poll() is None
        try:
            document = json.loads(path.read_bytes())
            if document["pid"] == process.pid:
                return process, int(document["listen"][0].rpartition(":")[2])
        except (OSError, ValueError):
            pass
        time.sleep(0.02)


def test_a_killed_collector_loses_nothing_that_was_written(
    tmp_path: Path, read_blocks: Callable[[bytes], list[bytes]]
) -> None:
    """After SIGKILL while receiving, everything up to the synced length is whole datagrams in order; the next start
    seals the segment, opens a new one, and goes on counting: the second that the counters on disk lag behind is counted
    again from the segment, so that received = spooled + dropped = what the analysis will read."""
    process, port = _start(tmp_path)
    folder = tmp_path / "spool/edge"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(6000):
            sender.sendto(number.to_bytes(4, "big") * 50, ("127.0.0.1", port))
            if number % 50 == 0:
                time.sleep(0.002)
            if number == 5000:
                process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    (left,) = folder.glob("*.open")
    synced = form.read_mark(form.beside(left, form.SYNCED))
    assert synced is not None and form.PCAPNG_HEADER_SIZE < synced <= left.stat().st_size
    before = read_blocks(left.read_bytes()[:synced])
    assert [block[28:] for block in before] == [number.to_bytes(4, "big") * 50 for number in range(len(before))]
    written = left.stat().st_size

    process, port = _start(tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"after", ("127.0.0.1", port))
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    first, second = sorted(folder.glob("*" + form.PCAPNG))
    assert first.name == form.sealed_name(left.name) and first.stat().st_size == written
    assert [block[28:] for block in read_blocks(second.read_bytes())] == [b"after"]
    assert form.segment_uuid(first.read_bytes()[:200]) != form.segment_uuid(second.read_bytes()[:200])
    assert not list(folder.glob("*.open")) and not list(folder.glob("*.synced"))
    (document,) = stats.read_all(tmp_path / "spool")
    assert document["segments"] >= 1 and document["failed"] == ""
    assert document["spooled"] == len(read_blocks(first.read_bytes())) + 1
    assert document["received"] == document["spooled"] + sum(document["spool_dropped"].values())


def test_counters_go_on_over_restarts(receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    """A restart forgets no loss: the counters continue, and `since` stays the first start."""
    first = receiver()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"one", first.address)
    first.stop()
    before = first.stats()
    second = receiver()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"two", second.address)
    second.stop()
    after = second.stats()
    assert (before["received"], after["received"], after["segments"]) == (1, 2, 2)
    assert after["since"] == before["since"] < after["started"]
    document = json.loads((tmp_path / "spool/s/stats.json").read_bytes())
    assert document == after and document["schema"] == stats.SCHEMA


def test_a_kill_is_counted_once_for_each_of_two_receivers(receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    """UDP and TCP share a folder: what the lagging counters miss goes to the receiver it came by, and only once."""
    folder = tmp_path / "spool/s"
    datagrams = receiver("syslog")
    streams = receiver("syslog", transport="tcp")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(3):
            sender.sendto(b"<13>one %d" % number, datagrams.address)
    with socket.create_connection(streams.address) as sender:
        sender.sendall(b"<13>two\n" * 5)
    while streams.stats()["received"] < 5:
        time.sleep(0.02)
    datagrams.stop()
    streams.stop()
    for name in ("stats.json", "stats-tcp.json"):  # as if both had been killed before they wrote the last second
        document = json.loads((folder / name).read_bytes())
        document["received"] = document["spooled"] = 1
        document["opened"][1] = 0
        (folder / name).write_text(json.dumps(document))
    for _ in range(2):
        again = [receiver("syslog"), receiver("syslog", transport="tcp")]
        for item in again:
            item.stop()
        assert [(item.stats()["received"], item.stats()["spooled"]) for item in again] == [(3, 3), (5, 5)]


def test_in_is_out_and_dropped(tmp_path: Path) -> None:
    """The metrics of the stage balance, with a spool so small that it fills."""
    metrics = Metrics()
    listener = config.Listener(source="s", kind="netflow", listen="127.0.0.1:0")
    item = Receiver(listener, config.Spool(limit=20_000), tmp_path / "spool", metrics, SYSTEM)
    item.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(200):
            sender.sendto(b"x" * 500, item.address)
            if number % 20 == 0:
                time.sleep(0.005)
    item.stop()
    (stage,) = [entry for entry in metrics.stages() if entry["name"] == "collect"]
    assert stage["in"] == 200 and stage["dropped"]
    assert stage["in"] == stage["out"] + sum(stage["dropped"].values())  # type: ignore[operator, attr-defined]


def test_udp_and_tcp_fill_one_source(tmp_path: Path) -> None:
    """Two listeners of one source, by UDP and TCP, have their own segments and counters in its folder."""
    spool, made = tmp_path / "spool", []
    for transport in ("udp", "tcp"):
        listener = config.Listener(source="s", kind="syslog", listen="127.0.0.1:0", transport=transport)  # type: ignore[arg-type]
        made.append(Receiver(listener, config.Spool(), spool, Metrics(), SYSTEM))
        made[-1].start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<13>by udp", made[0].address)
    with socket.create_connection(made[1].address) as stream:
        stream.sendall(b"<13>by tcp\n")
    time.sleep(0.3)
    for item in made:
        item.stop()
    assert [document["received"] for document in stats.read_all(spool)] == [1, 1]
    assert len(list((spool / "s").glob("*" + form.FRAMES))) == 2


def test_a_failing_disk_stops_the_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO on a sync: the receiver stops, says why, and stats.json says it too."""
    listener = config.Listener(source="s", kind="netflow", listen="127.0.0.1:0")
    item = Receiver(listener, config.Spool(sync="10ms"), tmp_path / "spool", Metrics(), SYSTEM)
    item.start()

    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(segments.os, "fdatasync", refuse)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", item.address)
    deadline = time.monotonic() + 5
    while item.alive:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    item.stop()
    assert item.failed is not None and "Input/output error" in item.failed.message
    assert "Input/output error" in json.loads((tmp_path / "spool/s/stats.json").read_bytes())["failed"]


@pytest.mark.parametrize(
    ("kind", "listen", "transport", "message"),
    [
        ("netflow", "127.0.0.1:0", "tls", "tls needs `certificate` and `key`"),
        ("netflow", "nowhere", "udp", "write ADDRESS:PORT"),
        ("netflow", "example.org:2055", "udp", "is no IP address"),
        ("netflow", "127.0.0.1:99999", "udp", "write ADDRESS:PORT"),
    ],
)
def test_a_wrong_listener_says_how_it_should_be(
    tmp_path: Path, kind: str, listen: str, transport: str, message: str
) -> None:
    """A listener that cannot be is refused with the next step, before anything is made on disk."""
    listener = config.Listener(source="s", kind=kind, listen=listen, transport=transport)  # type: ignore[arg-type]
    with pytest.raises(Usage, match=message):
        Receiver(listener, config.Spool(), tmp_path / "spool", Metrics(), SYSTEM).start()
    assert not (tmp_path / "spool").exists()


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    """Somebody else's port is named, with the command that tells whose it is."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        listener = config.Listener(source="s", kind="syslog", listen=f"127.0.0.1:{port}", transport="tcp")
        with pytest.raises(CsirtError, match=f"another program listens there.*grep {port}"):
            Receiver(listener, config.Spool(), tmp_path / "spool", Metrics(), SYSTEM).start()


def test_a_start_is_needed_for_nothing(tmp_path: Path) -> None:
    """The constructor has no side effects, and stopping what never started is harmless."""
    listener = config.Listener(source="s", kind="netflow", listen="127.0.0.1:0")
    item = Receiver(listener, config.Spool(), tmp_path / "spool", Metrics(), SYSTEM)
    item.stop()
    assert os.listdir(tmp_path) == [] and not item.alive
