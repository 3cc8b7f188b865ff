"""`csirt bench pipeline`: from datagrams on disk to committed events and alerts, flow records per CPU second.

Every run is a process of its own on a store of its own; the time is the CPU time of that process and its children from
start to end: imports, reading rules and register, and every sync and commit are inside. The store's dump must equal
that of `csirt replay`, which nothing measures and which runs first: it also leaves compiled modules and kernels behind,
as an installed package has them.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csirt.bench import corpus
from csirt.clock import SYSTEM
from csirt.errors import CsirtError, NotFound

FLOOR = 500_000.0
RECORDS = 3_000_000
SUFFIXES = (".pcap", ".pcapng", ".cap")
REGISTERS = ("register.yml", "register.yaml", "register.toml")


@dataclass(frozen=True)
class Task:
    """What to measure. `given`: a folder of captures (and a register) to use instead of generated ones, or one
    capture; `rules`: folders of rules beside the shipped ones, or instead of them."""

    seed: int = 1
    runs: int = 5
    given: Path | None = None
    records: int = RECORDS
    rules: Sequence[Path] = field(default=())
    shipped: bool = True


def run(work: Path, task: Task) -> list[dict[str, Any]]:
    """The results of `csirt.bench/1`. Raises NotFound for a corpus without captures."""
    given = task.given
    paths = captures(given) if given else corpus.write(work / "corpus", seed=task.seed, records=task.records)
    folder = (given if given.is_dir() else given.parent) if given else work / "corpus"
    config = configuration(work, folder, task)
    reference = _replayed(work, config, paths)
    measured = [_once(work, config, paths) for _ in range(task.runs)]
    if not measured[0]["rules"]:
        raise CsirtError("no rule could be loaded; `csirt rules check` says why")
    rates = [item["flows"] / item["cpu_s"] for item in measured]
    digests = {item["digest"] for item in measured}
    median = statistics.median(rates)
    equal = digests == {reference}
    return [
        {
            "name": "pipeline",
            "unit": "flow records per CPU second",
            "ours": {
                "wall_s": [round(item["wall_s"], 3) for item in measured],
                "cpu_s": [round(item["cpu_s"], 3) for item in measured],
                "rss_mib": [item["rss_mib"] for item in measured],
                "median": round(median),
                "digest": measured[0]["digest"],
            },
            "peer": None,
            "ratio": None,
            "ratio_min": None,
            "floor": FLOOR,
            "equal_work": equal,
            "pass": median >= FLOOR and equal,
            "flows": measured[0]["flows"],
            "alerts": measured[0]["alerts"],
            "rules": measured[0]["rules"],
            "refused_rules": measured[0]["refused_rules"],
            "unmeasured_digest": reference,
            "share": share(measured),
        }
    ]


def captures(given: Path) -> list[Path]:
    """The captures of a folder by name, or the one named. Raises NotFound when there are none."""
    found = [given] if given.is_file() else sorted(path for path in given.iterdir() if path.suffix in SUFFIXES)
    if not found:
        raise NotFound(f"{given}: no captures there; name a folder with {', '.join(SUFFIXES)} files")
    return found


def share(measured: list[dict[str, Any]]) -> dict[str, float]:
    """Each stage's share of the CPU time, median over the runs; `other` is start-up and everything between."""
    names = sorted({name for item in measured for name in item["spent"]})
    shares = {
        name: round(statistics.median(item["spent"].get(name, 0.0) / item["cpu_s"] for item in measured), 3)
        for name in names
    }
    shares["other"] = round(1 - sum(shares.values()), 3)
    return shares


def configuration(work: Path, folder: Path, task: Task) -> Path:
    """The configuration file of every run: the folder's register, the rules asked for, all else as it comes."""
    work.mkdir(parents=True, exist_ok=True)
    lines = [f"state = {json.dumps(str(work / 'state'))}", "[detect]", f"shipped = {json.dumps(task.shipped)}"]
    lines.append(f"rules = {json.dumps([str(path.resolve()) for path in task.rules])}")
    register = next((folder / name for name in REGISTERS if (folder / name).is_file()), None)
    if register is not None:
        lines += ["[enrich]", f"register = {json.dumps(str(register.resolve()))}"]
    path = work / "bench.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _replayed(work: Path, config: Path, paths: list[Path]) -> str:
    """The digest of the dump after a plain `csirt replay`."""
    store = work / "unmeasured"
    words = ["replay", *map(str, paths), "--store", str(store), "--config", str(config), "--json"]
    _csirt(work, words)
    digest = _digest(work, store)
    shutil.rmtree(store)
    return digest


def _once(work: Path, config: Path, paths: list[Path]) -> dict[str, Any]:
    """One measured run in a fresh process, then its dump's digest in another."""
    store = work / "measured"
    words = [sys.executable, "-m", "csirt.bench.child", str(store), str(config), *map(str, paths)]
    begin = SYSTEM.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=_environment(work))
    assert process.stdout is not None
    with process.stdout as stream:
        output = stream.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = SYSTEM.monotonic() - begin
    if process.returncode:
        raise CsirtError(f"a benchmark run ended with {process.returncode}")
    result: dict[str, Any] = json.loads(output)
    result["digest"] = _digest(work, store)
    result["cpu_s"] = usage.ru_utime + usage.ru_stime
    result["rss_mib"] = usage.ru_maxrss // 1024
    result["wall_s"] = wall
    shutil.rmtree(store)
    return result


def _digest(work: Path, store: Path) -> str:
    output = _csirt(work, ["store", "dump", "--canonical", "--counts", "--store", str(store)])
    return str(json.loads(output)["sha256"])


def _csirt(work: Path, words: list[str]) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "csirt", *words], stdout=subprocess.PIPE, check=False, env=_environment(work)
    )
    if done.returncode:
        raise CsirtError(f"`csirt {words[0]}` ended with {done.returncode}")
    return done.stdout


def _environment(work: Path) -> dict[str, str]:
    """Modules are compiled once, by the unmeasured run, even where the install is read-only or nothing may be written
    beside it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment.setdefault("PYTHONPYCACHEPREFIX", str(work / "modules"))
    return environment
