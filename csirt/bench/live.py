"""A daemon with a receiver on loopback, and an exporter that sends it paced NetFlow v9: the product's own path.

What is measured: whether every record arrives in the store, how long after its receipt (`lag_s`), and how much of one
core the daemon, its receiver included, needs for it. The floor is the share of records stored; the pace is held by the
sender, so a daemon that cannot keep up shows as lag or loss.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csirt.bench import corpus
from csirt.clock import SECOND, SYSTEM
from csirt.control.client import SocketClient
from csirt.errors import CsirtError, Unreachable

MOST_LAG = 2.0
PATIENCE = 60.0


def run(work: Path, *, seed: int, rate: int, seconds: int) -> list[dict[str, Any]]:
    """The result of `csirt.bench/1`: `rate` flow records per second for `seconds`."""
    port = _free_port()
    config = _configuration(work, port)
    with _daemon(config, work) as (process, client):
        before = _cpu(process.pid)
        start = SYSTEM.now() // SECOND - seconds
        payloads = corpus.datagrams(seed=seed, records=rate * seconds, start=start, seconds=seconds)
        records = sum(int.from_bytes(payload[2:4], "big") for payload in payloads if len(payload) > 200)
        begin = SYSTEM.monotonic()
        lags = _send(payloads, port, seconds, client)
        stored = _stored(client)
        end = SYSTEM.monotonic() + PATIENCE
        while stored < records and SYSTEM.monotonic() < end:
            SYSTEM.sleep(0.1)
            stored = _stored(client)
        wall, spent = SYSTEM.monotonic() - begin, _cpu(process.pid) - before
    worst = max(lags, default=0.0)
    return [
        {
            "name": "live-lake",
            "unit": "share of sent flow records stored",
            "ours": {
                "wall_s": [round(wall, 3)],
                "cpu_s": [round(spent, 3)],
                "median": round(stored / records, 6),
                "digest": "",
            },
            "peer": None,
            "ratio": None,
            "ratio_min": None,
            "floor": 1.0,
            "equal_work": stored == records,
            "pass": stored == records and worst <= MOST_LAG,
            "sent": records,
            "stored": stored,
            "rate": rate,
            "lag_s": round(worst, 3),
            "core_share": round(spent / wall, 3),
            "records_per_cpu_s": round(stored / max(spent, 0.01)),
        }
    ]


def _send(payloads: list[bytes], port: int, seconds: int, client: SocketClient) -> list[float]:
    """Send all payloads evenly over the time; the lags seen meanwhile."""
    lags: list[float] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", port))
        begin, sent, look = SYSTEM.monotonic(), 0, 1.0
        while sent < len(payloads):
            passed = SYSTEM.monotonic() - begin
            due = min(len(payloads), int(passed / seconds * len(payloads)) + 1)
            for payload in payloads[sent:due]:
                out.send(payload)
            sent = due
            if passed > look:
                lags.append(_lag(client))
                look += 0.5
            SYSTEM.sleep(0.002)
    lags.append(_lag(client))
    return lags


def _lag(client: SocketClient) -> float:
    return max((float(stage["lag_s"]) for stage in client.call("status.show")["stages"]), default=0.0)


def _stored(client: SocketClient) -> int:
    return next(int(stage["out"]) for stage in client.call("status.show")["stages"] if stage["name"] == "stores")


def _configuration(work: Path, port: int) -> Path:
    (work / "register.yml").write_text(corpus.register(), encoding="utf-8")
    text = f"""
state = {json.dumps(str(work / "state"))}
[detect]
lateness = "2s"
[control]
socket = {json.dumps(str(work / "s"))}
[health]
listen = ""
[enrich]
register = {json.dumps(str(work / "register.yml"))}
[[sources]]
id = "edge"
type = "netflow"
[[collect.listeners]]
source = "edge"
kind = "netflow"
listen = "127.0.0.1:{port}"
"""
    path = work / "live.toml"
    path.write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def _daemon(config: Path, work: Path) -> Iterator[tuple[subprocess.Popen[bytes], SocketClient]]:
    """`csirt run`, and a client once it answers."""
    words = [sys.executable, "-m", "csirt", "run", "--config", str(config)]
    with (work / "daemon.log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    client = SocketClient(str(work / "s"))
    end = SYSTEM.monotonic() + PATIENCE
    try:
        while not _answers(client):
            if process.poll() is not None or SYSTEM.monotonic() > end:
                raise CsirtError("the daemon did not start: " + (work / "daemon.log").read_text()[-2_000:])
            SYSTEM.sleep(0.1)
        yield process, client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(client: SocketClient) -> bool:
    try:
        client.call("status.show")
    except Unreachable:
        return False
    return True


def _cpu(pid: int) -> float:
    """CPU seconds of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
