"""Rules of the whole sector: looked for in the cluster, confirmed by the engine, answered as all other alerts are.

The scheduler looks, on the daemon that leads, at the stretch of event time between where a rule was looked for last and
as far as the cluster holds all nodes' events. The coordinator commits what came of it in one step with how far each
rule is and which of its alerts are open. So a restart, or another leader, goes on where the last commit ended: nothing
is left out, and what was found and not committed is found again, with the same ids.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from csirt.analysis import Analyst, steps
from csirt.clock import HOUR, SECOND, TICK, Clock, iso
from csirt.config import Config, duration
from csirt.detect.sector.stretch import Stretch
from csirt.errors import Conflict, CsirtError, Unreachable
from csirt.metrics import Metrics
from csirt.scope import Scope, kept_for, looked_for
from csirt.stores.elastic.sector.find import Searcher, Survey
from csirt.watermark import tick

if TYPE_CHECKING:
    from csirt.app import App
    from csirt.detect.rule import Meta
    from csirt.model.hits import AlertChange
    from csirt.model.search import Search
    from csirt.pipeline import Pipeline
    from csirt.stores.base import Store

LOG = logging.getLogger("csirt.sector")
KEY = "sector"  # the state; `sector:RULE` is the open alerts of a rule
PATIENCE = 60.0  # seconds for the coordinator to commit what was found
ROWS = 200_000  # events of one stretch, unless they come within one step of event time
LEAST, SPANS = 6 * HOUR, 4  # the longest stretch: so long, or so many timespans


@dataclass(slots=True, kw_only=True)
class Progress:
    """`mark`: the event time up to which a rule was looked for. `rows`: events that may matter to it in the time before
    that the next look sees again, None when they were not counted. `at`: when that was. `end`: the event time up to
    which a rule is looked for that the stream runs again."""

    mark: int
    rows: int | None = None
    at: int = 0
    end: int | None = None


@dataclass(slots=True)
class Made:
    """What a look found, to be committed where the state is still `before`."""

    before: bytes | None
    progress: dict[str, Progress]
    opened: dict[str, bytes | None] = field(default_factory=dict)
    changes: list[AlertChange] = field(default_factory=list)
    behind: bool = False
    committed: bool = False
    done: threading.Event = field(default_factory=threading.Event)


def sector(app: App, pipeline: Pipeline) -> Sector:
    """What looks in the cluster that follows the daemon's store."""
    return Sector(
        store=app.store,
        scope=app.scope,
        analyst=app.part("analyst"),
        config=app.config,
        clock=app.clock,
        metrics=app.metrics,
        mark=lambda: pipeline.watermark.mark,
        off=app.switched_off,
        overrun=app.overrun,
    )


class Sector:
    """`look` is called by the scheduler, `settle` by the coordinator. `mark`: the event time up to which this daemon
    has everything committed. `off`: rules that overran their budget, which `overrun` is told of."""

    def __init__(
        self,
        *,
        store: Store,
        scope: Callable[[], Scope],
        analyst: Analyst,
        config: Config,
        clock: Clock,
        metrics: Metrics,
        mark: Callable[[], int | None],
        off: Callable[[], dict[str, Meta]],
        overrun: Callable[[Meta], None],
    ) -> None:
        self._store: Any = store
        self._scope, self._analyst, self._config, self._clock = scope, analyst, config, clock
        self._metrics, self._mark, self._off, self._overrun = metrics, mark, off, overrun
        self._begun: Scope | None = None
        self._made: Made | None = None
        self._reach: int | None = None
        self._failed: dict[str, str] = {}
        self._late = self._gone = 0
        self.every = max(1.0, duration(config.detect.sector_every) / SECOND)
        for name in ("runs", "candidates", "events", "confirmed", "late"):
            metrics.count(f"csirt_sector_{name}_total", 0)

    # -- the scheduler's ------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look as far as the cluster goes, a stretch after the other, for so long that the next look is not held up.
        Raises CsirtError when the cluster is away."""
        deadline = self._clock.monotonic() + self.every
        while self._leads():
            made = self._found()
            if made is None:
                return
            self._made = made
            in_time = made.done.wait(PATIENCE)
            self._made = None
            if not (in_time and made.committed and made.behind) or self._clock.monotonic() > deadline:
                return

    def drain(self) -> dict[str, int]:
        """Look and commit until there is no more, in one thread; counts of what came of it."""
        counts: dict[str, int] = {}
        self._begin()
        while self._leads() and (made := self._found()) is not None:
            self._made = made
            for name, number in self.settle().items():
                counts[name] = counts.get(name, 0) + number
            if not (made.committed and made.behind):
                break
        return counts

    def _leads(self) -> bool:
        with self._store.leading() as leads:
            return bool(leads)

    def _found(self) -> Made | None:
        """The next stretch of every rule; None when there is nothing to look at."""
        before = self._store.state(KEY)
        known = _progress(before)
        self._reach = self._store.searchable(self._mark()) if known else None
        if self._reach is None:
            return None
        searcher = Searcher(self._store.shipper.client, self._store.config.elasticsearch)
        searcher.refresh()
        made = Made(before, known)
        moved = False
        for name in sorted(known):
            moved = self._tried(searcher, name, made) or moved
        return made if moved else None

    def _tried(self, searcher: Searcher, name: str, made: Made) -> bool:
        """One rule; one that fails is said and counted, and holds no other up. Whether there was something to do."""
        scope, progress = self._scope(), made.progress[name]
        search = self._search(scope, name)
        until = min(self._reach or 0, progress.end if progress.end is not None else self._reach or 0)
        if search is None or until <= progress.mark:
            return search is None or _over(progress)  # it is forgotten
        started = self._clock.monotonic()
        try:
            self._one(searcher, scope, search, until, made)
            self._failed.pop(name, None)
            return True
        except CsirtError as error:
            self._failed[name] = error.message
            LOG.warning("%s could not be looked for in the cluster: %s", scope.title(name), error.message)
        except Exception as error:
            self._failed[name] = f"{type(error).__name__}; the log says where"
            LOG.exception("%s could not be looked for in the cluster", scope.title(name))
        finally:
            self._metrics.gauge("csirt_sector_seconds", self._clock.monotonic() - started, rule=name)
        self._metrics.count("csirt_sector_failures_total", rule=name)
        return False

    def _search(self, scope: Scope, name: str) -> Search | None:
        """What is asked for a rule, also for one that the stream runs again."""
        found: Any = scope.searches.get(name)
        if found is None:
            item = scope.item(name)
            found = looked_for(scope.running, item, self._config) if item is not None else None
        return None if isinstance(found, str) else found

    def _one(self, searcher: Searcher, scope: Scope, search: Search, until: int, made: Made) -> None:
        """The next stretch of one rule."""
        name, progress = search.id, made.progress[search.id]
        if any(part.rule in self._off() for part in search.parts):
            raise CsirtError("it is switched off: an expression of it took too long")
        self._lost(search, progress)
        back = self._back(search)
        survey = searcher.survey(search, progress.mark, until, back)
        if progress.rows is not None and survey.old > progress.rows:
            self._late += survey.old - progress.rows
            self._metrics.count("csirt_sector_late_total", survey.old - progress.rows)
        after = max(progress.mark, survey.first - 1) if survey.new else until
        whole = until
        until, survey = self._cut(searcher, search, after, until, survey)
        if survey.new:
            changes, opened = self._confirmed(searcher, scope, search, after, until, survey)
            made.changes += changes
            made.opened[name] = opened or None
            made.behind = made.behind or until < whole
        made.progress[name] = Progress(mark=until, rows=survey.last, at=self._clock.now(), end=progress.end)
        self._metrics.count("csirt_sector_runs_total")

    def _cut(self, searcher: Searcher, search: Search, after: int, until: int, survey: Survey) -> tuple[int, Survey]:
        """A shorter stretch where there is too much to look at in one."""
        end = min(until, tick(after + max(LEAST, SPANS * search.timespan)))
        while end < until or (survey.new > ROWS and until - after > TICK):
            until = end if end < until else max(tick(after + (until - after) // 2), tick(after) + TICK)
            end = until
            survey = searcher.survey(search, after, until, self._back(search))
        return until, survey

    def _confirmed(
        self, searcher: Searcher, scope: Scope, search: Search, after: int, until: int, survey: Survey
    ) -> tuple[list[AlertChange], bytes]:
        """What the engine makes of the candidates in (after, until], and the alerts that are open then."""
        from csirt.detect.sector.candidates import subset

        item = scope.item(search.id)
        assert item is not None
        found = None if survey.odd else searcher.candidates(search, after, until)
        stretch = Stretch(
            subset(scope.running, item),
            after,
            until,
            self._store.state(f"{KEY}:{search.id}") or b"",
            budget=duration(self._config.detect.regex_budget) / SECOND,
            overrun=self._overrun,
        )
        events = 0
        for batch in searcher.batches(search, after, until, found):
            events += batch.rows
            stretch.take([batch])
        windows, hits = stretch.windows()
        changes = [change for step in steps(windows, hits, until) for change in step]
        self._metrics.count("csirt_sector_candidates_total", len(found) if found is not None else survey.new)
        self._metrics.count("csirt_sector_events_total", events)
        for reason, number in windows.dropped.items():
            if number:
                self._metrics.count("csirt_sector_dropped_total", number, rule=search.id, reason=reason)
        return changes, windows.opened()

    def _back(self, search: Search) -> int:
        """How far before the end of a look events are counted again, to know of those that came late."""
        return max(search.timespan, duration(self._config.detect.lateness))

    def _lost(self, search: Search, progress: Progress) -> None:
        """Say that the cluster has deleted events that were never looked at."""
        kept = min(kept_for(self._config, name) for name in search.datasets)
        if progress.at and self._clock.now() - progress.at > kept:
            self._gone += 1
            self._metrics.count("csirt_sector_lost_total", rule=search.id)
            LOG.error("%s was last looked for at %s: the cluster has deleted some of the events since",
                      self._scope().title(search.id), iso(progress.at))  # fmt: skip

    # -- the coordinator's ----------------------------------------------------------------------------------------

    def settle(self) -> dict[str, int]:
        """Commit what a look found, where this daemon still leads; counts of what came of it."""
        self._begin()
        made = self._made
        if made is None or made.done.is_set():
            return {}
        try:
            return self._committed(made)
        except (Conflict, Unreachable) as error:  # nothing was committed: it is found again
            LOG.info("what was found in the cluster is not committed: %s", error.message)
            return {}
        finally:
            made.done.set()

    def _committed(self, made: Made) -> dict[str, int]:
        with self._store.leading() as leads:
            if not leads or self._store.state(KEY) != made.before:
                return {}
            states: dict[str, bytes | None] = {f"{KEY}:{name}": value for name, value in made.opened.items()}
            for name, progress in list(made.progress.items()):
                if self._search(self._scope(), name) is None or _over(progress):
                    del made.progress[name]
                    states[f"{KEY}:{name}"] = None
            states[KEY] = _written(made.progress)
            counts = self._analyst.add(self._store, _by_step(made.changes), states, self._clock.now())
        made.committed = True
        self._metrics.count("csirt_sector_confirmed_total", counts["alerts"])
        return counts

    def _begin(self) -> None:
        """Note where rules begin that are looked for from now on, and where those end that the stream runs again."""
        scope = self._scope()
        if self._begun is scope:
            return
        try:
            with self._store.leading() as leads:
                if not leads:
                    return
                before = self._store.state(KEY)
                known = _progress(before)
                for name in scope.searches:
                    known.setdefault(name, Progress(mark=scope.since, at=self._clock.now()))
                    known[name].end = None
                for name in known.keys() - scope.searches.keys():
                    if known[name].end is None:  # what was committed before may be later than the stream has come
                        known[name].end = max(known[name].mark, scope.since) + duration(self._config.detect.lateness)
                if _written(known) != (before or b"{}"):
                    self._analyst.add(self._store, [], {KEY: _written(known)}, self._clock.now())
            self._begun = scope
        except (Conflict, Unreachable) as error:
            LOG.info("rules of the sector do not begin yet: %s", error.message)

    def status(self) -> dict[str, Any]:
        """For people: `{every_s, until, rules: [{id, title, until, behind_s, failure}], refused: [{id, title,
        reason}], late, lost}`; the last two since the start."""
        scope = self._scope()
        marks = {name: one.mark for name, one in _progress(self._store.state(KEY)).items()}
        rules = [
            {
                "id": name,
                "title": scope.title(name),
                "until": iso(mark) if mark else None,
                "behind_s": round(max(0, self._reach - mark) / SECOND) if self._reach and mark else 0,
                "failure": self._failed.get(name, ""),
            }
            for name, mark in sorted(marks.items())
        ]
        refused = [
            {"id": name, "title": scope.title(name), "reason": reason} for name, reason in sorted(scope.refused.items())
        ]
        until = iso(self._reach) if self._reach else None
        losses = {"late": self._late, "lost": self._gone}
        return {"every_s": round(self.every), "until": until, "rules": rules, "refused": refused, **losses}


def _over(progress: Progress) -> bool:
    return progress.end is not None and progress.mark >= progress.end


def _progress(raw: bytes | None) -> dict[str, Progress]:
    """The state as it was written."""
    return {name: Progress(**body) for name, body in orjson.loads(raw or b"{}").items()}


def _written(progress: dict[str, Progress]) -> bytes:
    return orjson.dumps({name: asdict(one) for name, one in sorted(progress.items())})


def _by_step(changes: list[AlertChange]) -> list[list[AlertChange]]:
    """The changes of several rules, a step of event time after the other, as the stream hands them on."""
    found: dict[int, list[AlertChange]] = {}
    for change in changes:
        found.setdefault(tick(change.at + TICK - 1), []).append(change)
    return [sorted(found[end], key=lambda change: (change.at, change.alert.id)) for end in sorted(found)]
