"""`python -m tests.soak [MINUTES]`: a daemon under steady traffic; memory, files and threads must stay level.

Prints one JSON line a minute and exits 1 when resident memory grew by more than 64 MiB after the first fifth of the
time, when files or threads grew, or when a sent flow was not stored.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
from pathlib import Path

from csirt.clock import HOUR, SYSTEM
from csirt.control.client import SocketClient
from csirt.demo.exporter import Exporter
from csirt.demo.network import lay_out
from csirt.demo.scenario import EDGES, build
from csirt.demo.show import free_port
from tests.live import daemon

RATE = 200  # datagrams a second
LIMIT = 64 << 20


def main() -> int:
    """Run for the given minutes (10 by default)."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory(prefix="csirt-soak-") as name:
        folder = Path(name)
        port = free_port(socket.SOCK_DGRAM)
        config = lay_out(folder, netflow=port, health=free_port(socket.SOCK_STREAM), webhook=9)
        with daemon(config, folder / "csirt.sock", log=folder / "daemon.log") as client:
            return watch(client, port, folder, minutes)


def watch(client: SocketClient, port: int, folder: Path, minutes: float) -> int:
    """Send, sample, judge."""
    process = _pid(folder)
    sent, samples = 0, []
    begin = time.monotonic()
    while time.monotonic() - begin < minutes * 60:
        sent += _minute(port, min(60.0, minutes * 60 - (time.monotonic() - begin)))
        sample = _sample(process)
        sample["stored"] = client.call("status.show")["events"].get("flow", 0)
        samples.append(sample)
        print(json.dumps({"seconds": round(time.monotonic() - begin), "sent": sent, **sample}), flush=True)
    time.sleep(10)
    stored = client.call("status.show")["events"].get("flow", 0)
    early, late = samples[len(samples) // 5], samples[-1]
    level = late["rss"] - early["rss"] <= LIMIT and late["files"] <= early["files"] + 8
    level = level and late["threads"] <= early["threads"] + 8
    print(json.dumps({"sent": sent, "stored": stored, "level": level, "grew": late["rss"] - early["rss"]}))
    return 0 if level and stored == sent else 1


def _minute(port: int, seconds: float) -> int:
    """Steady traffic for so long; the number of flows sent."""
    scenario = build(SYSTEM.now() - HOUR, background=2_000)
    exporter = Exporter(9, domain=1, boot=scenario.start - 24 * HOUR)
    datagrams = [payload for _, payload in exporter.datagrams(scenario.flows[0])]
    flows = len(scenario.flows[0])
    total, index = 0, 0
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((EDGES[0], 0))
        while time.monotonic() < end or index % len(datagrams):
            sender.sendto(datagrams[index % len(datagrams)], ("127.0.0.1", port))
            index += 1
            if index % len(datagrams) == 0:
                total += flows
            time.sleep(1 / RATE)
    return total


def _pid(folder: Path) -> int:
    return int((folder / "state" / "store" / "owner.lock").read_text().split()[0])


def _sample(pid: int) -> dict[str, int]:
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return {
        "rss": int(fields["VmRSS"].split()[0]) * 1024,
        "threads": int(fields["Threads"]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


if __name__ == "__main__":
    sys.exit(main())
