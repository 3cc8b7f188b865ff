"""Deterministic NetFlow v5, v9 and IPFIX captures with several templates, options data and a manifest of exact sums.

What an edge router of a closed health network would export: IPv4 and IPv6 templates side by side, templates and options
again every 200 datagrams, sequence numbers as each version counts them, sets padded to four octets. `fixed` and
`shuffled` hold the same IPv4 records, in one template and in 1,000 that order the same fields differently.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from csirt.bench import traffic
from csirt.bench.traffic import Columns
from csirt.model.batch import Array

EPOCH = 1_718_000_000  # the first export second
STEP = 0.03  # seconds between two datagrams
EXPORTERS = 4
AGAIN = 200  # an exporter's datagrams between two announcements of its templates
VARIABLE = 65535
MANY = 1_000
KINDS = ("v5", "v9", "ipfix", "fixed", "shuffled")
# column, element, octets; an element of an enterprise is (enterprise number, element)
Field = tuple[str, int | tuple[int, int], int]
V5: list[Field] = [
    ("src", 0, 4), ("dst", 0, 4), ("hop", 0, 4), ("inif", 0, 2), ("outif", 0, 2), ("packets", 0, 4), ("octets", 0, 4),
    ("first", 0, 4), ("last", 0, 4), ("sport", 0, 2), ("dport", 0, 2), ("zero", 0, 1), ("flags", 0, 1),
    ("proto", 0, 1), ("tos", 0, 1), ("sas", 0, 2), ("das", 0, 2), ("smask", 0, 1), ("dmask", 0, 1), ("zero2", 0, 2),
]  # fmt: skip
NINE_V4: list[Field] = [
    ("octets", 1, 4), ("packets", 2, 4), ("proto", 4, 1), ("tos", 5, 1), ("flags", 6, 1), ("sport", 7, 2),
    ("src", 8, 4), ("smask", 9, 1), ("inif", 10, 4), ("dport", 11, 2), ("dst", 12, 4), ("dmask", 13, 1),
    ("outif", 14, 4), ("hop", 15, 4), ("sas", 16, 2), ("das", 17, 2), ("last", 21, 4), ("first", 22, 4),
    ("direction", 61, 1), ("sampler", 48, 1), ("icmp", 32, 2),
]  # fmt: skip
NINE_V6: list[Field] = [
    ("src", 27, 16), ("dst", 28, 16), ("octets", 1, 4), ("packets", 2, 4), ("proto", 4, 1), ("tos", 5, 1),
    ("flags", 6, 1), ("sport", 7, 2), ("dport", 11, 2), ("inif", 10, 4), ("outif", 14, 4), ("zero3", 31, 3),
    ("smask", 29, 1), ("dmask", 30, 1), ("last", 21, 4), ("first", 22, 4), ("direction", 61, 1), ("sampler", 48, 1),
]  # fmt: skip
TEN_V4: list[Field] = [
    ("src", 8, 4), ("dst", 12, 4), ("sport", 7, 2), ("dport", 11, 2), ("proto", 4, 1), ("tos", 5, 1), ("flags", 6, 2),
    ("octets", 1, 8), ("packets", 2, 8), ("start", 152, 8), ("end", 153, 8), ("inif", 10, 4), ("outif", 14, 4),
    ("sas", 16, 4), ("das", 17, 4), ("smask", 9, 1), ("dmask", 13, 1), ("reason", 136, 1), ("vlan", 58, 2),
    ("direction", 61, 1),
]  # fmt: skip
TEN_V6: list[Field] = [
    ("src", 27, 16),
    ("dst", 28, 16),
    *TEN_V4[2:15],
    *TEN_V4[17:],
    ("smask", 29, 1),
    ("dmask", 30, 1),
]
TEN_APP: list[Field] = [*TEN_V4[:14], ("nbar", (35632, 118), 2), ("application", 96, VARIABLE)]


@dataclass
class Manifest:
    """What a capture holds, exactly. `records` and the sums are of flow records, without options data."""

    datagrams: int = 0
    records: int = 0
    options: int = 0
    octets: int = 0
    packets: int = 0
    templates: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Template:
    """A template and its share of a capture's records; `per`: records in a datagram."""

    id: int
    fields: list[Field]
    per: int
    six: bool = False


def write(folder: Path, *, seed: int, records: int, kinds: tuple[str, ...] = KINDS) -> dict[str, Manifest]:
    """Write `netflow-<kind>.pcap` of `records` flow records each, and `manifest.json`; the manifests by kind."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Manifest] = {}
    for kind in kinds:
        # `fixed` and `shuffled` draw the same records
        rng = np.random.default_rng([seed, min(KINDS.index(kind), KINDS.index("fixed"))])
        with traffic.Pcap(folder / f"netflow-{kind}.pcap") as capture:
            found[kind] = _five(capture, rng, records) if kind == "v5" else _templated(capture, rng, records, kind)
            found[kind].datagrams = capture.count
    text = json.dumps({kind: asdict(item) for kind, item in found.items()}, indent=1, sort_keys=True)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return found


def _five(capture: traffic.Pcap, rng: np.random.Generator, records: int) -> Manifest:
    columns = traffic.columns(rng, records)
    time = EPOCH + np.arange(records) // 30 * STEP
    raw = _records(V5, columns, time).tobytes()
    sequence = [0] * EXPORTERS
    for number, first in enumerate(range(0, records, 30)):
        count, exporter, now = min(30, records - first), number % EXPORTERS, float(time[first])
        head = struct.pack(
            ">HHIIIIBBH", 5, count, _uptime(now), int(now), int(now % 1 * 1e9), sequence[exporter] & 0xFFFFFFFF, 0,
            exporter, 1 << 14 | 100,
        )  # fmt: skip
        capture.add(now, exporter, head + raw[first * 48 : (first + count) * 48])
        sequence[exporter] += count
    return _sums(Manifest(templates={"5": records}), columns)


def _sums(manifest: Manifest, columns: Columns) -> Manifest:
    manifest.records += len(columns["octets"])
    manifest.octets += int(columns["octets"].sum())
    manifest.packets += int(columns["packets"].sum())
    return manifest


def _layout(kind: str, rng: np.random.Generator, records: int) -> list[tuple[Template, int]]:
    """The templates of a capture and how many records each has."""
    six = records // 8
    if kind == "v9":
        return [(Template(256, NINE_V4, 24), records - six), (Template(257, NINE_V6, 17, True), six)]
    if kind == "ipfix":
        named = records // 10
        four = Template(300, TEN_V4, 22), records - six - named
        return [four, (Template(301, TEN_V6, 15, True), six), (Template(302, TEN_APP, 18), named)]
    if kind == "fixed":
        return [(Template(300, TEN_V4, 22), records)]
    templates: list[tuple[Template, int]] = []
    for number in range(MANY):
        share = records * (number + 1) // MANY - records * number // MANY
        order = rng.permutation(len(TEN_V4)).tolist()
        templates.append((Template(1_000 + number, [TEN_V4[i] for i in order], 22), share))
    return templates


def _templated(capture: traffic.Pcap, rng: np.random.Generator, records: int, kind: str) -> Manifest:
    """v9 and IPFIX: every datagram holds records of one template, in random order over the templates."""
    version = 9 if kind == "v9" else 10
    shuffled = np.random.default_rng(rng.integers(1 << 62))
    whole = traffic.columns(rng, records) if kind in ("fixed", "shuffled") else None
    manifest = Manifest()
    layout = _layout(kind, shuffled, records)
    bodies: list[Iterator[tuple[int, bytes]]] = []
    order = np.repeat(np.arange(len(layout)), [-(-count // template.per) for template, count in layout])
    order = shuffled.permutation(order)
    begin = 0
    for number, (template, count) in enumerate(layout):
        columns = (
            traffic.columns(rng, count, six=template.six)
            if whole is None
            else {name: values[begin : begin + count] for name, values in whole.items()}
        )
        begin += count
        manifest.templates[str(template.id)] = count
        _sums(manifest, columns)
        time = np.repeat(EPOCH + np.flatnonzero(order == number) * STEP, template.per)[:count]
        bodies.append(_bodies(template, columns, time, rng))
    exporters = [_Exporter(version, number) for number in range(EXPORTERS)]
    again = max(AGAIN, 4 * len(layout))
    for at, number in enumerate(order.tolist()):
        exporter, now = exporters[at % EXPORTERS], EPOCH + at * STEP
        if exporter.sent % again == 0:
            for payload, options in exporter.announce([template for template, _ in layout], now):
                capture.add(now, exporter.number, payload)
                manifest.options += options
        count, body = next(bodies[number])
        capture.add(now, exporter.number, exporter.data(layout[number][0].id, count, body, now))
    return manifest


def _bodies(template: Template, columns: Columns, time: Array, rng: np.random.Generator) -> Iterator[tuple[int, bytes]]:
    """(records, octets) of one datagram after the other."""
    total = len(columns["octets"])
    rows = _records(template.fields, columns, time)
    raw, size = rows.tobytes(), rows.dtype.itemsize
    names = rng.choice(np.array(traffic.APPLICATIONS), total) if template.fields is TEN_APP else None
    for first in range(0, total, template.per):
        count = min(template.per, total - first)
        if names is None:
            yield count, raw[first * size : (first + count) * size]
        else:
            parts = [raw[i * size : (i + 1) * size] + _counted(names[i]) for i in range(first, first + count)]
            yield count, b"".join(parts)


def _counted(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def _records(fields: list[Field], columns: Columns, time: Array) -> Array:
    """The records as they are sent, without fields of variable length."""
    wire = {1: "u1", 2: ">u2", 4: ">u4", 8: ">u8"}
    layout = [(name, wire.get(size, f"V{size}")) for name, _, size in fields if size != VARIABLE]
    rows = np.zeros(len(time), np.dtype(layout))
    ends = (time * 1000).astype(np.int64) - 1_000
    uptime = ends - (EPOCH - 86_400) * 1000
    clocks = {"last": uptime, "first": uptime - columns["duration"], "end": ends, "start": ends - columns["duration"]}
    for name in rows.dtype.names or ():
        if not name.startswith("zero"):
            rows[name] = clocks[name] if name in clocks else columns[name]
    return rows


def _uptime(now: float) -> int:
    return int((now - EPOCH + 86_400) * 1000)


def _set(number: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    return struct.pack(">HH", number, 4 + len(body)) + body


class _Exporter:
    """One exporter's sequence, and how its messages look."""

    def __init__(self, version: int, number: int) -> None:
        self.version, self.number, self.sent, self.sequence = version, number, 0, 0

    def message(self, sets: bytes, count: int, now: float) -> bytes:
        """The sets behind a header; `count`: what the sequence number advances by in IPFIX, records in v9's header."""
        domain, sequence = 1_000 + self.number, self.sequence & 0xFFFFFFFF
        self.sequence += 1 if self.version == 9 else count
        if self.version == 9:
            return struct.pack(">HHIIII", 9, count, _uptime(now), int(now), sequence, domain) + sets
        return struct.pack(">HHIII", 10, 16 + len(sets), int(now), sequence, domain) + sets

    def data(self, template: int, count: int, body: bytes, now: float) -> bytes:
        """A datagram of flow records."""
        self.sent += 1
        return self.message(_set(template, body), count, now)

    def announce(self, templates: list[Template], now: float) -> Iterator[tuple[bytes, int]]:
        """(datagram, options records in it): all templates, 15 to a datagram, then options data."""
        for first in range(0, len(templates), 15):
            part = templates[first : first + 15]
            body = b"".join(_template(item) for item in part)
            if self.version == 9:
                yield self.message(_set(0, body), len(part), now), 0
            else:
                yield self.message(_set(2, body), 0, now), 0
        if self.version == 9:
            sampler = struct.pack(">HHHHHHHHHHH", 258, 4, 12, 1, 4, 48, 1, 49, 1, 50, 4)
            names = struct.pack(">HHHHHHHHH", 259, 4, 8, 2, 4, 82, 16, 83, 32)
            ports = (struct.pack(">I16s32s", i, b"Gi0/%d" % i, b"edge port %d" % i) for i in range(1, 9))
            sets = _set(1, sampler) + _set(1, names) + _set(258, struct.pack(">IBBI", 0, 1, 2, 100))
            yield self.message(sets + _set(259, b"".join(ports)), 11, now), 9
        else:
            counters = struct.pack(">HHHHHHHHH", 303, 3, 1, 130, 4, 41, 8, 42, 8)
            values = struct.pack(">IQQ", traffic.address(self.number), self.sent, self.sequence)
            yield self.message(_set(3, counters) + _set(303, values), 1, now), 1


def _template(template: Template) -> bytes:
    out = struct.pack(">HH", template.id, len(template.fields))
    for _, element, size in template.fields:
        if isinstance(element, tuple):
            out += struct.pack(">HHI", 0x8000 | element[1], size, element[0])
        else:
            out += struct.pack(">HH", element, size)
    return out
