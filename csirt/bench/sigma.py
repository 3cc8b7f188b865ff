"""`csirt bench sigma`: rules over events on one core, beside rsigma-eval on the same rules and events.

Both sides produce (event, rule id) pairs, which must be the same. The rate is events per CPU second of what is timed;
of `latency` it is batches per second at the 95th percentile of a batch's time. Compiling the rules is timed for
neither.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from csirt.bench import correlate, pairs, process, rsigma, sigma_corpus
from csirt.errors import NotFound

EVENTS = 200_000


@dataclass(frozen=True)
class Task:
    """What to measure: rules of folders beside synthetic ones, events of a folder or generated; `only` these
    results."""

    seed: int = 1
    runs: int = 5
    rules: Sequence[Path] = ()
    corpus: Path | None = None
    events: int = EVENTS
    only: tuple[str, ...] = ()


@dataclass
class _Last:
    """What the last run of each side said."""

    said: dict[str, dict[str, Any]] = field(default_factory=dict)


def run(work: Path, task: Task) -> list[dict[str, Any]]:
    """The results of `csirt.bench/1`. Raises NotFound for a corpus without events."""
    return list(_Bench(work, task).results())


class _Bench:
    """The rules, events and programs of one call."""

    def __init__(self, work: Path, task: Task) -> None:
        self.work, self.task = work, task
        self.core = process.cores()[-1]
        self.harness = rsigma.program()
        self.environments = {
            mode: process.environment(work, threads=False, large=mode == "columns") for mode in ("columns", "file")
        }
        self.last = _Last()
        self.sets: dict[str, Path] = {}
        self.events = work / "events.ndjson"

    def _prepare(self) -> None:
        """Write the rules and events of the contests that are no correlations."""
        task = self.task
        sets = sigma_corpus.rule_sets(task.seed, task.rules)
        self.sets = {name: self._common(name, rules) for name, rules in sets.items()}
        if task.corpus is None:
            sigma_corpus.write_events(self.events, task.seed, task.events, sets)
        else:
            _gather(task.corpus, self.events)

    def results(self) -> Iterator[dict[str, Any]]:
        wanted = self.task.only
        correlations = {
            f"{kind.replace('_', '-')}-batches-of-{batch // 1000}k": (kind, batch)
            for kind in correlate.KINDS
            for batch in (2_000, 10_000, 50_000)
        }
        if not wanted or set(wanted) - set(correlations):
            self._prepare()
            for contest in self._contests():
                if not wanted or contest.name in wanted:
                    entry = pairs.result(contest)
                    yield entry | self._compared()
        for name, (kind, batch) in correlations.items():
            if not wanted or name in wanted:
                yield self._correlation(name, kind, batch)

    def _correlation(self, name: str, kind: str, batch: int) -> dict[str, Any]:
        """A correlation over matched flows, whose alerts must be what plain reading finds."""
        rules, events = self.work / f"{kind}.yml", self.work / "flows.ndjson"
        count = self.task.events
        given = correlate.flows(self.task.seed, count)
        if not events.exists():
            correlate.write(events, given)
        rules.write_text(correlate.rules(kind), encoding="utf-8")
        words = [sys.executable, "-m", "csirt.bench.correlate_child", kind]
        ours = self._counted("csirt", "", [*words, *map(str, (self.task.seed, count, batch))])
        peer = None
        if self.harness is not None:
            target, version = self.harness
            given_words = [str(target), "correlate", str(rules), str(events), str(batch), str(self.work / "fires")]
            peer = self._counted("rsigma", version, given_words)
        absent = "" if self.harness else rsigma.HOW
        more = {"core": self.core, "batch": batch}
        contest = pairs.Contest(name, "events per CPU second", 1.0, self.task.runs, ours, peer, absent, more=more)
        entry = pairs.result(contest)
        alerts = correlate.expected(kind, given)
        said = self.last.said["csirt"]
        same = said["digest"] == correlate.digest(alerts)
        entry |= {
            "alerts": said["alerts"],
            "equals_oracle": same,
            "fires": self.last.said.get("rsigma", {}).get("matches"),
        }
        return entry if same else entry | {"equal_work": False, "pass": False}

    def _counted(self, name: str, version: str, words: list[str]) -> pairs.Side:
        def once() -> pairs.Run:
            spent = process.run(words, environment=self.environments["columns"], core=self.core)
            said = json.loads(spent.output)
            self.last.said[name] = said
            work = {key: said[key] for key in ("events", "alerts", "digest") if key in said}
            more = {"p95_batch_s": float(np.percentile(said["batch_s"], 95)), "process_cpu_s": spent.cpu_s}
            return pairs.Run(said["events"] / said["cpu_s"], said["wall_s"], said["cpu_s"], work, spent.rss_mib, more)

        return pairs.Side(name, version, words, once)

    def _contests(self) -> Iterator[pairs.Contest]:
        for name, rules, batch, floor in (
            ("columns-1000-rules", "1000", 100_000, 8.0),
            ("columns-all-rules", "all", 100_000, 8.0),
            ("columns-100-rules", "100", 100_000, 3.0),
            ("columns-100-rules-small-batches", "100", 1_000, 0.6),
        ):
            if rules in self.sets:
                yield self._contest(name, floor, "columns", "columns", rules, self.events, batch)
        yield self._contest("ndjson-1000-rules", 3.0, "file", "ndjson", "1000", self.events, 100_000)
        yield self._contest("ndjson-100-rules", 0.8, "file", "ndjson", "100", self.events, 100_000)
        parquet = self.work / "events.parquet"
        if sigma_corpus.write_parquet(self.events, parquet):
            yield self._contest("backtest-1000-rules", 10.0, "file", "ndjson", "1000", parquet, 100_000)
        yield self._contest("latency-10k-1000-rules", 6.0, "columns", "columns", "1000", self.events, 10_000, tail=True)

    def _contest(
        self,
        name: str,
        floor: float,
        mode: str,
        other: str,
        rules: str,
        events: Path,
        batch: int,
        tail: bool = False,
    ) -> pairs.Contest:
        words = [sys.executable, "-m", "csirt.bench.sigma_child", mode]
        given = [str(self.sets[rules].with_suffix("")), str(events), str(batch)]
        environment = self.environments[mode]
        ours = self._side("csirt", "", [*words, *given], environment, tail)
        peer = None
        if self.harness is not None:
            target, version = self.harness
            words = [str(target), other, str(self.sets[rules]), str(self.events), str(batch)]
            peer = self._side("rsigma", version, words, environment, tail)
        unit = "batches per second at the 95th percentile" if tail else "events per CPU second"
        more = {"core": self.core, "batch": batch}
        absent = "" if self.harness else rsigma.HOW
        return pairs.Contest(name, unit, floor, self.task.runs, ours, peer, absent, more=more)

    def _side(self, name: str, version: str, words: list[str], environment: dict[str, str], tail: bool) -> pairs.Side:
        found = self.work / f"pairs-{name}"

        def once() -> pairs.Run:
            spent = process.run([*words, str(found)], environment=environment, core=self.core)
            said = json.loads(spent.output)
            self.last.said[name] = said
            work = {"matches": said["matches"], "pairs": hashlib.sha256(found.read_bytes()).hexdigest()}
            slowest = float(np.percentile(said["batch_s"], 95))
            rate = 1 / slowest if tail else said["events"] / said["cpu_s"]
            more = {"p95_batch_s": slowest, "process_cpu_s": spent.cpu_s}
            return pairs.Run(rate, said["wall_s"], said["cpu_s"], work, spent.rss_mib, more)

        return pairs.Side(name, version, words, once)

    def _compared(self) -> dict[str, Any]:
        """How many rules there were and how many hit, and the rules whose counts differ: [ours, theirs]."""
        ours = self.last.said["csirt"]
        theirs = self.last.said.get("rsigma", ours)["counts"]
        differ = {
            name: [count, theirs.get(name)] for name, count in ours["counts"].items() if count != theirs.get(name)
        }
        hit = sum(1 for count in ours["counts"].values() if count)
        return {"rules": ours["rules"], "rules_hit": hit, "events": ours["events"], "counts_differ": differ}

    def _common(self, name: str, rules: list[dict[str, Any]]) -> Path:
        """A file of the rules that both sides load."""
        path = self.work / f"rules-{name}.yml"
        sigma_corpus.write_rules(path, rules)
        if self.harness is not None:
            empty = self.work / "empty.ndjson"
            empty.write_text("")
            words = [str(self.harness[0]), "columns", str(path), str(empty), "1", str(self.work / "pairs-none")]
            known = json.loads(process.run(words).output)["counts"]
            sigma_corpus.write_rules(path, [rule for rule in rules if rule["id"] in known])
        return path


def _gather(folder: Path, target: Path) -> None:
    """The events of a folder's `.ndjson` and `.jsonl` files, in sorted order, as one file."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".ndjson", ".jsonl") and path.is_file()]
    if folder.is_file():
        files = [folder]
    if not files:
        raise NotFound(f"{folder}: no .ndjson or .jsonl file with events there")
    with target.open("wb") as out:
        for path in files:
            raw = path.read_bytes()
            out.write(raw if raw.endswith(b"\n") or not raw else raw + b"\n")
