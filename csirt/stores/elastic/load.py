"""Documents of the cluster back into a catalogue: their texts are what the catalogue held, octet by octet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import apsw
import orjson

from csirt.stores.elastic import layout
from csirt.stores.elastic.pages import pages
from csirt.stores.embedded.catalogue import chain, documents

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

PAGE = 1_000
# Incidents that were merged away come first, so that an alias leads to the one that took them over last.
_ORDER: dict[str, list[Any]] = {
    "incident": [{"csirt.merged_into": {"order": "desc", "missing": "_last"}}, "csirt.id"],
    "case_event": ["csirt.case", "csirt.seq"],
    "audit": ["csirt.seq"],
}


def load(connection: apsw.Connection, client: Elasticsearch, prefix: str, kinds: Iterable[str]) -> tuple[int, int]:
    """Put every document of these kinds into the catalogue, in the caller's transaction: how many, and the highest
    version of them in the cluster. Raises what the client raises."""
    count = highest = 0
    for kind in kinds:
        for page in texts(client, prefix, kind):
            put(connection, kind, [text for text, _ in page])
            count += len(page)
            highest = max(highest, *(version for _, version in page))
    return count, highest


def texts(client: Elasticsearch, prefix: str, kind: str) -> Iterator[list[tuple[str, int]]]:
    """The documents of a kind, as (text, version), a page at a time, in the order in which a catalogue takes them."""
    index, order = layout.alias(prefix, kind), _ORDER.get(kind, ["csirt.id"])
    search: dict[str, Any] = {"query": {"match_all": {}}, "source": {"includes": layout.WHOLE}, "version": True}
    for hits in pages(client, index, PAGE, order, **search):
        yield [(layout.text(hit["_source"]), int(hit["_version"])) for hit in hits]


def put(connection: apsw.Connection, kind: str, texts: list[str]) -> None:
    """Documents of a kind as the catalogue holds them, from their texts."""
    if kind == "audit":
        _put_audit(connection, texts)
        return
    found = [orjson.loads(text) for text in texts]
    if kind == "case_event":
        rows = [(one["case"], one["seq"], text) for one, text in zip(found, texts, strict=True)]
        connection.executemany(
            'INSERT INTO case_event VALUES (?, ?, ?) ON CONFLICT ("case", seq) DO UPDATE SET doc = excluded.doc', rows
        )
    elif kind == "position":
        connection.executemany(
            "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?, ?, 0)",
            [
                (one["source"], one["fingerprint"], one["offset"], one["done"], documents.text(one["extra"]))
                for one in found
            ],
        )
    else:
        documents.put(connection, documents.KINDS[kind], found)
        if kind in ("case", "run"):
            documents.count_numbers(connection, kind, found)


def _put_audit(connection: apsw.Connection, texts: list[str]) -> None:
    """Links of the chain; where its beginning was kept long enough and is gone, it begins where the first says."""
    for text in texts:
        one, digest = orjson.loads(text), chain.hash_of(text.encode())
        if one["seq"] > 1 and not chain.head(connection).seq:
            chain.begin_at(connection, chain.Head(one["seq"] - 1, one["previous"]))
        chain.put(connection, one, digest, text)
