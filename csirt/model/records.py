"""Alerts, incidents, cases, runs, receipts, notifications: the same fields in SQLite, Elasticsearch and JSON. Times are
microseconds since 1970 UTC (`clock.iso` makes text of them at the edge). Fields named in WALL_CLOCK never enter the
canonical dump.
"""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

from csirt.model.severity import Severity

# Left out of `store dump --canonical` wherever they occur.
WALL_CLOCK = frozenset({"created", "updated", "started", "finished", "attempts", "number", "state_since"})

_set = object.__setattr__
SAMPLE_EVENTS = 100
SAMPLE_TARGETS = 200


class Record(BaseModel):
    """Base of every stored document; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")
    holds: ClassVar[tuple[str, ...]] = ()  # fields that are lists of records or parts, which hold no others
    every: ClassVar[set[str]] = set()  # all fields

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Find out once which fields those are."""
        fields = {name: get_args(info.annotation) for name, info in cls.model_fields.items()}
        cls.holds = tuple(name for name, parts in fields.items() if any(map(_has_fields, parts)))
        cls.every = set(fields)

    def plain(self) -> dict[str, Any]:
        """As `model_dump`, to be written and not to be changed: what is inside is shared with the record."""
        found = vars(self).copy()
        for name in self.holds:
            found[name] = [vars(item) for item in found[name]]
        return found

    @classmethod
    def trusted(cls, values: dict[str, Any]) -> Self:
        """A record of values that need no check, every field named, which become its own: a fraction of what validation
        costs."""
        made = cls.__new__(cls)
        _set(made, "__dict__", values)
        _set(made, "__pydantic_fields_set__", cls.every)
        _set(made, "__pydantic_extra__", None)
        _set(made, "__pydantic_private__", None)
        return made


def _has_fields(part: Any) -> bool:
    return isinstance(part, type) and (issubclass(part, Record) or is_dataclass(part))


@dataclass
class Entity:
    """Something two alerts can share. `kind`: host, member, her, message, domain, mailbox. `role`: actor or target.

    A part of documents and none by itself, of which an incident has many: what is read is checked with the document
    (unknown fields are refused), what is made here is not."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: str
    value: str
    role: Literal["actor", "target"]
    member: str | None = None
    alert: str = ""  # in an incident: the alert that first brought it


class Alert(Record):
    """A rule matched: one per rule and group; more matches within the timespan extend it and never repeat it.
    `shadow`: its rule is on trial: part of no incident, nobody is told."""

    id: str
    rule_id: str
    rule_name: str
    rule_version: str = ""
    rule_author: str = ""
    rule_license: str = ""
    rule_reference: list[str] = Field(default_factory=list)
    severity: Severity
    rsit: str = ""
    tactics: list[str] = Field(default_factory=list)
    techniques: list[str] = Field(default_factory=list)
    dataset: str
    group: dict[str, str] = Field(default_factory=dict)
    first: int
    last: int
    count: int = 1
    # Bounded samples in (time, id) order; `count` tells how many there were.
    events: list[str] = Field(default_factory=list)
    entities: list[Entity] = Field(default_factory=list)
    members: list[str] = Field(default_factory=list)
    # Short facts for people, keyed by field name ("destination.port": ["445"]): never message content.
    facts: dict[str, list[str]] = Field(default_factory=dict)
    clinical: bool = False
    playbook: str = ""
    shadow: bool = False
    incident: str = ""
    created: int = 0


@dataclass
class Link:
    """Why an alert belongs to an incident. A part of it, as `Entity` is."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    alert: str
    reason: str  # first | shared_actor | target_became_actor | shared_message | shared_her | merged | analyst
    value: str = ""
    to: str = ""  # the alert it is linked to


class Incident(Record):
    """Alerts that belong together. `aliases`: ids of incidents merged into this one."""

    id: str
    first: int
    last: int
    severity: Severity
    worst: Severity | Literal[""] = ""  # of its worst alert, before many members or tactics raised it
    title: str
    alerts: list[str] = Field(default_factory=list)
    links: list[Link] = Field(default_factory=list)
    entities: list[Entity] = Field(default_factory=list)
    members: list[str] = Field(default_factory=list)
    tactics: list[str] = Field(default_factory=list)
    techniques: list[str] = Field(default_factory=list)
    rules: list[str] = Field(default_factory=list)
    rsit: str = ""
    clinical: bool = False
    tlp: str = ""  # the strictest label of indicators its events met
    aliases: list[str] = Field(default_factory=list)
    merged_into: str = ""
    case: str = ""
    created: int = 0
    updated: int = 0


class CaseEvent(Record):
    """One thing that happened to a case; a case is the fold of its events. `actor`: `system` or a user's name;
    `on_behalf`: who really spoke when `--as` was used. `undoes`: the sequence number of the event it reverts."""

    case: str
    seq: int
    time: int
    actor: str
    on_behalf: str = ""
    # opened, incident_added, incident_updated,
    # acked, assigned, noted, severity, merged, split, closed, reopened, undone
    kind: str
    data: dict[str, Any] = Field(default_factory=dict)
    undoes: int | None = None


class Case(Record):
    """What people work: one or more incidents. Folded from CaseEvents by `cases/fold.py`."""

    id: str
    number: str = ""
    version: int = 0
    state: Literal["open", "acknowledged", "closed", "merged"] = "open"
    severity: Severity
    title: str
    owner: str = ""
    acked_by: str = ""
    incidents: list[str] = Field(default_factory=list)
    members: list[str] = Field(default_factory=list)
    first: int
    last: int
    alerts: int = 0
    notes: int = 0
    news: int = 0  # alerts that joined after the last acknowledgement
    verdict: str = ""
    rsit: str = ""
    clinical: bool = False
    merged_into: str = ""
    tlp: str = "AMBER"
    created: int = 0
    updated: int = 0


class Action(Record):
    """One step of a plan."""

    step: str
    name: str
    kind: str  # note, notify, report, acl, manual
    parameters: dict[str, Any] = Field(default_factory=dict)
    containment: bool = False
    precondition: str = ""
    effect: str = ""  # what it will stop
    undo: str = ""
    expires: int = 0
    refused: str = ""  # why the guard refuses it, empty when it does not


class Run(Record):
    """A playbook's run for a case: first a plan, then what came of it.

    id = digest(playbook, incident). `plan_hash` binds an approval to exactly this plan.
    """

    id: str
    playbook: str
    playbook_name: str = ""
    incident: str
    case: str
    state: Literal[
        "planned", "awaiting_approval", "approved", "rejected", "running", "done", "failed", "undone", "expired"
    ]
    plan_hash: str = ""
    actions: list[Action] = Field(default_factory=list)
    requested_by: str = "system"
    approvals: list[str] = Field(default_factory=list)
    number: str = ""  # R-2026-0007
    created: int = 0
    updated: int = 0
    state_since: int = 0


class Receipt(Record):
    """Intent and outcome of one effect. `outcome` empty: intent without outcome, unknown until settled."""

    id: str
    run: str
    step: str
    effect: str
    intent: dict[str, Any] = Field(default_factory=dict)
    outcome: Literal["", "done", "failed", "refused", "undone", "expired"] = ""
    detail: str = ""
    artifact: str = ""
    started: int = 0
    finished: int = 0


class Notification(Record):
    """A message to a person or machine. `key` groups; `state` and `attempts` are delivery, not identity."""

    id: str
    case: str
    route: str
    channel: Literal["mail", "webhook", "log"]
    recipient: str
    level: int = 0  # 0 first contact, 1 second contact, …
    subject: str = ""
    body: str = ""
    alerts: list[str] = Field(default_factory=list)
    priority: str = "P3"
    due: int = 0
    state: str = "pending"  # pending, sending, sent, failed, unknown, silenced, suppressed
    acked_by: str = ""
    attempts: int = 0
    created: int = 0
    updated: int = 0
