"""Plays a scenario on a daemon: datagrams to its port, lines to its logs, a capture into its folder."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from csirt.clock import HOUR, SECOND, Clock
from csirt.demo.exporter import Exporter
from csirt.demo.scenario import EDGES, Scenario

TICK = 0.1


def play(
    scenario: Scenario,
    *,
    clock: Clock,
    port: int,
    logs: Path,
    watched: Path,
    seconds: float = 20.0,
    progress: Callable[[float], None] = lambda _: None,
) -> dict[str, int]:
    """One scenario hour in about `seconds`; counts of what was sent: datagrams, flows, lines, packets."""
    queues = []
    for number, (address, flows) in enumerate(zip(EDGES, scenario.flows, strict=True)):
        exporter = Exporter((9, 10)[number], domain=number + 1, boot=scenario.start - 24 * HOUR)
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((address, 0))
        queues.append((sender, sorted(exporter.datagrams(flows), key=lambda item: item[0])))
    sent = {"datagrams": 0, "flows": sum(len(flows) for flows in scenario.flows), "lines": 0, "packets": 0}
    heads = [0] * len(queues)
    line = 0
    captured = False
    begin = clock.monotonic()
    files = {name: (logs / name).open("a", encoding="utf-8") for name in ("mail.log", "msh.ndjson")}
    try:
        while True:
            passed = (clock.monotonic() - begin) / seconds
            now = scenario.start + int(passed * HOUR)
            for index, (sender, datagrams) in enumerate(queues):
                while heads[index] < len(datagrams) and (datagrams[heads[index]][0] <= now or passed >= 1):
                    sender.sendto(datagrams[heads[index]][1], ("127.0.0.1", port))
                    heads[index] += 1
                    sent["datagrams"] += 1
            while line < len(scenario.lines) and (scenario.lines[line][0] <= now or passed >= 1):
                _, name, text = scenario.lines[line]
                files[name].write(text + "\n")
                line += 1
            for handle in files.values():
                handle.flush()
            if not captured and now >= scenario.capture_at:
                captured = True
                sent["packets"] = capture(scenario, watched)
            progress(min(passed, 1.0))
            if passed >= 1:
                break
            clock.sleep(TICK)
    finally:
        for handle in files.values():
            handle.close()
        for sender, _ in queues:
            sender.close()
    sent["lines"] = line
    return sent


def capture(scenario: Scenario, watched: Path) -> int:
    """Have scapy make the capture file in a process of its own; how many packets it holds."""
    order = json.dumps({**scenario.capture, "path": str(watched / "gp-office.pcap")})
    done = subprocess.run(
        [sys.executable, "-m", "csirt.demo.capture"],
        input=order,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout)


def scenario_start(now: int) -> int:
    """The hour that ends now, on a whole second."""
    return (now - HOUR) // SECOND * SECOND
