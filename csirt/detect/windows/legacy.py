"""The windows' state as the programs before version 3 wrote it: one value, with every held hit in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa

from csirt.detect.rule import Correlation, Rule
from csirt.detect.windows.payload import encode
from csirt.model.hits import conform


def convert(raw: bytes, rules: Mapping[str, Rule], correlations: Mapping[str, Correlation]) -> dict[str, bytes]:
    """A state of version 2 as the keys and values of version 3; the header is under the empty key."""
    size = int.from_bytes(raw[:8], "big")
    old: dict[str, Any] = orjson.loads(raw[8 : 8 + size])
    table = conform(pa.ipc.open_stream(raw[8 + size :]).read_all())
    found: dict[str, bytes] = {}
    opened = [
        [item["rule"], item["group"], item, _reach(item, rules, correlations)]
        for item in old["open"]
        if item["rule"] in rules or item["rule"] in correlations
    ]
    found["open:0"] = orjson.dumps(opened)
    held: dict[str, list[list[int]]] = {}
    overdue: list[str] = []
    start = 0
    for name, rows in old["held"]:
        part = table.slice(start, rows)
        start += rows
        known = correlations.get(name)
        if known is not None and known.type == "absence":
            overdue.append(name)
            found[f"overdue:{name}"] = encode(part)
        elif rows:
            held[name] = [[0, 0, 0]]
            found[f"held:{name}:0"] = encode(part)
    header = {"version": 3 if old["version"] == 2 else old["version"], "until": old["until"], "open": [0]}
    found[""] = orjson.dumps(header | {"dropped": old["dropped"], "held": held, "overdue": overdue})
    return found


def _reach(item: dict[str, Any], rules: Mapping[str, Rule], correlations: Mapping[str, Correlation]) -> int:
    """When nothing can extend an open alert any more."""
    known = correlations.get(item["rule"])
    if known is None:
        return int(item["last"]) + rules[item["rule"]].meta.custom.timespan
    if known.type == "absence":
        return int(item["last"]) + known.timespan + known.meta.custom.timespan
    return int(item["fired"]) + known.timespan
