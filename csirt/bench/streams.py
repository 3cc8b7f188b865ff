"""Live receivers beside each other: one paced stream of datagrams on loopback, sent from one core to another.

Ours receives, spools, decodes and writes an Arrow file (csirt/bench/live_child.py); nfcapd writes its own file;
goflow2's harness decodes to structs and writes nothing. Counted per CPU second of the receiving process, and only where
nothing was lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csirt.bench import captures, exports, goflow2, pairs, process
from csirt.clock import SYSTEM
from csirt.errors import CsirtError

NFCAPD = "nfcapd is not here (Debian: apt-get install nfdump)"
PATIENCE = 120.0
IDLE = 2.0
PER_DATAGRAM = 22
BUFFER = 32 << 20
ROOM = 3_000  # octets of free disk that a datagram needs while it is spooled and decoded


@dataclass(frozen=True)
class Stream:
    """What is sent: `count` datagrams of the file, `rate` a second (0: as fast as it goes). The receiver's and the
    sender's cores; the same one where there is only one."""

    datagrams: Path
    warm: Path
    rate: int
    count: int

    @property
    def cores(self) -> tuple[int, int]:
        """The receiver's core and the sender's."""
        there = process.cores()
        return there[0], there[-1]


def prepared(work: Path, *, seed: int, rate: int, count: int, given: captures.Capture | None = None) -> Stream:
    """A stream of generated IPFIX datagrams of 22 flow records each, or of a capture's datagrams again and again."""
    exports.write(work / "live-warm", seed=1, records=3_000, kinds=("ipfix",))
    if given is None:
        exports.write(work / "stream", seed=seed, records=min(count, 20_000) * PER_DATAGRAM, kinds=("fixed",))
        given = captures.known(work / "stream" / "netflow-fixed.pcap")
    assert given is not None
    plain = captures.plain(given, work / "stream.datagrams")
    return Stream(plain, work / "live-warm" / "netflow-ipfix.pcap", rate, count)


def contest(work: Path, stream: Stream, runs: int) -> pairs.Contest:
    """Ours beside nfcapd."""
    there = shutil.which("nfcapd")
    peer = pairs.Side("nfcapd", version(there), [there], lambda: _run(nfcapd(stream))) if there else None
    ours = pairs.Side("csirt", "", [sys.executable, "-m", "csirt.bench.live_child"], lambda: _run(csirt(work, stream)))
    return pairs.Contest(
        "live",
        "flow records per CPU second",
        1.0,
        runs,
        ours,
        peer,
        absent="" if there else NFCAPD,
        more={"rate": stream.rate, "sent": stream.count, "aim_ratio": 1.3},
    )


def _run(found: dict[str, Any]) -> pairs.Run:
    work = found["work"]
    more = {"lost": float(found["lost"])}
    return pairs.Run(work["records"] / max(found["cpu_s"], 0.01), found["wall_s"], found["cpu_s"], work, 0, more)


def csirt(work: Path, stream: Stream) -> dict[str, Any]:
    """Our receiver under the stream: counts, sums, CPU seconds, and by how much it was behind at the end."""
    _room(work, stream)
    port = free_port()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        words = [str(port), str(IDLE), str(stream.warm), folder]
        words = [*process.pinned(stream.cores[0]), sys.executable, "-m", "csirt.bench.live_child", *words]
        child = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=process.environment(work, threads=False)
        )
        try:
            assert child.stderr is not None
            said = child.stderr.readline()
            if said.strip() != b"ready":
                raise CsirtError("our receiver did not start: " + (said + child.stderr.read()).decode()[-500:])
            sent = send(port, stream)
            output, errors = child.communicate(timeout=PATIENCE + 4 * stream.count / max(stream.rate, 20_000))
        finally:
            child.kill()
            child.wait()
    if child.returncode:
        raise CsirtError("our receiver failed: " + errors.decode()[-500:])
    found: dict[str, Any] = json.loads(output)
    return found | {"sent": sent["sent"], "send_s": sent["seconds"], "lost": sent["sent"] - found["decoded"]}


def nfcapd(stream: Stream) -> dict[str, Any]:
    """nfcapd under the stream, from its own statistics."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        words = ["nfcapd", "-w", folder, "-p", str(port), "-b", "127.0.0.1", "-B", str(BUFFER), "-t", "3600"]
        with started([*process.pinned(stream.cores[0]), *words], port) as child:
            before = cpu_seconds(child.pid)
            sent = send(port, stream)
            SYSTEM.sleep(IDLE)
            spent = cpu_seconds(child.pid) - before
            dropped = table_drops(port)
        done = subprocess.run(["nfdump", "-R", folder, "-I"], capture_output=True, text=True, check=False)
    numbers = {name: int(value) for name, value in re.findall(r"^(\w+): (\d+)$", done.stdout, re.MULTILINE)}
    work = {"records": numbers.get("Flows", 0), "octets": numbers.get("Bytes", 0), "packets": numbers.get("Packets", 0)}
    return {"work": work, "cpu_s": spent, "wall_s": sent["seconds"], "sent": sent["sent"], "lost": dropped}


def goflow(harness: tuple[Path, str], stream: Stream) -> dict[str, Any]:
    """goflow2's decoder under the stream."""
    port = free_port()
    words = [*process.pinned(stream.cores[0]), str(harness[0]), "live", str(port), str(int(IDLE))]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert child.stderr is not None
        child.stderr.readline()
        sent = send(port, stream)
        output, _ = child.communicate(timeout=PATIENCE)
    finally:
        child.kill()
        child.wait()
    said = json.loads(output)
    lost = sent["sent"] - said["datagrams"]
    work = {"records": said["records"]}
    return {"work": work, "cpu_s": said["cpu_s"], "wall_s": said["seconds"], "sent": sent["sent"], "lost": lost}


def send(port: int, stream: Stream) -> dict[str, Any]:
    """Send the stream from its core; how many datagrams, in how many seconds."""
    words = [sys.executable, "-m", "csirt.bench.sender", str(port), str(stream.rate), str(stream.count)]
    found: dict[str, Any] = json.loads(process.run([*words, str(stream.datagrams)], core=stream.cores[1]).output)
    return found


def version(program: str | None) -> str:
    """What nfcapd or nfdump says it is; empty without one."""
    if program is None:
        return ""
    done = subprocess.run([program, "-V"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+\.\d+(?:\.\d+)?)", done.stdout + done.stderr)
    return found[1] if found else ""


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table_drops(port: int) -> int:
    """The drops column of the UDP socket at this port."""
    for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        parts = line.split()
        if int(parts[1].rpartition(":")[2], 16) == port:
            return int(parts[-1])
    return 0


def free_port() -> int:
    """A UDP port nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _room(work: Path, stream: Stream) -> None:
    free = shutil.disk_usage(work).free
    if free < stream.count * ROOM:
        raise CsirtError(f"{work}: {free >> 20} MiB free are too few for {stream.count} datagrams; send fewer")


@contextlib.contextmanager
def started(words: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program that listens on a UDP port, ended with SIGTERM."""
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: child.poll() is not None or _listens(port))
        if child.poll() is not None:
            raise CsirtError(f"{words[-1]} did not start")
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


def _listens(port: int) -> bool:
    lines = Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]
    return any(int(line.split()[1].rpartition(":")[2], 16) == port for line in lines)


def _wait(done: Callable[[], bool]) -> None:
    end = SYSTEM.monotonic() + PATIENCE
    while not done():
        if SYSTEM.monotonic() > end:
            raise CsirtError("a receiver did not start")
        SYSTEM.sleep(0.05)


def endurance(work: Path, *, seed: int, plan: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """(rate, seconds): nothing may be lost, and all be decoded within twice the time; rate 0: every datagram must be
    accounted for. nfcapd and goflow2 beside it, for comparison only."""
    harness = goflow2.program()
    results: list[dict[str, Any]] = []
    for rate, seconds in plan:
        stream = prepared(work, seed=seed, rate=rate, count=(rate or 200_000) * seconds)
        ours = csirt(work, stream)
        beside: dict[str, Any] = {}
        if shutil.which("nfcapd"):
            beside["nfcapd"] = _share(nfcapd(stream))
        if harness is not None:
            beside["goflow2"] = _share(goflow(harness, stream))
        accounted = ours["sent"] == ours["spooled"] + ours["kernel_dropped"] + ours["spool_dropped"]
        lost = ours["sent"] - ours["decoded"]
        good = accounted and ours["decoded"] == ours["spooled"]
        if rate:
            good = good and not lost and ours["behind_s"] <= ours["send_s"]
        name = f"live-{rate}" if rate else "live-most"
        results.append(
            {
                "name": name,
                "unit": "share of sent datagrams decoded",
                "ours": {
                    "wall_s": [round(ours["wall_s"], 3)],
                    "cpu_s": [round(ours["cpu_s"], 3)],
                    "median": round(ours["decoded"] / ours["sent"], 6),
                    "digest": pairs.digest(ours["work"]),
                    "work": ours["work"],
                },
                "peer": None,
                "ratio": None,
                "ratio_min": None,
                "floor": 1.0 if rate else None,
                "equal_work": accounted,
                "pass": good,
                "beside": beside,
                "rate": round(ours["sent"] / ours["send_s"]),
                "behind_s": round(ours["behind_s"], 2),
                **{key: ours[key] for key in ("sent", "spooled", "kernel_dropped", "spool_dropped", "decoded")},
            }
        )
    return results


def _share(found: dict[str, Any]) -> dict[str, Any]:
    kept = 1 - found["lost"] / found["sent"]
    return {"kept": round(kept, 6), "records": found["work"]["records"], "cpu_s": round(found["cpu_s"], 3)}
