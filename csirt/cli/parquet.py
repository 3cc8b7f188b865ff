"""Events to a Parquet file on the caller's side: the daemon writes no file for anyone."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csirt.cli.common import Settings, say, write_json
from csirt.errors import CsirtError, Usage

if TYPE_CHECKING:
    from csirt.control.client import Client


def write_parquet(settings: Settings, client: Client, asked: dict[str, Any], path: str) -> int:
    """Stream the events into `path`, in the lake's physical form with `event.dataset`, sorted by time and id.

    `csirt rules run --on FILE` reads it. Datasets with columns of different types need one file each.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from csirt.messages import text
    from csirt.model.batch import constant
    from csirt.model.stack import conform, union
    from csirt.stores.embedded.lake.encode import from_ipc, one_dictionary, parquet_options

    tables: list[pa.Table] = []
    schema: pa.Schema | None = None
    end: dict[str, Any] = {"count": 0, "truncated": False, "duplicates": 0}
    for item in client.stream("events.query", form="arrow", **asked):
        if "arrow" not in item:
            end = item
            continue
        table = from_ipc(base64.b64decode(item["arrow"]))
        table = table.append_column("event.dataset", constant(item["dataset"], table.num_rows))
        schema = union(schema, table.schema)
        if schema is None:
            raise Usage("the datasets have columns of different types: write one file per --dataset")
        tables.append(table)
    if schema is None:
        schema = pa.schema([("@timestamp", pa.timestamp("us", tz="UTC")), ("event.dataset", pa.string())])
    temporary = f"{path}.tmp"
    try:
        with pq.ParquetWriter(temporary, schema, **parquet_options(schema)) as writer:
            for table in tables:
                writer.write_table(one_dictionary(conform(table, schema)))
        Path(temporary).replace(path)
    except OSError as error:
        raise CsirtError(f"{path}: cannot be written: {error.strerror or error}") from error
    if settings.as_json:
        write_json({"schema": "csirt.events-file/1", **end})
    else:
        say(text("events.written", settings.language(), path=path, count=end["count"]))
        if end["duplicates"]:
            say(text("events.duplicates", settings.language(), count=end["duplicates"]))
    return 0
