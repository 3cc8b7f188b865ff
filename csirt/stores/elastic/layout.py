"""How documents look in the cluster: an index for each kind, and every fact once.

An alert, incident, case, run, receipt or notification is there under `csirt` as the catalogue holds it, beside what it
does not say itself: time, kind, severity as a number, and addresses. ECS names of the rest are aliases (`fields.py`).
Entries (audit, events of cases, positions) hold the fields to search by, and their text.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from csirt import ids
from csirt.clock import SECOND, iso
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


def action(config: ElasticCluster, kind: str, key: str, version: int, text: str | None) -> bytes:
    """The lines of the action that brings a document, or deletes it when it has no text."""
    if text is None:
        return _first_line(config, kind, "delete", key, version)
    (lines,) = actions(config, kind, [key], [orjson.loads(text)], [text.encode()], version)
    return lines


def actions(
    config: ElasticCluster,
    kind: str,
    keys: Sequence[str],
    some: Sequence[dict[str, Any]],
    raws: Iterable[bytes],
    version: int,
) -> list[bytes]:
    """The lines of the actions that bring documents of a kind, one for each: their keys, content and texts in the
    catalogue, and the version of the first, from which the others count on."""
    if kind not in documents.KINDS:
        what = "create" if kind in CREATED else "index"
        return [
            b"%b\n%b" % (_first_line(config, kind, what, key, step), _entry(kind, key, raw.decode(), config.node, one))
            for step, (key, one, raw) in enumerate(zip(keys, some, raws, strict=True), version)
        ]
    lines, beside = _lines(config.prefix, kind), _BESIDE[kind]
    names = [orjson.dumps(key)[1:-1] for key in keys]
    return [
        lines % (name, step, beside(one), raw)
        for step, (name, one, raw) in enumerate(zip(names, some, raws, strict=True), version)
    ]


@cache
def _lines(prefix: str, kind: str) -> bytes:
    """The lines of an action as a format: of id, version, what is beside the document, and the document."""
    begin, end = _where(prefix, kind, "index")
    return begin.replace(b"%", b"%%") + b'"%b"' + end + b"\n" + _BODY


def _first_line(config: ElasticCluster, kind: str, what: str, key: str, version: int) -> bytes:
    begin, end = _where(config.prefix, kind, what)
    return b"%b%b%b" % (begin, orjson.dumps(document_id(kind, key, config.node)), end % version if end else b"}}")


@cache
def _where(prefix: str, kind: str, what: str) -> tuple[bytes, bytes]:
    """What is before the id in the first line of an action, and what follows it with the version, if that counts."""
    begin = orjson.dumps({what: {"_index": alias(prefix, kind), "require_alias": True}})[:-2] + b',"_id":'
    return begin, b"" if what == "create" else b',"version":%d,"version_type":"external"}}'


def source(kind: str, key: str, text: str, node: str = "") -> bytes:
    """The body of a document in the cluster, from its text in the catalogue."""
    document = orjson.loads(text)
    if kind in documents.KINDS:
        return _BODY % (_BESIDE[kind](document), text.encode())
    return _entry(kind, key, text, node, document)


def _entry(kind: str, key: str, text: str, node: str, document: dict[str, Any]) -> bytes:
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


def _timed(us: int) -> bytes:
    """The same as it is written."""
    second, fraction = divmod(us, SECOND)
    if fraction and _NANOS[0] <= us <= _NANOS[1]:
        return b'"@timestamp":"%b.%06dZ",' % (_second(second), fraction)
    return b"".join(b'"%b":"%b",' % (name.encode(), when.encode()) for name, when in _time(us).items())


@lru_cache(4_096)
def _second(second: int) -> bytes:
    return iso(second * SECOND)[:-1].encode()


def _related(entities: list[dict[str, Any]]) -> dict[str, list[str]]:
    addresses = sorted({_address(entity["value"]) for entity in entities if entity["kind"] == "host"})
    if not addresses or addresses[0]:
        return {"ip": addresses} if addresses else {}
    names = {entity["value"] for entity in entities if entity["kind"] == "host" and not _address(entity["value"])}
    return {**({"ip": addresses[1:]} if addresses[1:] else {}), "hosts": sorted(names)}


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


def _alert(document: dict[str, Any]) -> bytes:
    return b'%b"event":{"kind":"alert","severity":%d},"related":%b,' % (
        _timed(document["last"]),
        RANK[document["severity"]],
        orjson.dumps(_related(document["entities"])),
    )


def _case(document: dict[str, Any]) -> bytes:
    return b'%b"event":{"kind":"state","severity":%d},' % (_timed(document["last"]), RANK[document["severity"]])


def _state(field: str) -> Callable[[dict[str, Any]], bytes]:
    def make(document: dict[str, Any]) -> bytes:
        when = document.get(field) or 0
        return b'%b"event":{"kind":"state"},' % (_timed(when) if when else b"")

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


# What a body says of a document beside it, as it is written, with a comma behind: most of what is sent are these.
_BESIDE: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "alert": _alert,
    "incident": _alert,
    "case": _case,
    "run": _state("updated"),
    "receipt": _state("started"),
    "notification": _state("updated"),
}
_BODY = b'{%b"csirt":%b}'
# What an entry has that is not among its own fields.
_FIELDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "case_event": _case_event,
    "audit": _audit,
    "position": _position,
}
