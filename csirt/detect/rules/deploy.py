"""`deploy.yml`: which rules are on, in shadow (alerts are recorded, nobody is told) or off, and what they leave alone.

A rules folder has one at its top, and the state folder has the one that `csirt rules deploy` writes; a later file wins
over an earlier one, rule by rule. Exemptions add up. What is wrong is said with file and line and has no effect.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from csirt.clock import DAY, iso
from csirt.content import Document
from csirt.detect.atoms import Node
from csirt.detect.rule import Correlation, Meta, Rule
from csirt.errors import Problem

NAME = "deploy.yml"
STATES = ("on", "shadow", "off")
SCOPES = ("node", "sector")
KEYS = ("default", "exemptions", "rules")
RULE_KEYS = ("by", "reason", "scope", "since", "state", "title")
EXEMPTION_KEYS = ("owner", "reason", "rule", "until", "when")
MAX_EXEMPTIONS = 1_000

State = Literal["on", "shadow", "off"]


@dataclass(frozen=True, slots=True)
class Deployed:
    """How one rule is deployed. `since`: from when on, microseconds; `scope`: what it must see, a node or the whole
    sector; `by` and `reason`: of the last change."""

    state: State = "on"
    since: int | None = None
    scope: str = "node"
    by: str = ""
    reason: str = ""
    file: str = ""
    line: int = 1


@dataclass(frozen=True, slots=True)
class Exemption:
    """What a rule or correlation leaves alone until `until` (event time, microseconds): for each plain rule below it
    the condition that such an event fulfils."""

    rule: str
    conditions: tuple[tuple[str, Node], ...]
    until: int
    owner: str
    reason: str
    file: str
    line: int


@dataclass
class Deployment:
    """All files together. `defaults`: the state of rules without a word of their own, by the folder they are in."""

    rules: dict[str, Deployed] = field(default_factory=dict)
    defaults: dict[str, Deployed] = field(default_factory=dict)
    exemptions: list[Exemption] = field(default_factory=list)

    def of(self, meta: Meta) -> Deployed:
        """How that rule is deployed."""
        if meta.id in self.rules:
            return self.rules[meta.id]
        inside = [name for name in self.defaults if meta.file.startswith(f"{name}/")]
        return self.defaults[max(inside, key=len)] if inside else Deployed()

    def expired(self, now: int) -> list[Exemption]:
        """Exemptions that no longer exempt."""
        return [item for item in self.exemptions if item.until <= now]


def ended(deployment: Deployment, now: int) -> list[Problem]:
    """A warning for each exemption that no longer exempts."""
    return [
        Problem(
            item.file,
            item.line,
            f"ended {iso(item.until)}: it exempts nothing any more (owner: {item.owner})",
            advice="remove it, or give it a new end",
            check="exemption",
            level="warning",
        )
        for item in deployment.expired(now)
    ]


# Compiles what an exemption names, for one rule: the condition, or None with the problems added.
Compile = Callable[[Document, tuple[str | int, ...], Any, str, list[Problem]], Node | None]


def read(
    documents: Iterable[Document],
    known: Mapping[str, Rule | Correlation],
    compile_: Compile,
    problems: list[Problem],
    *,
    own: str,
    others: Iterable[str],
) -> Deployment:
    """The deployment of these files, in order. `own`: the file that csirt writes itself: a rule in it that is gone is
    no error. `others`: ids of rules that exist and are not loaded."""
    names = {name.lower(): name for name in others} | _names(known)
    result = Deployment()
    for document in documents:
        _File(document, names, known, compile_, problems, document.file == own).into(result)
    return result


def _names(known: Mapping[str, Rule | Correlation]) -> dict[str, str]:
    """Every way to name a rule -> its id: the id, the name, the code its title begins with where it has it alone."""
    found: dict[str, str] = {}
    codes: dict[str, set[str]] = {}
    for item in known.values():
        codes.setdefault(code(item.meta.title), set()).add(item.id)
        found[item.id.lower()] = item.id
        if item.meta.name:
            found.setdefault(item.meta.name.lower(), item.id)
    for name, owners in codes.items():
        if len(owners) == 1:
            found.setdefault(name, next(iter(owners)))
    return found


def code(title: str) -> str:
    """`net-01` of a title that begins with such a code, else the title."""
    word = title.partition(" ")[0].lower()
    return word if "-" in word and word[-1:].isdigit() else title.lower()


class _File:
    """One deploy.yml."""

    def __init__(
        self,
        document: Document,
        names: Mapping[str, str],
        known: Mapping[str, Rule | Correlation],
        compile_: Compile,
        problems: list[Problem],
        own: bool,
    ) -> None:
        self._document, self._names, self._known = document, names, known
        self._compile, self._problems, self._own = compile_, problems, own

    def _wrong(
        self, path: tuple[str | int, ...], message: str, advice: str = "", *, name: str = "deploy", soft: bool = False
    ) -> None:
        problem = self._document.problem(path, message, advice, name)
        problem.level = "warning" if soft else "error"
        self._problems.append(problem)

    def into(self, result: Deployment) -> None:
        """Add what the file says."""
        value = self._document.value
        if value is None:
            return
        if not isinstance(value, dict):
            self._wrong((), "not a mapping", f"known keys: {', '.join(KEYS)}")
            return
        self._unknown((), value, KEYS)
        if "default" in value:
            state = self._state(("default",), value["default"])
            folder = self._document.file.rpartition("/")[0]
            result.defaults[folder] = Deployed(state or "on", file=self._document.file)
        rules = value.get("rules") or {}
        if isinstance(rules, dict):
            for name, body in rules.items():
                self._rule(result, str(name), body, ("rules", name))
        else:
            self._wrong(("rules",), "must be a mapping of rule ids")
        exemptions = value.get("exemptions") or []
        if isinstance(exemptions, list) and len(exemptions) <= MAX_EXEMPTIONS:
            for index, body in enumerate(exemptions):
                found = self._exemption(body, ("exemptions", index))
                if found is not None:
                    result.exemptions.append(found)
        else:
            self._wrong(("exemptions",), f"must be a list of at most {MAX_EXEMPTIONS}")

    def _unknown(self, path: tuple[str | int, ...], value: dict[Any, Any], known: tuple[str, ...]) -> None:
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                self._wrong((*path, key), f"unknown key {key!r}", advice)

    def _id(self, path: tuple[str | int, ...], name: str) -> str | None:
        found = self._names.get(name.lower())
        if found is None:
            near = difflib.get_close_matches(name.lower(), self._names, 1, 0.5)
            advice = f"did you mean {near[0]!r}?" if near else "csirt rules list shows the rules"
            self._wrong(path, f"no rule has the id, name or code {name!r}", advice, soft=self._own)
        return found

    def _state(self, path: tuple[str | int, ...], value: Any) -> State | None:
        value = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value  # YAML 1.1
        if value not in STATES:
            self._wrong(path, f"{value!r} is no state", f"one of {', '.join(STATES)}")
            return None
        return value  # type: ignore[no-any-return]

    def _rule(self, result: Deployment, name: str, body: Any, path: tuple[str | int, ...]) -> None:
        rule = self._id(path, name)
        body = body if isinstance(body, dict) else {"state": body}
        self._unknown(path, body, RULE_KEYS)
        before = result.rules.get(rule or "", Deployed())
        state = self._state((*path, "state"), body["state"]) if "state" in body else before.state
        scope = body.get("scope", before.scope)
        if scope not in SCOPES:
            self._wrong((*path, "scope"), f"{scope!r} is no scope", f"one of {', '.join(SCOPES)}")
            scope = "node"
        since = self._time((*path, "since"), body["since"], end=False) if "since" in body else None
        if rule is not None and state is not None:
            by, reason = str(body.get("by") or ""), str(body.get("reason") or "")
            line = self._document.mark(path)[0]
            result.rules[rule] = Deployed(state, since, scope, by, reason, self._document.file, line)

    def _time(self, path: tuple[str | int, ...], value: Any, *, end: bool) -> int | None:
        """A day (its beginning, or its end) or a moment, UTC, in microseconds."""
        found = moment(value, end=end)
        if found is None:
            self._wrong(path, f"{value!r} is no day", "write YYYY-MM-DD", name="exemption" if end else "deploy")
        return found

    def _exemption(self, body: Any, path: tuple[str | int, ...]) -> Exemption | None:
        if not isinstance(body, dict):
            self._wrong(path, "must be a mapping", f"known keys: {', '.join(EXEMPTION_KEYS)}", name="exemption")
            return None
        self._unknown(path, body, EXEMPTION_KEYS)
        before = len(self._problems)
        for key, advice in (
            ("rule", "the id, name or code of the rule"),
            ("when", "the fields of what it leaves alone, as in a selection"),
            ("owner", "who answers for it"),
            ("reason", "why it is right"),
            ("until", "the last day of it: YYYY-MM-DD"),
        ):
            if not body.get(key):
                self._wrong(path, f"an exemption without {key!r}", advice, name="exemption")
        if len(self._problems) > before:
            return None
        rule = self._id((*path, "rule"), str(body["rule"]))
        until = self._time((*path, "until"), body["until"], end=True)
        if rule is None or until is None or rule not in self._known:
            return None
        conditions = self._conditions(self._known[rule], body["when"], (*path, "when"))
        if conditions is None:
            return None
        owner, reason = str(body["owner"]), str(body["reason"])
        line = self._document.mark(path)[0]
        return Exemption(rule, conditions, until, owner, reason, self._document.file, line)

    def _conditions(
        self, item: Rule | Correlation, when: Any, path: tuple[str | int, ...]
    ) -> tuple[tuple[str, Node], ...] | None:
        bases = [item.id] if isinstance(item, Rule) else list(item.rules)
        if isinstance(item, Correlation) and item.type == "absence":
            bases = bases[:1]  # what need not be followed; what follows still counts
        found: list[tuple[str, Node]] = []
        for base in bases:
            if isinstance(self._known.get(base), Correlation):
                message = f"{item.meta.title!r} is built on correlations"
                self._wrong(path, message, "write the exemption for those", name="exemption")
                return None
            node = self._compile(self._document, path, when, base, self._problems)
            if node is None:
                return None
            found.append((base, node))
        return tuple(found)


def moment(value: Any, *, end: bool) -> int | None:
    """A day (its beginning, or its end) or a moment in UTC, as microseconds; None when it is neither."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value) if "T" in value else datetime.date.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime.datetime):
        at = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return round(at.timestamp() * 1e6)
    if isinstance(value, datetime.date):
        at = datetime.datetime.combine(value, datetime.time(), datetime.UTC)
        return round(at.timestamp() * 1e6) + (DAY if end else 0)
    return None
