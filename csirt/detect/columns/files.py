"""Events as a file has them: NDJSON or Parquet to frames, keys as given, no mapping."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from csirt.detect.columns import jsonframe, jsonlines, numberpages, pages
from csirt.detect.columns.columns import Column
from csirt.detect.columns.raw import RawFrame, from_events
from csirt.detect.columns.tables import from_table
from csirt.errors import NotFound, Usage

PARQUET_ROWS = 100_000


def read(path: Path) -> Iterator[RawFrame]:
    """The events of a `.parquet` file, or of NDJSON (`-` is stdin), in frames one after the other. Raises NotFound, or
    Usage with file and line."""
    if str(path) != "-" and not path.is_file():
        raise NotFound(f"{path}: no such file")
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif str(path) == "-":
        import sys

        yield from _ndjson(sys.stdin.buffer, "-")
    else:
        with path.open("rb") as stream:
            yield from _ndjson(stream, str(path))


def _parquet(path: Path) -> Iterator[RawFrame]:
    try:
        with pq.ParquetFile(path) as file:
            texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
            metadata = file.metadata
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=texts) as file, path.open("rb") as stream:
            places, kinds = pages.taken(file), numberpages.taken(file)
            for group in range(file.num_row_groups):
                numbers = numberpages.read(stream, file.metadata, group, kinds)
                frame = _group(file, stream, group, places, numberpages.makers(numbers, partial(_again, path, group)))
                if frame is not None:
                    yield frame
                    continue
                for batch in file.iter_batches(PARQUET_ROWS, row_groups=[group], use_threads=False):
                    batch.validate(full=True)  # Arrow takes some broken files for good
                    yield from_table(pa.Table.from_batches([batch]))
    except (pa.ArrowException, OSError) as error:
        raise Usage(f"{path}: not a Parquet file: {error}") from error


def _group(
    file: pq.ParquetFile,
    stream: BinaryIO,
    group: int,
    places: Sequence[int],
    numbers: Mapping[str, Callable[[], Column | None]],
) -> RawFrame | None:
    """A row group whose text is read without Arrow; None where it cannot be. `numbers`: what makes columns of them."""
    text = pages.read(stream, file.metadata, group, places)
    if text is None:
        return None
    mine = set(text.names) - {"csirt.segment"}  # half of an event's id
    names = [name for name in file.schema_arrow.names if name not in mine and name.replace(" ", "") not in numbers]
    others: Mapping[str, Callable[[], Column | None]] = {}
    written: Collection[str] = ()
    if names:
        table = file.read_row_group(group, names, use_threads=False)
        table.validate(full=True)
        if table.num_rows != text.rows:
            return None
        rest = from_table(table)
        others, written = rest.makers, rest.written()
    makers = text.makers()
    if others.keys() & makers.keys() - {"csirt.segment"} or others.keys() & numbers.keys():
        return None
    return RawFrame(text.rows, {**others, **makers, **numbers}, text.physical, frozenset(written) | numbers.keys())


def _again(path: Path, group: int, name: str) -> Column | None:
    """A column of a row group as Arrow reads it, which also says what is wrong with it. Raises Usage."""
    try:
        with pq.ParquetFile(path) as file:
            table = file.read_row_group(group, [name], use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise Usage(f"{path}: not a Parquet file: {error}") from error
    return from_table(table).column(name)


def _ndjson(stream: BinaryIO, name: str) -> Iterator[RawFrame]:
    line = 1
    for piece in jsonlines.pieces(stream):
        much = jsonframe.columns(piece)
        if much is not None:
            line += much.lines
            yield RawFrame(much.rows, much.makers, much.text)
            continue
        found = jsonlines.columns(piece)
        yield from_events(_lines(piece, name, line)) if found is None else from_table(*found)
        line += piece.count(b"\n") + 1


def objects(path: Path) -> list[dict[str, Any]]:
    """The events of an NDJSON file or of stdin (`-`), or the one event of a JSON file. Raises Usage."""
    import sys

    raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    try:
        whole = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _lines(raw, str(path), 1)
    return [whole] if isinstance(whole, dict) else _lines(raw, str(path), 1)


def _lines(raw: bytes, name: str, first: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for number, line in enumerate(raw.split(b"\n"), first):
        if not line.strip():
            continue
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise Usage(f"{name}:{number}: not JSON: {error}; write one JSON object per line") from error
        if not isinstance(event, dict):
            raise Usage(f"{name}:{number}: not a JSON object; write one object per line")
        events.append(event)
    return events
