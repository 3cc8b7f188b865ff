"""A real sFlow agent against the running daemon: every packet sampled, so that the rows are the packets."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.demo.show import free_port
from csirt.model import address_columns
from csirt.model.batch import address_parts
from csirt.stores.embedded import open_embedded
from tests.decode.sflow import datagrams as s
from tests.live import daemon, until

PMACCTD = shutil.which("pmacctd", path="/usr/sbin:/usr/bin:/bin")
pytestmark = pytest.mark.skipif(PMACCTD is None, reason="not installed: pmacctd")
CHECKSUM = 4  # the agent counts it as part of the frame, as sFlow says
UNSENT = 12  # samples the agent may still have in its buffer: two datagrams of them
Flow = tuple[str, str, int, int, int, int]


def packets() -> list[tuple[Flow, bytes]]:
    """600 packets, TCP and UDP, IPv4 and IPv6, of a few lengths: source, destination, ports, protocol, frame length."""
    made = []
    for number in range(600):
        ports = 20_000 + number % 50, (443, 53, 445)[number % 3]
        size = 60 + number % 7 * 100
        protocol = 17 if ports[1] == 53 else 6
        transport = s.udp(*ports) if protocol == 17 else s.tcp(*ports)
        if number % 4:
            ends = f"10.1.{number % 7}.{number % 200 + 1}", f"10.2.{number % 5}.9"
            frame = s.ethernet() + s.ip4(*ends, protocol=protocol, body=transport + bytes(size))
        else:
            ends = f"fd00::{number % 7 + 1}", f"fd00:1::{number % 5 + 1}"
            frame = s.ethernet(kind=0x86DD) + s.ip6(*ends, protocol=protocol, body=transport + bytes(size))
        made.append(((*ends, *ports, protocol, len(frame) + CHECKSUM), frame))
    return made


def capture(path: Path, frames: list[bytes]) -> None:
    """A pcap of Ethernet frames, a millisecond apart."""
    with path.open("wb") as handle:
        handle.write(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))
        for number, frame in enumerate(frames):
            handle.write(struct.pack("<IIII", 1_764_000_000, number * 1_000, len(frame), len(frame)) + frame)


def test_every_sampled_packet_becomes_a_row(tmp_path: Path) -> None:
    """pmacctd samples each packet of a capture and sends sFlow to the daemon: addresses, ports, protocol and length of
    every packet are stored, once."""
    made = packets()
    capture(tmp_path / "traffic.pcap", [frame for _, frame in made])
    port = free_port(socket.SOCK_DGRAM)
    config = tmp_path / "csirt.toml"
    config.write_text(
        f"""state = "{tmp_path / "state"}"
[control]
socket = "{tmp_path / "csirt.sock"}"
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
    agent = tmp_path / "pmacctd.conf"
    agent.write_text(
        f"daemonize: false\npcap_savefile: {tmp_path / 'traffic.pcap'}\nplugins: sfprobe\nsampling_rate: 1\n"
        f"sfprobe_receiver: 127.0.0.1:{port}\nsfprobe_agentip: 192.0.2.77\n"
    )
    log = tmp_path / "daemon.log"
    with daemon(config, tmp_path / "csirt.sock", log=log) as client:
        assert PMACCTD is not None
        running = subprocess.Popen([PMACCTD, "-f", str(agent)], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        try:
            until(
                lambda: client.call("status.show")["events"].get("flow", 0) >= len(made) - UNSENT,
                60,
                lambda: (log.read_text()[-2_000:], client.call("status.show")),
            )
        finally:
            running.terminate()
            running.wait(10)
        [exporter] = client.call("status.show")["exporters"]
    assert (exporter["address"], exporter["version"]) == ("127.0.0.1", 105)
    assert exporter["malformed"] == exporter["sequence_lost"] == exporter["dropped"] == 0
    found: dict[int, Flow] = {}
    with open_embedded(tmp_path / "state" / "store", clock=SYSTEM) as store:
        for batch in store.events("flow"):
            table = batch.table
            addresses = [address_parts(table, f"{end}.ip") for end in ("source", "destination")]
            ends = [address_columns.texts(*parts).to_pylist() for parts in addresses]
            names = ("source.port", "destination.port", "network.iana_number", "netflow.octet_delta_count")
            rows = zip(*ends, *(table.column(name).to_pylist() for name in names), strict=True)
            found.update(zip(table.column("netflow.sflow_sample_sequence").to_pylist(), rows, strict=True))
            assert set(table.column("netflow.sflow_agent").to_pylist()) == {"192.0.2.77"}
    # The agent numbers its samples; when it is stopped it sends its last buffer once more, under new numbers.
    assert sorted(found) == list(range(1, len(found) + 1)) and len(found) >= len(made) - UNSENT
    assert all(row == found.get(number, row) for number, (row, _) in enumerate(made, 1))
