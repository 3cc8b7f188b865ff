"""A store of its own for one capture, compacted: `python -m csirt.bench.lake_child FOLDER CAPTURE`, its size as JSON.

The clock of the second opening is a day ahead, so that the hour of receipt is over and nothing waits to be merged.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from csirt import replay
from csirt.app import App
from csirt.cli.decode_output import raw_sums
from csirt.clock import DAY, SYSTEM, Frozen
from csirt.configfile import load
from csirt.heap import prepare

ROUNDS = 20


def main() -> None:
    """Replay, compact, add up."""
    prepare()
    folder, capture = Path(sys.argv[1]), Path(sys.argv[2])
    store = folder / "store"
    app = App(load(None), store_directory=store)
    replay.run(app, [capture], kind="netflow", parser="", configured=False)
    app.close()
    later = App(load(None), store_directory=store, clock=Frozen(SYSTEM.now() + DAY))
    for _ in range(ROUNDS):
        later.store.maintain()
    found = {"records": 0, "octets": 0, "packets": 0, "size": 0}
    later.close()
    for path in sorted((store / "lake" / "flow").rglob("*.parquet")):
        found["size"] += path.stat().st_size
        names = ["network.bytes", "network.packets", "csirt.flow.sampling_rate"]
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[name for name in names if name in file.schema_arrow.names]):
                table = pa.Table.from_batches([batch])
                found["records"] += table.num_rows
                octets, packets = raw_sums(table)
                found["octets"] += octets
                found["packets"] += packets
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
