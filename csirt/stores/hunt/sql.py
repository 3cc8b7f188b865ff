"""SQL over stored events, by polars: each dataset is a table, read only; nothing outside the store can be named."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from csirt.clock import iso
from csirt.errors import Usage
from csirt.model import ecs
from csirt.model.batch import Batch
from csirt.model.stack import stack
from csirt.stores.hunt.logical import all_names, columns, fields_of
from csirt.stores.hunt.select import Question

if TYPE_CHECKING:
    from csirt.stores.embedded.store import EmbeddedStore

# polars' SQL can read files by these functions, and nobody may through us.
_OUTSIDE = re.compile(r"read_(csv|parquet|ipc|json|ndjson)|scan_(csv|parquet|ipc|json|ndjson)", re.IGNORECASE)
MOST_BYTES = 1 << 30


def query(store: EmbeddedStore, question: Question, text: str) -> dict[str, Any]:
    """`{columns: [name], rows: [[value]]}`. Tables are named as the datasets, columns in double quotes as in
    `schema.md`; only those the text names are read. Raises Usage for SQL that cannot be run, and where more than
    a gigabyte of columns would be loaded."""
    if _OUTSIDE.search(text):
        raise Usage("the query reads a file; only the datasets can be queried: " + ", ".join(ecs.DATASETS))
    question.duplicates |= f'"{ecs.DUPLICATE}"' in text
    context = pl.SQLContext(eager=True)
    for dataset in ecs.DATASETS:
        if re.search(rf"\b{dataset}\b", text):
            context.register(dataset, _table(store, question, dataset, text))
    try:
        found = context.execute(text)
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        names = ", ".join(ecs.DATASETS)
        reason = str(error).splitlines()[0]
        raise Usage(f'SQL: {reason}; tables: {names}; columns in double quotes: "source.ip"') from error
    if not isinstance(found, pl.DataFrame):
        raise Usage("SQL: write one SELECT statement")
    limit = question.limit if question.limit is not None else found.height
    rows = [[_plain(value) for value in row] for row in found.head(limit).iter_rows()]
    return {
        "columns": found.columns,
        "rows": rows,
        "count": len(rows),
        "truncated": limit < found.height,
        "duplicates": question.left_out,
    }


def _table(store: EmbeddedStore, question: Question, dataset: str, text: str) -> pl.DataFrame:
    """A dataset's rows with the columns the text names (all for `*`)."""
    everything = re.search(r"\*(?!\s*\))", text) is not None  # but count(*) names none
    made: list[pa.Table] = []
    size = 0
    for batch in _batches(store, question, dataset):
        names = [name for name in all_names(batch) if everything or f'"{name}"' in text or name == "@timestamp"]
        made.append(columns(batch, names))
        size += made[-1].nbytes
        if size > MOST_BYTES:
            raise Usage(f"too much of {dataset}: name fewer columns, or narrow it with --since, --until or --where")
    if not made:
        wanted = [name for name in fields_of(dataset) if everything or f'"{name}"' in text]
        return pl.DataFrame({name: pl.Series(name, [], pl.String) for name in wanted or ["@timestamp"]})
    stacked = stack(made)
    frames = [pl.DataFrame(pl.from_arrow(table)) for table in stacked]
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")


def _batches(store: EmbeddedStore, question: Question, dataset: str) -> Iterator[Batch]:
    if question.dataset is not None and question.dataset != dataset:
        raise Usage(f"the query names {dataset}, --dataset says {question.dataset}")
    for batch in store.events(dataset, since=question.since, until=question.until):
        kept = question.keep(batch)
        if kept.rows:
            yield kept


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime.datetime):
        return iso(round(value.timestamp() * 1_000_000)) if value.tzinfo else value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, pl.Series):
        return [_plain(item) for item in value.to_list()]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value
