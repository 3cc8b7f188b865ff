"""More real exporters, pmacctd with nfprobe and fprobe: what we decode is what was in their packets, and what nfcapd
makes of the same datagrams."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from csirt.decode.flows import FlowDecoder
from csirt.model import address_columns
from csirt.model.batch import address_parts
from tests.decode.netflow.datagrams import chunk
from tests.endtoend.test_softflowd import SEARCH, TOOLS, Sums, capture, referee

PMACCTD, FPROBE = (shutil.which(name, path=SEARCH) for name in ("pmacctd", "fprobe"))
NFCAPD = bool(TOOLS["nfcapd"] and TOOLS["nfdump"])
__all__ = ["capture"]


@cache
def packets(path: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """(octets, packets) per address pair of a capture."""
    from scapy.all import IP, rdpcap

    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for packet in rdpcap(str(path)):
        row = sums[packet[IP].src, packet[IP].dst]
        row[0], row[1] = row[0] + packet[IP].len, row[1] + 1
    return {pair: (row[0], row[1]) for pair, row in sums.items()}


def decoded(payloads: list[bytes]) -> Sums:
    """(flows, octets, packets) per address pair as we read the datagrams; none is refused or lost on the way."""
    result = FlowDecoder("exporter").decode(chunk(payloads))
    assert not result.dropped and not result.problems and not result.held
    assert not any(row["sequence_lost"] or row["malformed"] for row in result.exporters)
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for batch in result.batches:
        if batch.dataset != "flow":
            continue
        ends = [
            address_columns.texts(*address_parts(batch.table, name)).to_pylist()
            for name in ("source.ip", "destination.ip")
        ]
        counters = [batch.table.column(name).to_pylist() for name in ("network.bytes", "network.packets")]
        for source, destination, octets, count in zip(*ends, *counters, strict=True):
            row = sums[source, destination]
            row[0], row[1], row[2] = row[0] + 1, row[1] + octets, row[2] + count
    return {pair: (row[0], row[1], row[2]) for pair, row in sums.items()}


def received(collector: socket.socket, quiet: float) -> list[bytes]:
    """Everything that arrives until nothing did for `quiet` seconds."""
    collector.settimeout(quiet)
    payloads = []
    try:
        while True:
            payloads.append(collector.recv(65_535))
    except TimeoutError:
        return payloads


@pytest.mark.skipif(not PMACCTD, reason="not installed: pmacctd (Debian: pmacct)")
@pytest.mark.skipif(not NFCAPD, reason="not installed: nfcapd, nfdump")
@pytest.mark.parametrize("version", [5, 9, 10])
def test_pmacctd(version: int, capture: Path, tmp_path: Path) -> None:
    """All octets and packets of the capture, per address pair, in as many flows as nfcapd counts."""
    for _ in range(3):  # it waits two seconds for its plugin, which on a busy machine is not always enough
        payloads = exported(version, capture, tmp_path / "pmacctd.conf")
        ours = decoded(payloads) if payloads else {}
        if {pair: row[1:] for pair, row in ours.items()} == packets(capture):
            break
    assert {pair: row[1:] for pair, row in ours.items()} == packets(capture)
    assert ours == referee(payloads, tmp_path / "nfcapd")


def exported(version: int, capture: Path, config: Path) -> list[bytes]:
    """The datagrams of one run of pmacctd over a capture."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        collector.bind(("127.0.0.1", 0))
        config.write_text(
            f"daemonize: false\npcap_savefile: {capture}\nplugins: nfprobe\n"
            "aggregate: src_host, dst_host, src_port, dst_port, proto, tos, tcpflags\n"
            f"nfprobe_receiver: 127.0.0.1:{collector.getsockname()[1]}\nnfprobe_version: {version}\n"
        )
        assert PMACCTD
        subprocess.run([PMACCTD, "-f", str(config)], capture_output=True, timeout=60, check=False)
        return received(collector, 1.0)


@pytest.mark.skipif(not FPROBE, reason="not installed: fprobe")
@pytest.mark.skipif(not NFCAPD, reason="not installed: nfcapd, nfdump")
def test_fprobe(tmp_path: Path) -> None:
    """fprobe listens on the loopback interface while we talk to ourselves: our own packets come back as flows."""
    names = ("collector", "server", *(f"client {n}" for n in range(5)))
    sockets = {name: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for name in names}
    for number, one in enumerate(sockets.values()):
        one.bind((f"127.0.0.{1 if number < 2 else number}", 0))
    collector, server, *clients = sockets.values()
    port = server.getsockname()[1]
    assert FPROBE
    words = ["-p", "-i", "lo", "-f", f"udp port {port}", "-s1", "-d2", "-e60", "-l2"]
    probe = subprocess.Popen(
        [FPROBE, *words, f"127.0.0.1:{collector.getsockname()[1]}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = ""
        while "collector #1" not in said:  # the last it says before it listens
            line = probe.stdout.readline() if probe.stdout else ""
            if not line:
                pytest.skip(f"fprobe may not capture here: {said[-200:]}")
            said += line
        time.sleep(1.0)
        sent: dict[tuple[str, str], tuple[int, int]] = {}
        for number, client in enumerate(clients):
            for size in range(10, 20 + number):
                client.sendto(b"x" * size, server.getsockname())
            sizes = [28 + size for size in range(10, 20 + number)]
            sent[client.getsockname()[0], "127.0.0.1"] = (sum(sizes), len(sizes))
        payloads = received(collector, 10.0)
    finally:
        probe.send_signal(signal.SIGTERM)
        probe.wait(20)
        for one in sockets.values():
            one.close()
    ours = decoded(payloads)
    assert {pair: row[1:] for pair, row in ours.items()} == sent
    assert ours == referee(payloads, tmp_path / "nfcapd")
