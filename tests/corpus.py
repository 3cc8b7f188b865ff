"""Fixed inputs of every kind, made from a seed: exports, a spool segment, a capture, relay and handler logs."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csirt.bench import corpus as exports
from csirt.clock import HOUR
from csirt.demo.exporter import Exporter
from csirt.demo.network import register
from csirt.demo.scenario import EDI_DOMAIN, build

START = 1_764_000_000_000_000 - HOUR


@dataclass(frozen=True)
class Inputs:
    """Where everything is. `files` in the order they are to be replayed."""

    folder: Path
    config: Path
    files: list[Path]


def make(folder: Path, *, flows: int = 200_000, seed: int = 5) -> Inputs:
    """Write the inputs below `folder`: about `flows` flow records, plus an hour of the demo's attack everywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    files = exports.write(folder / "exports", seed=seed, records=flows)
    scenario = build(START, seed=seed, background=4_000)
    files += [segment(folder, number, rows) for number, rows in enumerate(scenario.flows)]
    capture = folder / "gp-office.pcap"
    order = json.dumps({**scenario.capture, "path": str(capture)})
    subprocess.run(
        [sys.executable, "-m", "csirt.demo.capture"], input=order, text=True, check=True, capture_output=True
    )
    files.append(capture)
    for name in ("mail.log", "msh.ndjson"):
        path = folder / name
        lines = [text for _, log, text in scenario.lines if log == name]
        path.write_text("\n".join(lines) + "\n")
        files.append(path)
    return Inputs(folder, write_config(folder), files)


def write_config(folder: Path, *, batch_rows: int = 20_000) -> Path:
    """A configuration with a register, organisations and a route."""
    (folder / "register.yml").write_text(registered())
    q = json.dumps
    path = folder / "csirt.toml"
    path.write_text(
        f"""state = {q(str(folder / "state"))}
[control]
socket = {q(str(folder / "csirt.sock"))}
[decode]
organisation_domains = ["{EDI_DOMAIN}", "helsenett.example"]
[enrich]
register = {q(str(folder / "register.yml"))}
[[notify.contacts]]
name = "duty"
channel = "webhook"
address = "http://127.0.0.1:9/page"
[[notify.routes]]
name = "all"
contacts = ["duty"]
[stores]
batch_rows = {batch_rows}
[health]
listen = ""
"""
    )
    return path


def registered() -> str:
    """The demo's register with those members of the bulk exports whose prefixes are nobody's there: forged sources are
    found too, and not in every flow."""
    mine = [ipaddress.ip_network(prefix) for prefix in re.findall(r"prefixes: \[([0-9./]+)", register())]
    others = re.findall(r"^  - {id: b.*prefixes: \[([0-9./]+).*$", exports.register(), re.MULTILINE)
    lines = [line for line in exports.register().splitlines() if line.startswith("  - {id: b")]
    free = [
        line
        for line, prefix in zip(lines, others, strict=True)
        if not any(ipaddress.ip_network(prefix).overlaps(one) for one in mine)
    ]
    return register().replace("members:\n", "members:\n" + "\n".join(free) + "\n", 1)


def datagrams(rows: np.ndarray, number: int) -> list[tuple[int, bytes]]:
    """A router's export of the rows: (export time in microseconds, payload)."""
    return list(Exporter((9, 10)[number], domain=number + 1, boot=START - 24 * HOUR).datagrams(rows))


def segment(folder: Path, number: int, rows: np.ndarray) -> Path:
    """A spool segment as the collector writes it, with a fixed name and a fixed identity."""
    from tests.spool import write_segment

    path = folder / f"edge{number + 1}.pcapng"
    write_segment(path, f"127.0.0.{11 + number}", datagrams(rows, number), uuid=bytes([number + 1] * 16))
    return path
