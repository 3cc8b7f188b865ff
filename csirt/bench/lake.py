"""How much room flow records take: our compacted lake with all stored columns beside nfdump's zstd file.

The file sizes are compared, not times: `rate` is records per octet of file, so that more is better as everywhere.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from csirt.bench import pairs, process, streams
from csirt.bench.captures import Capture
from csirt.bench.streams import Stream
from csirt.errors import CsirtError

FLOOR = 0.85
LEAST = (1, 7, 5)
PACE = 8_000  # datagrams a second: nfcapd must not lose one
HOW = (
    "nfdump 1.7.5 or newer with zstd is not here (Debian 13: apt-get install nfdump; on an older Debian its package "
    "runs when unpacked with `dpkg-deb -x` and put first in PATH)"
)


def contest(work: Path, capture: Capture, stream: Stream) -> pairs.Contest:
    """One run of each is enough: sizes do not vary."""
    there, said = shutil.which("nfdump"), streams.version(shutil.which("nfdump"))
    able = there is not None and shutil.which("nfcapd") is not None and _numbers(said) >= LEAST
    peer = pairs.Side("nfdump", said, ["nfdump", "-z=zstd"], lambda: _nfdump(stream)) if able else None
    ours = pairs.Side("csirt", "", [sys.executable, "-m", "csirt.bench.lake_child"], lambda: _ours(work, capture))
    return pairs.Contest(
        "lake",
        "flow records per octet of file",
        FLOOR,
        1,
        ours,
        peer,
        absent="" if able else HOW + (f"; found {said}" if said else ""),
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part)


def _ours(work: Path, capture: Capture) -> pairs.Run:
    """Replay the capture into a store, compact it, measure its files."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        words = [sys.executable, "-m", "csirt.bench.lake_child", folder, str(capture.path)]
        spent = process.run(words, environment=process.environment(work))
    said: dict[str, Any] = json.loads(spent.output)
    size, records = said.pop("size"), said["records"]
    more = {"octets_per_record": size / records}
    return pairs.Run(records / size, spent.wall_s, spent.cpu_s, said, spent.rss_mib, more)


def _nfdump(stream: Stream) -> pairs.Run:
    """Send the capture once to nfcapd, write what it kept as one zstd file, measure that."""
    once = replace(stream, rate=PACE)
    port = streams.free_port()
    with tempfile.TemporaryDirectory() as folder:
        words = ["nfcapd", "-w", folder, "-p", str(port), "-b", "127.0.0.1", "-B", str(streams.BUFFER), "-t", "3600"]
        with streams.started(words, port):
            sent = streams.send(port, once)
        out = Path(folder) / "all.zstd"
        done = subprocess.run(["nfdump", "-R", folder, "-w", str(out), "-z=zstd"], capture_output=True, check=False)
        if done.returncode or not out.is_file():
            raise CsirtError("nfdump could not write a zstd file: " + done.stderr.decode("utf-8", "replace")[-300:])
        said = subprocess.run(["nfdump", "-r", str(out), "-I"], capture_output=True, text=True, check=False).stdout
        size = out.stat().st_size
    numbers = {name: int(value) for name, value in re.findall(r"^(\w+): (\d+)$", said, re.MULTILINE)}
    work = {"records": numbers.get("Flows", 0), "octets": numbers.get("Bytes", 0), "packets": numbers.get("Packets", 0)}
    more = {"octets_per_record": size / max(work["records"], 1)}
    return pairs.Run(work["records"] / size, float(sent["seconds"]), 0.0, work, 0, more)
