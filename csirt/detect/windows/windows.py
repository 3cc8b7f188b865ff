"""Hits to alerts over event time: exact, independent of how the time axis was cut, with bounded state.

Semantics, all in (time, event id) order per group:
- A rule alone: its first hit opens an alert; every hit within the rule's `timespan` of the alert's last hit extends
  it; the first one after a longer pause opens the next alert.
- A correlation looks at the window [time - timespan, time] when an event comes. Where its condition holds it *fires*.
  Fires that follow each other within the timespan are one alert; it holds every event from the first fire's window to
  the last fire. `lt` sees no empty window. `temporal_ordered` looks once per moment: its events are in any order.
- `ratio` looks when an event of its first rule comes, and divides by the events of the second rule in that window, all
  those of the same moment among them. Its alert is of events of the first rule.
- `beacon` looks when a contact begins, at the last so many in that window; only what reaches back to them is kept.
  Where it asks for a target that few members speak with, no other event is looked at: who speaks with whom is known
  from all events so far.
- `absence`: an event of the first rule without one of the second rule, same key, in [time, time + timespan] is overdue
  at time + timespan. Overdue events of a group within the rule's own `timespan` of each other are one alert. With
  `open-hours` only open time counts; a group then has one calendar.
- A correlation of correlations: each alert of theirs is one event, the event that opened it, at the time it opened.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.rule import Correlation
from csirt.detect.rules import chain
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.windows import quiet
from csirt.detect.windows.baseline import Baseline
from csirt.detect.windows.changes import Changes, Opening
from csirt.detect.windows.overdue import Overdue
from csirt.detect.windows.state import MAX_GROUPS, MAX_HELD, State
from csirt.model.hits import AlertChange, none
from csirt.model.records import SAMPLE_EVENTS

MANY_RUNS = 10_000


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
        self._streams = {
            name: [item.stream(rule) for rule in item.rules if not item.divides_by(rule)]
            for name, item in self._correlations.items()
        }
        self._outer = chain.consumers(self._correlations)
        self._state = State(self._rules, self._correlations, max_groups=max_groups, max_held=max_held)
        self._chained: dict[str, list[pa.Table]] = {}
        self._fed: set[str] = set()  # correlations that have hits in this step
        self._changes = Changes(self._state.open, self._rules, self._correlations, self._outer, samples)
        if read is not None:
            self._state.restore(read)

    @property
    def dropped(self) -> dict[str, int]:
        """What the bounds cost, by reason."""
        return self._state.dropped

    def advance(self, hits: pa.Table, until: int) -> list[AlertChange]:
        """Fold in the hits, all at or before `until`, which is then closed; the alerts that opened or were extended,
        one change per alert, ordered by (at, alert id). Raises ValueError for a hit after `until`."""
        times = np.asarray(hits.column("time").to_numpy())
        if int(times.max(initial=until)) > until:
            raise ValueError("a hit after the time that is to be closed")
        if self._state.until is not None:
            self._state.dropped["late"] += int(np.count_nonzero(times <= self._state.until))
        self._chained = {}
        by_stream = _split(hits)
        self._state.divide(by_stream)
        self._fed = {name.partition("/")[0] for name in by_stream}
        for name in sorted(by_stream):
            rule = self._rules.get(name)
            if rule is not None:
                found = self._changes.pauses(rule.meta, rule.meta.custom.timespan, by_stream.pop(name))
                self._announce(rule.id, found)
        for item in self._correlations.values():
            if item.id not in self._fed and item.id not in self._state.overdue and item.id not in self._state.baselines:
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
        self._state.dropped["gone"] += sum(table.num_rows for table in by_stream.values())
        self._state.until = until if self._state.until is None else max(until, self._state.until)
        self._state.close(self._state.until)
        return self._changes.found()

    def quiet(self, hits: pa.Table) -> pa.Table:
        """Take in those hits of which nothing will come before the latest of them is closed; the other hits. For many
        steps of time that are there at once."""
        if self._state.until is not None and hits.num_rows and pc.min(hits.column("time")).as_py() <= self._state.until:
            return hits  # what comes late is counted where it is taken in
        self._state.settle()
        by_stream = _split(hits)
        self._state.divide(by_stream)
        for item in self._correlations.values():
            names = self._streams[item.id]
            inputs = [by_stream.get(name, none()) for name in names]
            chained = any(rule in self._correlations for rule in item.rules) or len(set(names)) < len(names)
            # An absence waits, and what is rare for one group of a beacon hangs on the others.
            if chained or item.type in ("absence", "beacon") or not any(part.num_rows for part in inputs):
                continue
            if item.type == "baseline":  # nothing comes of its hits before their bucket ends
                self._learned(item, inputs)
                by_stream |= dict.fromkeys(names, none())
                continue
            found = quiet.taken(self._state.counted(item), inputs, self._state.until)
            if found is not None:
                self._state.counting[item.id], left = found
                by_stream |= dict(zip(names, left, strict=True))
        rest = [part for _, part in sorted(by_stream.items()) if part.num_rows]
        return pa.concat_tables(rest) if rest else hits.slice(0, 0)

    def begin(self, opened: bytes, before: pa.Table, until: int) -> None:
        """Begin at `until`, with the alerts that were open then (`opened`, of an earlier one, or empty) and the hits
        `before` that windows still reach: nothing comes of those."""
        if opened:
            known = self._rules.keys() | self._correlations.keys()
            self._state.open.restore(0, opened, known.__contains__)
        self._state.until = until
        self._state.open.close(until)
        by_stream = _split(before)
        self._state.divide(by_stream)
        for item in self._correlations.values():
            inputs = [by_stream.get(name, none()) for name in self._streams[item.id]]
            if any(part.num_rows for part in inputs):
                counting = self._state.counting[item.id] = self._state.counted(item)
                counting.held.add(inputs, until - item.timespan)

    def opened(self) -> bytes:
        """The open alerts, for `begin`; empty when there is none."""
        self._state.settle()
        return self._state.open.whole() if len(self._state.open) else b""

    @property
    def closed(self) -> int | None:
        """The time up to which everything is closed, or None before the first advance."""
        return self._state.until

    def next_time(self) -> int | None:
        """The earliest time at which an advance without new hits would find something (an overdue event, the end of a
        bucket), or None."""
        times = [item.next_time() for item in self._state.overdue.values()]
        times += [item.next_time() for item in self._state.baselines.values()]
        return min((time for time in times if time is not None), default=None)

    def _announce(self, rule_id: str, opening: Opening | None) -> None:
        """Alerts that opened as events of the correlations built on them."""
        if opening is None:
            return
        for outer in self._outer[rule_id]:
            made = chain.hits(outer, rule_id, *opening)
            self._chained.setdefault(outer.stream(rule_id), []).append(made)
            self._fed.add(outer.id)

    # -- counting in windows --------------------------------------------------------------------------------------

    def _count(self, item: Correlation, inputs: list[pa.Table]) -> None:
        counting = self._state.counting[item.id] = self._state.counted(item)
        fires = counting.advance(inputs, self._state.until)
        for reason, number in counting.dropped.items():
            self._state.dropped[reason] += number
        if fires is not None:
            self._announce(item.id, self._changes.fires(item, counting, fires))

    # -- absence --------------------------------------------------------------------------------------------------

    def _absence(self, item: Correlation, inputs: list[pa.Table], until: int) -> None:
        state = self._state.overdue.get(item.id)
        if state is None:
            if not inputs[0].num_rows:
                return
            state = self._state.overdue[item.id] = Overdue(item, self._state.max_held)
        late = state.advance(inputs[0], inputs[1], until)
        self._state.dropped["hits"] += state.dropped
        state.dropped = 0
        if not state.waiting.num_rows:
            del self._state.overdue[item.id]
        self._announce(item.id, self._changes.pauses(item.meta, item.meta.custom.timespan, late, state.due))

    # -- baseline -------------------------------------------------------------------------------------------------

    def _judge(self, item: Correlation, inputs: list[pa.Table], until: int) -> None:
        """Count the hits, and judge the buckets that have ended."""
        state = self._learned(item, inputs)
        if state is None:
            return
        for judged in state.close(until):
            self._announce(item.id, self._changes.judged(item, judged))
        self._state.dropped["groups"] += state.dropped
        state.dropped = 0
        if state.next is None:
            del self._state.baselines[item.id]

    def _learned(self, item: Correlation, inputs: list[pa.Table]) -> Baseline | None:
        """The baseline with these hits counted; None while there were none at all."""
        state = self._state.baselines.get(item.id)
        if state is None:
            if not any(part.num_rows for part in inputs):
                return None
            state = self._state.baselines[item.id] = Baseline(item, self._state.max_groups)
        self._state.dropped["closed"] += state.add(inputs)
        return state

    def learning(self) -> dict[str, int]:
        """Baselines that know some groups too short a time to judge them, and how many."""
        return self._state.learning()

    def states(self) -> dict[str, bytes | None]:
        """What a restart needs, by key, as far as it changed since this was asked last; None for what is gone."""
        return self._state.written()


def _split(hits: pa.Table) -> dict[str, pa.Table]:
    """The hits of each stream."""
    if not hits.num_rows:
        return {}
    alone = [_alone(chunk) for chunk in hits.column("stream").chunks]
    if None not in alone and len(alone) < MANY_RUNS:  # as a detector hands them on
        cuts_at = accumulate((len(chunk) for chunk in hits.column("stream").chunks), initial=0)
        parts: dict[str, list[pa.Table]] = {}
        for name, (left, right) in zip(alone, pairwise(cuts_at), strict=True):
            if right > left:
                parts.setdefault(str(name), []).append(hits.slice(left, right - left))
        return {name: pa.concat_tables(found) for name, found in parts.items()}
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


def _alone(texts: pa.StringArray) -> str | None:
    """The text that all rows have; None where they have several."""
    count = len(texts)
    if not count:
        return ""
    if texts.null_count:
        return None
    _, offsets, data = texts.buffers()
    edges = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + count + 1]
    size, begin = int(edges[1] - edges[0]), int(edges[0])
    length = int(edges[-1]) - begin
    if length != size * count or (np.diff(edges) != size).any():
        return None
    same = length == size or data.slice(begin, length - size).equals(data.slice(begin + size, length - size))
    return str(texts[0]) if same else None
