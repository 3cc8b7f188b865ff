"""Set-up of the demo: the first run of an install compiles the loops that events go through, before time counts."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from csirt.clock import HOUR
from csirt.demo.exporter import Exporter
from csirt.demo.play import capture
from csirt.demo.scenario import EDGES, build

SOME = 5  # datagrams of each exporter
RAW = 101  # LINKTYPE_RAW: an IP packet and nothing before it


def compile_kernels(folder: Path, config: Path, start: int) -> None:
    """Replay a few datagrams and packets into a store that is thrown away; the compiled code stays in numba's cache.
    What goes wrong here goes wrong again in the demo itself, which says so."""
    place = folder / "set-up"
    place.mkdir()
    scenario = build(start)
    capture(scenario, place)
    for number, (address, flows) in enumerate(zip(EDGES, scenario.flows, strict=True)):
        exporter = Exporter((9, 10)[number], domain=number + 1, boot=start - 24 * HOUR)
        datagrams = sorted(exporter.datagrams(flows), key=lambda item: item[0])
        (place / f"{number}.pcap").write_bytes(pcap(address, islice(datagrams, SOME)))
    files = sorted(str(path) for path in place.glob("*.pcap"))
    words = ["replay", *files, "--store", str(place / "store"), "--config", str(config)]
    subprocess.run([sys.executable, "-m", "csirt", *words], capture_output=True, timeout=300, check=False)
    shutil.rmtree(place)


def pcap(address: str, datagrams: Iterable[tuple[int, bytes]]) -> bytes:
    """A capture of what an exporter sent: (time in microseconds, payload), in UDP over IPv4 without checksums."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, RAW)]
    ends = socket.inet_aton(address) + socket.inet_aton("127.0.0.1")
    for time, payload in datagrams:
        size = len(payload) + 28
        parts.append(struct.pack("<IIII", time // 1_000_000, time % 1_000_000, size, size))
        parts.append(struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0, 64, 17, 0) + ends)
        parts.append(struct.pack(">HHHH", 50_000, 2055, size - 20, 0) + payload)
    return b"".join(parts)
