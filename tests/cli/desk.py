"""Commands on a store in memory: the real command line and the real verbs, with nothing in between but a client."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from csirt.cases.open import for_incidents
from csirt.cli import main
from csirt.cli.common import Settings, guarded
from csirt.clock import Frozen
from csirt.config import Config
from csirt.content import folder
from csirt.control.protocol import failure, raise_failure
from csirt.control.verbs import Context, call
from csirt.errors import CsirtError
from csirt.model.principal import Principal
from csirt.model.records import Alert, Entity, Incident, Link
from csirt.notify.router import Router
from csirt.respond.folders import load_playbooks
from csirt.respond.plan import Responder
from csirt.stores.base import Commit
from tests.cases.fake import FakeStore
from tests.respond.members import REGISTER

NOW = 1_790_129_400_000_000  # 2026-09-23T02:10:00Z
MINUTE = 60_000_000
PLAYBOOKS = load_playbooks([folder("playbooks")])[0]


@dataclass
class Answer:
    """What a command printed and returned."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on stdout."""
        return json.loads(self.out)


@dataclass
class Room:
    """A store, a configuration, a clock, and who is sitting there."""

    folder: Path
    config: Config = field(default_factory=Config)
    store: Any = field(default_factory=FakeStore)
    clock: Frozen = field(default_factory=lambda: Frozen(NOW))
    who: Principal = field(default_factory=lambda: Principal("anna", 1000, "analyst"))

    def __post_init__(self) -> None:
        self.config.state = str(self.folder)
        self.config.control.users = {"anna": "analyst", "bo": "analyst", "per": "approver", "kari": "lead"}
        self.responder = Responder(PLAYBOOKS, register=REGISTER, config=self.config)

    def part(self, name: str) -> Any:
        """The live components."""
        if name == "router":
            return Router(self.config)
        return {"register": REGISTER, "responder": self.responder, "playbooks": PLAYBOOKS}.get(name)

    def call(self, verb: str, **arguments: Any) -> Any:
        """One verb, its answer and its errors through JSON as over the socket."""
        context = Context(self.store, self.config, self.who, self.clock, self.part, "en")
        try:
            answer = call(context, verb, json.loads(json.dumps(arguments)))
            answer = list(answer) if isinstance(answer, Iterator) else answer
        except CsirtError as error:
            raise_failure(json.loads(json.dumps(failure(error))))
        return json.loads(json.dumps(answer))

    def stream(self, verb: str, **arguments: Any) -> Iterator[Any]:
        """A stream of items."""
        yield from self.call(verb, **arguments)

    def run(self, *words: str, who: str = "", stdin: str = "", lang: str = "en") -> Answer:
        """One command as a user types it, off a terminal."""
        before = self.who
        if who:
            self.who = Principal(who, 2000, self.config.control.users[who])
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        keep, Settings.client = Settings.client, lambda settings: self  # type: ignore[method-assign,assignment,return-value]
        given, sys.stdin = sys.stdin, io.StringIO(stdin)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = guarded(main, ["--lang", lang, *words])
        finally:
            Settings.client, sys.stdin, self.who = keep, given, before  # type: ignore[method-assign]
        out.seek(0)
        return Answer(code, out.read(), err.getvalue())

    def alarm(self, name: str, **more: Any) -> str:
        """An incident of one alert with its case and plan, as the pipeline makes them; the case's number."""
        host = more.pop("host", "10.31.0.77")
        alert = Alert(
            id=f"alert-{name}",
            rule_id="1d1f9c1e",
            rule_name=more.pop("rule", "NET-05 SMB worm fan-out"),
            severity=more.get("severity", "high"),
            dataset="flow",
            first=NOW - 12 * MINUTE,
            last=NOW - 4 * MINUTE,
            count=25,
            entities=[Entity(kind="host", value=host, role="actor", member="gp")]
            + [Entity(kind="host", value=f"10.32.0.{n}", role="target", member="dental") for n in range(1, 9)],
            members=["gp", "dental"],
            facts=more.pop("facts", {"destination.port": ["445"], "observer.ip": ["192.0.2.1"]}),
            playbook=more.pop("playbook", "PB-WORM"),
            incident=f"incident-{name}",
        )
        fields: dict[str, Any] = {
            "severity": alert.severity,
            "title": f"{alert.rule_name}: Gp -> Dental",
            "members": alert.members,
            "rsit": "Malicious Code/Infected System",
            "rules": [alert.rule_name],
            **more,
        }
        incident = Incident(
            id=f"incident-{name}",
            first=alert.first,
            last=alert.last,
            alerts=[alert.id],
            entities=[replace(one, alert=alert.id) for one in alert.entities],
            links=[Link(alert=alert.id, reason="first")],
            **fields,
        )
        events, cases = for_incidents([incident], {}, self.clock.now(), self.store.case_events)
        plan = self.responder.plan(incident, cases[0], [alert], self.clock.now())
        self.store.commit(
            Commit(
                alerts=[alert], incidents=[incident], case_events=events, cases=cases, runs=plan.runs,
                receipts=plan.receipts, audit=plan.audit,
            )
        )  # fmt: skip
        return str(cases[0].number)
