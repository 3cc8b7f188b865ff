"""One measured run: `python -m csirt.bench.elastic_child URL PREFIX WHAT SEED COUNT …`; JSON on standard output.

`bulk`: minute aggregates through our writer. `peer THREADS CHUNK`: the same through the client's `parallel_bulk`.
`incidents FOLDER`: alerts to incidents, committed in a store folder, until the cluster has everything.
`correlate FOLDER`: the same with all that comes of incidents: cases, their events, notifications.
`cases FOLDER`: a store with so many open cases, and a cluster that has them all. What is written is made before the
clock starts; the clock stops when the cluster has acknowledged the last of it.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csirt.bench import elastic_documents as made
from csirt.clock import SYSTEM
from csirt.config import ElasticCluster, Stores

if TYPE_CHECKING:
    from csirt.model.hits import AlertChange
    from csirt.stores.base import Commit, Store

    Steps = list[list[AlertChange]]

COMMIT = 10_000  # alerts of one commit
VERSION = {"version": 1, "version_type": "external"}  # a sum that is sent again takes the place of the one before


def main() -> None:
    """Run once and say what was written and what it took."""
    from csirt.heap import keep_freed, prepare

    prepare()
    keep_freed()  # as the daemon does
    url, prefix, what, seed, count, *more = sys.argv[1:]
    config = ElasticCluster(urls=[url], prefix=prefix)
    run = {"bulk": bulk, "peer": peer, "incidents": incidents, "correlate": correlate, "cases": cases}[what]
    sys.stdout.write(json.dumps(run(config, int(seed), int(count), more)))


class _Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = SYSTEM.monotonic(), SYSTEM.cpu()

    def spent(self) -> dict[str, float]:
        """So far."""
        return {"wall_s": SYSTEM.monotonic() - self._wall, "cpu_s": SYSTEM.cpu() - self._cpu}


def fresh(config: ElasticCluster) -> str:
    """An empty index for aggregates, as that of the product's; its name."""
    from csirt.stores.elastic import connect, templates
    from csirt.stores.elastic.events import mapping

    name = f"{config.prefix}-aggregates"
    with connect.client(config) as client:
        client.options(ignore_status=404).indices.delete(index=f"{name}-1")
        settings = {"number_of_shards": 1, "number_of_replicas": 0, "search": templates.SETTINGS["search"]}
        fields = mapping.mappings(mapping.minute_fields())
        client.indices.create(index=f"{name}-1", aliases={name: {}}, mappings=fields, settings=settings)
    return name


def _counted(config: ElasticCluster, name: str) -> int:
    from csirt.stores.elastic import connect

    with connect.client(config) as client:
        client.indices.refresh(index=name)
        return int(client.count(index=name)["count"])


def bulk(config: ElasticCluster, seed: int, count: int, more: list[str]) -> dict[str, Any]:
    """Aggregates by our writer."""
    import orjson

    from csirt.stores.elastic import connect
    from csirt.stores.elastic.bulk import Bulk
    from csirt.stores.elastic.outbox import Waiting

    name, documents = fresh(config), made.aggregates(seed, count)
    with connect.client(config) as client:
        writer, one = Bulk(client, config, threading.Event()), Waiting("aggregate", "", 0, 0, None)
        clock = _Clock()
        for start in range(0, count, made.STEP):
            actions = [
                (one, orjson.dumps({"index": {"_index": name, "_id": id, **VERSION}}) + b"\n" + orjson.dumps(document))
                for id, document in documents[start : start + made.STEP]
            ]
            if writer.deliver(actions):
                raise SystemExit("documents were refused")
        spent = clock.spent()
        writer.close()
    return {"documents": _counted(config, name), **spent}


def peer(config: ElasticCluster, seed: int, count: int, more: list[str]) -> dict[str, Any]:
    """Aggregates by the client's helper, with its quickest serializer."""
    from elasticsearch import Elasticsearch, OrjsonSerializer
    from elasticsearch.helpers import parallel_bulk

    threads, chunk = map(int, more)
    name, documents = fresh(config), made.aggregates(seed, count)
    with Elasticsearch(
        config.urls, request_timeout=60, connections_per_node=threads + 2, serializer=OrjsonSerializer()
    ) as client:
        clock = _Clock()
        how = {"_op_type": "index", "_index": name, **VERSION}
        actions = ({**how, "_id": id, "_source": document} for id, document in documents)
        for good, _ in parallel_bulk(client, actions, thread_count=threads, chunk_size=chunk):
            if not good:
                raise SystemExit("documents were refused")
        spent = clock.spent()
    return {"documents": _counted(config, name), **spent}


def incidents(config: ElasticCluster, seed: int, count: int, more: list[str]) -> dict[str, Any]:
    """Alerts to incidents and the cluster."""
    from csirt.answers import candidates
    from csirt.correlate import correlate
    from csirt.stores.base import Commit

    def commit(store: Store, steps: Steps) -> Commit:
        changes = [change for step in steps for change in step]
        found = correlate(changes, candidates(store), window_us=made.WINDOW, names=_names())
        return Commit(alerts=[change.alert for change in changes], incidents=found)

    return _committed(config, seed, count, Path(more[0]), commit)


def correlate(config: ElasticCluster, seed: int, count: int, more: list[str]) -> dict[str, Any]:
    """Alerts to incidents, cases and the cluster."""
    from csirt.answers import Answers
    from csirt.config import Config
    from csirt.notify.router import Router
    from csirt.respond.plan import Responder

    own, names = Config(), _names()
    responder, router = Responder({}, register=None, config=own), Router(own)

    def commit(store: Store, steps: Steps) -> Commit:
        answers = Answers(
            store, steps, SYSTEM.now(), responder=responder, router=router, names=names, window_us=made.WINDOW
        )
        for changes in steps:
            answers.take(changes)
        return answers.commit()

    return _committed(config, seed, count, Path(more[0]), commit)


def _names() -> dict[str, str]:
    return {f"m{number:04}": f"Member {number}" for number in range(made.MEMBERS)}


def _committed(
    config: ElasticCluster, seed: int, count: int, folder: Path, made_of: Callable[[Store, Steps], Commit]
) -> dict[str, Any]:
    """Commit what is made of the alerts of a commit after the other, until the cluster has everything."""
    from csirt.stores.elastic import connect, templates
    from csirt.stores.elastic.store import open_elastic

    with connect.client(config) as client:
        templates.install(client, config.prefix)
    commits = list(made.steps(seed, count, COMMIT))
    with open_elastic(folder, clock=SYSTEM, config=Stores(kind="elasticsearch", elasticsearch=config)) as store:
        store.shipper.settle(60)
        gc.disable()  # as the daemon's analysis does in its steps
        clock = _Clock()
        for steps in commits:
            store.commit(made_of(store, steps))
        correlated = clock.spent()["wall_s"]
        store.shipper.settle(600, patient=True)
        spent = clock.spent()
        found = {kind: store.count(kind) for kind in ("alert", "incident", "case")}
        there = {kind: _counted(config, f"{config.prefix}-{kind}") for kind in found}
        events = _counted(config, f"{config.prefix}-case-event")
    return {"found": found, "there": there, "case_events": events, "correlated_s": correlated, **spent}


def cases(config: ElasticCluster, seed: int, count: int, more: list[str]) -> dict[str, Any]:
    """A store with so many cases."""
    from csirt.stores.base import Commit
    from csirt.stores.elastic import connect, templates
    from csirt.stores.elastic.store import open_elastic

    with connect.client(config) as client:
        templates.install(client, config.prefix)
    store = open_elastic(Path(more[0]), clock=SYSTEM, config=Stores(kind="elasticsearch", elasticsearch=config))
    with store:
        clock = _Clock()
        for start in range(0, count, COMMIT):
            found = [made.case(seed, number) for number in range(start, min(count, start + COMMIT))]
            store.commit(Commit(cases=[case for case, _ in found], case_events=[event for _, event in found]))
        store.shipper.settle(3_600, patient=True)
        spent = clock.spent()
    return {"there": _counted(config, f"{config.prefix}-case"), **spent}


if __name__ == "__main__":
    main()
