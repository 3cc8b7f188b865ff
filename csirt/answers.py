"""What comes of changed alerts: incidents, cases, plans and notifications, a step of event time after the other.

Each step sees what the steps before it made, as if they had been committed: how many are in one commit changes nothing
(decision 10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from csirt.cases.open import Book
from csirt.correlate import Correlator
from csirt.model.hits import AlertChange
from csirt.model.records import Alert, Case, Incident
from csirt.notify.router import Router, Wanted
from csirt.respond.plan import Responder
from csirt.stores.base import Commit, Store


class Answers:
    """The answers to all changes of one commit. `at`: now, for the wall-clock fields only."""

    def __init__(
        self,
        store: Store,
        steps: list[list[AlertChange]],
        at: int,
        *,
        responder: Responder,
        router: Router,
        names: Mapping[str, str],
        window_us: int,
    ) -> None:
        self._store, self._at = store, at
        self._responder, self._router = responder, router
        every = [change for changes in steps for change in changes]
        self._correlator = Correlator(every, candidates(store), window_us=window_us, names=names)
        self._stored_cases = _Cache(store, "case", Case)
        self._book = Book(self._stored_cases.get, at, _history(store, self._stored_cases), self._stored_cases.want)
        self._stored_alerts = _Cache(store, "alert", Alert)
        self._alerts: dict[str, Alert] = {}
        self._incidents: dict[str, Incident] = {}
        self._known: dict[str, bool] = {}
        self._change = Commit()

    def take(self, changes: list[AlertChange]) -> None:
        """The changes of one step."""
        alerts = [change.alert for change in changes]
        trial = [alert for alert in alerts if alert.shadow]
        if trial:
            self._in_shadow(trial)
        for alert in alerts:
            vars(alert)["created"] = self._at
            self._alerts[alert.id] = alert
        incidents = self._correlator.take(changes)
        touched = self._book.take(incidents)
        told: list[tuple[Incident, Case, Wanted]] = []
        for incident in incidents:
            self._incidents[incident.id] = incident
            case = touched.get(incident.case)
            if case is not None and not incident.merged_into:
                told.append((incident, case, self._router.wanted(incident, case)))
        old = self._stored_cases.may_have
        self._ask("notification", [name for _, case, wanted in told if old(case.id) for _, name in wanted])
        for incident, case, wanted in told:
            self._answer(incident, case, wanted)

    def commit(self) -> Commit:
        """All of it."""
        change = self._change
        change.alerts = list(self._alerts.values())
        change.incidents = [self._incidents[name] for name in sorted(self._incidents)]
        change.case_events, change.cases = self._book.fresh, self._book.cases()
        return change

    def _in_shadow(self, alerts: list[Alert]) -> None:
        """Alerts of rules on trial are recorded; one that was in an incident before its rule went there stays in it."""
        self._stored_alerts.want(alert.id for alert in alerts)
        for alert in alerts:
            before = self._alerts.get(alert.id) or self._stored_alerts.get(alert.id)
            alert.incident = before.incident if before is not None else ""

    def _answer(self, incident: Incident, case: Case, wanted: Wanted) -> None:
        """Plan and tell what was not planned and told before: a plan does not change under people."""
        change = self._change
        alerts = self._alerts_of(incident)
        plan = self._responder.plan(incident, case, alerts, self._at, self._there("run", case))
        if plan.runs:
            change.runs += plan.runs
            change.receipts += plan.receipts
            change.audit += plan.audit
        told = self._there("notification", case)
        fresh = [(route, name) for route, name in wanted if not told(name)]
        if fresh:
            change.notifications += self._router.made(fresh, incident, case, alerts, self._at)

    def _ask(self, kind: str, names: list[str]) -> None:
        """Find out at once which documents are stored."""
        fresh = [name for name in names if name not in self._known]
        if fresh:
            found = self._store.having(kind, fresh)
            self._known.update((name, name in found) for name in fresh)

    def _there(self, kind: str, case: Case) -> Callable[[str], bool]:
        """Whether a run or notification of a case is stored or was made here; who asks makes it when it is not. They
        are kept and deleted with their case: of one that is not stored nothing is."""

        def known(name: str) -> bool:
            if name not in self._known and self._stored_cases.may_have(case.id):
                self._ask(kind, [name])
            there, self._known[name] = self._known.get(name, False), True
            return there

        return known

    def _alerts_of(self, incident: Incident) -> list[Alert]:
        changed, stored = self._alerts, self._stored_alerts
        try:
            return [changed[name] for name in incident.alerts]
        except KeyError:  # it was stored with others
            stored.want(name for name in incident.alerts if name not in changed)
            found = [changed[name] if name in changed else stored.get(name) for name in incident.alerts]
            return [alert for alert in found if alert is not None]


class _Cache:
    """Stored documents by id, each read once."""

    def __init__(self, store: Store, kind: str, model: type[Any]) -> None:
        self._store, self._kind, self._model = store, kind, model
        self._found: dict[str, Any] = {}

    def want(self, names: Iterable[str]) -> None:
        """Read those that were not read before."""
        missing = sorted({name for name in names if name not in self._found})
        if missing:
            there = sorted(self._store.having(self._kind, missing))  # most often nothing, which costs less to learn
            found = {item["id"]: item for item in self._store.find(self._kind, {"id": there})} if there else {}
            for name in missing:
                self._found[name] = self._model.model_validate(found[name]) if name in found else None

    def get(self, name: str) -> Any:
        """The document, or None."""
        if name not in self._found:
            self.want((name,))
        return self._found[name]

    def may_have(self, name: str) -> bool:
        """False when it was looked for and is not there."""
        return name not in self._found or self._found[name] is not None


def candidates(store: Store) -> Callable[[list[tuple[str, str]], int, int], list[Incident]]:
    """What the correlator asks a store."""

    def find(entities: list[tuple[str, str]], since: int, until: int) -> list[Incident]:
        return [Incident.model_validate(item) for item in store.incidents_with(entities, since, until)]

    return find


def _history(store: Store, cases: _Cache) -> Callable[[str], list[dict[str, Any]]]:
    """The events of a stored case; one that is known not to be there has none. (Nothing here refers to the answers,
    which would then live until somebody looks for cycles.)"""

    def read(name: str) -> list[dict[str, Any]]:
        return store.case_events(name) if cases.may_have(name) else []

    return read
