"""The member's own rows of a case, counted: whole columns filtered and grouped, one pass per dataset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.address_columns import texts
from csirt.model.batch import Array, Batch, address_parts, event_ids
from csirt.model.member import AddressRegister
from csirt.model.records import Alert

NETWORK = ("flow", "dns", "tls", "http")
MAX_IDS = 10
# Ports are part of an alert's pattern only when the alert's sample of them is certainly whole.
MAX_PORTS = 10
COLUMNS = [
    *("source.ip", "destination.ip", "destination.port", "network.iana_number", "network.transport"),
    *("network.bytes", "network.packets", "csirt.source.member.id", "csirt.destination.member.id"),
    *("csirt.source.zone", "csirt.destination.zone", "event.action", "csirt.mail.status", "csirt.mail.to.domain"),
    *("csirt.edi.her_from", "csirt.edi.her_to", "csirt.edi.action", "csirt.edi.message_id"),
]
_TRANSPORT = {"icmp": 1, "tcp": 6, "udp": 17}


class ExchangeKey(NamedTuple):
    """What records of one exchange have in common. `member`: the counterpart's id, never shown."""

    direction: str
    own: str
    other: str
    outside: bool
    member: str
    protocol: int
    port: int


class MessageKey(NamedTuple):
    """What messages of one line have in common. `member`: the counterpart's id, never shown."""

    dataset: str
    direction: str
    own: str
    other: str
    member: str
    what: str
    state: str


@dataclass(slots=True)
class Sums:
    """Counts over rows."""

    count: int = 0
    octets: int = 0
    packets: int = 0
    first: int = 0
    last: int = 0
    ids: set[str] = field(default_factory=set)

    def add(self, times: Array) -> None:
        """Count some rows."""
        self.span(int(times.min()), int(times.max()), len(times))

    def span(self, first: int, last: int, count: int) -> None:
        """Count `count` rows from `first` to `last`."""
        self.first = min(self.first, first) if self.count else first
        self.last = max(self.last, last) if self.count else last
        self.count += count


@dataclass(slots=True)
class Evidence:
    """The member's rows: by (dataset, rule), by exchange, by message; and the ids of the members at the other end."""

    rules: dict[tuple[str, str], Sums] = field(default_factory=lambda: defaultdict(Sums))
    exchanges: dict[ExchangeKey, Sums] = field(default_factory=lambda: defaultdict(Sums))
    messages: dict[MessageKey, Sums] = field(default_factory=lambda: defaultdict(Sums))
    counterparts: set[str] = field(default_factory=set)


def gather(
    alerts: list[Alert], events: Callable[..., Iterator[Batch]], register: AddressRegister, member: str
) -> Evidence:
    """Count the rows of these alerts that have the member as an end.

    An alert keeps only a sample of its events. When the sample is not whole, the member's other rows with the same
    actor (and service, where it is known) in the alert's time belong to it too.
    """
    evidence = Evidence()
    by_dataset: dict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        by_dataset[alert.dataset].append(alert)
    for dataset, own in sorted(by_dataset.items()):
        ids = sorted({id for alert in own for id in alert.events})
        if all(alert.count <= len(alert.events) for alert in own):
            batches = events(dataset, ids=ids, columns=COLUMNS)
        else:
            since, until = min(alert.first for alert in own), max(alert.last for alert in own) + 1
            batches = events(dataset, since=since, until=until, columns=COLUMNS)
        for batch in batches:
            _count(_Rows(batch, member), own, register, evidence)
    return evidence


class _Rows:
    """The rows of one batch that have the member as an end, with the columns the report needs."""

    def __init__(self, batch: Batch, member: str) -> None:
        self.dataset = batch.dataset
        self.member = member
        source, destination = (_text(batch.table, f"csirt.{end}.member.id") for end in ("source", "destination"))
        mine = _equal(source, member) | _equal(destination, member)
        self.table = batch.table.filter(pa.array(mine)) if not mine.all() else batch.table
        self.size = self.table.num_rows
        self.source = self.text("csirt.source.member.id")
        self.destination = self.text("csirt.destination.member.id")
        self.out = _equal(self.source, member)
        self.inward = _equal(self.destination, member)

    def text(self, name: str) -> pa.Array:
        return _text(self.table, name)

    def numbers(self, name: str) -> Array:
        if name not in self.table.column_names:
            return np.zeros(self.size, np.int64)
        return np.asarray(pc.fill_null(pc.cast(self.table.column(name), pa.int64()), 0).to_numpy())

    def address(self, name: str) -> pa.Array:
        if f"{name}:f" not in self.table.column_names:
            return pa.nulls(self.size, pa.string())
        return pc.cast(texts(*address_parts(self.table, name)), pa.string())


def _count(rows: _Rows, alerts: list[Alert], register: AddressRegister, evidence: Evidence) -> None:
    if not rows.size:
        return
    times = rows.numbers("@timestamp")
    ids = event_ids(rows.table)
    sources, destinations = rows.address("source.ip"), rows.address("destination.ip")
    chosen = np.zeros(rows.size, np.bool_)
    masks: dict[str, Array] = {}
    for alert in alerts:
        mask = _isin(ids, alert.events)
        if alert.count > len(alert.events):
            mask |= _pattern(rows, alert, times, sources)
        masks[alert.rule_id] = masks.get(alert.rule_id, np.zeros(rows.size, np.bool_)) | mask
        chosen |= mask
    for rule, mask in masks.items():
        if mask.any():
            evidence.rules[rows.dataset, rule].add(times[mask])
    picked = np.flatnonzero(chosen)
    for column in (rows.source, rows.destination):
        evidence.counterparts.update(pc.unique(column.take(pa.array(picked)).drop_null()).to_pylist())
    evidence.counterparts.discard(rows.member)
    if rows.dataset in NETWORK:
        _network(rows, picked, times, sources, destinations, evidence)
    elif rows.dataset == "mail":
        _mail(rows, picked, times, sources, register, evidence)
    elif rows.dataset == "edi":
        _edi(rows, picked, times, evidence)


def _pattern(rows: _Rows, alert: Alert, times: Array, sources: pa.Array) -> Array:
    """Rows like the alert's: the same actor, in its time, to one of its ports when all of them are known."""
    actors = [(e.kind, e.value) for e in alert.entities if e.role == "actor"]
    hosts = [value for kind, value in actors if kind == "host"]
    parties = [value for kind, value in actors if kind == "her"]
    mask = _isin(sources, hosts) | _isin(rows.text("csirt.edi.her_from"), parties)
    ports = alert.facts.get("destination.port", [])
    if 0 < len(ports) < MAX_PORTS and all(port.isdigit() for port in ports):
        mask &= np.isin(rows.numbers("destination.port"), [int(port) for port in ports])
    return mask & (times >= alert.first) & (times <= alert.last)


def _network(
    rows: _Rows, picked: Array, times: Array, sources: pa.Array, destinations: pa.Array, evidence: Evidence
) -> None:
    """Group the picked rows by exchange. The member's end is `own`; the other end's member stays internal."""
    protocol = rows.numbers("network.iana_number")
    if "network.iana_number" not in rows.table.column_names:
        names = rows.text("network.transport").to_pylist()
        protocol = np.array([_TRANSPORT.get(name, 0) for name in names], np.int64)
    port, octets, packets = (rows.numbers(n) for n in ("destination.port", "network.bytes", "network.packets"))
    zones = {end: rows.text(f"csirt.{end}.zone") for end in ("source", "destination")}
    out = pa.array(rows.out)
    table = pa.table(
        {
            "out": out,
            "in": pa.array(rows.inward),
            "own": pc.if_else(out, sources, destinations),
            "other": pc.if_else(out, destinations, sources),
            "zone": pc.if_else(out, zones["destination"], zones["source"]),
            "member": pc.if_else(out, rows.destination, rows.source),
            "protocol": pa.array(protocol),
            "port": pa.array(port),
            "time": pa.array(times),
            "octets": pa.array(octets),
            "packets": pa.array(packets),
        }
    ).take(pa.array(picked))
    keys = ["out", "in", "own", "other", "zone", "member", "protocol", "port"]
    sums = [("time", "min"), ("time", "max"), ("time", "count"), ("octets", "sum"), ("packets", "sum")]
    for row in table.group_by(keys, use_threads=False).aggregate(sums).to_pylist():
        direction = "own" if row["out"] and row["in"] else "out" if row["out"] else "in"
        key = ExchangeKey(
            direction,
            row["own"] or "",
            row["other"] or "",
            row["zone"] == "outside",
            row["member"] or "",
            row["protocol"],
            row["port"],
        )
        _merge(evidence.exchanges[key], row)


def _merge(sums: Sums, row: dict[str, Any]) -> None:
    sums.span(row["time_min"], row["time_max"], row["time_count"])
    sums.octets += row["octets_sum"]
    sums.packets += row["packets_sum"]


def _mail(
    rows: _Rows, picked: Array, times: Array, sources: pa.Array, register: AddressRegister, evidence: Evidence
) -> None:
    """Mail: of what the member sent, the recipients' domains (not those of other members); of what it got, the client's
    address."""
    shown: dict[str, str] = {}

    def domain(text: str) -> str:
        if text not in shown:
            found = register.domain(text)
            others = found is not None and found.members and rows.member not in found.members
            shown[text] = "" if others else text
        return shown[text]

    at = pa.array(picked)
    columns = (
        rows.text("csirt.mail.status").take(at).to_pylist(),
        rows.text("event.action").take(at).to_pylist(),
        _lists(rows.table.take(at), "csirt.mail.to.domain", len(picked)),
        sources.take(at).to_pylist(),
        rows.source.take(at).to_pylist(),
        rows.destination.take(at).to_pylist(),
    )
    for row, status, action, recipients, client, sender, receiver in zip(picked.tolist(), *columns, strict=True):
        out = bool(rows.out[row])
        names = sorted({domain(text) for text in recipients} - {""})
        other = " ".join(names) if out else client or ""
        member = (receiver if out else sender) or ""
        own = client or "" if out else ""
        key = MessageKey("mail", "out" if out else "in", own, other, member, "", status or action or "")
        evidence.messages[key].add(times[row : row + 1])


def _edi(rows: _Rows, picked: Array, times: Array, evidence: Evidence) -> None:
    """Clinical messages: the two HER-ids, the message's type and the step; ids only of messages the member sent."""
    at = pa.array(picked)
    names = ("her_from", "her_to", "action", "message_id")
    columns = [rows.text(f"csirt.edi.{name}").fill_null("").take(at).to_pylist() for name in names]
    columns += [column.fill_null("").take(at).to_pylist() for column in (rows.text("event.action"), rows.source)]
    columns += [rows.destination.fill_null("").take(at).to_pylist()]
    for row, her_from, her_to, what, id, state, sender, receiver in zip(picked.tolist(), *columns, strict=True):
        out = bool(rows.out[row])
        own, other = (her_from, her_to) if out else (her_to, her_from)
        member = receiver if out else sender
        sums = evidence.messages[MessageKey("edi", "out" if out else "in", own, other, member, what, state)]
        sums.add(times[row : row + 1])
        if out and id and len(sums.ids) < MAX_IDS:
            sums.ids.add(id)


def _text(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    column = pc.cast(table.column(name), pa.string())
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _equal(column: pa.Array, value: str) -> Array:
    return np.asarray(pc.fill_null(pc.equal(column, value), False).to_numpy(zero_copy_only=False))


def _isin(column: pa.Array, values: list[str]) -> Array:
    if not values:
        return np.zeros(len(column), np.bool_)
    found = pc.is_in(column, value_set=pa.array(values, pa.string()))
    return np.asarray(found.to_numpy(zero_copy_only=False)).astype(np.bool_)


def _lists(table: pa.Table, name: str, rows: int) -> list[list[str]]:
    if name not in table.column_names:
        return [[] for _ in range(rows)]
    return [[text for text in value or [] if text] for value in table.column(name).to_pylist()]
