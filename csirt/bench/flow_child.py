"""One measured run of `csirt decode`: `python -m csirt.bench.flow_child FORM WARM FILE OUT`, its figures as JSON.

The clock starts when modules are imported and compiled kernels loaded, by decoding the small capture WARM, which is
where the peer's clock starts as well; it stops when FILE has been read, decoded, written to OUT, synced, and OUT has
been read again and summed up.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from csirt.clock import SYSTEM


def main() -> None:
    """Measure one run."""
    from csirt.heap import prepare

    prepare()
    form, warm, file, out = sys.argv[1:]
    decode(form, warm, out)
    read_back(form, out)
    begin, spent = SYSTEM.monotonic(), SYSTEM.cpu()
    counted = decode(form, file, out)
    work = read_back(form, out)
    cpu, wall = SYSTEM.cpu() - spent, SYSTEM.monotonic() - begin
    document = {"wall_s": wall, "cpu_s": cpu, "counted": counted, "work": work or sums_of_lines(out)}
    document["size"] = Path(out).stat().st_size
    Path(out).unlink()
    sys.stdout.write(json.dumps(document))


def decode(form: str, file: str, out: str) -> dict[str, int]:
    """What `csirt decode FILE --to FORM --dataset flow -o OUT` does, and a sync; what it says it decoded."""
    from csirt.cli.decode import Run, open_sources
    from csirt.cli.decode_output import open_output
    from csirt.configfile import load

    config = load(None)
    run = Run(config)
    with open_output(form, out, "flow") as output:
        for name, source in open_sources((file,), "netflow", "", config):
            run.read(name, source, output)
        run.finish(output)
    handle = os.open(out, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    document = run.document()
    return {"records": document["records"]["flow"], "octets": document["octets"], "packets": document["packets"]}


def read_back(form: str, out: str) -> dict[str, int]:
    """Records, octets and packets of an Arrow file, a batch at a time; nothing for text, which is read later."""
    if form != "arrow":
        return {}
    import pyarrow as pa

    from csirt.cli.decode_output import raw_sums

    found = {"records": 0, "octets": 0, "packets": 0}
    with pa.memory_map(out) as source, pa.ipc.open_file(source) as reader:
        for number in range(reader.num_record_batches):
            table = pa.Table.from_batches([reader.get_batch(number)])
            found["records"] += table.num_rows
            octets, packets = raw_sums(table)
            found["octets"] += octets
            found["packets"] += packets
    return found


def sums_of_lines(out: str) -> dict[str, int]:
    """Records, octets and packets of NDJSON, and that every record has what was asked for; behind the clock."""
    import orjson

    found = {"records": 0, "octets": 0, "packets": 0}
    with Path(out).open("rb") as lines:
        for line in lines:
            record: dict[str, Any] = orjson.loads(line)
            if not record["event"]["id"] or not record["related"]["ip"] or not record["network"]["community_id"]:
                raise ValueError("a record lacks what it must have")
            elements = record["netflow"]
            found["records"] += 1
            found["octets"] += elements.get("octet_delta_count", 0)
            found["packets"] += elements.get("packet_delta_count", 0)
    return found


if __name__ == "__main__":
    main()
