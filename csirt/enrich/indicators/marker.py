"""Events that meet an indicator: `threat.indicator.*` columns, in event time."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.enrich import prefixes
from csirt.enrich.indicators.values import Indicator
from csirt.model import ecs, tlp
from csirt.model.batch import Array, address_parts, codes

# Columns that hold a domain, by dataset; the first that meets an indicator counts, then the destination, the source.
DOMAINS = {
    "dns": ("dns.question.name",),
    "tls": ("tls.client.server_name",),
    "http": ("url.domain",),
    "mail": ("csirt.mail.to.domain", "csirt.mail.from.domain"),
}
ENDS = ("destination.ip", "source.ip")
HIGH, MEDIUM = 70, 30  # STIX's scale in three words


class Marker:
    """Indicators ready for batches. The same value of several lists is one."""

    def __init__(self, items: Iterable[Indicator]) -> None:
        joined: dict[str, Indicator] = {}
        for item in items:
            joined[item.value] = joined[item.value].joined(item) if item.value in joined else item
        self._items = list(joined.values())
        networks = [
            (ipaddress.ip_network(item.value), number + prefixes.OUTSIDE + 1)
            for number, item in enumerate(self._items)
            if item.kind != "domain"
        ]
        self._table = prefixes.build(networks) if networks else None
        self._domains = {item.value: number for number, item in enumerate(self._items) if item.kind == "domain"}
        self._expires = np.array([item.expires for item in self._items], np.int64)

    def columns(self, dataset: str, table: pa.Table) -> dict[str, pa.Array]:
        """The columns of a batch in which an event meets an indicator that is not over at its time; else none."""
        if not self._items or not table.num_rows:
            return {}
        found = np.full(table.num_rows, -1, np.int64)
        for name in DOMAINS.get(dataset, ()):
            if self._domains and name in table.column_names:
                _fill(found, self._of_domains(table.column(name)))
        for name in ENDS:
            if self._table is not None and ecs.physical(name)[0] in table.column_names:
                values = self._table.lookup(*address_parts(table, name)[:3])
                _fill(found, values.astype(np.int64) - (prefixes.OUTSIDE + 1))
        met = found >= 0
        if not met.any():
            return {}
        times = np.asarray(pc.cast(table.column("@timestamp"), pa.int64()).fill_null(0).to_numpy())
        found[met & (self._expires[found] <= times)] = -1
        return self._texts(found) if (found >= 0).any() else {}

    def _of_domains(self, column: pa.ChunkedArray) -> Array:
        """The indicator of each row's domain or of the nearest domain above it, or -1; once per distinct name."""
        encoded = pc.dictionary_encode(pc.cast(column, pa.string())).combine_chunks()
        known = [self._of_domain(text) for text in encoded.dictionary.to_pylist()]
        picks = np.array([*known, -1], np.int64)
        return np.asarray(picks[pc.fill_null(pc.cast(encoded.indices, pa.int64()), len(known)).to_numpy()])

    def _of_domain(self, text: str | None) -> int:
        if not text or len(text) > 255:
            return -1
        name = text.lower().rstrip(".")
        while "." in name:
            found = self._domains.get(name)
            if found is not None:
                return found
            name = name.partition(".")[2]
        return -1

    def _texts(self, found: Array) -> dict[str, pa.Array]:
        used, places = np.unique(found, return_inverse=True)
        items = [self._items[number] if number >= 0 else None for number in used.tolist()]
        places = places.astype(np.int64)

        def text(of: list[str | None]) -> pa.DictionaryArray:
            return codes(places, of)

        numbers = pa.array([None if item is None else item.confidence for item in items], pa.uint8())
        return {
            "threat.indicator.name": text([item and item.value for item in items]),
            "threat.indicator.type": text([item and _kind(item) for item in items]),
            "threat.indicator.confidence": text([item and _word(item.confidence) for item in items]),
            "csirt.indicator.confidence": numbers.take(pa.array(places)),
            tlp.FIELD: text([item and item.tlp for item in items]),
            "threat.feed.name": text([item and item.list for item in items]),
        }


def _fill(found: Array, more: Array) -> None:
    """What is not known yet, from `more`, where below 0 is nothing."""
    empty = found < 0
    found[empty] = np.maximum(more[empty], -1)


def _kind(item: Indicator) -> str:
    if item.kind == "domain":
        return "domain-name"
    return "ipv6-addr" if ":" in item.value else "ipv4-addr"


def _word(confidence: int) -> str:
    return "High" if confidence >= HIGH else "Medium" if confidence >= MEDIUM else "Low"
