"""What must survive a restart: templates, samplers, sequence numbers, held sets, per (exporter, version, domain).

The state is one JSON header and the raw bytes it points into, so that templates and held sets cost what they weigh.
Templates are kept as they came and parsed again; plans are never stored. Held octets are sealed (csirt.decode.seal)
when there is a key, for nobody knows yet what of them is text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import orjson

from csirt.decode import seal
from csirt.decode.netflow.templates import Signature
from csirt.model.address import to_text
from csirt.model.batch import Array

MAGIC = b"csirt-netflow/2\n"
MAX_EXPORTERS = 16_384
MAX_TEMPLATES = 4_096  # per exporter, version and domain
MAX_TEMPLATE_FIELDS = 2_000_000  # in all
OVERHEAD = 256  # what a held set costs beyond its octets, in memory and in the state
HELD = ("exporter", "template", "length", "frame", "base", "time", "export", "uptime", "segment", "datagram", "clock")


@dataclass(slots=True)
class Exporter:
    """One (address, version, domain). `templates`: id -> signature. `samplers`: id (-1 none) -> rate. `expected`: the
    next sequence number or -1. `boot`: when the device started (microseconds) as its options data says, or 0."""

    family: int
    high: int
    low: int
    version: int
    domain: int
    templates: dict[int, Signature] = field(default_factory=dict)
    samplers: dict[int, int] = field(default_factory=dict)
    expected: int = -1
    boot: int = 0

    @property
    def key(self) -> tuple[int, int, int, int, int]:
        """What it is known by."""
        return (self.family, self.high, self.low, self.version, self.domain)

    @property
    def address(self) -> str:
        """Its address as text; empty when it has none."""
        return to_text(self.family, self.high, self.low) if self.family else ""


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
    """All of it. `clock`: the greatest receive time seen. `segments`: texts that held sets' segment numbers name.
    `unreadable`: what was held under another key; its octets are gone."""

    exporters: list[Exporter] = field(default_factory=list)
    held: Held = field(default_factory=Held)
    segments: list[str] = field(default_factory=list)
    clock: int = 0
    template_fields: int = 0  # of all templates together
    unreadable: Held = field(default_factory=Held)

    def dump(self, key: bytes = b"") -> bytes:
        """The state as bytes; equal states give equal bytes. `key` seals what is held."""
        data = self.held.data.tobytes()
        header = {
            "clock": self.clock,
            "exporters": [_exporter(item) for item in self.exporters],
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
        if not raw.startswith(MAGIC):
            raise ValueError("not a NetFlow decoder state")
        at = len(MAGIC) + 8
        end = at + int.from_bytes(raw[len(MAGIC) : at], "big")
        header = orjson.loads(raw[at:end])
        held = Held(
            {name: np.array(header["held"][name], np.int64) for name in HELD},
            np.empty(0, np.uint8),
            np.array(header["decoded"], bool),
        )
        data = seal.unseal(key, raw[end:]) if header["sealed"] else raw[end:]
        exporters = [_load_exporter(item) for item in header["exporters"]]
        fields = sum(len(item.fields) for exporter in exporters for item in exporter.templates.values())
        if data is None:
            return State(exporters, Held(), [], header["clock"], fields, unreadable=held)
        held.data = np.frombuffer(data, np.uint8)
        return State(exporters, held, header["segments"], header["clock"], fields)


def _exporter(item: Exporter) -> list[object]:
    templates = {
        number: [s.version, s.options, s.scopes, [value for field in s.fields for value in field]]
        for number, s in item.templates.items()
    }
    return [list(item.key), templates, item.samplers, item.expected, item.boot]


def _load_exporter(item: list[object]) -> Exporter:
    key, templates, samplers, expected, boot = item
    exporter = Exporter(*key)  # type: ignore[misc]
    for number, (version, options, scopes, flat) in templates.items():  # type: ignore[attr-defined]
        fields = tuple(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
        exporter.templates[int(number)] = Signature(version, options, scopes, fields)
    exporter.samplers = {int(number): rate for number, rate in samplers.items()}  # type: ignore[attr-defined]
    exporter.expected, exporter.boot = expected, boot  # type: ignore[assignment]
    return exporter
