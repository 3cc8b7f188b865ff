"""What must survive a restart: templates, samplers, sequence numbers, held sets, per (exporter, version, domain).

The state is one JSON header and the raw bytes it points into, so that templates and held sets cost what they weigh.
Templates are kept as they came and parsed again; plans are never stored. Held octets are sealed (csirt.decode.seal)
when there is a key, for nobody knows yet what of them is text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from csirt.decode import seal
from csirt.decode.netflow.templates import Signature
from csirt.model.address import to_text
from csirt.model.batch import Array

MAGIC = b"csirt-netflow/3\n"
OVERHEAD = 256  # what a held set costs beyond its octets, in memory and in the state
HELD = ("exporter", "template", "length", "frame", "base", "time", "export", "uptime", "segment", "datagram", "clock")


@dataclass(slots=True)
class Sequence:
    """How far an exporter's sequence numbers have come (csirt.decode.netflow.follow). `expected`: the next one or -1.
    `unclear`: how far the last message advanced is not known. `depth`: how many numbers below `expected` were followed.
    `export`, `uptime`, `clock`: the greatest export time, the last uptime and its receive time. `gaps`: numbers missed,
    as (first, how many), oldest first."""

    expected: int = -1
    unclear: int = 0
    depth: int = 0
    export: int = 0
    uptime: int = -1
    clock: int = 0
    gaps: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Period:
    """What one exporter did in a minute that is not over (csirt.decode.netflow.periods)."""

    lost: int = 0
    units: int = 0
    malformed: int = 0
    missing: int = 0
    skews: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Exporter:
    """One (address, version, domain). `listed`: it is configured. `own`: its counters have rows of their own.
    `templates`: id -> signature, the least recently refreshed first; `refreshed`: id -> (receive time, number of the
    definition). `samplers`: id (-1 none) -> rate. `names`: kind -> number -> what options data calls it; `names_raw`:
    the same as JSON, unless it was `renamed` since. `raw`, `templates_raw`: it and its templates as they were last
    dumped, empty since they changed (`mark`, `mark_templates`). `boot`: when the device started (microseconds) as its
    options data says, or 0. `plans`: of its templates that had data, until a template changes (see `current`). `skew`:
    microseconds its clock was ahead of ours in the last whole minute. `first`, `heard`: receive times of its first and
    its last datagram; `turn`: the last one's number."""

    family: int
    high: int
    low: int
    version: int
    domain: int
    listed: bool = False
    own: bool = False
    first: int = 0
    heard: int = 0
    turn: int = 0
    boot: int = 0
    templates: dict[int, Signature] = field(default_factory=dict)
    refreshed: dict[int, tuple[int, int]] = field(default_factory=dict)
    samplers: dict[int, int] = field(default_factory=dict)
    names: dict[str, dict[int, str]] = field(default_factory=dict)
    renamed: bool = False
    names_raw: bytes = b"{}"
    raw: bytes = field(default=b"", repr=False, compare=False)
    templates_raw: bytes = field(default=b"", repr=False, compare=False)
    plans: tuple[object, Array, Array] | None = field(default=None, repr=False, compare=False)
    sequence: Sequence = field(default_factory=Sequence)
    periods: dict[int, Period] = field(default_factory=dict)
    skew: int = 0

    @property
    def key(self) -> tuple[int, int, int, int, int]:
        """What it is known by."""
        return (self.family, self.high, self.low, self.version, self.domain)

    @property
    def address(self) -> str:
        """Its address as text; empty when it has none."""
        return to_text(self.family, self.high, self.low) if self.family else ""

    def mark(self) -> None:
        """Something in it changed."""
        self.raw = b""

    def mark_templates(self) -> None:
        """Something about its templates changed, if only when they were refreshed."""
        self.raw = self.templates_raw = b""

    def change_templates(self) -> None:
        """One of its templates went or is another."""
        self.mark_templates()
        self.plans = None

    def known_as(self) -> bytes:
        """Its `names` as JSON."""
        if self.renamed:
            self.names_raw = orjson.dumps(self.names, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS)
            self.renamed = False
        return self.names_raw


@dataclass(slots=True)
class Held:
    """Sets whose template is not known yet, oldest first; arrays by `HELD` with one entry per set, `data` their octets
    one after the other. `decoded`: of each held datagram (by number) whether some other set of it was decoded."""

    rows: dict[str, Array] = field(default_factory=lambda: {name: np.empty(0, np.int64) for name in HELD})
    data: Array = field(default_factory=lambda: np.empty(0, np.uint8))
    decoded: Array = field(default_factory=lambda: np.empty(0, bool))

    @property
    def sets(self) -> int:
        """How many sets."""
        return len(self.rows["length"])

    @property
    def datagrams(self) -> int:
        """How many datagrams they belong to."""
        return len(self.decoded)


@dataclass(slots=True)
class State:
    """All of it. `clock`: the greatest receive time seen. `messages`, `definitions`: how many messages of anybody and
    how many templates were read. `named`: how many exporters that are not listed got counters of their own. `segments`:
    texts that held sets' segment numbers name. `unreadable`: what was held under another key; its octets are gone."""

    exporters: list[Exporter] = field(default_factory=list)
    held: Held = field(default_factory=Held)
    segments: list[str] = field(default_factory=list)
    clock: int = 0
    messages: int = 0
    definitions: int = 0
    named: int = 0
    unreadable: Held = field(default_factory=Held)

    def dump(self, key: bytes = b"") -> bytes:
        """The state as bytes; equal states give equal bytes. `key` seals what is held.

        What costs much to write is written again only where it changed.
        """
        data = self.held.data.tobytes()
        # Routers of one make have the same tables of applications: a table is written once.
        tables: dict[bytes, int] = {}
        named = [tables.setdefault(item.known_as(), len(tables)) for item in self.exporters]
        header = {
            "names": [orjson.Fragment(raw) for raw in tables],
            "clock": self.clock,
            "counts": [self.messages, self.definitions, self.named],
            "exporters": [_exporter(*pair) for pair in zip(self.exporters, named, strict=True)],
            "held": {name: self.held.rows[name].tolist() for name in HELD},
            "decoded": self.held.decoded.tolist(),
            "segments": self.segments,
            "sealed": bool(key),
        }
        raw = orjson.dumps(header, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS)
        return MAGIC + len(raw).to_bytes(8, "big") + raw + (seal.seal(key, data) if key else data)

    @staticmethod
    def load(raw: bytes | None, key: bytes = b"") -> State:
        """The state of `dump` with the same key. Raises ValueError for anything else."""
        if not raw:
            return State()
        header, body = _parts(raw)
        held = Held(
            {name: np.array(header["held"][name], np.int64) for name in HELD},
            np.empty(0, np.uint8),
            np.array(header["decoded"], bool),
        )
        data = seal.unseal(key, body) if header["sealed"] else body
        state = State([_load_exporter(item, header["names"]) for item in header["exporters"]])
        state.clock = header["clock"]
        state.messages, state.definitions, state.named = header["counts"]
        if data is None:
            state.unreadable = held
            return state
        held.data = np.frombuffer(data, np.uint8)
        state.held, state.segments = held, header["segments"]
        return state


def _parts(raw: bytes) -> tuple[dict[str, Any], bytes]:
    if not raw.startswith(MAGIC):
        raise ValueError("not a NetFlow decoder state")
    at = len(MAGIC) + 8
    end = at + int.from_bytes(raw[len(MAGIC) : at], "big")
    return orjson.loads(raw[at:end]), raw[end:]


def _exporter(item: Exporter, names: int) -> orjson.Fragment:
    if not item.raw:
        item.raw = _dumped(item)
    return orjson.Fragment(b'{"names":%d,%b' % (names, item.raw[1:]))


def _dumped(item: Exporter) -> bytes:
    """An exporter without its names."""
    if not item.templates_raw:
        refreshed = item.refreshed
        pieces = [b"[%d,%d,%d,%b]" % (n, *refreshed[n], signature.raw()) for n, signature in item.templates.items()]
        item.templates_raw = b"[%b]" % b",".join(pieces)
    sequence = item.sequence
    document = {
        "key": list(item.key),
        "own": item.own,
        "times": [item.first, item.heard, item.turn, item.boot],
        "templates": orjson.Fragment(item.templates_raw),
        "samplers": item.samplers,
        "sequence": [getattr(sequence, name) for name in Sequence.__slots__],
        "skew": item.skew,
        "periods": [[n, p.lost, p.units, p.malformed, p.missing, p.skews] for n, p in item.periods.items()],
    }
    return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS)


def _load_exporter(item: dict[str, Any], tables: list[dict[str, dict[str, str]]]) -> Exporter:
    family, high, low, version, domain = item["key"]
    exporter = Exporter(family, high, low, version, domain, own=item["own"])
    exporter.first, exporter.heard, exporter.turn, exporter.boot = item["times"]
    for number, clock, order, version, options, scopes, flat in item["templates"]:
        fields = tuple(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
        exporter.templates[number] = Signature(version, options, scopes, fields)
        exporter.refreshed[number] = (clock, order)
    exporter.samplers = {int(number): rate for number, rate in item["samplers"].items()}
    table = tables[item["names"]]
    exporter.names = {kind: {int(ident): name for ident, name in known.items()} for kind, known in table.items()}
    exporter.renamed = True
    exporter.sequence = Sequence(*item["sequence"])
    exporter.skew = item["skew"]
    exporter.periods = {number: Period(*known) for number, *known in item["periods"]}
    return exporter
