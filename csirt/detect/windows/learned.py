"""A baseline as state: what a restart needs, in parts of which few change at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from csirt.detect.rules import buckets
from csirt.detect.windows.baseline import NEVER, Baseline
from csirt.detect.windows.bucket import Part, current, from_ipc, ipc
from csirt.detect.windows.past import Record
from csirt.model.batch import Array


def changes(state: Baseline) -> dict[str, bytes | None]:
    """What a restart needs, by name, as far as it changed; None for what is gone. The part `""` names all."""
    _name(state)
    parts = dict(_parts(state))
    result: dict[str, bytes | None] = {name: made() for name, made in parts.items() if name not in state.written}
    result |= dict.fromkeys(sorted(state.written - parts.keys()))
    state.written = set(parts)
    if not state.dirty:
        return result
    state.dirty = False
    result[""] = orjson.dumps(
        {
            "named": state.named,
            "known": state.known,
            "next": state.next,
            "era": state.era,
            "row": sorted([code, *value] for code, value in state.row.items()),
            "open": [[start, [part.number for part in bucket.parts]] for start, bucket in sorted(state.open.items())],
            "closed": int(state.past.starts[0]) if len(state.past.starts) else None,
            "past": [[record.start, record.slot] for record in state.past.records],
        }
    )
    return result


def _name(state: Baseline) -> None:
    """Names that are new are a part of their own, with those before it that are not more than twice as many."""
    begin, end = (state.named[-1][1] if state.named else 0), len(state.groups)
    if begin == end:
        return
    while state.named and state.named[-1][1] - state.named[-1][0] <= 2 * (end - begin):
        begin = state.named.pop()[0]
    state.named.append((begin, end))


def _parts(state: Baseline) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """All parts but the first, each with what makes it."""
    for start, bucket in sorted(state.open.items()):
        for part in bucket.parts:
            for name, table in zip(_names(start, part.number), (part.rows, part.pairs), strict=True):
                yield name, partial(ipc, table)
    for record in state.past.records:
        columns = {"code": record.codes, "value": record.values}
        yield f"past:{state.era}:{record.start}", partial(_columns, columns)
    for begin, end in state.named:
        yield f"names:{state.era}:{begin}:{end}", partial(_texts, state, begin, end)
    # Of names that came since it was written nothing is known.
    yield f"known:{state.known}", partial(_columns, {"since": state.since, "seen": state.seen})
    yield f"parents:{state.known}", lambda: orjson.dumps(sorted(state.parents.items()))


def restore(state: Baseline, read: Callable[[str], bytes]) -> None:
    """The state back from what was written."""
    known = orjson.loads(read(""))
    state.dirty = "names" in known
    state.next, state.era = known["next"], known["era"]
    state.row = {code: (length, begin) for code, length, begin in known.get("row", [])}
    if "names" in known:  # of an older program, which wrote all of them anew each time
        state.groups.codes(pa.chunked_array([pa.array(known["names"], pa.string())]))
        state.since, state.seen = _numbers(known["since"]), _numbers(known["seen"])
        state.parents = dict(known["parents"])
    else:
        _read_names(state, known, read)
    for item in known["open"]:
        # An older program wrote one part of each bucket, without a number.
        start, numbers = item if isinstance(item, list) else (item, [None])
        parts = []
        for number in numbers:
            names = _names(start, number)
            rows, pairs = (from_ipc(read(name)) for name in names)
            parts.append(Part(number or 0, current(rows), pairs))
            state.written.update(names)
        state.open[start] = state.made(parts)
    for start, slot in known["past"]:
        name = f"past:{state.era}:{start}"
        table = from_ipc(read(name))
        codes, values = (np.asarray(table.column(column).to_numpy()) for column in ("code", "value"))
        if len(codes):
            state.past.records.append(Record(start, slot, codes, values))
        state.written.add(name)
    closed = known.get("closed", known["past"][0][0] if known["past"] else None)
    if closed is not None and state.next is not None:
        assert state.item.baseline is not None
        state.learn(buckets.ended(closed, state.next, state.item.timespan, state.item.baseline.timezone))


def _read_names(state: Baseline, known: dict[str, Any], read: Callable[[str], bytes]) -> None:
    state.named, state.known = [(begin, end) for begin, end in known["named"]], known["known"]
    for begin, end in state.named:
        state.groups.codes(from_ipc(read(f"names:{state.era}:{begin}:{end}")).column("name"))
        state.written.add(f"names:{state.era}:{begin}:{end}")
    times = from_ipc(read(f"known:{state.known}"))
    state.parents = dict(orjson.loads(read(f"parents:{state.known}")))
    state.written |= {f"known:{state.known}", f"parents:{state.known}"}
    unknown = np.full(len(state.groups) - times.num_rows, NEVER)
    state.since, state.seen = (np.concatenate([times.column(name).to_numpy(), unknown]) for name in ("since", "seen"))


def _texts(state: Baseline, begin: int, end: int) -> bytes:
    return ipc(pa.table({"name": state.groups.texts(begin, end).cast(pa.string())}))


def _columns(columns: Mapping[str, Any]) -> bytes:
    return ipc(pa.table({name: pa.array(values) for name, values in columns.items()}))


def _numbers(values: list[int]) -> Array:
    return np.array(values, np.int64)


def _names(start: int, number: int | None) -> tuple[str, str]:
    """Under which the rows and the pairs of a part are written."""
    after = "" if number is None else f":{number}"
    return f"open:{start}{after}", f"pairs:{start}{after}"
