"""What documents are searched by in a real cluster: ECS names and the document's own, each fact there once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from csirt.model.records import Entity
from csirt.stores.base import Commit
from csirt.stores.elastic import fields, layout
from csirt.stores.elastic.store import ElasticStore
from csirt.stores.embedded.catalogue import documents
from csirt.stores.embedded.dump import dump
from tests.elastic import cluster, desk
from tests.stores import build

pytestmark = pytest.mark.timeout(600)
ENTITIES = [
    Entity(kind="host", value="10.0.0.1", role="actor"),
    Entity(kind="host", value="mail-1", role="target"),
    Entity(kind="user", value="kari", role="target"),
]
MORE: dict[str, Any] = {
    "rule_version": "7", "rule_author": "us", "rule_license": "MIT", "rule_reference": ["https://r.example"],
    "tactics": ["discovery"], "techniques": ["T1046"], "rsit": "scanner", "members": ["hospital"], "entities": ENTITIES,
}  # fmt: skip
# Every name, and what finds the one document of its kind by it.
NAMES: dict[str, dict[str, Any]] = {
    "alert": {
        "event.id": build.alert("a").id, "event.kind": "alert", "event.severity": 3, "message": "Port scan",
        "rule.id": "net-02", "rule.name": "Port scan", "rule.version": "7", "rule.author": "us", "rule.license": "MIT",
        "rule.reference": "https://r.example", "threat.tactic.name": "discovery", "threat.technique.id": "T1046",
        "related.ip": "10.0.0.0/8", "related.hosts": "mail-1", "csirt.members": "hospital", "csirt.rsit": "scanner",
        "csirt.urgency": 3, "csirt.id": build.alert("a").id, "csirt.last": build.START + 5, "csirt.dataset": "flow",
    },
    "incident": {
        "event.id": build.incident("i").id, "event.kind": "alert", "event.severity": 3, "message": "unusual",
        "threat.tactic.name": "discovery", "threat.technique.id": "T1046", "related.ip": "10.0.0.1",
        "related.hosts": "mail-1", "csirt.members": "hospital", "csirt.rsit": "scanner", "csirt.urgency": 3,
        "csirt.title": "seven", "csirt.aliases": "a1", "csirt.entities.value": "kari", "csirt.merged_into": "",
    },
    "case": {"event.id": build.opened("c")[0].id, "event.kind": "state", "event.severity": 3, "message": "incident",
             "csirt.urgency": 3, "csirt.state": "open", "csirt.number": "C-2025-0001"},
    "run": {"event.id": build.run("r").id, "event.kind": "state", "csirt.playbook": "contain"},
    "receipt": {"event.id": build.receipt("r").id, "csirt.step": "s1"},
    "notification": {"event.id": build.notification("n").id, "csirt.route": "all", "csirt.level": 0},
}  # fmt: skip


def one_of_each() -> Commit:
    """A document of every kind, beside another that no search of `NAMES` finds."""
    title = "Seven unusual messages"
    incident = {name: MORE[name] for name in ("tactics", "techniques", "rsit", "members", "entities")}
    case, events = build.opened("c")
    return Commit(
        alerts=[build.alert("a", **MORE)],
        incidents=[build.incident("i", title=title, aliases=["a1"], **incident)],
        cases=[case],
        case_events=events,
        runs=[build.run("r")],
        receipts=[build.receipt("r")],
        notifications=[build.notification("n")],
    )


def search(store: ElasticStore, kind: str, **asked: Any) -> dict[str, Any]:
    """The answer of the kind's index."""
    index = layout.alias(store.config.elasticsearch.prefix, kind)
    found: dict[str, Any] = store.shipper.client.search(index=index, **asked).body
    return found


def names(mapping: dict[str, Any], path: str = "") -> dict[str, str]:
    """The type of every field."""
    found = {}
    for name, body in mapping["properties"].items():
        found |= names(body, f"{path}{name}.") if "properties" in body else {path + name: body["type"]}
    return found


def test_every_name_is_searched(elasticsearch: str, installed: str, tmp_path: Path) -> None:
    """By each ECS name and each of our own the document is found, and by another value it is not; the cluster tells
    dashboards that every field is searched, and all but words of titles are added up."""
    desk.empty(elasticsearch, installed)
    with desk.opened(tmp_path, elasticsearch, installed) as store:
        store.commit(one_of_each())
        desk.reader(store)
        for kind, asked in NAMES.items():
            for name, value in asked.items():
                found = search(store, kind, query={"match": {name: value}})["hits"]["hits"]
                assert len(found) == 1, (kind, name)
                other = "172.16.0.1" if name == "related.ip" else 99 if isinstance(value, int) else "nothing"
                assert not search(store, kind, query={"match": {name: other}})["hits"]["hits"], (kind, name)
            index = layout.alias(installed, kind)
            told = store.shipper.client.field_caps(index=index, fields="*").body["fields"]
            for name, type in names(fields.mapping(kind)).items():
                (said,) = told[name].values()
                assert said["searchable"], name
                assert said["aggregatable"] == (said["type"] != "text"), (name, type)


def test_each_fact_is_there_once(elasticsearch: str, installed: str, tmp_path: Path) -> None:
    """A document in the cluster is the folder's and four things beside it, none of which it says itself, but for the
    addresses: those are in one form, and apart from other names."""
    desk.empty(elasticsearch, installed)
    with desk.opened(tmp_path, elasticsearch, installed) as store:
        store.commit(one_of_each())
        desk.reader(store)
        for kind in documents.KINDS:
            (hit,) = search(store, kind)["hits"]["hits"]
            source = hit["_source"]
            assert source["csirt"] == store.get(kind, hit["_id"])
            assert source.keys() <= {"@timestamp", "event", "related", "csirt"}
        (alert,) = search(store, "alert")["hits"]["hits"]
        assert alert["_source"]["related"] == {"ip": ["10.0.0.1"], "hosts": ["mail-1"]}


def test_a_text_comes_back_octet_by_octet() -> None:
    """What the catalogue holds is made again of what the cluster holds, whatever is in it."""
    odd: Any = {"": 1.0, "a..b": [1e300, 0.1, -0.0, 1e-7], "é\ud7ff\U0001f600\u2028": None, "big": (1 << 64) - 1}
    document = build.receipt("r", intent=odd).model_dump()
    text = documents.text(document)
    assert layout.text(orjson.loads(layout.source("receipt", document["id"], text))) == text


def test_names_that_are_no_field_names_are_taken(elasticsearch: str, installed: str, tmp_path: Path) -> None:
    """Keys of what a playbook or a rule brings may be anything a mapping would refuse: empty, dots alone, very deep;
    none is refused, and the cluster's dump is the folder's."""
    desk.empty(elasticsearch, installed)
    deep: dict[str, Any] = {"end": 0.1}
    for _ in range(200):
        deep = {"deeper": deep}
    odd = {"": 1, ".": 2, "a..b": {"": [{"..": 1}]}, " ": None, ".a": 1, "a.": 1, "deep": deep, "big": (1 << 64) - 1}
    words = dict.fromkeys(("", ".", "..", "a..b", " ", "source.ip"), "x" * 40_000)
    with desk.opened(tmp_path, elasticsearch, installed) as store:
        alert = build.alert("odd", group=words, facts={name: [text] for name, text in words.items()})
        store.commit(Commit(alerts=[alert], receipts=[build.receipt("r", intent=odd)]))
        desk.reader(store)
        assert store.cluster()["dead_letters"] == 0
        assert list(store.dump(["alert", "receipt"])) == list(dump(store, ["alert", "receipt"]))


def test_who_searches_sees_what_was_written(elasticsearch: str, prefix: str, tmp_path: Path) -> None:
    """An index that nobody has searched for a while is not refreshed meanwhile; the first search, by whatever way,
    sees all the same what was written a second before it, as everywhere else."""
    desk.install(elasticsearch, prefix)
    # A server's first ES|QL query takes its seconds.
    with desk.opened(tmp_path, elasticsearch, prefix, timeout="60s") as store:
        client, index = store.shipper.client, layout.alias(prefix, "alert")
        client.indices.put_settings(index=index, settings={"index.search.idle.after": "1ms"})

        def counted() -> int:
            return int(client.count(index=index)["count"])

        def queried() -> int:
            found = client.esql.query(
                query=f'FROM {index} | WHERE rule.name == "Port scan" | STATS n = COUNT(event.id) | LIMIT 1'
            )
            return int(found["values"][0][0])

        def paged() -> int:
            place = client.open_point_in_time(index=index, keep_alive="1m")["id"]
            return len(client.search(pit={"id": place})["hits"]["hits"])

        ways = [counted, paged, *([queried] if cluster.MAJOR == 8 else [])]
        for number, way in enumerate(ways, 1):
            store.commit(Commit(alerts=[build.alert(f"{number}")]))
            store.shipper.settle(desk.SECONDS)
            time.sleep(1.5)  # the refresh of each second finds the index idle
            assert way() == number
