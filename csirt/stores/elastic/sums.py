"""Sums that the cluster makes, exactly: composite aggregations, page by page at one point in time.

A `terms` aggregation is approximate over several shards, a composite one is not. Its sums are floating-point numbers,
which are exact below 2^53; where one comes that far nothing is concluded from any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from csirt.model import ecs
from csirt.stores.elastic.decided import kind, several, typed
from csirt.stores.elastic.pages import ALIVE

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

SUMMED = ("network.bytes", "network.packets")
PAGE = 10_000  # groups of one answer
_EXACT = 1 << 53


def exact(name: str) -> bool:
    """Whether the cluster tells the values of a field apart as tables do."""
    return bool(kind(name)) and not several(name)


def table(client: Elasticsearch, index: str, query: dict[str, Any], fields: list[str]) -> pa.Table | None:
    """Columns of the fields as tables have them, `+events` and a `+` column for each of SUMMED; None when sums are too
    large to be exact. Raises what the client raises."""
    sources = [{str(place): {"terms": {"field": name, "missing_bucket": True}}} for place, name in enumerate(fields)]
    totals = {name: {"sum": {"field": name}} for name in SUMMED}
    composite: dict[str, Any] = {"size": PAGE, "sources": sources}
    keys: list[list[Any]] = [[] for _ in fields]
    counts: dict[str, list[int]] = {name: [] for name in ("events", *SUMMED)}
    pit = client.open_point_in_time(index=index, keep_alive=ALIVE)["id"]
    try:
        while True:
            answer = client.search(
                pit={"id": pit, "keep_alive": ALIVE},
                size=0,
                track_total_hits=False,
                allow_partial_search_results=False,
                query=query,
                aggs={"by": {"composite": composite, "aggs": totals}},
            )
            pit = answer.get("pit_id", pit)
            found = answer["aggregations"]["by"]
            for bucket in found["buckets"]:
                for place, values in enumerate(keys):
                    values.append(bucket["key"][str(place)])
                counts["events"].append(bucket["doc_count"])
                for name in SUMMED:
                    if bucket[name]["value"] >= _EXACT:
                        return None
                    counts[name].append(int(bucket[name]["value"]))
            if len(found["buckets"]) < PAGE:
                break
            composite["after"] = found["after_key"]
    finally:
        client.options(ignore_status=404).close_point_in_time(id=pit)
    columns: dict[str, pa.Array] = {}
    for name, values in zip(fields, keys, strict=True):
        columns |= _columns(name, values)
    return pa.table({**columns, **{f"+{name}": pa.array(values, pa.uint64()) for name, values in counts.items()}})


def texts(client: Elasticsearch, index: str, query: dict[str, Any], name: str, most: int) -> list[str] | None:
    """All texts of a field; None when there are more than so many. Raises what the client raises."""
    by = {"terms": {"field": name, "size": most + 1}}
    answer = client.search(
        index=index,
        size=0,
        track_total_hits=False,
        allow_partial_search_results=False,
        query=query,
        aggs={"by": by},
    )
    found = answer["aggregations"]["by"]
    whole = len(found["buckets"]) <= most and not found["sum_other_doc_count"]
    return [str(bucket["key"]) for bucket in found["buckets"]] if whole else None


def _columns(name: str, values: list[Any]) -> dict[str, pa.Array]:
    """The columns of a field, with the types that tables have."""
    import numpy as np

    from csirt.model.address import from_text
    from csirt.model.batch import address_columns

    if name in ecs.ADDRESSES:
        parts = [from_text(value) if value is not None else (0, 0, 0) for value in values]
        family, high, low = (np.array([part[n] for part in parts], np.uint64) for n in range(3))
        return address_columns(name, family, high, low)
    kinds = [columns[name] for columns in ecs.DATASETS.values() if name in columns]
    column = kinds[0] if kinds else pa.string()
    column = column.value_type if pa.types.is_dictionary(column) else column
    return {name: pa.array([None if value is None else typed(name, value) for value in values], column)}
