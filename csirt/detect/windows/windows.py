"""Hits to alerts over event time: exact, independent of how the time axis was cut, with bounded state.

Semantics, all in (time, event id) order per group:
- A rule alone: its first hit opens an alert; every hit within the rule's `timespan` of the alert's last hit extends
  it; the first one after a longer pause opens the next alert.
- A correlation looks at the window [time - timespan, time] when an event comes. Where its condition holds it *fires*.
  Fires that follow each other within the timespan are one alert; it holds every event from the first fire's window to
  the last fire. `lt` sees no empty window. `temporal_ordered` looks once per moment: its events are in any order.
- `absence`: an event of the first rule without one of the second rule, same key, in [time, time + timespan] is overdue
  at time + timespan. Overdue events of a group within the rule's own `timespan` of each other are one alert. With
  `open-hours` only open time counts; a group then has one calendar.
- A correlation of correlations: each alert of theirs is one event, the event that opened it, at the time it opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.rule import Correlation, stream
from csirt.detect.rules import chain
from csirt.detect.rules.load import Ruleset
from csirt.detect.windows import learned, legacy, quiet
from csirt.detect.windows.baseline import Baseline
from csirt.detect.windows.changes import Changes, Opening
from csirt.detect.windows.counting import Counting
from csirt.detect.windows.opened import Opened
from csirt.detect.windows.overdue import Overdue
from csirt.detect.windows.payload import decode, encode
from csirt.errors import CsirtError
from csirt.model.hits import AlertChange, none
from csirt.model.records import SAMPLE_EVENTS

VERSION = 3
KEY = "windows"  # the header of the state, and what the keys of its pieces begin with
MAX_GROUPS = 100_000
MAX_HELD = 2_000_000
MANY_RUNS = 10_000


def seen(raw: bytes | None) -> dict[str, dict[str, int]]:
    """What a committed state (its header) says for people: what was `dropped`, by reason, and in how many groups each
    baseline is `learning`."""
    header = orjson.loads(raw) if raw is not None and raw.startswith(b"{") else {}
    return {name: dict(header.get(name) or {}) for name in ("dropped", "learning")}


class Windows:
    """The open alerts and the hits that windows still need. `read`: gives the committed state by key. `samples`: event
    ids an alert keeps. `dropped` counts what the bounds cost: `groups` and `hits` that left too early, `late` hits that
    came after their time was closed (they count where they still can), `gone` hits of rules that are no more,
    `closed` hits whose bucket of a baseline had been closed."""

    def __init__(
        self,
        ruleset: Ruleset,
        read: Callable[[str], bytes | None] | None = None,
        *,
        samples: int = SAMPLE_EVENTS,
        max_groups: int = MAX_GROUPS,
        max_held: int = MAX_HELD,
    ) -> None:
        self._rules = {rule.id: rule for rule in ruleset.rules}
        self._correlations = {item.id: item for item in chain.in_order(ruleset.correlations)}
        self._streams = {name: [stream(name, rule) for rule in item.rules] for name, item in self._correlations.items()}
        self._outer = chain.consumers(self._correlations)
        self._max_groups, self._max_held = max_groups, max_held
        self._open = Opened(max_groups)
        self._counting: dict[str, Counting] = {}
        self._overdue: dict[str, Overdue] = {}
        self._baselines: dict[str, Baseline] = {}
        self._written: set[str] = set()
        self._unwritten: dict[str, bytes] = {}
        self._until: int | None = None
        self._chained: dict[str, list[pa.Table]] = {}
        self._fed: set[str] = set()  # correlations that have hits in this step
        self._changes = Changes(self._open, self._rules, self._correlations, self._outer, samples)
        self.dropped: dict[str, int] = {"groups": 0, "hits": 0, "late": 0, "gone": 0, "closed": 0}
        if read is not None:
            self._restore(read)

    def advance(self, hits: pa.Table, until: int) -> list[AlertChange]:
        """Fold in the hits, all at or before `until`, which is then closed; the alerts that opened or were extended,
        one change per alert, ordered by (at, alert id). Raises ValueError for a hit after `until`."""
        times = np.asarray(hits.column("time").to_numpy())
        if int(times.max(initial=until)) > until:
            raise ValueError("a hit after the time that is to be closed")
        if self._until is not None:
            self.dropped["late"] += int(np.count_nonzero(times <= self._until))
        self._chained = {}
        by_stream = _split(hits)
        self._fed = {name.partition("/")[0] for name in by_stream}
        for name in sorted(by_stream):
            rule = self._rules.get(name)
            if rule is not None:
                found = self._changes.pauses(rule.meta, rule.meta.custom.timespan, by_stream.pop(name))
                self._announce(rule.id, found)
        for item in self._correlations.values():
            if item.id not in self._fed and item.id not in self._overdue and item.id not in self._baselines:
                continue
            given = [
                [*([by_stream.pop(name)] if name in by_stream else []), *self._chained.pop(name, [])]
                for name in self._streams[item.id]
            ]
            inputs = [pa.concat_tables(tables) if tables else none() for tables in given]
            if item.type == "absence":
                self._absence(item, inputs, until)
            elif item.type == "baseline":
                self._judge(item, inputs, until)
            elif any(part.num_rows for part in inputs):
                self._count(item, inputs)
        self.dropped["gone"] += sum(table.num_rows for table in by_stream.values())
        self._until = until if self._until is None else max(until, self._until)
        self._close(self._until)
        return self._changes.found()

    def quiet(self, hits: pa.Table) -> pa.Table:
        """Take in those hits of which nothing will come before the latest of them is closed; the other hits. For many
        steps of time that are there at once."""
        if self._until is not None and hits.num_rows and pc.min(hits.column("time")).as_py() <= self._until:
            return hits  # what comes late is counted where it is taken in
        by_stream = _split(hits)
        for item in self._correlations.values():
            names = self._streams[item.id]
            inputs = [by_stream.get(name, none()) for name in names]
            chained = any(rule in self._correlations for rule in item.rules) or len(set(names)) < len(names)
            if chained or item.type == "absence" or not any(part.num_rows for part in inputs):
                continue
            if item.type == "baseline":  # nothing comes of its hits before their bucket ends
                self._learned(item, inputs)
                by_stream |= dict.fromkeys(names, none())
                continue
            found = quiet.taken(self._counted(item), inputs, self._until)
            if found is not None:
                self._counting[item.id], left = found
                by_stream |= dict(zip(names, left, strict=True))
        rest = [part for _, part in sorted(by_stream.items()) if part.num_rows]
        return pa.concat_tables(rest) if rest else hits.slice(0, 0)

    def begin(self, opened: bytes, before: pa.Table, until: int) -> None:
        """Begin at `until`, with the alerts that were open then (`opened`, of an earlier one, or empty) and the hits
        `before` that windows still reach: nothing comes of those."""
        if opened:
            known = self._rules.keys() | self._correlations.keys()
            self._open.restore(0, opened, known.__contains__)
        self._until = until
        self._open.close(until)
        by_stream = _split(before)
        for item in self._correlations.values():
            inputs = [by_stream.get(name, none()) for name in self._streams[item.id]]
            if any(part.num_rows for part in inputs):
                counting = self._counting[item.id] = self._counted(item)
                counting.held.add(inputs, until - item.timespan)

    def opened(self) -> bytes:
        """The open alerts, for `begin`; empty when there is none."""
        return self._open.whole() if len(self._open) else b""

    @property
    def closed(self) -> int | None:
        """The time up to which everything is closed, or None before the first advance."""
        return self._until

    def next_time(self) -> int | None:
        """The earliest time at which an advance without new hits would find something (an overdue event, the end of a
        bucket), or None."""
        times = [item.next_time() for item in self._overdue.values()]
        times += [item.next_time() for item in self._baselines.values()]
        return min((time for time in times if time is not None), default=None)

    def _close(self, until: int) -> None:
        self._open.close(until)
        self.dropped["groups"] += self._open.dropped
        self._open.dropped = 0
        for name, counting in list(self._counting.items()):
            if counting.expire(until):
                del self._counting[name]

    def _announce(self, rule_id: str, opening: Opening | None) -> None:
        """Alerts that opened as events of the correlations built on them."""
        if opening is None:
            return
        for outer in self._outer[rule_id]:
            made = chain.hits(outer, rule_id, *opening)
            self._chained.setdefault(stream(outer.id, rule_id), []).append(made)
            self._fed.add(outer.id)

    # -- counting in windows --------------------------------------------------------------------------------------

    def _counted(self, item: Correlation) -> Counting:
        """What a correlation has counted so far."""
        known = self._counting.get(item.id)
        if known is not None:
            return known
        return Counting(item, self._correlations, max_groups=self._max_groups, max_rows=self._max_held)

    def _count(self, item: Correlation, inputs: list[pa.Table]) -> None:
        counting = self._counting[item.id] = self._counted(item)
        fires = counting.advance(inputs, self._until)
        for reason, number in counting.dropped.items():
            self.dropped[reason] += number
        if fires is not None:
            self._announce(item.id, self._changes.fires(item, counting, fires))

    # -- absence --------------------------------------------------------------------------------------------------

    def _absence(self, item: Correlation, inputs: list[pa.Table], until: int) -> None:
        state = self._overdue.get(item.id)
        if state is None:
            if not inputs[0].num_rows:
                return
            state = self._overdue[item.id] = Overdue(item, self._max_held)
        late = state.advance(inputs[0], inputs[1], until)
        self.dropped["hits"] += state.dropped
        state.dropped = 0
        if not state.waiting.num_rows:
            del self._overdue[item.id]
        self._announce(item.id, self._changes.pauses(item.meta, item.meta.custom.timespan, late, state.due))

    # -- baseline -------------------------------------------------------------------------------------------------

    def _judge(self, item: Correlation, inputs: list[pa.Table], until: int) -> None:
        """Count the hits, and judge the buckets that have ended."""
        state = self._learned(item, inputs)
        if state is None:
            return
        for judged in state.close(until):
            self._announce(item.id, self._changes.judged(item, judged))
        self.dropped["groups"] += state.dropped
        state.dropped = 0
        if state.next is None:
            del self._baselines[item.id]

    def _learned(self, item: Correlation, inputs: list[pa.Table]) -> Baseline | None:
        """The baseline with these hits counted; None while there were none at all."""
        state = self._baselines.get(item.id)
        if state is None:
            if not any(part.num_rows for part in inputs):
                return None
            state = self._baselines[item.id] = Baseline(item, self._max_groups)
        self.dropped["closed"] += state.add(inputs)
        return state

    def learning(self) -> dict[str, int]:
        """Baselines that know some groups too short a time to judge them, and how many."""
        found = {name: state.learning() for name, state in sorted(self._baselines.items())}
        return {name: number for name, number in found.items() if number}

    # -- state ----------------------------------------------------------------------------------------------------

    def states(self) -> dict[str, bytes | None]:
        """What a restart needs, by key, as far as it changed since this was asked last; None for what is gone."""
        result: dict[str, bytes | None] = dict(self._unwritten)
        self._unwritten = {}
        for number, data in self._open.changes().items():
            result[f"{KEY}:open:{number}"] = data
        now: dict[str, bytes | None] = {}
        for name, counting in self._counting.items():
            for number, data in counting.held.payload.changes().items():
                result[f"{KEY}:held:{name}:{number}"] = data
            now |= {f"{KEY}:held:{name}:{number}": None for number, *_ in counting.held.payload.listed()}
        for name, state in self._overdue.items():
            result[f"{KEY}:overdue:{name}"] = encode(state.waiting)
            now[f"{KEY}:overdue:{name}"] = None
        for name, known in self._baselines.items():
            result |= {f"{KEY}:baseline:{name}:{part}": data for part, data in learned.changes(known).items()}
            now |= dict.fromkeys(f"{KEY}:baseline:{name}:{part}" for part in ("", *known.written))
        result |= dict.fromkeys(sorted(self._written - now.keys()))
        self._written = set(now)
        header = {
            "version": VERSION,
            # Without anything open, when the last step was says nothing: an idle daemon's state does not change.
            "until": self._until if len(self._open) or self._counting or self._overdue or self._baselines else None,
            "dropped": dict(sorted(self.dropped.items())),
            "open": self._open.listed(),
            "held": {name: item.held.payload.listed() for name, item in sorted(self._counting.items())},
            "overdue": sorted(self._overdue),
            "baseline": sorted(self._baselines),
            "learning": self.learning(),  # for status; a restart finds it out again
        }
        result[KEY] = orjson.dumps(header)
        return result

    def _restore(self, read: Callable[[str], bytes | None]) -> None:
        raw = read(KEY)
        if raw is None:
            return
        try:
            if not raw.startswith(b"{"):
                old = legacy.convert(raw, self._rules, self._correlations)
                raw = old.pop("")
                self._unwritten = {f"{KEY}:{name}": data for name, data in old.items()}
                read = self._unwritten.get
            header: dict[str, Any] = orjson.loads(raw)
            if header["version"] != VERSION:
                message = f"the state of the windows is of version {header['version']}, this program's is {VERSION}"
                raise CsirtError(message)
            self._read(header, lambda key: _needed(key, read(key)))
        except (orjson.JSONDecodeError, pa.ArrowException, OSError, KeyError, TypeError) as error:
            raise CsirtError(f"the state of the windows cannot be read ({error}); restore the store") from error

    def _read(self, header: dict[str, Any], read: Callable[[str], bytes]) -> None:
        self._until = header["until"]
        self.dropped.update(header["dropped"])
        for number in header["open"]:
            known = self._rules.keys() | self._correlations.keys()
            self._open.restore(number, read(f"{KEY}:open:{number}"), known.__contains__)
        for name, pieces in header["held"].items():
            keys = [f"{KEY}:held:{name}:{number}" for number, *_ in pieces]
            self._written.update(keys)
            item = self._correlations.get(name)
            if item is None or item.type == "absence":
                self.dropped["gone"] += sum(decode(read(key)).num_rows for key in keys)
                continue
            counting = Counting(item, self._correlations, max_groups=self._max_groups, max_rows=self._max_held)
            for key, (number, base, level) in zip(keys, pieces, strict=True):
                counting.held.payload.restore(number, base, level, read(key))
            counting.restored(self._until)
            self._counting[name] = counting
        if self._until is not None:
            self._open.close(self._until)
        for name in header["overdue"]:
            key = f"{KEY}:overdue:{name}"
            self._written.add(key)
            waiting = decode(read(key))
            item = self._correlations.get(name)
            if item is None or item.type != "absence":
                self.dropped["gone"] += waiting.num_rows
                continue
            self._overdue[name] = Overdue(item, self._max_held)
            self._overdue[name].waiting = waiting
        for name in header.get("baseline", []):
            item = self._correlations.get(name)
            self._written.add(f"{KEY}:baseline:{name}:")
            if item is not None and item.baseline is not None:
                self._baselines[name] = Baseline(item, self._max_groups)
                learned.restore(self._baselines[name], lambda part, name=name: read(f"{KEY}:baseline:{name}:{part}"))  # type: ignore[misc]
                self._written |= {f"{KEY}:baseline:{name}:{part}" for part in self._baselines[name].written}


def _needed(key: str, data: bytes | None) -> bytes:
    if data is None:
        raise CsirtError(f"the state of the windows lacks {key}; restore the store")
    return data


def _split(hits: pa.Table) -> dict[str, pa.Table]:
    """The hits of each stream."""
    if not hits.num_rows:
        return {}
    encoded = hits.column("stream").combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    if len(encoded.dictionary) == 1:
        return {encoded.dictionary[0].as_py(): hits}
    codes = np.asarray(encoded.indices.to_numpy())
    edges = np.flatnonzero(np.diff(codes, prepend=-1, append=-1))
    if len(edges) < MANY_RUNS:  # as a detector hands them on: no row need be moved
        runs: dict[int, list[pa.Table]] = {}
        for left, right in zip(edges.tolist(), edges[1:].tolist(), strict=False):
            runs.setdefault(int(codes[left]), []).append(hits.slice(left, right - left))
        return {encoded.dictionary[code].as_py(): pa.concat_tables(found) for code, found in runs.items()}
    table = hits.combine_chunks()
    order = np.argsort(codes, kind="stable")
    cuts = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1)).tolist()
    table = table.take(pa.array(order))
    return {
        name: table.slice(left, right - left)
        for name, left, right in zip(encoded.dictionary.to_pylist(), cuts, cuts[1:], strict=False)
    }
