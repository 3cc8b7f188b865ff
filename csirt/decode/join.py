"""Lines of one message become rows: the transaction join, columnar, with the waiting lines as its state.

Lines belong together by relay and key (queue id). A transaction starts with its first line, an `open` line, or after
`age` of silence, and ends with its `close` line; a queue id that is used again is a new transaction. Its outcomes are
written when it ends or has been silent for `settle`, so a message that stays deferred is seen at each attempt.

All decisions depend on the order of lines and on `clock` (the greatest time so far) alone, never on where a chunk
ends: whatever is written at the end of a chunk would have been written by the next line of that key as well.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl

from csirt.decode.parser import Join
from csirt.model.batch import Array

# The number of waiting transactions is checked where the log crosses such a boundary, whatever the chunks.
CHECKPOINT = 1 << 20
BASE: dict[str, Any] = {
    "key": pl.String,
    "role": pl.String,
    "clock": pl.Int64,
    "time": pl.Int64,
    "received": pl.Int64,
    "segment": pl.String,
    "position": pl.Int64,
    "host": pl.String,
    "path": pl.String,
    "origin": pl.String,
    "had": pl.Boolean,
}
_ROLES = ("open", "context", "outcome", "close")


class Transactions:
    """Joins one source's lines. `fields`: polars types of the parser's fields, all columns of the frames."""

    def __init__(self, join: Join, fields: dict[str, Any]) -> None:
        self._join = join
        self._schema = {**BASE, **fields}
        self._plain = [name for name in fields if name not in join.context]
        self.load(None)

    def load(self, state: dict[str, Any] | None) -> None:
        """Go on from a state, or start afresh."""
        self._clock: int | None = state["clock"] if state else None
        self._block: list[Any] = list(state["block"]) if state else ["", 0]
        waiting = state["waiting"] if state else {}
        self._waiting = pl.DataFrame({name: waiting.get(name, []) for name in self._schema}, schema=self._schema)
        self.evicted = 0

    def state(self) -> dict[str, Any]:
        """JSON-ready; scrubbed like the rows."""
        waiting = {name: values for name, values in self._waiting.to_dict(as_series=False).items() if values}
        return {"clock": self._clock, "block": self._block, "waiting": waiting}

    @property
    def waiting(self) -> int:
        """How many transactions wait."""
        return int(self._waiting["key"].n_unique())

    def push(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Rows that the lines settle. `lines`: the schema's columns but `key`, `clock` and `had`, and the fields."""
        if lines.is_empty():
            return self._empty()
        times = pl.select(pl.when(lines["received"] > 0).then(lines["received"]).otherwise(lines["time"])).to_series()
        start = times[0] if self._clock is None else self._clock
        clock = np.maximum.accumulate(np.maximum(times.to_numpy(), start))
        self._clock = int(clock[-1])
        lines = lines.with_columns(
            pl.concat_str("host", self._join.key, separator="\t", ignore_nulls=True).alias("key"),
            pl.Series("clock", clock),
            pl.lit(False).alias("had"),
        ).select(pl.col(name).cast(kind) for name, kind in self._schema.items())
        rows = []
        for first, last in self._blocks(lines):
            piece = lines[first:last]
            if first or self._new_block(piece):
                rows.append(self._evict(int(piece["clock"][0])))
            self._block = self._block_of(piece, -1)
            rows.append(self._step(piece, int(clock[last - 1])))
        return pl.concat(rows)

    def flush(self) -> pl.DataFrame:
        """Rows of everything that waits; nothing waits afterwards."""
        rows = self._step(self._empty(), self._clock or 0, flush=pl.lit(True))
        self._waiting = self._empty()
        return rows

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self._schema)

    def _block_of(self, piece: pl.DataFrame, row: int) -> list[Any]:
        return [piece["segment"][row], int(piece["position"][row]) // CHECKPOINT]

    def _new_block(self, piece: pl.DataFrame) -> bool:
        return self._block_of(piece, 0) != self._block

    def _blocks(self, lines: pl.DataFrame) -> list[tuple[int, int]]:
        """Row ranges between checkpoints; one range when the limit cannot be reached."""
        if self.waiting + int(lines["key"].n_unique()) <= self._join.limit:
            return [(0, len(lines))]
        blocks: Array = lines["position"].to_numpy() // CHECKPOINT
        cuts = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(lines)]
        return list(itertools.pairwise(cuts))

    def _evict(self, clock: int) -> pl.DataFrame:
        """Settle the longest silent transactions beyond the limit."""
        over = self.waiting - self._join.limit
        if over <= 0:
            return self._empty()
        self.evicted += over
        oldest = self._waiting.group_by("key").agg(pl.col("clock").max()).sort("clock", "key").head(over)["key"]
        return self._step(self._empty(), clock, flush=pl.col("key").is_in(oldest.implode()))

    def _step(self, new: pl.DataFrame, clock: int, flush: pl.Expr | None = None) -> pl.DataFrame:
        """Add lines, write what is settled at `clock` (or under `flush`), keep the rest waiting."""
        flush = pl.lit(False) if flush is None else flush
        frame = self._marked(new)
        if frame.is_empty():
            return self._empty()
        tx = ["key", "tx"]
        last_clock = pl.col("clock").max().over("key")
        frame = frame.with_columns(
            pl.col("part").max().over("key").alias("last_part"),
            (pl.col("tx") == pl.col("tx").max().over("key")).alias("current"),
            (pl.col("role") == "close").any().over(tx).alias("closed"),
            (last_clock + self._join.settle <= clock).alias("quiet"),
            (last_clock + self._join.age <= clock).alias("aged"),
            ((pl.col("role") == "outcome").any() | pl.col("had").any()).over(tx).alias("settled"),
            pl.col("clock").max().over("key").alias("last_clock"),
        ).with_columns((pl.col("closed") | ~pl.col("current") | pl.col("aged") | flush).alias("ended"))
        writes = (pl.col("role") == "outcome") & (
            pl.col("ended") | (pl.col("part") < pl.col("last_part")) | pl.col("quiet")
        )
        rows = pl.concat([self._outcomes(frame.filter(writes)), self._unsettled(frame)])
        self._waiting = self._kept(frame.filter(~pl.col("ended")), frame.filter(~pl.col("ended") & ~writes))
        return rows

    def _marked(self, new: pl.DataFrame) -> pl.DataFrame:
        """Waiting and new lines with transaction and part numbers, and every context value known at the end of the
        part as `context:<field>`."""
        old = pl.concat(
            [self._waiting.with_columns(pl.lit(True).alias("old")), new.with_columns(pl.lit(False).alias("old"))]
        ).with_row_index("n")
        gap = pl.col("clock") - pl.col("clock").shift(1).over("key")
        fresh = gap.is_null() | (pl.col("role") == "open")
        fresh |= (pl.col("role").shift(1).over("key") == "close") | (gap >= self._join.age)
        first_old = pl.col("old") & gap.is_null()
        frame = old.with_columns(
            pl.when("old").then(first_old).otherwise(fresh).alias("fresh"),
            (~pl.col("old") & (gap >= self._join.settle)).fill_null(False).alias("late"),
        )
        frame = frame.with_columns(
            pl.col("fresh").cum_sum().over("key").alias("tx"),
            (pl.col("fresh") | pl.col("late")).cum_sum().over("key").alias("part"),
        )
        names = self._join.context
        frame = frame.with_columns(
            pl.col(name).forward_fill().over("key", "tx").alias(f"context:{name}") for name in names
        )
        return frame.with_columns(pl.col(f"context:{name}").last().over("key", "part") for name in names)

    def _outcomes(self, lines: pl.DataFrame) -> pl.DataFrame:
        """One row per transaction, part and outcome; position and segment of its first line, time of its last."""
        rest = [name for name in self._plain if name not in (*self._join.outcome, *self._join.collect)]
        numbers = [name for name in rest if self._schema[name] == pl.Float64]
        rows = (
            lines.sort("n")
            .group_by("key", "part", *self._join.outcome, maintain_order=True)
            .agg(
                pl.col("role", "segment", "position", "host", "path", "origin").first(),
                pl.col("clock", "time", "received").last(),
                pl.lit(True).alias("had"),
                *(pl.col(f"context:{name}").first().alias(name) for name in self._join.context),
                *(pl.col(name).drop_nulls().unique(maintain_order=True).alias(name) for name in self._join.collect),
                *(pl.col(name).max() for name in numbers),
                *(pl.col(name).drop_nulls().last() for name in rest if name not in numbers),
            )
        )
        return rows.with_columns(pl.col(name).list.join("\n").replace("", None) for name in self._join.collect).select(
            list(self._schema)
        )

    def _unsettled(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One row per transaction that ended without any outcome but told something; at its first line."""
        lost = frame.filter(pl.col("ended") & ~pl.col("settled")).sort("n")
        context = self._join.context
        rows = lost.group_by("key", "tx", maintain_order=True).agg(
            pl.lit("lost").first().alias("role"),
            pl.col("segment", "position", "host", "path", "origin", "clock", "time", "received").first(),
            pl.lit(False).alias("had"),
            *(pl.col(f"context:{name}").last().alias(name) for name in context),
            *(pl.col(name).drop_nulls().first() for name in self._plain),
        )
        told = pl.any_horizontal(pl.col(name).is_not_null() for name in context) if context else pl.lit(False)
        return rows.filter(told).select(list(self._schema))

    def _kept(self, frame: pl.DataFrame, waiting: pl.DataFrame) -> pl.DataFrame:
        """What still waits: per transaction one line with all it told, then its outcomes that are not yet written."""
        key = self._join.key
        summary = (
            frame.sort("n")
            .group_by("key", maintain_order=True)
            .agg(
                pl.lit("context").first().alias("role"),
                pl.col("last_clock").first().alias("clock"),
                pl.col("time", "received", "segment", "position", "host", "path", "origin").first(),
                pl.col("settled").first().alias("had"),
                *(pl.col(f"context:{name}").last().alias(name) for name in self._join.context),
                *(pl.col(name).filter(pl.col("role") != "outcome").drop_nulls().first() for name in self._plain),
            )
            .with_columns(pl.coalesce(key, pl.col("key").str.split("\t").list.last()).alias(key))
            .select(pl.col(name).cast(kind) for name, kind in self._schema.items())
        )
        outcomes = waiting.filter(pl.col("role") == "outcome").sort("n")
        outcomes = outcomes.with_columns(pl.col("last_clock").alias("clock")).select(list(self._schema))
        both = pl.concat([summary, outcomes])
        order = pl.Series("o", np.r_[np.zeros(len(summary), np.int64), 1 + np.arange(len(outcomes))])
        return both.with_columns(order).sort("key", "o", maintain_order=True).drop("o").rechunk()
