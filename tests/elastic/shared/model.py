"""A cluster in memory that answers as a server does to what the nodes' log asks, so that every call can be the last of
a process, or the one before which a process sleeps while others go on."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import elasticsearch as es
import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig

from csirt.clock import SECOND, Frozen
from csirt.config import ElasticCluster
from csirt.stores.base import Commit
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.events.follow import Follower
from csirt.stores.elastic.shared import folder
from csirt.stores.elastic.shared.store import NodeStore
from csirt.stores.elastic.ship import Shipper
from tests.elastic.shared import desk
from tests.elastic.shared.test_log import opened
from tests.stores import build

PREFIX = "model"
URL = "http://127.0.0.1:9"
Hook = Callable[[int, str], None]


class Answer(dict[str, Any]):
    """As the client's: the body itself."""

    @property
    def body(self) -> Answer:
        """It."""
        return self


class Cluster:
    """Indices by name. `aliased`: those that are there from the beginning, under the name of their alias. `makes`:
    a write makes an index that is not there, as where csirt's template lacks, and what was made so is `anew`.
    `accepted`: by number of an entry, the tokens that were ever written under it where it belongs."""

    def __init__(self) -> None:
        self.aliased = {layout.alias(PREFIX, kind) for kind in (*layout.KINDS, layout.META)}
        self.indices: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in self.aliased}
        self.writes = dict.fromkeys(self.aliased, 0)
        self.accepted: dict[int, list[str]] = {}
        self.makes, self.anew = False, set[str]()
        self.refuses: set[str] = set()  # ids of documents that no index takes
        self.lock = threading.RLock()

    def segments(self) -> list[str]:
        """The indices of the log."""
        return sorted(self.indices.keys() - self.aliased)

    def write(
        self, index: str, id: str, source: Any, at: tuple[int, int] | None, create: bool, version: int
    ) -> tuple[int, int]:
        """The place and version of a document now. Raises as the client does."""
        if index not in self.indices:
            if not self.makes or index in self.aliased:
                raise _error(es.NotFoundError, 404, "index_not_found_exception")
            self.indices[index], self.writes[index] = {}, 0
            self.anew.add(index)
        found = self.indices[index].get(id)
        old = found["version"] if found else 0
        stale = found is None or found["seq"] != at[0] if at else False
        if (create and found) or stale or (version and version <= old):
            raise _error(es.ConflictError, 409, "version_conflict_engine_exception")
        seq = self.writes[index]
        self.writes[index] += 1
        self.indices[index][id] = {"source": source, "seq": seq, "version": version or old + 1}
        if index not in self.aliased | self.anew and id.isdigit() and create:
            self.accepted.setdefault(int(id), []).append(str(source["token"]))
        return seq, version or old + 1


def _error(kind: type[es.ApiError], status: int, name: str) -> es.ApiError:
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.0, NodeConfig("http", "127.0.0.1", 9))
    return kind(name, meta, {"error": {"type": name}, "status": status})


def counted(work: Callable[..., Any]) -> Callable[..., Any]:
    """A call that the hook of its client is told of: before it is done, and after."""

    @functools.wraps(work)
    def call(self: Any, *given: Any, **named: Any) -> Any:
        client: Client = self if isinstance(self, Client) else self.client
        client.calls += 1
        number = client.calls
        client.hook(number, "before")
        with client.cluster.lock:
            answer = work(self, *given, **named)
        client.hook(number, "after")
        return answer

    return call


class Client:
    """What one node sees of it. `hook` is told of every call, and may raise."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.calls = cluster, 0
        self.hook: Hook = lambda number, when: None
        self.indices = Indices(self)

    def options(self, **how: Any) -> Client:
        """It takes every failure for an answer where that is asked for."""
        return self

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *failed: object) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    @counted
    def get(self, *, index: str, id: str, **_: Any) -> Answer:
        """A document, or that it is not there."""
        if index not in self.cluster.indices:
            return Answer(error={"type": "index_not_found_exception"}, status=404)
        found = self.cluster.indices[index].get(id)
        if found is None:
            return Answer(found=False)
        return Answer(found=True, _source=_copy(found["source"]), _seq_no=found["seq"], _primary_term=1)

    @counted
    def mget(self, *, index: str, ids: list[str]) -> Answer:
        """Several."""
        if index not in self.cluster.indices:
            return Answer(docs=[{"error": {"type": "index_not_found_exception"}} for _ in ids])
        found = [self.cluster.indices[index].get(id) for id in ids]
        return Answer(
            docs=[{"found": True, "_source": _copy(one["source"])} if one else {"found": False} for one in found]
        )

    @counted
    def index(self, *, index: str, id: str, document: Any, **how: Any) -> Answer:
        """Write a document."""
        at = (how["if_seq_no"], how["if_primary_term"]) if "if_seq_no" in how else None
        seq, _ = self.cluster.write(index, id, _copy(document), at, how.get("op_type") == "create", 0)
        return Answer(_seq_no=seq, _primary_term=1)

    @counted
    def delete(self, *, index: str, id: str) -> Answer:
        """Delete a document."""
        self.cluster.indices.get(index, {}).pop(id, None)
        return Answer()

    @counted
    def bulk(self, *, operations: bytes, filter_path: str) -> Answer:
        """Documents with their versions."""
        lines = iter(operations.rstrip(b"\n").split(b"\n"))
        items = []
        for line in lines:
            ((what, where),) = json.loads(line).items()
            source = None if what == "delete" else json.loads(next(lines))
            items.append({what: self._one(what, where, source)})
        return Answer(items=items)

    def _one(self, what: str, where: dict[str, Any], source: Any) -> dict[str, Any]:
        index, id = where["_index"], where["_id"]
        if id in self.cluster.refuses:
            return {"status": 400, "error": {"type": "document_parsing_exception", "reason": "no"}}
        if what == "delete":
            self.cluster.indices[index].pop(id, None)
            return {"status": 200}
        try:
            self.cluster.write(index, id, source, None, what == "create", where.get("version", 0))
        except es.ConflictError:
            return {"status": 409, "error": {"type": "version_conflict_engine_exception"}}
        return {"status": 201}

    def count(self, *, index: list[str]) -> Answer:
        """How many documents they hold."""
        return Answer(count=sum(len(self.cluster.indices[one]) for one in index))

    def open_point_in_time(self, *, index: str, keep_alive: str) -> dict[str, str]:
        """Of the index as it is."""
        return {"id": index}

    def close_point_in_time(self, *, id: str) -> None:
        """Nothing."""

    @counted
    def search(self, *, index: str = "", pit: dict[str, str] | None = None, size: int = 10, **how: Any) -> Answer:
        """All that match a query, in order, a page at a time."""
        there = self.cluster.indices[pit["id"] if pit else index]
        query, order = how.get("query") or {"match_all": {}}, how.get("sort") or []
        hits = [
            {"_id": id, "_source": _copy(one["source"]), "_version": one["version"], "sort": _keys(id, one, order)}
            for id, one in there.items()
            if _matches(one["source"], query)
        ]
        hits.sort(key=lambda hit: hit["sort"])
        after = how.get("search_after")
        return Answer(hits={"hits": [hit for hit in hits if after is None or hit["sort"] > after][:size]})


class Indices:
    """The client's `indices`."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @counted
    def create(self, *, index: str, settings: Any) -> Answer:
        """Make one."""
        assert index not in self.client.cluster.indices
        self.client.cluster.indices[index], self.client.cluster.writes[index] = {}, 0
        return Answer(acknowledged=True)

    @counted
    def delete(self, *, index: str) -> Answer:
        """Delete one."""
        assert index not in self.client.cluster.aliased
        self.client.cluster.indices.pop(index, None)
        return Answer(acknowledged=True)

    @counted
    def get_settings(self, *, index: str, name: str) -> Answer:
        """Those with that beginning."""
        return Answer({one: {} for one in self.client.cluster.indices if one.startswith(index.removesuffix("*"))})

    def refresh(self, *, index: str | list[str]) -> None:
        """Everything is seen at once."""


def _copy(source: Any) -> Any:
    return json.loads(json.dumps(source))


def _field(source: Any, name: str) -> Any:
    for part in name.split("."):
        source = source.get(part) if isinstance(source, dict) else None
    return source


def _keys(id: str, one: dict[str, Any], order: list[Any]) -> list[Any]:
    keys: list[Any] = []
    for field in order:
        ((name, how),) = field.items() if isinstance(field, dict) else [(field, "asc")]
        value = _field(one["source"], name)
        if name == "csirt.merged_into":  # those that were merged away first
            assert how["order"] == "desc"
            keys.append(0 if value else 1)
        else:
            keys.append("" if value is None else value)
    return [*keys, id]


def _matches(source: Any, query: dict[str, Any]) -> bool:
    ((what, how),) = query.items()
    if what == "match_all":
        return True
    if what == "bool":
        return all(_matches(source, one) for one in how["filter"])
    ((name, value),) = how.items()
    found = _field(source, name)
    return bool(found == value if what == "term" else str(found or "").startswith(value))


class Model:
    """Nodes on such a cluster, on one clock, none of their threads running."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder, self.more = folder, {"log_entries": 10, "log_tail": 0, **more}
        self.cluster, self.clock = Cluster(), Frozen(build.START)
        self.clients: dict[str, Client] = {}
        self.nodes: dict[str, NodeStore] = {}
        self.cases: set[str] = set()  # the titles of those that were opened

    def client(self, config: ElasticCluster) -> Client:
        """That of a node."""
        self.clients[config.node] = Client(self.cluster)
        return self.clients[config.node]

    def start(self, name: str) -> NodeStore:
        """A daemon of that name, in the folder that is there."""
        store = self.nodes[name] = desk.node(self.folder, URL, PREFIX, name, self.clock, **self.more)
        assert store.shipper.client is self.clients[name]
        store.database.writer.pragma("synchronous", "off")  # no power is lost here
        return store

    def join(self, name: str) -> NodeStore:
        """Likewise, and let it have the log."""
        store = self.start(name)
        store.tail.turn()
        return store

    def kill(self, name: str) -> None:
        """SIGKILL: nothing is handed over or given back, and the lock of the folder falls."""
        store = self.nodes.pop(name)
        if store.shipper._bulk is not None:
            store.shipper._bulk.close()
        store.database.close()
        store._lock.release()

    def turn(self, *names: str) -> None:
        """A turn of every thread of these; time passes."""
        for name in names or tuple(self.nodes):
            store = self.nodes[name]
            store.present.turn()
            store.tail.turn()
            if store.journal.place.opened and not store.journal.astray:
                store.shipper._head = store.shipper._head or _nobody(store)
                while store.shipper.turn():
                    pass
            store.cutter.turn()
        self.clock.time += 2 * SECOND

    def wait(self, seconds: float, *names: str) -> None:
        """Turns until so much time has passed."""
        until = self.clock.now() + int(seconds * SECOND)
        while self.clock.now() < until:
            self.turn(*names)

    @property
    def leader(self) -> NodeStore:
        """The node that leads."""
        return next(store for store in self.nodes.values() if store.journal.leads)


def _nobody(store: NodeStore) -> Any:
    from csirt.stores.elastic.shared.ship import _Nobody

    return _Nobody()


def work(found: Model, node: str, count: int, first: int = 0) -> None:
    """So many entries of a node, every fourth of which opens a case."""
    for number in range(first, first + count):
        if number % 4:
            found.nodes[node].commit(Commit(states={f"sector:{node}{number % 8}": b"%d" % number}))
        else:
            found.nodes[node].commit(opened(f"{node}{number}"))
            found.cases.add(f"Incident {node}{number}")


def loaded(found: Model) -> None:
    """As much as makes the next turns begin a segment, take a snapshot and let go of segments before it."""
    for round_ in range(3):
        work(found, "a", 11, round_ * 11)
        found.nodes["a"].commit(Commit(hits=build.hits([build.START + round_]), states={"windows": b"%d" % round_}))
        if round_ < 2:
            found.turn()
            found.turn()


def same(found: Model) -> None:
    """All folders hold the same of what nodes share, and all that was written, and no number of an entry was given
    twice."""
    stores = list(found.nodes.values())
    documents = [[line for line in desk.documents(store) if b'"kind":"audit"' not in line] for store in stores]
    events = [[store.case_events(case["id"]) for case in store.find("case")] for store in stores]
    pending = [[(blob.id, blob.hits.to_pylist()) for blob in store.pending(1 << 62)] for store in stores]
    with ExitStack() as stack:
        states = [folder.states(stack.enter_context(store.database.reading())) for store in stores]
    assert {case["title"] for case in stores[0].find("case")} == found.cases
    for several in (documents, events, pending, states):
        assert all(one == several[0] for one in several)
    assert all(len(tokens) == 1 for tokens in found.cluster.accepted.values())


@contextmanager
def model(folder: Path, patch: pytest.MonkeyPatch, names: str, **more: Any) -> Iterator[Model]:
    """Nodes with these names; the first leads."""
    found = Model(folder, **more)
    patch.setattr(connect, "client", found.client)
    patch.setattr(connect, "probe", lambda client, config, **how: {})
    patch.setattr(Shipper, "start", lambda self: None)
    patch.setattr(Follower, "retire", lambda self, client: None)  # of events, which is not what is tried
    try:
        for name in names:
            found.start(name).tail.turn()
        found.turn()
        yield found
    finally:
        for name in list(found.nodes):
            found.kill(name)
