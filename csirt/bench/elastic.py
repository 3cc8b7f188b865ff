"""`csirt bench elastic`: what the cluster's writer, correlation and lists cost beside what the cluster can take.

`elastic-bulk`: documents a second by our writer beside the client's own `parallel_bulk`, at the best of several
settings found first. `elastic-incidents`: alerts a second to incidents and the cluster, beside our bulk rate of the
same pair. `elastic-correlate`: the same with all that comes of incidents: cases, their events, notifications.
`elastic-cases`: `csirt cases list` with many cases beside few. The server is the caller's; indices of the run's own
prefix are made in it and deleted.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csirt.bench import pairs, process
from csirt.config import ElasticCluster

URL = "http://127.0.0.1:9200"
DOCUMENTS, ALERTS = 200_000, 200_000
MANY, FEW = 1_000_000, 1_000  # cases
BULK, CORRELATE, LIST = 0.9, 0.35, 0.333
SETTINGS = [(threads, chunk) for threads in (2, 4) for chunk in (500, 2_000, 5_000)]
NAMES = ("elastic-bulk", "elastic-incidents", "elastic-correlate", "elastic-cases")


@dataclass(frozen=True)
class Task:
    """What to measure, and on which server."""

    url: str = URL
    seed: int = 1
    runs: int = 5
    documents: int = DOCUMENTS
    alerts: int = ALERTS
    cases: int = MANY
    only: Sequence[str] = ()


def run(work: Path, task: Task) -> list[dict[str, Any]]:
    """The results of `csirt.bench/1`. Raises Unreachable when no server answers, Usage for an unknown result."""
    from csirt.errors import Usage
    from csirt.stores.elastic import connect

    unknown = sorted(set(task.only) - set(NAMES))
    if unknown:
        raise Usage(f"no result {unknown[0]!r}; results: {', '.join(NAMES)}")
    prefix = f"csirt-bench-{os.getpid()}"
    config = ElasticCluster(urls=[task.url], prefix=prefix)
    with connect.client(config) as client:
        version = connect.probe(client, config, indices=False)["version"]
        bench = _Bench(work, task, config, version)
        made: dict[str, Callable[[], dict[str, Any]]] = dict(
            zip(NAMES, (bench.bulk, bench.incidents, bench.correlate, bench.cases), strict=True)
        )
        try:
            return [make() for name, make in made.items() if name in (task.only or NAMES)]
        finally:
            bench.clean(client)


@dataclass(frozen=True)
class _Bench:
    work: Path
    task: Task
    config: ElasticCluster
    version: str

    def bulk(self) -> dict[str, Any]:
        """Our writer beside the client's helper."""
        tried = {setting: self._bulk("peer", *setting).rate for setting in SETTINGS}
        best = max(tried, key=lambda setting: tried[setting])
        words = [f"thread_count={best[0]}", f"chunk_size={best[1]}"]
        peer = pairs.Side("parallel_bulk", _client(), words, lambda: self._bulk("peer", *best))
        contest = pairs.Contest(NAMES[0], "documents per second", BULK, self.task.runs, self._ours(), peer)
        shown = {f"{threads}x{chunk}": round(rate) for (threads, chunk), rate in tried.items()}
        return pairs.result(contest) | {"server": self.version, "tried": shown}

    def incidents(self) -> dict[str, Any]:
        """Alerts to incidents and the cluster, beside our bulk rate."""
        return self._correlated(NAMES[1], "incidents")

    def correlate(self) -> dict[str, Any]:
        """Alerts to incidents, cases and the cluster, beside our bulk rate."""
        return self._correlated(NAMES[2], "correlate")

    def _correlated(self, name: str, what: str) -> dict[str, Any]:
        folder = self.work / "correlated"

        def once() -> pairs.Run:
            self._empty()
            said = self._child(what, self.task.alerts, str(folder))
            shutil.rmtree(folder)
            whole = said["found"] == said["there"] and said["found"]["alert"] == self.task.alerts
            done = {"whole": whole, **said["found"], "case_events": said["case_events"]}
            more = {"correlated_s": said["correlated_s"]}
            return pairs.Run(self.task.alerts / said["wall_s"], said["wall_s"], said["cpu_s"], done, more=more)

        ours = pairs.Side("csirt", "", [], once)
        peer = pairs.Side("our bulk rate", "", [], self._ours().once)
        contest = pairs.Contest(name, "alerts per second", CORRELATE, self.task.runs, ours, peer)
        return pairs.result(contest) | {"server": self.version}

    def cases(self) -> dict[str, Any]:
        """The command with many cases beside it with few; both stores are in the cluster."""
        self._empty()
        sides = []
        for name, count in (("many", self.task.cases), ("few", min(FEW, self.task.cases))):
            said = self._child("cases", count, str(self.work / name), prefix=f"{self.config.prefix}-{name}")
            sides.append(pairs.Side("csirt", "", [str(count)], self._lister(name, said["there"] == count)))
        contest = pairs.Contest(NAMES[3], "lists per second", LIST, self.task.runs, sides[0], sides[1])
        return pairs.result(contest) | {"server": self.version}

    def clean(self, client: Any) -> None:
        """Take everything of this run out of the server."""
        prefix = self.config.prefix
        for name in client.indices.get(index=f"{prefix}-*").body:
            client.indices.delete(index=name)
        client.options(ignore_status=404).indices.delete_index_template(name=f"{prefix}-*")
        client.options(ignore_status=404).cluster.delete_component_template(name=f"{prefix}-*")

    def _empty(self) -> None:
        from csirt.stores.elastic import connect

        with connect.client(self.config) as client:
            self.clean(client)

    def _ours(self) -> pairs.Side:
        return pairs.Side("csirt", "", [sys.executable, "-m", "csirt.bench.elastic_child"], lambda: self._bulk("bulk"))

    def _bulk(self, what: str, *more: int) -> pairs.Run:
        said = self._child(what, self.task.documents, *map(str, more))
        done = {"documents": said["documents"], "whole": said["documents"] == self.task.documents}
        return pairs.Run(self.task.documents / said["wall_s"], said["wall_s"], said["cpu_s"], done)

    def _child(self, what: str, count: int, *more: str, prefix: str = "") -> dict[str, Any]:
        words = [sys.executable, "-m", "csirt.bench.elastic_child", self.task.url, prefix or self.config.prefix, what]
        words += [str(self.task.seed), str(count), *more]
        found: dict[str, Any] = json.loads(
            process.run(words, environment=process.environment(self.work, large=False)).output
        )
        return found

    def _lister(self, name: str, whole: bool) -> Callable[[], pairs.Run]:
        """Runs the command on that store, as a terminal asks it."""
        config = self.work / f"{name}.toml"
        section = f'kind = "elasticsearch"\n[stores.elasticsearch]\nurls = ["{self.task.url}"]\n'
        config.write_text(f'state = "{self.work}"\n[stores]\n{section}prefix = "{self.config.prefix}-{name}"\n')
        words = [sys.executable, "-m", "csirt", "--config", str(config)]
        words += ["cases", "list", "--limit", "25", "--json", "--store", str(self.work / name)]

        def once() -> pairs.Run:
            spent = process.run(words, environment=process.environment(self.work, large=False))
            done = {"whole": whole, "shown": len(json.loads(spent.output)["items"])}
            return pairs.Run(1 / spent.wall_s, spent.wall_s, spent.cpu_s, done, spent.rss_mib)

        return once


def _client() -> str:
    from importlib.metadata import version

    return version("elasticsearch")
