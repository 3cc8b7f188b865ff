"""How documents look in the cluster: an index for each kind, and every fact once.

An alert, incident, case, run, receipt or notification is there under `csirt` as the catalogue holds it, beside what it
does not say itself: time, kind, severity as a number, and addresses. ECS names of the rest are aliases (`fields.py`).
Entries (audit, events of cases, positions) hold the fields to search by, and their text.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from csirt import ids
from csirt.clock import iso
from csirt.model.ecs import ECS_VERSION
from csirt.model.severity import RANK
from csirt.stores.embedded.catalogue import documents

if TYPE_CHECKING:
    from csirt.config import ElasticCluster

ENTRIES = ("audit", "case_event", "position")
KINDS = (*documents.KINDS, *ENTRIES)
# What never changes once it is written: refused where it is there already.
CREATED = frozenset({"audit", "case_event"})
META, LOG = "meta", "log"
TEXT = "document"
OWN = b"csirt"
WHOLE = [TEXT, "csirt"]  # the parts of a body that `text` needs
_ECS = {"version": ECS_VERSION}
_LONG = (1 << 63) - 1
_NANOS = (0, 9_223_372_036_854_775)  # what `date_nanos` can hold, in microseconds


def alias(prefix: str, kind: str) -> str:
    """Under which the documents of a kind are written and read."""
    return f"{prefix}-{kind.replace('_', '-')}"


def document_id(kind: str, key: str, node: str = "") -> str:
    """The id in the cluster of a document that has the key `key` in the outbox. Of several nodes each has an audit
    chain of its own."""
    if kind == "audit" and node:
        return f"{node}:{key}"
    return ids.digest(*orjson.loads(key)) if kind == "position" else key


def action(
    config: ElasticCluster, kind: str, key: str, version: int, text: str | None, document: dict[str, Any] | None = None
) -> bytes:
    """The lines of the action that brings a document, or deletes it when it has no text. `document`: what is in the
    text, where that is known."""
    what = "delete" if text is None else "create" if kind in CREATED else "index"
    begin, end = _where(config.prefix, kind, what)
    head = b"%b%b%b" % (begin, orjson.dumps(document_id(kind, key, config.node)), end % version if end else b"}}")
    return head if text is None else b"%b\n%b" % (head, source(kind, key, text, config.node, document))


@cache
def _where(prefix: str, kind: str, what: str) -> tuple[bytes, bytes]:
    """What is before the id in the first line of an action, and what follows it with the version, if that counts."""
    begin = orjson.dumps({what: {"_index": alias(prefix, kind), "require_alias": True}})[:-2] + b',"_id":'
    return begin, b"" if what == "create" else b',"version":%d,"version_type":"external"}}'


def source(kind: str, key: str, text: str, node: str = "", document: dict[str, Any] | None = None) -> bytes:
    """The body of a document in the cluster, from its text in the catalogue. `document`: what is in the text, where
    that is known."""
    document = orjson.loads(text) if document is None else document
    if kind in documents.KINDS:
        return orjson.dumps(_BESIDE[kind](document))[:-1] + b',"%b":%b}' % (OWN, text.encode())
    body = _FIELDS[kind](document)
    own = body.setdefault("csirt", {})
    for name in fields(kind):
        value = document.get(name)
        if value is not None:
            own[name] = value if value.__class__ is not int or value <= _LONG else _LONG
    own["kind"], own["id"] = kind, document_id(kind, key, node)
    body["ecs"], body[TEXT] = _ECS, text
    return orjson.dumps(body)


def text(source: dict[str, Any]) -> str:
    """The text in the catalogue of a document in the cluster, from its body. An older csirt kept the text of every
    kind beside the fields."""
    found: str | None = source.get(TEXT)
    return documents.text(source["csirt"]) if found is None else found


@cache
def fields(kind: str) -> tuple[str, ...]:
    """The fields of a kind that are searched, as the documents call them."""
    if kind in documents.KINDS:
        return documents.KINDS[kind].fields
    if kind == "audit":
        return ("seq", "actor", "category", "action", "subject", "on_behalf")
    return ("case", "seq", "actor") if kind == "case_event" else ("source", "fingerprint", "offset", "done")


def _time(us: int) -> dict[str, str]:
    """`@timestamp`, unless a forged time is outside what the cluster can hold."""
    return {"@timestamp": iso(us)} if _NANOS[0] <= us <= _NANOS[1] else {}


def _related(entities: list[dict[str, Any]]) -> dict[str, list[str]]:
    hosts = {entity["value"] for entity in entities if entity["kind"] == "host"}
    addresses = set(map(_address, hosts))
    if "" not in addresses:
        return {"ip": sorted(addresses)} if addresses else {}
    addresses.discard("")
    names = sorted(host for host in hosts if not _address(host))
    return {"ip": sorted(addresses), "hosts": names} if addresses else {"hosts": names}


@lru_cache(65_536)
def _address(value: str) -> str:
    """The one way to write an address; empty for a name."""
    try:
        socket.inet_pton(socket.AF_INET, value)  # what it takes is written in the one way already
    except (OSError, ValueError):
        pass
    else:
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return ""


def _alert(document: dict[str, Any]) -> dict[str, Any]:
    return {
        **_time(document["last"]),
        "event": {"kind": "alert", "severity": RANK[document["severity"]]},
        "related": _related(document["entities"]),
    }


def _case(document: dict[str, Any]) -> dict[str, Any]:
    return {**_time(document["last"]), "event": {"kind": "state", "severity": RANK[document["severity"]]}}


def _state(field: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def make(document: dict[str, Any]) -> dict[str, Any]:
        when = document.get(field) or 0
        return {**(_time(when) if when else {}), "event": {"kind": "state"}}

    return make


def _case_event(document: dict[str, Any]) -> dict[str, Any]:
    return {**_time(document["time"]), "event": {"kind": "event", "action": document["kind"]}}


def _audit(document: dict[str, Any]) -> dict[str, Any]:
    return {
        **_time(document["time"]),
        "event": {"kind": "event", "action": document["action"], "id": document["id"]},
        "user": {"name": document["actor"]},
    }


def _position(document: dict[str, Any]) -> dict[str, Any]:
    return {"event": {"kind": "state"}}


_Made = dict[str, Callable[[dict[str, Any]], dict[str, Any]]]
_BESIDE: _Made = {
    "alert": _alert,
    "incident": _alert,
    "case": _case,
    "run": _state("updated"),
    "receipt": _state("started"),
    "notification": _state("updated"),
}
_FIELDS: _Made = {"case_event": _case_event, "audit": _audit, "position": _position}
