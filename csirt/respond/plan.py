"""An incident and a playbook to a plan: what would be done, before anything is.

Pure: the same incident, alerts, playbook, register and configuration give the same runs, bytes for bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from csirt import ids
from csirt.config import Config, duration
from csirt.model.audit import AuditEntry
from csirt.model.filter import Filter
from csirt.model.member import AddressRegister
from csirt.model.records import Action, Alert, Case, Incident, Receipt, Run
from csirt.model.severity import PRIORITY, SEVERITIES
from csirt.respond.acl import Entry, network
from csirt.respond.guard import Guard
from csirt.respond.playbook import Playbook, Playbooks, Step

AUTOMATIC = ("note", "notify")
MAX_RUNS = 3  # playbooks of one incident, those of its worst alerts first
MAX_HOSTS = 10  # access lists of one step
MAX_PORTS = 8

Acting = dict[str, list[Alert]]


@dataclass
class Plan:
    """Runs, the receipts of what they did by themselves, and their audit entries (`subject` is the run's id)."""

    runs: list[Run] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)


class Responder:
    """Plans. Holds no state; `guard` is the check every containment passes."""

    def __init__(self, playbooks: Playbooks, *, register: AddressRegister | None, config: Config) -> None:
        self.playbooks = playbooks
        self.guard = Guard(config.respond, register)
        self._register = register
        self._lang = config.language
        self._longest = duration(config.respond.expiry)

    def plan(
        self,
        incident: Incident,
        case: Case,
        alerts: list[Alert],
        at: int,
        known: Callable[[str], bool] = lambda _: False,
    ) -> Plan:
        """The runs of the playbooks that the incident's alerts name, worst alert first, at most three.

        `at`: now, for the wall-clock fields only. An alert that names an unknown playbook plans nothing for it, and a
        run whose id is `known` is not planned again.
        """
        plan = Plan()
        asking = [alert for alert in alerts if alert.playbook in self.playbooks]
        if not asking:
            return plan
        worst = sorted(asking, key=lambda one: (-SEVERITIES.index(one.severity), one.first, one.id))
        names = list(dict.fromkeys(alert.playbook for alert in worst if alert.playbook))
        for name in names[:MAX_RUNS]:
            if not known(_run_id(name, incident)):
                self._add(plan, self.run(self.playbooks[name], incident, case, alerts), incident, at)
        return plan

    def ask(self, name: str, incident: Incident, case: Case, alerts: list[Alert], at: int, who: str, turn: int) -> Plan:
        """One playbook that a person asked for. `turn`: how often it was run for this incident before; the first run
        has the id the pipeline would give it. Raises KeyError for an unknown playbook."""
        plan = Plan()
        run = self.run(self.playbooks[name], incident, case, alerts, turn)
        run.requested_by = who
        self._add(plan, run, incident, at)
        return plan

    def _add(self, plan: Plan, run: Run, incident: Incident, at: int) -> None:
        run.created = run.updated = run.state_since = at
        plan.runs.append(run)
        for action in run.actions:
            if action.kind in AUTOMATIC:
                plan.receipts.append(_done(run, action, at))
        detail = {"playbook": run.playbook, "case": run.case, "plan_hash": run.plan_hash, "state": run.state}
        entry = AuditEntry(
            id=ids.digest("audit", "playbooks.plan", run.id, run.plan_hash),
            time=incident.last,
            actor=run.requested_by,
            category="change",
            action="playbooks.plan",
            subject=run.id,
            detail=detail,
        )
        plan.audit.append(entry)

    def run(self, playbook: Playbook, incident: Incident, case: Case, alerts: list[Alert], turn: int = 0) -> Run:
        """The run, without wall-clock times. Refused actions stay in it, each with the guard's reason."""
        known = facts(incident, alerts, self._register)
        acting = by_actor(alerts)
        actions: list[Action] = []
        touched: set[str] = set()
        for step in walk(playbook, known, incident.last):
            for action in self._actions(step, incident, acting):
                action.refused = self.guard.refuse(action, touched)
                if action.containment and not action.refused:
                    touched |= self.guard.members_of(action)
                actions.append(action)
        waiting = any(action.containment and not action.refused for action in actions)
        todo = any(action.kind not in AUTOMATIC and not action.refused for action in actions)
        return Run(
            id=_run_id(playbook.name, incident, turn),
            playbook=playbook.name,
            playbook_name=playbook.title.get(self._lang, playbook.name),
            incident=incident.id,
            case=case.id,
            state="awaiting_approval" if waiting else "planned" if todo else "done",
            plan_hash=plan_hash(playbook.name, incident.id, actions),
            actions=actions,
        )

    def _actions(self, step: Step, incident: Incident, acting: Acting) -> list[Action]:
        if step.kind != "acl":
            parameters: dict[str, Any] = {"text": step.text}
            if step.tell:
                parameters["tell"] = list(step.tell)
            if step.kind == "report":
                parameters["members"] = list(incident.members)
            return [self._action(step, step.id, parameters)]
        made = []
        for host in self._hosts(step, incident):
            parameters = self._access_list(step, host, acting.get(host, []))
            made.append(self._action(step, f"{step.id}:{host}", parameters))
        return made

    def _action(self, step: Step, name: str, parameters: dict[str, Any]) -> Action:
        return Action(
            step=name,
            name=step.name,
            kind=step.kind,
            parameters=parameters,
            containment=step.kind == "acl",
            precondition=step.precondition.get(self._lang, ""),
            effect=step.effect.get(self._lang, ""),
            undo=step.undo.get(self._lang, ""),
        )

    def _hosts(self, step: Step, incident: Incident) -> list[str]:
        found: list[str] = []
        for host in step.hosts:
            if host == "actors":
                found += sorted(
                    entity.value for entity in incident.entities if entity.kind == "host" and entity.role == "actor"
                )
            else:
                found.append(host)
        return list(dict.fromkeys(found))[:MAX_HOSTS]

    def _access_list(self, step: Step, host: str, alerts: list[Alert]) -> dict[str, Any]:
        source = network(host) if _valid(host) else None  # what is no address becomes `any`, which the guard refuses
        # No port seen: no line, rather than one that stops everything.
        ports = seen_ports(alerts) if step.ports_from_facts else step.ports or (0,)
        entries = [Entry(step.protocol, source, None, port) for port in ports]
        parameters: dict[str, Any] = {
            "text": step.text,
            "host": host,
            "lines": [entry.line() for entry in entries],
            "rollback": [entry.rollback() for entry in reversed(entries)],
            "expiry_us": min(step.expiry_us, self._longest),
            "effects": step.effect,
        }
        parameters.update(self._place(host, alerts))
        return parameters

    def _place(self, host: str, alerts: list[Alert]) -> dict[str, Any]:
        """Where the line belongs: the member, and exporter and interface where the register or the flows know them."""
        place: dict[str, Any] = {}
        single = _valid(host) and "/" not in host
        known = self._register.host(host) if self._register is not None and single else None
        if known is not None and self._register is not None:
            place["member"], place["site"] = known.member, known.site
            member = self._register.member(known.member)
            for site in member.sites if member is not None else ():
                if site.id == known.site and site.exporter:
                    place["exporter"], place["interface"] = site.exporter, site.interface
        if "exporter" not in place:
            for name, key in (("observer.ip", "exporter"), ("observer.ingress.interface.id", "interface")):
                seen = sorted({value for alert in alerts for value in alert.facts.get(name, [])})
                if len(seen) == 1:
                    place[key] = seen[0]
        return place


def _run_id(playbook: str, incident: Incident, turn: int = 0) -> str:
    return ids.digest("run", playbook, incident.id, *([turn] if turn else []))


def walk(playbook: Playbook, known: Mapping[str, Any], now: int) -> Iterator[Step]:
    """The action steps in the order a person would do them; a parallel's branches one after the other."""
    seen: set[str] = set()

    def follow(name: str) -> Iterator[Step]:
        while name and name not in seen:
            seen.add(name)
            step = playbook.steps[name]
            if step.type == "end":
                return
            if step.type == "if-condition":
                yes = Filter.parse(step.condition, now).matches(known)
                yield from follow(step.on_true if yes else step.on_false)
                name = step.then
            elif step.type == "parallel":
                for branch in step.next:
                    yield from follow(branch)
                name = step.then
            else:
                if step.type == "action":
                    yield step
                name = step.next[0] if step.next else ""

    yield from follow(playbook.start)


def facts(incident: Incident, alerts: list[Alert], register: AddressRegister | None) -> dict[str, Any]:
    """What a condition may ask of a case (see `check.FACTS`)."""
    members = [register.member(name) for name in incident.members] if register is not None else []
    kinds = sorted({member.kind for member in members if member is not None})
    hosts = [entity.value for entity in incident.entities if entity.kind == "host"]
    ports = sorted({port for alert in alerts for port in alert.facts.get("destination.port", [])})
    rules = [*incident.rules, *(rule.split(" ")[0] for rule in incident.rules), *(alert.rule_id for alert in alerts)]
    datasets = sorted({alert.dataset for alert in alerts})
    return {
        **incident.model_dump(include={"severity", "members", "tactics", "techniques", "rsit", "clinical", "title"}),
        "first": incident.first,
        "last": incident.last,
        "alerts": len(incident.alerts),
        "rules": rules,
        "rule": rules,
        "priority": PRIORITY[incident.severity],
        "member": [*incident.members, *kinds],
        "kinds": kinds,
        "ip": hosts,
        "hosts": len(hosts),
        "port": [int(port) for port in ports if port.isdigit()],
        "datasets": datasets,
        "dataset": datasets,
    }


def seen_ports(alerts: list[Alert]) -> tuple[int, ...]:
    """The destination ports of the alerts, ascending, at most eight."""
    texts = {text for alert in alerts for text in alert.facts.get("destination.port", [])}
    ports = sorted(int(text) for text in texts if text.isdigit() and 0 < int(text) < 65536)
    return tuple(ports[:MAX_PORTS])


def plan_hash(playbook: str, incident: str, actions: list[Action]) -> str:
    """What an approval binds: everything about the actions except times that only the approval sets."""
    body = [action.model_dump(exclude={"expires"}) for action in actions]
    return ids.digest("plan", playbook, incident, orjson.dumps(body, option=orjson.OPT_SORT_KEYS))


def by_actor(alerts: list[Alert]) -> Acting:
    """The alerts in which each host acts, in their order."""
    found: Acting = {}
    for alert in alerts:
        for host in dict.fromkeys(one.value for one in alert.entities if one.kind == "host" and one.role == "actor"):
            found.setdefault(host, []).append(alert)
    return found


def _valid(host: str) -> bool:
    try:
        network(host)
    except ValueError:
        return False
    return True


def _done(run: Run, action: Action, at: int) -> Receipt:
    tell = action.parameters.get("tell", [])
    detail = "told by the notification routes" if action.kind == "notify" else "written into the plan"
    return Receipt(
        id=ids.digest("receipt", run.id, action.step),
        run=run.id,
        step=action.step,
        effect=action.kind,
        intent={"tell": tell} if tell else {},
        outcome="done",
        detail=detail,
        started=at,
        finished=at,
    )
