"""Raw field texts become clean values: typed, checked, classified and scrubbed, once per distinct value."""

from __future__ import annotations

from typing import Any

import polars as pl

from csirt.decode.parser import Field
from csirt.decode.privacy import Privacy
from csirt.decode.rows import SEPARATOR

_LONGEST = 1000  # characters of a text value; a longer one is cut


def clean(frame: pl.DataFrame, fields: dict[str, Field], privacy: Privacy) -> tuple[pl.DataFrame, dict[str, int]]:
    """Every field's column in place, all other columns as they are; and how many values of each column held an
    identity number."""
    removed: dict[str, int] = {}
    columns = []
    for name, field in fields.items():
        column, count = _clean(frame[name], field, privacy)
        columns.append(column.alias(name))
        if count:
            removed[field.column or name] = count
    return frame.with_columns(columns), removed


def _clean(values: pl.Series, field: Field, privacy: Privacy) -> tuple[pl.Series, int]:
    if values.null_count() == len(values):
        return values.cast({"integer": pl.UInt64, "number": pl.Float64}.get(field.kind, pl.String)), 0
    if field.kind == "list":
        return _lists(values, field, privacy)
    values = _trimmed(values)
    if field.kind == "class":
        return classify(values, field.classes), 0
    if field.kind in ("integer", "number"):
        return _numbers(values, field.kind), 0
    if field.kind == "address":
        return _only(values, r"^[0-9A-Fa-f:.%A-Za-z]{2,64}$"), 0
    if field.kind == "host":
        values = pl.select(pl.when(~values.str.to_lowercase().is_in(["unknown", "-"])).then(values)).to_series()
    # Scrub before `match`: a value that loses its number or name must still look right to be kept.
    result, count = privacy.column(values, field.kind)
    return (_only(result, field.match) if field.match else result), count


def _trimmed(values: pl.Series) -> pl.Series:
    """Without line feeds (they separate list values), blanks at the ends, and anything beyond the longest value."""
    short = values.str.slice(0, _LONGEST).str.replace_all(SEPARATOR, " ", literal=True).str.strip_chars()
    return pl.select(pl.when(short != "").then(short)).to_series()


def _only(values: pl.Series, match: str) -> pl.Series:
    return pl.select(pl.when(values.str.contains(match)).then(values)).to_series()


def _numbers(values: pl.Series, kind: str) -> pl.Series:
    if kind == "integer":
        return _only(values, r"^\d{1,19}$").cast(pl.UInt64, strict=False)
    return _only(values, r"^\d{1,15}(?:\.\d{1,15})?$").cast(pl.Float64, strict=False)


def _lists(values: pl.Series, field: Field, privacy: Privacy) -> tuple[pl.Series, int]:
    """Lists of short texts, each scrubbed and matched, joined with SEPARATOR; at most 50 values of a line."""
    frame = pl.DataFrame({"row": range(len(values)), "value": values.list.head(50)}).explode("value").drop_nulls()
    scrubbed, count = privacy.column(_trimmed(frame["value"]), "text")
    scrubbed = _only(scrubbed, field.match) if field.match else scrubbed
    lists = (
        frame.with_columns(scrubbed.alias("value"))
        .drop_nulls()
        .group_by("row", maintain_order=True)
        .agg(pl.col("value"))
        .with_columns(pl.col("value").list.join(SEPARATOR))
    )
    rows: Any = pl.DataFrame({"row": range(len(values))}).join(lists, on="row", how="left", maintain_order="left")
    return rows["value"], count


def classify(values: pl.Series, classes: tuple[tuple[str, str], ...]) -> pl.Series:
    """The name of the first class whose pattern matches, `other` when none does; worked out per distinct text."""
    distinct = values.unique(maintain_order=True).drop_nulls()
    chain: Any = pl
    for name, pattern in classes:
        chain = chain.when(distinct.str.contains(pattern)).then(pl.lit(name))
    named = pl.select(chain.otherwise(pl.lit("other"))).to_series()
    if len(named) != len(distinct):
        named = named.new_from_index(0, len(distinct))
    table = pl.DataFrame({"old": distinct, "new": named})
    return pl.DataFrame({"old": values}).join(table, on="old", how="left", maintain_order="left")["new"]
