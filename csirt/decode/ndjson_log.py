"""JSON lines to raw fields: only the keys a parser declares are ever decoded, everything else stays in the spool."""

from __future__ import annotations

import hashlib
from typing import Any

import polars as pl

from csirt.decode.headers import Headers
from csirt.decode.parser import Parser
from csirt.model.batch import Decoded


def read(frame: pl.DataFrame, parser: Parser, headers: Headers, decoded: Decoded) -> pl.DataFrame:
    """Lines (columns `line`, `received`, `position`) with time, host, role and raw fields.

    Counted in `decoded.dropped`: `malformed` (not one JSON object, a declared key of another type, no valid time).
    """
    kinds: dict[str, Any] = {parser.time: pl.String}
    if parser.host:
        kinds[parser.host] = pl.String
    for field in parser.fields.values():
        kinds[field.key] = pl.List(pl.String) if field.kind == "list" else pl.String
    values, good = parse(frame["line"], pl.Struct(kinds))
    bad = int((~good).sum())
    frame = pl.concat([frame.drop("line").filter(good), values.struct.unnest()], how="horizontal")
    frame = frame.with_columns(headers.iso(frame[parser.time], frame["received"].to_numpy()).alias("@time"))
    undated = frame["@time"].is_null()
    if bad or undated.any():
        decoded.dropped["malformed"] = bad + int(undated.sum())
    frame = frame.filter(~undated)
    sender = pl.col(parser.host) if parser.host else pl.lit(None, pl.String)
    return frame.select(
        pl.col("@time").alias("time"),
        "received",
        "position",
        sender.alias("host"),
        pl.lit("event").alias("role"),
        *(pl.col(field.key).alias(field.name) for field in parser.fields.values()),
    )


def parse(lines: pl.Series, kind: pl.Struct) -> tuple[pl.Series, pl.Series]:
    """(values of the good lines, which lines are good). A line is judged alone, whatever stands beside it."""
    good: list[bool] = []
    parts: list[pl.Series] = [pl.Series([], dtype=kind)]

    def visit(first: int, last: int) -> None:
        # Depth is log2 of the number of lines; a clean chunk is one call.
        values = _try(lines[first:last], kind)
        if values is not None:
            parts.append(values)
            good.extend([True] * (last - first))
        elif last - first == 1:
            good.append(False)
        else:
            middle = (first + last) // 2
            visit(first, middle)
            visit(middle, last)

    if len(lines):
        visit(0, len(lines))
    return pl.concat(parts), pl.Series(good, dtype=pl.Boolean)


def _try(lines: pl.Series, kind: pl.Struct) -> pl.Series | None:
    """The values of lines that are all good, or None.

    The engine reads lines as one array, in which a line could pass for two: each is wrapped with its number, and the
    numbers must come out as they went in. The keys of the wrapping come from a digest of the lines, so that no line can
    close its object and write another under the same key; a value beside its object makes a line bad.
    """
    digest = hashlib.blake2b("\n".join(lines.to_list()).encode("utf-8", "replace"), digest_size=16).hexdigest()
    number, value = f"n{digest}", f"v{digest}"
    frame = pl.DataFrame({"n": pl.Series(range(len(lines)), dtype=pl.String), "line": lines})
    wrapped = frame.select(
        pl.concat_str(pl.lit(f'{{"{number}":'), "n", pl.lit(f',"{value}":['), "line", pl.lit("]}"), separator="")
    ).to_series()
    try:
        values = wrapped.str.json_decode(pl.Struct({number: pl.Int64, value: pl.List(kind)}))
    except pl.exceptions.ComputeError:
        return None
    if len(values) != len(lines) or values.null_count():
        return None
    unnested = values.struct.unnest()
    lists = unnested[value]
    if unnested[number].to_list() != list(range(len(lines))) or not (lists.list.len() == 1).fill_null(False).all():
        return None
    found = lists.list.first()
    return None if found.null_count() else found
