"""`csirt bench pipeline`: from datagrams on disk to committed events and alerts, flow records per CPU second.

Every run is a process of its own on a store of its own; the time is that process's CPU time from its start to its end,
imports included. The store's dump must equal that of an unmeasured run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from csirt.bench import corpus
from csirt.clock import SYSTEM
from csirt.errors import CsirtError

FLOOR = 500_000.0
RECORDS = 3_000_000


def run(work: Path, *, seed: int, runs: int, given: Path | None, records: int = RECORDS) -> list[dict[str, Any]]:
    """The results of `csirt.bench/1`. `given`: a folder of captures (and `register.yml`) to use instead."""
    paths = sorted(given.glob("*.pcap*")) if given else corpus.write(work / "corpus", seed=seed, records=records)
    if not paths:
        raise CsirtError(f"{given}: no captures there; name a folder with .pcap files")
    config = _config(work, given or work / "corpus")
    reference = _once(work / "unmeasured", config, paths)
    measured = [_once(work / f"run{number}", config, paths) for number in range(runs + 1)][1:]  # the first warms up
    rates = [item["flows"] / item["cpu_s"] for item in measured]
    digests = {item["digest"] for item in measured}
    median = statistics.median(rates)
    return [
        {
            "name": "pipeline",
            "unit": "flow records per CPU second",
            "ours": {
                "wall_s": [round(item["wall_s"], 3) for item in measured],
                "cpu_s": [round(item["cpu_s"], 3) for item in measured],
                "median": round(median),
                "digest": measured[0]["digest"],
            },
            "peer": None,
            "ratio": None,
            "ratio_min": None,
            "floor": FLOOR,
            "equal_work": digests == {reference["digest"]},
            "pass": median >= FLOOR and digests == {reference["digest"]},
            "flows": measured[0]["flows"],
            "alerts": measured[0]["alerts"],
            "share": _share(measured),
        }
    ]


def _share(measured: list[dict[str, Any]]) -> dict[str, float]:
    """Each stage's share of the CPU time, median over the runs; `other` is start-up and everything between."""
    names = sorted({name for item in measured for name in item["spent"]})
    shares = {
        name: round(statistics.median(item["spent"].get(name, 0.0) / item["cpu_s"] for item in measured), 3)
        for name in names
    }
    shares["other"] = round(1 - sum(shares.values()), 3)
    return shares


def _config(work: Path, folder: Path) -> Path:
    register = folder / "register.yml"
    work.mkdir(parents=True, exist_ok=True)
    lines = [f"state = {json.dumps(str(work / 'state'))}"]
    if register.is_file():
        lines += ["[enrich]", f"register = {json.dumps(str(register))}"]
    path = work / "bench.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _once(store: Path, config: Path, paths: list[Path]) -> dict[str, Any]:
    """One replay in a fresh process, then its dump's digest in another."""
    words = [sys.executable, "-m", "csirt.bench.child", str(store), str(config), *map(str, paths)]
    begin = SYSTEM.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = SYSTEM.monotonic() - begin
    if process.returncode:
        raise CsirtError(f"a benchmark run ended with {process.returncode}")
    result: dict[str, Any] = json.loads(output)
    dump = subprocess.run(
        [sys.executable, "-m", "csirt", "store", "dump", "--canonical", "--counts", "--store", str(store)],
        capture_output=True,
        check=True,
    )
    result["digest"] = json.loads(dump.stdout)["sha256"]
    result["cpu_s"] = usage.ru_utime + usage.ru_stime
    result["wall_s"] = wall
    _remove(store)
    return result


def _remove(store: Path) -> None:
    import shutil

    shutil.rmtree(store)
