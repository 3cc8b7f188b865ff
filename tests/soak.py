"""`python -m tests.soak [MINUTES] [--url URL]`: a daemon under steady traffic; memory, files and threads must stay
level. `--url`: a cluster follows its store (`python -m tests.elastic.serve python -m tests.soak 10` starts one).

Prints one JSON line a minute and exits 1 when resident memory grew by more than 64 MiB after the first fifth of the
time, when files or threads grew, or when a sent flow was not stored, or something of it is not in the cluster.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
    parser = argparse.ArgumentParser()
    parser.add_argument("minutes", nargs="?", type=float, default=10.0)
    parser.add_argument("--url", default="")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="csirt-soak-") as name:
        folder = Path(name)
        port = free_port(socket.SOCK_DGRAM)
        config = lay_out(folder, netflow=port, health=free_port(socket.SOCK_STREAM), webhook=9)
        if asked.url:
            _follow(config, asked.url)
        with daemon(config, folder / "csirt.sock", log=folder / "daemon.log") as client:
            return watch(client, port, folder, asked.minutes)


def _follow(config: Path, url: str) -> None:
    """Let a cluster follow the store."""
    text = config.read_text().replace("\n[stores]\n", '\n[stores]\nkind = "elasticsearch"\n')
    config.write_text(f'{text}[stores.elasticsearch]\nurls = ["{url}"]\nprefix = "soak"\n')
    subprocess.run([sys.executable, "-m", "csirt", "--config", str(config), "store", "init"], check=True)


def watch(client: SocketClient, port: int, folder: Path, minutes: float) -> int:
    """Send, sample, judge."""
    process = _pid(folder)
    sent, samples = 0, []
    begin = time.monotonic()
    while time.monotonic() - begin < minutes * 60:
        sent += _minute(port, min(60.0, minutes * 60 - (time.monotonic() - begin)))
        sample = _sample(process)
        said = client.call("status.show")
        sample |= {"stored": said["events"].get("flow", 0), **_behind(said)}
        samples.append(sample)
        print(json.dumps({"seconds": round(time.monotonic() - begin), "sent": sent, **sample}), flush=True)
    end = time.monotonic() + 60
    while True:
        time.sleep(10)
        said = client.call("status.show")
        behind = _behind(said)
        if not any(behind.values()) or time.monotonic() > end:
            break
    stored = said["events"].get("flow", 0)
    early, late = samples[len(samples) // 5], samples[-1]
    level = late["rss"] - early["rss"] <= LIMIT and late["files"] <= early["files"] + 8
    level = level and late["threads"] <= early["threads"] + 8
    print(json.dumps({"sent": sent, "stored": stored, "level": level, "grew": late["rss"] - early["rss"], **behind}))
    return 0 if level and stored == sent and not any(behind.values()) else 1


def _behind(said: dict[str, Any]) -> dict[str, int]:
    """What the cluster lacks or refused, where one follows."""
    if "cluster" not in said:
        return {}
    cluster = said["cluster"]
    waiting = sum(part["waiting"] for part in (cluster["events"], cluster["minutes"]))
    return {"waiting": cluster["waiting"] + waiting, "dead_letters": cluster["dead_letters"]}


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
