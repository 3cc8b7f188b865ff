"""From pending hits to people: windows, correlation, cases, plans and notifications.

A pure consequence of the hits in (event time, id) order: workers, batch sizes, arrival order within the lateness and
restarts change nothing (decision 10).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.answers import Answers
from csirt.clock import TICK
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.windows.windows import Windows
from csirt.model import hits as model_hits
from csirt.model.hits import AlertChange
from csirt.notify.router import Router
from csirt.respond.plan import Responder
from csirt.stores.base import Commit, PendingHits, Store
from csirt.watermark import tick

# One commit of the analysis takes this many hits, or this many of rules that alert by themselves, whichever is less,
# but at least one step of event time: what it holds in memory, and what a kill makes it do again, are bounded.
SLICE = 250_000
ALERTING = 20_000
MANY = 12  # steps of event time: of more, what is quiet is taken in at once


class Analyst:
    """The coordinator's part of the pipeline. `parts` gives the live ruleset, responder and router, so that a reload
    is seen at the next step."""

    def __init__(
        self,
        *,
        ruleset: Callable[[], Ruleset],
        responder: Callable[[], Responder],
        router: Callable[[], Router],
        names: Callable[[], Mapping[str, str]],
        window_us: int,
        deliver: bool,
    ) -> None:
        self._ruleset, self._responder, self._router = ruleset, responder, router
        self._names = names
        self._window = window_us
        self._deliver = deliver
        self._windows: Windows | None = None
        self._rules: Ruleset | None = None

    def advance(self, store: Store, until: int | None, at: int) -> dict[str, int]:
        """Consume the hits with event time <= `until`, in commits of bounded size; none when nothing changes.

        A commit ends where a step of event time does, and what it changes is found step by step, so that it makes no
        difference how much waited when the analysis looked."""
        if until is None:
            return {}
        counts = {"alerts": 0, "incidents": 0, "notifications": 0}
        while True:
            pending = store.pending(until, SLICE)
            table = _hits(pending)
            stop, whole = _stop(table, until)
            if not whole:
                pending = store.pending(stop)
                table = _hits(pending)
            with _undisturbed():
                for name, number in self._step(store, pending, table, stop, at).items():
                    counts[name] += number
            if stop == until:
                return counts if any(counts.values()) else {}

    def _step(self, store: Store, pending: list[PendingHits], table: pa.Table, until: int, at: int) -> dict[str, int]:
        """One commit: the hits up to `until`."""
        windows = self._current(store)
        pending = [blob for blob in pending if blob.least <= until]
        due = pc.less_equal(table.column("time"), until)
        now = table if pc.all(due).as_py() else table.filter(due)
        later = pa.concat_tables([_after(blob, until) for blob in pending]) if pending else now.slice(0, 0)
        try:
            found = steps(windows, now, until)
            if not pending and not found:
                return {}  # what else moved in the windows is written with the next commit, or follows again
            change = self._commit(store, found, at)
            change.states.update(windows.states())
            change.states["watermark"] = str(until).encode()
            change.consumed = [blob.id for blob in pending]
            change.hits = later if later.num_rows else None
            store.commit(change)
        except BaseException:
            self._windows = None  # its state ran ahead of what is committed
            raise
        return _counts(found, change)

    def add(
        self, store: Store, found: list[list[AlertChange]], states: Mapping[str, bytes | None], at: int
    ) -> dict[str, int]:
        """Commit changes that were found elsewhere, step by step of event time, with `states`; what came of it."""
        change = self._commit(store, found, at)
        change.states.update(states)
        store.commit(change)
        return _counts(found, change)

    def _current(self, store: Store) -> Windows:
        rules = self._ruleset().running
        if self._windows is None or rules is not self._rules:
            self._windows = Windows(rules, store.state)
            self._rules = rules
        return self._windows

    def _commit(self, store: Store, steps: list[list[AlertChange]], at: int) -> Commit:
        answers = Answers(
            store, steps, at, responder=self._responder(), router=self._router(), names=self._names(),
            window_us=self._window,
        )  # fmt: skip
        for changes in steps:
            answers.take(changes)
        change = answers.commit()
        if not self._deliver:  # a replay tells nobody, then or later
            for item in change.notifications:
                item.state = "suppressed"
        return change


def _counts(found: list[list[AlertChange]], change: Commit) -> dict[str, int]:
    return {
        "alerts": sum(item.opened for changes in found for item in changes),
        "incidents": sum(item.id not in item.aliases and not item.merged_into for item in change.incidents),
        "notifications": len(change.notifications),
    }


def _hits(pending: list[PendingHits]) -> pa.Table:
    return pa.concat_tables([blob.hits for blob in pending]) if pending else model_hits.none()


def _stop(table: pa.Table, until: int) -> tuple[int, bool]:
    """How far one commit goes, and whether `table`, which has the earliest SLICE hits and one more for certain, has all
    hits up to there: to the last step of event time before the SLICE-th hit, or the ALERTING-th hit of a rule that
    alerts by itself, whichever comes first; to `until` when there are fewer. One step is never cut."""
    times = np.asarray(table.column("time").to_numpy())
    plain = times[np.asarray(pc.equal(table.column("stream"), table.column("rule")).to_numpy())]
    times = np.repeat(times, model_hits.weights(table))
    least = min(
        (int(np.partition(found, most - 1)[most - 1]) for found, most in ((times, SLICE), (plain, ALERTING))
         if len(found) > most),
        default=until,
    )  # fmt: skip
    if least >= until:
        return until, True
    stop, first = tick(least), int(times.min())
    return (stop, True) if first <= stop else (min(_end_of_step(first), until), False)


def _end_of_step(time: int) -> int:
    """The end of the step of event time in which `time` lies; a step has its end and not its beginning."""
    return tick(time + TICK - 1)


def steps(windows: Windows, hits: pa.Table, until: int) -> list[list[AlertChange]]:
    """What the hits up to `until` change, step by step of event time; an alert that opened or grew in a step is one
    change. Steps in which nothing happens cost nothing."""
    times = np.asarray(hits.column("time").to_numpy())
    if len(times) and int(times.max()) - int(times.min()) > MANY * TICK:
        hits = windows.quiet(hits)
        times = np.asarray(hits.column("time").to_numpy())
    if len(times) and _end_of_step(int(times.min())) < int(times.max()):
        order = np.argsort(times, kind="stable")
        hits, times = hits.take(pa.array(order)), times[order]
    else:  # of one step, in any order
        times = np.full(len(times), times.max() if len(times) else 0, np.int64)
    found: list[list[AlertChange]] = []
    at = 0
    while True:
        following = [int(times[at])] if at < len(times) else []
        due = windows.next_time()
        if due is not None:
            following.append(due)
        if windows.closed is not None:  # what comes late is of the next step
            following = [max(time, windows.closed + 1) for time in following]
        if not following or min(following) > until:
            break
        end = min(_end_of_step(min(following)), until)
        after = int(np.searchsorted(times, end, side="right"))
        found.append(windows.advance(hits.slice(at, after - at), end))
        at = after
    found.append(windows.advance(hits.slice(at), until))
    return [changes for changes in found if changes]


def _after(blob: PendingHits, until: int) -> pa.Table:
    """The hits of a blob that a later step will use."""
    if blob.greatest <= until:
        return blob.hits.slice(0, 0)
    return blob.hits.filter(pc.greater(blob.hits.column("time"), until))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A step makes some hundred thousand records that all live until it is committed: looking among them for garbage,
    again and again, would be a third of its time. A step is bounded, so is what waits for the collector."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
