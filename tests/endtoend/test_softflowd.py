"""A real exporter against the running daemon, and nfcapd as the referee."""

from __future__ import annotations

import csv
import io
import shutil
import signal
import socket
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.demo.show import free_port
from csirt.model import address_columns
from csirt.model.batch import address_parts
from csirt.stores.embedded import open_embedded
from tests.live import daemon, until

Sums = dict[tuple[str, str], tuple[int, int, int]]
SEARCH = "/usr/sbin:/usr/bin:/bin"
TOOLS = {name: shutil.which(name, path=SEARCH) for name in ("softflowd", "nfcapd", "nfdump", "tshark")}
MISSING = [name for name, path in TOOLS.items() if path is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of 300 conversations, TCP, UDP and ICMP."""
    from scapy.all import ICMP, IP, TCP, UDP, Ether, Raw, wrpcap

    packets = []
    moment = 1_764_000_000.0
    for number in range(300):
        ends = {"src": f"10.1.{number % 7}.{number % 200 + 1}", "dst": f"10.2.{number % 5}.{number % 90 + 1}"}
        back = {"src": ends["dst"], "dst": ends["src"]}
        for turn in range(number % 9 + 1):
            size = 40 + number % 400
            ports = {"sport": 20_000 + number, "dport": (443, 53, 445)[number % 3]}
            if number % 3 == 0:
                layer = TCP(flags="SA"[turn > 0] if turn < 2 else "PA", **ports)
            elif number % 3 == 1:
                layer = UDP(**ports)
            else:
                layer = TCP(flags="PA", **ports) if number % 2 else ICMP(type=8, id=number, seq=turn)
            moment += 0.001
            packet = (
                Ether()
                / IP(**(back if turn % 4 == 3 and not layer.haslayer(ICMP) else ends))
                / layer
                / Raw(b"x" * size)
            )
            packet.time = moment
            packets.append(packet)
    path = tmp_path_factory.mktemp("capture") / "traffic.pcap"
    wrpcap(str(path), packets)
    return path


def configuration(folder: Path, port: int) -> Path:
    """A daemon with one NetFlow listener."""
    path = folder / "csirt.toml"
    path.write_text(
        f"""state = "{folder / "state"}"
[control]
socket = "{folder / "csirt.sock"}"
[[collect.listeners]]
source = "edge"
kind = "netflow"
listen = "127.0.0.1:{port}"
receive_buffer = "4MiB"
[[sources]]
id = "edge"
type = "netflow"
[health]
listen = ""
"""
    )
    return path


@pytest.mark.parametrize("version", ["5", "9", "10"])
def test_the_daemon_and_nfcapd_agree_on_softflowds_export(version: str, capture: Path, tmp_path: Path) -> None:
    """The same payloads give the same flow count and the same byte and packet sums per address pair, and tshark reads
    the spool segment."""
    port = free_port(socket.SOCK_DGRAM)
    config = configuration(tmp_path, port)
    with daemon(config, tmp_path / "csirt.sock", log=tmp_path / "daemon.log") as client:
        export(capture, version, port)

        def flows() -> int:
            return int(client.call("status.show")["events"].get("flow", 0))

        until(lambda: flows() > 0, 20, lambda: (tmp_path / "daemon.log").read_text()[-2_000:])
        seen = -1
        while flows() != seen:
            seen = flows()
            time.sleep(1.0)
    ours = stored(tmp_path / "state" / "store")
    payloads = spooled(tmp_path / "state" / "spool")
    assert payloads
    theirs = referee(payloads, tmp_path / "nfcapd")
    assert sum(row[0] for row in ours.values()) == sum(row[0] for row in theirs.values()) > 200
    assert ours == theirs


def export(capture: Path, version: str, port: int) -> None:
    """softflowd reads the capture and exports it."""
    assert TOOLS["softflowd"]
    words = [TOOLS["softflowd"], "-r", str(capture), "-v", version, "-n", f"127.0.0.1:{port}", "-d"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def stored(store: Path) -> Sums:
    """(flows, bytes, packets) per address pair in our store."""
    opened = open_embedded(store, clock=SYSTEM)
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    try:
        for batch in opened.events("flow"):
            ends = [
                address_columns.texts(*address_parts(batch.table, name)).to_pylist()
                for name in ("source.ip", "destination.ip")
            ]
            octets = batch.table.column("network.bytes").to_pylist()
            packets = batch.table.column("network.packets").to_pylist()
            for source, destination, size, count in zip(*ends, octets, packets, strict=True):
                row = sums[source, destination]
                row[0], row[1], row[2] = row[0] + 1, row[1] + size, row[2] + count
    finally:
        opened.close()
    return {pair: (row[0], row[1], row[2]) for pair, row in sums.items()}


def spooled(spool: Path) -> list[bytes]:
    """The payloads as tshark reads them from the segments; no frame may be malformed."""
    found: list[bytes] = []
    for segment in sorted(spool.rglob("*.pcapng*")):
        if segment.suffix == ".synced":
            continue
        assert TOOLS["tshark"]
        words = [TOOLS["tshark"], "-r", str(segment), "-T", "fields", "-e", "udp.payload", "-e", "_ws.malformed"]
        done = subprocess.run([*words, "--disable-protocol", "cflow"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        for line in done.stdout.splitlines():
            payload, _, malformed = line.partition("\t")
            assert not malformed
            if payload:
                found.append(bytes.fromhex(payload))
    return found


def referee(payloads: list[bytes], folder: Path) -> Sums:
    """(flows, bytes, packets) per address pair as nfcapd and nfdump have it."""
    folder.mkdir()
    port = free_port(socket.SOCK_DGRAM)
    assert TOOLS["nfcapd"] and TOOLS["nfdump"]
    process = subprocess.Popen(
        [TOOLS["nfcapd"], "-l", str(folder), "-p", str(port), "-b", "127.0.0.1", "-B", "4000000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(1.5)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for payload in payloads:
                sender.sendto(payload, ("127.0.0.1", port))
                time.sleep(0.002)
        time.sleep(1.0)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    done = subprocess.run(
        [TOOLS["nfdump"], "-R", str(folder), "-o", "csv"], capture_output=True, text=True, check=False
    )
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in csv.DictReader(io.StringIO(done.stdout)):
        if not (row.get("ibyt") or "").isdigit():  # the lines of the summary
            continue
        cell = sums[row["sa"], row["da"]]
        cell[0], cell[1], cell[2] = cell[0] + 1, cell[1] + int(row["ibyt"]), cell[2] + int(row["ipkt"])
    return {pair: (row[0], row[1], row[2]) for pair, row in sums.items()}
