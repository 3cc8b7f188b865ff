"""The state of an older program is read on, not thrown away."""

from __future__ import annotations

import orjson
import pyarrow as pa

from csirt.detect.windows.alerts import Growing
from csirt.detect.windows.windows import Windows
from csirt.model.hits import HITS
from tests.detect.oracle import Hit
from tests.detect.windows.test_windows import IDS, RULESET, SECOND, named, table


def test_open_alerts_and_held_hits_of_version_2_go_on() -> None:
    """An alert that was open is extended, held hits still count, and what waits is overdue in time."""
    old = pa.schema([field for field in HITS if field.name not in ("number", "count", "total")])
    held = table([("values/base", Hit(SECOND, f"{n:032x}", "{}", (str(n),))) for n in (1, 2)]).select(old.names)
    waiting = table([("overdue/base", Hit(SECOND, f"{9:032x}", "{}", ("k",)))]).select(old.names)
    growing = Growing(IDS["plain"], "{}", "flow", "a" * 32, SECOND, SECOND, f"{7:032x}", 0, 1, [f"{7:032x}"])
    header = {
        "version": 2,
        "until": 2 * SECOND,
        "dropped": {"groups": 0, "hits": 3, "late": 0, "gone": 0},
        "open": [growing.as_dict()],
        "held": [[IDS["values"], 2], [IDS["overdue"], 1]],
    }
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, old) as writer:
        writer.write_table(pa.concat_tables([held, waiting]))
    head = orjson.dumps(header)
    state = {"windows": len(head).to_bytes(8, "big") + head + bytes(sink.getvalue())}
    windows = Windows(RULESET, state.get)
    written = windows.states()
    for again in (windows, Windows(RULESET, written.get)):
        hits = [("values/base", Hit(3 * SECOND, "c" * 32, "{}", ("3",))), ("plain", Hit(3 * SECOND, "d" * 32))]
        found = {named(change.alert.rule_id): change for change in again.advance(table(hits), 6 * SECOND)}
        assert {name: (change.opened, change.alert.count) for name, change in found.items()} == {
            "plain": (False, 2),
            "values": (True, 3),
            "overdue": (True, 1),
        }
        assert again.dropped["hits"] == 3
