"""From pending hits to people: windows, correlation, cases, plans and notifications, in one commit.

A pure consequence of the hits in (event time, id) order: workers, batch sizes, arrival order within the lateness and
restarts change nothing (decision 10).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from csirt.cases.open import for_incidents
from csirt.correlate import correlate
from csirt.detect.load import Ruleset
from csirt.detect.windows import Windows
from csirt.model import hits as model_hits
from csirt.model.hits import AlertChange
from csirt.model.records import Alert, Case, Incident
from csirt.notify.router import Router
from csirt.respond.plan import Responder
from csirt.stores.base import Commit, Store


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
        """Consume the hits with event time <= `until`; one commit, or none when nothing changes."""
        windows = self._current(store)
        pending = store.pending(until)
        table = pa.concat_tables([blob.hits for blob in pending]) if pending else model_hits.none()
        due = pc.less_equal(table.column("time"), until)
        now, later = table.filter(due), table.filter(pc.invert(due))
        try:
            changes = windows.advance(now, until)
            change = self._commit(store, changes, at)
            if not pending and not changes:
                return {}  # what else moved in the windows follows again from the committed state
            change.states["windows"] = windows.state()
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
        rules = self._ruleset()
        if self._windows is None or rules is not self._rules:
            self._windows = Windows(rules, store.state("windows"))
            self._rules = rules
        return self._windows

    def _commit(self, store: Store, changes: list[AlertChange], at: int) -> Commit:
        change = Commit()
        latest: dict[str, Alert] = {item.alert.id: item.alert for item in changes}
        incidents = correlate(changes, _candidates(store), window_us=self._window, names=self._names())
        for incident in incidents:
            for alert in incident.alerts:
                if alert in latest:
                    latest[alert].incident = incident.merged_into or incident.id
        change.alerts = [alert.model_copy(update={"created": at}) for alert in latest.values()]
        change.incidents = incidents
        existing = _cases(store, incidents)
        change.case_events, change.cases = for_incidents(incidents, existing, at, store.case_events)
        by_id = {case.id: case for case in change.cases}
        for incident in incidents:
            case = by_id.get(incident.case)
            if case is None or incident.merged_into:
                continue
            alerts = _alerts(store, incident, latest)
            plan = self._responder().plan(incident, case, alerts, at)
            _merge_plan(store, change, plan)
            intents = _new(store, self._router().intents(incident, case, alerts, at))
            if not self._deliver:  # a replay tells nobody, then or later
                intents = [item.model_copy(update={"state": "suppressed"}) for item in intents]
            change.notifications += intents
        return change


def _candidates(store: Store) -> Callable[[list[tuple[str, str]], int, int], list[Incident]]:
    def find(entities: list[tuple[str, str]], since: int, until: int) -> list[Incident]:
        return [Incident.model_validate(item) for item in store.incidents_with(entities, since, until)]

    return find


def _cases(store: Store, incidents: list[Incident]) -> dict[str, Case]:
    """The cases these incidents already have, by case id."""
    found: dict[str, Case] = {}
    for incident in incidents:
        for name in {incident.case} - {""}:
            document = store.get("case", name)
            if document:
                found[name] = Case.model_validate(document)
    return found


def _alerts(store: Store, incident: Incident, latest: dict[str, Alert]) -> list[Alert]:
    missing = [name for name in incident.alerts if name not in latest]
    stored = (
        {item["id"]: Alert.model_validate(item) for item in store.find("alert", {"id": missing})} if missing else {}
    )
    return [latest.get(name) or stored[name] for name in incident.alerts if name in latest or name in stored]


def _merge_plan(store: Store, change: Commit, plan: Any) -> None:
    for run in plan.runs:
        if store.get("run", run.id) is None:
            change.runs.append(run)
            change.receipts += [item for item in plan.receipts if item.run == run.id]
            change.audit += [entry for entry in plan.audit if entry.subject == run.id]


def _new(store: Store, notifications: list[Any]) -> list[Any]:
    return [item for item in notifications if store.get("notification", item.id) is None]
