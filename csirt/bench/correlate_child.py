"""One measured run of a correlation: `python -m csirt.bench.correlate_child KIND SEED COUNT BATCH`.

The flows lie in batches as decoders make them before the clock starts; matching, hits and windows are timed, as the
peer's evaluation and correlation are. One JSON document on standard output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from csirt.bench import correlate
from csirt.clock import SYSTEM
from csirt.detect.match import Detector
from csirt.detect.rules.load import parse_rules
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.windows.windows import Windows
from csirt.heap import prepare
from csirt.model.batch import Array, Batch, address_columns, codes
from csirt.model.hits import AlertChange

Step = tuple[Batch, int]


def main() -> None:
    """Run once and say what was found and what it took."""
    prepare()
    kind, seed, count, size = sys.argv[1], *map(int, sys.argv[2:])
    ruleset = parse_rules(correlate.rules(kind))
    given = correlate.flows(seed, count)
    steps = cut(given, size)
    # Everything is compiled before the clock starts, and the machine's caches are warm for both sides.
    run(ruleset, steps)
    cpu = SYSTEM.cpu()
    found, batches = run(ruleset, steps)
    cpu = SYSTEM.cpu() - cpu
    document = {
        "events": count,
        "alerts": len(found),
        "digest": correlate.digest(found),
        "wall_s": sum(batches),
        "cpu_s": cpu,
        "batch_s": batches,
    }
    sys.stdout.write(json.dumps(document))


def run(ruleset: Ruleset, steps: Sequence[Step]) -> tuple[list[correlate.Alert], list[float]]:
    """The alerts in order, and the seconds of each batch."""
    batches: list[float] = []
    alerts: dict[str, AlertChange] = {}
    detector, windows = Detector(ruleset), Windows(ruleset)
    begin = SYSTEM.monotonic()
    for batch, until in steps:
        alerts |= {change.id: change for change in windows.advance(detector.match(batch), until)}
        now = SYSTEM.monotonic()
        batches.append(now - begin)
        begin = now
    return sorted(_plain(change) for change in alerts.values()), batches


def _plain(change: AlertChange) -> correlate.Alert:
    alert = change.alert
    return str(alert.group["source.ip"]), alert.first, alert.last, alert.count


def cut(given: correlate.Flows, size: int) -> list[Step]:
    """The flows in batches."""
    return [_step(given, at, size) for at in range(0, len(given.times), size)]


def _step(given: correlate.Flows, at: int, size: int) -> Step:
    """A batch, and its greatest time, which is closed after it."""
    part = slice(at, at + size)
    times = given.times[part]
    columns = {
        "@timestamp": pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        "csirt.segment": codes(np.zeros(len(times), np.int32), ["0" * 16]),
        "csirt.ordinal": pa.array(np.arange(at, at + len(times), dtype=np.uint64)),
        "destination.port": pa.array(given.ports[part].astype(np.uint16)),
        **_address("source.ip", 10 << 24, given.sources[part]),
        **_address("destination.ip", (10 << 24) + (9 << 16), given.targets[part]),
    }
    return Batch("flow", pa.table(columns)), int(times[-1])


def _address(name: str, base: int, numbers: Array) -> dict[str, pa.Array]:
    count = len(numbers)
    family, high = np.full(count, 4, np.uint64), np.zeros(count, np.uint64)
    return address_columns(name, family, high, (base + numbers).astype(np.uint64))


if __name__ == "__main__":
    main()
