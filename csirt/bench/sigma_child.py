"""One measured run of ours: `python -m csirt.bench.sigma_child MODE RULES EVENTS BATCH PAIRS`.

MODE `columns`: events lie in columns before the clock starts, text as a dictionary per batch, as decoders make it.
`file`: the file is read while the clock runs, NDJSON or Parquet. PAIRS is written after the clock has stopped, one line
`index<TAB>rule id` per match. One JSON document on standard output says the rest, as the peers' harness does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from csirt.clock import SYSTEM
from csirt.detect.columns import jsonlines
from csirt.detect.columns.files import read
from csirt.detect.columns.raw import RawFrame, from_events
from csirt.detect.columns.tables import from_table
from csirt.detect.engine.engine import Program
from csirt.detect.rules.load import load_rules
from csirt.heap import keep_freed, prepare
from csirt.model.batch import Array

# Enough that every compiled loop is loaded; a few hundred rows would do without most of them.
WARM = 10_000


def main() -> None:
    """Run once and say what was found and what it took."""
    prepare()
    keep_freed()
    mode, rules, events, batch, pairs = sys.argv[1:]
    loaded = load_rules([Path(rules)], mapped=False)
    program = Program([rule.condition for rule in loaded.rules])
    size = int(batch)
    frames: Iterable[Callable[[], RawFrame]] = list(_columns(Path(events), size)) if mode == "columns" else ()
    _warm(program, Path(events), frames)
    found: list[tuple[int, int, Array]] = []
    batches: list[float] = []
    rows = 0
    cpu, begin = SYSTEM.cpu(), SYSTEM.monotonic()
    for frame in read(Path(events)) if mode == "file" else (make() for make in frames):
        for index, where in program.run(frame).items():
            found.append((rows, index, where))
        rows += frame.rows
        now = SYSTEM.monotonic()
        batches.append(now - begin)
        begin = now
    cpu = SYSTEM.cpu() - cpu
    counts = {rule.id: 0 for rule in loaded.rules}
    names = [rule.id for rule in loaded.rules]
    for _, index, where in found:
        counts[names[index]] += len(where)
    _write(Path(pairs), found, names)
    document = {
        "rules": len(names),
        "refused": [str(problem) for problem in loaded.problems],
        "events": rows,
        "matches": sum(counts.values()),
        "wall_s": sum(batches),
        "cpu_s": cpu,
        "batch_s": batches,
        "counts": counts,
    }
    sys.stdout.write(json.dumps(document))


def _columns(path: Path, size: int) -> Iterator[Callable[[], RawFrame]]:
    """The events in batches of `size`, as columns."""
    raw = path.read_bytes()
    known = jsonlines.columns(raw)
    if known is None:  # mixed types: no columns but of values with a kind each
        lines = [line for line in raw.split(b"\n") if line.strip()]
        for at in range(0, len(lines), size):
            events = [json.loads(line) for line in lines[at : at + size]]
            frame = from_events(events)
            for name in frame.names():
                frame.column(name)
            yield lambda frame=frame: frame  # type: ignore[misc]
        return
    table, nulls = known
    where = {name: np.asarray(rows) for name, rows in nulls.items()}
    schema: pa.Schema | None = None
    for at in range(0, table.num_rows, size):
        part = _encoded(table.slice(at, size), schema)
        schema = part.schema  # a reader's batches have one
        here = {name: (rows[(rows >= at) & (rows < at + size)] - at).tolist() for name, rows in where.items()}
        yield lambda part=part, here=here: from_table(part, here)  # type: ignore[misc]


def _encoded(table: pa.Table, schema: pa.Schema | None) -> pa.Table:
    """The batch with its own dictionaries, in one piece."""
    columns = []
    for column in table.columns:
        one = column.combine_chunks()
        columns.append(one.dictionary_encode() if pa.types.is_string(one.type) else one)
    return pa.table(columns, names=table.column_names) if schema is None else pa.table(columns, schema=schema)


def _warm(program: Program, path: Path, frames: Iterable[Callable[[], RawFrame]]) -> None:
    """Compile what compiles at first use, and plan what is planned once for a reader's batches: the peer's engine is
    whole before its clock starts, too."""
    frame = next(iter(read(path)), None)
    if frame is None:
        return
    for name in frame.written():  # numbers are read when they are asked for
        frame.column(name)
    for make in (*_first(path), *islice(frames, 1)):
        program.run(make())


def _first(path: Path) -> Iterator[Callable[[], RawFrame]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            part = pa.Table.from_batches([next(file.iter_batches(WARM))])
        yield lambda: from_table(part)
        return
    with path.open("rb") as stream:
        lines = [line for _, line in zip(range(WARM), stream, strict=False)]
    known = jsonlines.columns(b"".join(lines))
    if known is not None:
        table, nulls = known
        yield lambda: from_table(table, nulls)
        yield lambda: from_table(_encoded(table, None), nulls)


def _write(path: Path, found: list[tuple[int, int, Array]], names: list[str]) -> None:
    order = sorted(range(len(names)), key=lambda index: names[index])
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    indices = np.concatenate([rows + where for rows, _, where in found]) if found else np.zeros(0, np.int64)
    ranks = np.concatenate([np.full(len(where), rank[i]) for _, i, where in found]) if found else indices
    sorted_ = np.lexsort((ranks, indices))
    with path.open("w", encoding="utf-8") as out:
        for row, place in zip(indices[sorted_].tolist(), ranks[sorted_].tolist(), strict=True):
            out.write(f"{row}\t{names[order[place]]}\n")


if __name__ == "__main__":
    main()
