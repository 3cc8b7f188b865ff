"""From pending hits to people: windows, correlation, cases, plans and notifications.

A pure consequence of the hits in (event time, id) order: workers, batch sizes, arrival order within the lateness and
restarts change nothing (decision 10).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt import ids
from csirt.cases.open import for_incidents
from csirt.correlate import correlate
from csirt.detect.load import Ruleset
from csirt.detect.windows import Windows
from csirt.model import hits as model_hits
from csirt.model.hits import AlertChange
from csirt.model.records import Alert, Case, Incident
from csirt.notify.router import Router
from csirt.respond.plan import Plan, Responder
from csirt.stores.base import Commit, PendingHits, Store

# One step of the analysis takes this many hits, or this many of rules that alert by themselves, whichever is less:
# what it holds in memory, and what a kill makes it do again, are bounded.
SLICE = 250_000
ALERTING = 20_000


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

    def advance(self, store: Store, until: int, at: int) -> dict[str, int]:
        """Consume the hits with event time <= `until`, in commits of bounded size; none when nothing changes.

        Where a commit ends depends on the hits alone, so that kills and batch sizes change nothing."""
        counts = {"alerts": 0, "incidents": 0, "notifications": 0}
        while True:
            pending = store.pending(until, SLICE)
            table = pa.concat_tables([blob.hits for blob in pending]) if pending else model_hits.none()
            stop = _stop(table, until)
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
            changes = windows.advance(now, until)
            if not pending and not changes:
                return {}  # what else moved in the windows is written with the next commit, or follows again
            change = self._commit(store, changes, at)
            change.states.update(windows.states())
            change.states["watermark"] = str(until).encode()
            change.consumed = [blob.id for blob in pending]
            change.hits = later if later.num_rows else None
            store.commit(change)
        except BaseException:
            self._windows = None  # its state ran ahead of what is committed
            raise
        return {
            "alerts": sum(item.opened for item in changes),
            "incidents": sum(item.id not in item.aliases and not item.merged_into for item in change.incidents),
            "notifications": len(change.notifications),
        }

    def _current(self, store: Store) -> Windows:
        rules = self._ruleset().running
        if self._windows is None or rules is not self._rules:
            self._windows = Windows(rules, store.state)
            self._rules = rules
        return self._windows

    def _commit(self, store: Store, changes: list[AlertChange], at: int) -> Commit:
        change = Commit()
        latest: dict[str, Alert] = {item.alert.id: item.alert for item in changes}
        _in_shadow(store, [item.alert for item in changes if item.alert.shadow])
        told = [item for item in changes if not item.alert.shadow]
        incidents = correlate(told, _candidates(store), window_us=self._window, names=self._names())
        for incident in incidents:
            for alert in incident.alerts:
                if alert in latest:
                    latest[alert].incident = incident.merged_into or incident.id
        for fresh in latest.values():
            fresh.created = at
        change.alerts = list(latest.values())
        change.incidents = incidents
        existing, history = _cases(store, incidents)
        change.case_events, change.cases = for_incidents(incidents, existing, at, history)
        by_id = {case.id: case for case in change.cases}
        responder, router = self._responder(), self._router()
        plans: list[Plan] = []
        for incident in incidents:
            case = by_id.get(incident.case)
            if case is None or incident.merged_into:
                continue
            alerts = _alerts(store, incident, latest)
            plans.append(responder.plan(incident, case, alerts, at))
            change.notifications += router.intents(incident, case, alerts, at)
        _merge_plans(store, change, plans)
        known = _stored(store, "notification", [item.id for item in change.notifications])
        change.notifications = [item for item in change.notifications if item.id not in known]
        if not self._deliver:  # a replay tells nobody, then or later
            for item in change.notifications:
                item.state = "suppressed"
        return change


def _stop(table: pa.Table, until: int) -> int:
    """How far one step goes: to the event time of the SLICE-th hit, or of the ALERTING-th hit of a rule that alerts by
    itself, whichever comes first; to `until` when there are fewer."""
    times = np.asarray(table.column("time").to_numpy())
    plain = times[np.asarray(pc.equal(table.column("stream"), table.column("rule")).to_numpy())]
    stops = [until]
    for found, most in ((times, SLICE), (plain, ALERTING)):
        if len(found) > most:
            stops.append(int(np.partition(found, most - 1)[most - 1]))
    return min(stops)


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


def _in_shadow(store: Store, alerts: list[Alert]) -> None:
    """Alerts of rules on trial are recorded; one that was part of an incident before its rule went there stays so."""
    known = _stored(store, "alert", [alert.id for alert in alerts])
    for alert in alerts:
        alert.incident = known[alert.id]["incident"] if alert.id in known else ""


def _candidates(store: Store) -> Callable[[list[tuple[str, str]], int, int], list[Incident]]:
    def find(entities: list[tuple[str, str]], since: int, until: int) -> list[Incident]:
        return [Incident.model_validate(item) for item in store.incidents_with(entities, since, until)]

    return find


def _cases(store: Store, incidents: list[Incident]) -> tuple[dict[str, Case], Callable[[str], list[dict[str, Any]]]]:
    """The cases these incidents already have, by case id, and the events of a case; those that are not there are known
    without asking for each."""
    wanted = {incident.case or ids.case(incident.id) for incident in incidents}
    found = _stored(store, "case", sorted(wanted))
    absent = wanted - found.keys()
    existing = {name: Case.model_validate(document) for name, document in found.items()}
    return existing, lambda name: [] if name in absent else store.case_events(name)


def _stored(store: Store, kind: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """Stored documents by id."""
    return {item["id"]: item for item in store.find(kind, {"id": names})} if names else {}


def _alerts(store: Store, incident: Incident, latest: dict[str, Alert]) -> list[Alert]:
    missing = [name for name in incident.alerts if name not in latest]
    stored = {name: Alert.model_validate(item) for name, item in _stored(store, "alert", missing).items()}
    return [latest.get(name) or stored[name] for name in incident.alerts if name in latest or name in stored]


def _merge_plans(store: Store, change: Commit, plans: list[Plan]) -> None:
    """Take over the runs that are not stored yet, with what belongs to them: a plan does not change under people."""
    known = _stored(store, "run", [run.id for plan in plans for run in plan.runs])
    for plan in plans:
        fresh = {run.id for run in plan.runs if run.id not in known}
        change.runs += [run for run in plan.runs if run.id in fresh]
        change.receipts += [item for item in plan.receipts if item.run in fresh]
        change.audit += [entry for entry in plan.audit if entry.subject in fresh]
