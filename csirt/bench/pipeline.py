"""`csirt bench pipeline`: from datagrams on disk to committed events and alerts, flow records per CPU second.

Every run is a process of its own on a store of its own; the time is the CPU time of that process and its children from
start to end: imports, reading rules and register, and every sync and commit are inside. The store's dump must equal
that of `csirt replay`, which nothing measures and which runs first: it also leaves compiled modules and kernels behind,
as an installed package has them.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csirt.bench import captures, corpus, pairs, process
from csirt.errors import CsirtError

FLOOR = 500_000.0
RECORDS = 3_000_000
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
    paths = captures.paths(given) if given else corpus.write(work / "corpus", seed=task.seed, records=task.records)
    folder = (given if given.is_dir() else given.parent) if given else work / "corpus"
    config = configuration(work, folder, task)
    reference = _replayed(work, config, paths)
    documents: list[dict[str, Any]] = []

    def once() -> pairs.Run:
        document, run = _once(work, config, paths)
        documents.append(document)
        return run

    words = [sys.executable, "-m", "csirt.bench.child"]
    ours = pairs.Side("csirt", "", words, once)
    contest = pairs.Contest("pipeline", "flow records per CPU second", FLOOR, task.runs, ours, alone=True)
    entry = pairs.result(contest)
    measured = documents[1:]  # the first was the warm-up
    if not measured[0]["rules"]:
        raise CsirtError("no rule could be loaded; `csirt rules check` says why")
    dump = entry["ours"]["work"]["dump"]
    equal = entry["equal_work"] and dump == reference
    return [
        entry
        | {
            "equal_work": equal,
            "pass": bool(entry["pass"] and equal),
            **{name: measured[0][name] for name in ("flows", "alerts", "rules", "refused_rules")},
            "unmeasured_digest": reference,
            "share": share(measured),
            "ours": entry["ours"] | {"median": round(entry["ours"]["median"]), "digest": dump},
        }
    ]


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


def _once(work: Path, config: Path, paths: list[Path]) -> tuple[dict[str, Any], pairs.Run]:
    """One measured run in a fresh process, then its dump's digest in another."""
    store = work / "measured"
    words = [sys.executable, "-m", "csirt.bench.child", str(store), str(config), *map(str, paths)]
    spent = process.run(words, environment=process.environment(work, large=False))
    document: dict[str, Any] = json.loads(spent.output)
    digest = _digest(work, store)
    shutil.rmtree(store)
    document["cpu_s"] = spent.cpu_s
    work_done = {name: document[name] for name in ("flows", "alerts", "rules", "refused_rules")} | {"dump": digest}
    rate = document["flows"] / spent.cpu_s
    return document, pairs.Run(rate, spent.wall_s, spent.cpu_s, work_done, spent.rss_mib)


def _digest(work: Path, store: Path) -> str:
    output = _csirt(work, ["store", "dump", "--canonical", "--counts", "--store", str(store)])
    return str(json.loads(output)["sha256"])


def _csirt(work: Path, words: list[str]) -> bytes:
    return process.run([sys.executable, "-m", "csirt", *words], environment=process.environment(work)).output
