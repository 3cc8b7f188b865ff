"""Routers by UDP on several sockets and by TLS, through the running daemon with several workers."""

from __future__ import annotations

import socket
import ssl
import struct
from pathlib import Path

import pytest

from csirt.collect import lanes
from csirt.demo.scenario import build
from csirt.demo.show import free_port
from tests.collect import certificates
from tests.corpus import START, datagrams
from tests.live import daemon, until

pytestmark = pytest.mark.skipif(certificates.MISSING, reason="openssl is not installed")


def configuration(folder: Path, udp: int, tls: int) -> Path:
    """One source with two listeners, three lanes, and two threads."""
    certificates.certificate(folder, "server", certificates.authority(folder))
    path = folder / "csirt.toml"
    path.write_text(
        f"""state = "{folder / "state"}"
[control]
socket = "{folder / "csirt.sock"}"
[[collect.listeners]]
source = "edge"
kind = "netflow"
listen = "127.0.0.1:{udp}"
receive_buffer = "4MiB"
workers = 2
[[collect.listeners]]
source = "edge"
kind = "netflow"
listen = "127.0.0.1:{tls}"
transport = "tls"
certificate = "{folder / "server.pem"}"
key = "{folder / "server.key"}"
[[sources]]
id = "edge"
type = "netflow"
[decode]
workers = 2
[health]
listen = ""
"""
    )
    return path


def test_every_way_in_is_one_source(tmp_path: Path) -> None:
    """Two routers by UDP in two lanes and one by TLS: everything that was sent is stored, counted by exporter under
    one source; each receiver says what it was granted; nothing is dropped."""
    udp, tls = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    config = configuration(tmp_path, udp, tls)
    sources = [
        next(a for a in (f"127.0.0.{n}" for n in range(2, 99)) if lanes.lane_of(a, 2) == lane) for lane in (0, 1)
    ]
    routers = [datagrams(rows, number) for number, rows in enumerate(build(START, seed=3, background=400).flows)]
    ipfix = next(rows for rows in routers if struct.unpack_from(">H", rows[0][1])[0] == 10)
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with daemon(config, tmp_path / "csirt.sock", log=tmp_path / "log") as client:
        for source, rows in zip(sources, routers, strict=True):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                for _, payload in rows:
                    sender.sendto(payload, ("127.0.0.1", udp))
        plain = socket.create_connection(("127.0.0.1", tls), source_address=("127.0.0.3", 0))
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as session:
            session.sendall(b"".join(payload for _, payload in ipfix))
        sent = sum(map(len, routers)) + len(ipfix)
        until(
            lambda: sum(item["stored"] for item in client.call("status.show")["exporters"]) == sent,
            90,
            lambda: (sent, client.call("status.show"), (tmp_path / "log").read_text()[-2_000:]),
        )
        status = client.call("status.show")
    receivers = {item["lane"]: item for item in status["receivers"]}
    assert [receivers[lane]["received"] for lane in ("", "1", "tls")] == [*map(len, routers), len(ipfix)]
    assert all(item["kernel_dropped"] == 0 and item["closed"] == {} for item in receivers.values())
    granted = [number["granted"] for item in receivers.values() for number in item["sockets"].values()]
    assert len(granted) == 2 and min(granted) > 0
    assert {item["address"] for item in status["exporters"]} == {*sources, "127.0.0.3"}
    assert all(item["sequence_lost"] == item["held"] == item["malformed"] == 0 for item in status["exporters"])
    assert status["backlog"] == {"edge": 0}
    assert [item for item in status["warnings"] if item["kind"] in ("stopped", "dropping")] == []
