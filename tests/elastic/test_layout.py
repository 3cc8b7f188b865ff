"""The lines of an action: no cluster is needed to try that."""

from __future__ import annotations

import ipaddress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csirt.clock import SECOND, iso
from csirt.config import ElasticCluster
from csirt.model.ecs import ECS_VERSION
from csirt.model.severity import RANK
from csirt.stores.elastic import layout
from csirt.stores.embedded.catalogue import documents

CONFIG = ElasticCluster(prefix="p", node="n1")
LATEST = 9_223_372_036_854_775  # microseconds that `date_nanos` can hold
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    ['","', '",', ',"', '"', "\\", '\\","', "\n", "%d%b", "\u2028é😀", "\0"]
)
TIME = st.one_of(
    st.integers(0, LATEST),
    st.integers(0, LATEST // SECOND).map(lambda seconds: seconds * SECOND),
    st.integers(-(1 << 62), (1 << 62)),
    st.sampled_from([0, 1, LATEST, LATEST + 1, -1]),
)
HOST = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(
        ["10.0.0.1", "010.0.0.1", "10.0.0", "::1", "0:0::1", 'FE80::A%eth"0', "::ffff:10.0.0.1", "mail-1", ""]
    ),
    TEXT,
)
ENTITIES = st.lists(
    st.fixed_dictionaries({"kind": st.sampled_from(["host", "mailbox"]), "value": HOST, "member": TEXT}), max_size=6
)
SAID: dict[str, dict[str, Any]] = {
    "alert": {"last": TIME, "severity": st.sampled_from(sorted(RANK)), "entities": ENTITIES},
    "incident": {"last": TIME, "severity": st.sampled_from(sorted(RANK)), "entities": ENTITIES},
    "case": {"last": TIME, "severity": st.sampled_from(sorted(RANK))},
    "run": {"updated": TIME | st.none()},
    "receipt": {"started": TIME | st.none()},
    "notification": {"updated": TIME | st.none()},
    "case_event": {"time": TIME, "kind": TEXT, "case": TEXT, "seq": st.integers(0, (1 << 64) - 1), "actor": TEXT},
    "audit": {"time": TIME, "action": TEXT, "id": TEXT, "actor": TEXT, "subject": TEXT | st.none()},
    "position": {"source": TEXT, "fingerprint": TEXT, "offset": st.integers(0, (1 << 64) - 1), "done": st.booleans()},
}


def timed(us: int | None) -> dict[str, str]:
    """The time, where the cluster can hold it."""
    return {"@timestamp": iso(us)} if us is not None and 0 <= us <= LATEST else {}


def related(entities: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Addresses in one form, and other names of hosts."""
    addresses, names = set(), set()
    for value in {one["value"] for one in entities if one["kind"] == "host"}:
        try:
            addresses.add(str(ipaddress.ip_address(value)))
        except ValueError:
            names.add(value)
    found = {"ip": sorted(addresses), "hosts": sorted(names)}
    return {name: values for name, values in found.items() if values}


def expected(kind: str, key: str, document: dict[str, Any]) -> dict[str, Any]:
    """The body, said without haste."""
    if kind in ("alert", "incident"):
        event = {"kind": "alert", "severity": RANK[document["severity"]]}
        return {
            **timed(document["last"]),
            "event": event,
            "related": related(document["entities"]),
            "csirt": document,
        }
    if kind == "case":
        event = {"kind": "state", "severity": RANK[document["severity"]]}
        return {**timed(document["last"]), "event": event, "csirt": document}
    if kind in documents.KINDS:
        when = document["started" if kind == "receipt" else "updated"]
        return {**(timed(when) if when else {}), "event": {"kind": "state"}, "csirt": document}
    own = {
        name: min(value, (1 << 63) - 1) if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in document.items()
        if name in layout.fields(kind) and value is not None
    }
    own |= {"kind": kind, "id": layout.document_id(kind, key, "n1")}
    body: dict[str, Any] = {"event": {"kind": "state" if kind == "position" else "event"}}
    if kind == "position":
        return body | {"csirt": own, "ecs": {"version": ECS_VERSION}, "document": documents.text(document)}
    body["event"]["action"] = document["kind" if kind == "case_event" else "action"]
    if kind == "audit":
        body["event"]["id"], body["user"] = document["id"], {"name": document["actor"]}
    more = {"csirt": own, "ecs": {"version": ECS_VERSION}, "document": documents.text(document)}
    return timed(document["time"]) | body | more


@pytest.mark.parametrize("kind", layout.KINDS)
@given(data=st.data())
def test_lines_of_several_documents_are_those_of_each(kind: str, data: st.DataObject) -> None:
    """Whatever is in documents of a kind, the lines made of several at once are those made of the text of each, octet
    by octet; they name it, count its version on, and say in JSON what the layout promises."""
    some = data.draw(st.lists(st.fixed_dictionaries({"id": TEXT, "more": TEXT, **SAID[kind]}), max_size=4))
    keys = [f'["{n}","x"]' if kind == "position" else f"{n}{one['id']}" for n, one in enumerate(some)]
    texts = list(map(documents.text, some))
    lines = layout.actions(CONFIG, kind, keys, some, [text.encode() for text in texts], 1_000)
    assert lines == [
        layout.action(CONFIG, kind, key, step, text)
        for step, (key, text) in enumerate(zip(keys, texts, strict=True), 1_000)
    ]
    for step, (key, one, line) in enumerate(zip(keys, some, lines, strict=True), 1_000):
        head, body = line.split(b"\n")
        where = {"_index": layout.alias("p", kind), "require_alias": True, "_id": layout.document_id(kind, key, "n1")}
        counted = {"version": step, "version_type": "external"}
        assert orjson.loads(head) == ({"create": where} if kind in layout.CREATED else {"index": {**where, **counted}})
        assert orjson.loads(body) == expected(kind, key, one)


def test_an_action_without_a_text_deletes() -> None:
    """What is not there any more is deleted, as a later version."""
    where = {"_index": "p-alert", "require_alias": True, "_id": 'a"b', "version": 7, "version_type": "external"}
    assert orjson.loads(layout.action(CONFIG, "alert", 'a"b', 7, None)) == {"delete": where}
