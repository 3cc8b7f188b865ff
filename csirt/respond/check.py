"""A playbook document to a Playbook: everything wrong is collected, each with its place and what to do."""

from __future__ import annotations

import difflib
import ipaddress
from typing import Any

from csirt.config import duration
from csirt.content import Document
from csirt.errors import Problem, Usage
from csirt.model.filter import Filter
from csirt.respond.acl import PROTOCOLS
from csirt.respond.guard import LONGEST
from csirt.respond.playbook import EXTENSION, Playbook, Step, Text

TYPES = ("start", "end", "action", "parallel", "if-condition")
KINDS = ("note", "notify", "report", "manual", "acl")
TELL = ("csirt", "member", "network_ops", "supplier", "edi", "national")
MAX_STEPS = 60
# What a condition may ask about a case.
FACTS = frozenset(
    {
        *("severity", "priority", "members", "member", "kinds", "rules", "rule", "tactics", "techniques", "rsit"),
        *("clinical", "datasets", "dataset", "alerts", "ip", "hosts", "port", "first", "last", "title"),
    }
)
_TOP = {
    *("type", "spec_version", "id", "name", "description", "playbook_types", "created_by", "created", "modified"),
    *("workflow_start", "workflow", "labels", "priority", "severity", "impact", "external_references", "title"),
}
_STEP = {
    *("type", "name", "description", "on_completion", "commands", "step_extensions", "next_steps", "condition"),
    *("on_true", "on_false", "owner", "timeout"),
}
_EXTENSION = {"kind", "text", "precondition", "effect", "undo", "expiry", "tell", "hosts", "protocol", "ports"}

Path = tuple[str | int, ...]


def build(document: Document) -> tuple[Playbook | None, list[Problem]]:
    """One document: the playbook, or None when it has errors, and what is wrong."""
    return _Builder(document).build()


class _Builder:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._problems: list[Problem] = []

    def build(self) -> tuple[Playbook | None, list[Problem]]:
        value = self._document.value
        if not isinstance(value, dict):
            self._wrong((), "a playbook is a mapping", "begin with `type: playbook`")
            return None, self._problems
        self._unknown((), value, _TOP)
        if value.get("type") != "playbook":
            self._wrong(("type",), "type is not 'playbook'", "write `type: playbook`")
        if value.get("spec_version") != "cacao-2.0":
            self._wrong(("spec_version",), "spec_version is not 'cacao-2.0'", "write `spec_version: cacao-2.0`")
        name = self._string((), value, "name")
        identity = self._string((), value, "id")
        if identity and not identity.startswith("playbook--"):
            self._wrong(("id",), "id does not begin with 'playbook--'", "write playbook-- and a UUID")
        start = self._string((), value, "workflow_start")
        steps = self._steps(value.get("workflow"))
        if start and steps:
            self._walkable(start, steps)
        if self._problems:
            return None, self._problems
        line, _ = self._document.mark(())
        title = self._text(("title",), value.get("title", name))
        description = str(value.get("description", ""))
        return Playbook(identity, name, title, description, start, steps, self._document.file, line), self._problems

    def _steps(self, workflow: Any) -> dict[str, Step]:
        if not isinstance(workflow, dict) or not workflow:
            self._wrong(("workflow",), "no workflow", "add a `workflow` with at least a start, an action and an end")
            return {}
        if len(workflow) > MAX_STEPS:
            self._wrong(("workflow",), f"more than {MAX_STEPS} steps", "split the playbook")
            return {}
        return {str(name): self._step(str(name), raw) for name, raw in workflow.items()}

    def _step(self, name: str, raw: Any) -> Step:
        path: Path = ("workflow", name)
        if not isinstance(raw, dict):
            self._wrong(path, f"step {name} is not a mapping", "give it a type")
            return Step(name, "end")
        kind = raw.get("type")
        if kind not in TYPES:
            self._wrong((*path, "type"), f"unknown step type {kind!r}", f"one of {', '.join(TYPES)}")
            return Step(name, "end")
        if not name.startswith(f"{kind}--"):
            self._wrong(path, f"step {name} is of type {kind}", f"call it {kind}--NAME")
        self._unknown(path, raw, _STEP)
        then = str(raw.get("on_completion", "") or "")
        if kind == "start":
            return Step(name, kind, next=(self._string(path, raw, "on_completion"),))
        if kind == "parallel":
            branches = raw.get("next_steps")
            if not isinstance(branches, list) or not branches:
                self._wrong(
                    (*path, "next_steps"), "a parallel step needs next_steps", "list the first step of each branch"
                )
                branches = []
            return Step(name, kind, next=tuple(str(item) for item in branches), then=then)
        if kind == "if-condition":
            return self._condition(path, name, raw, then)
        return self._action(path, name, raw, then) if kind == "action" else Step(name, kind)

    def _condition(self, path: Path, name: str, raw: dict[str, Any], then: str) -> Step:
        condition = self._string(path, raw, "condition")
        try:
            Filter.parse(condition, 0, FACTS)
        except Usage as error:
            self._wrong((*path, "condition"), error.message, "see `csirt help filters`")
        on_true = self._string(path, raw, "on_true")
        on_false = str(raw.get("on_false", "") or "")
        return Step(name, "if-condition", condition=condition, on_true=on_true, on_false=on_false, then=then)

    def _action(self, path: Path, name: str, raw: dict[str, Any], then: str) -> Step:
        label = self._string(path, raw, "name")
        self._commands(path, raw.get("commands", []))
        extensions = raw.get("step_extensions", {})
        extension = extensions.get(EXTENSION, {}) if isinstance(extensions, dict) else None
        here: Path = (*path, "step_extensions", EXTENSION)
        if not isinstance(extension, dict):
            self._wrong(here, "the extension is not a mapping", "write kind and text below it")
            extension = {}
        self._unknown(here, extension, _EXTENSION)
        kind = extension.get("kind", "manual")
        if kind not in KINDS:
            self._wrong((*here, "kind"), f"unknown kind {kind!r}", f"one of {', '.join(KINDS)}")
            kind = "manual"
        texts = {
            key: self._text((*here, key), extension.get(key, {})) for key in ("text", "precondition", "effect", "undo")
        }
        if kind == "acl":
            for key in ("effect", "undo", "precondition"):
                if not texts[key]:
                    self._wrong((*here, key), f"an acl needs `{key}`", "say it in nb and en")
        return Step(
            name,
            "action",
            name=label,
            next=(then,) if then else (),
            kind=kind,
            expiry_us=self._expiry(here, extension, kind),
            tell=self._tell(here, extension),
            hosts=self._hosts(here, extension),
            protocol=self._protocol(here, extension),
            ports=self._ports(here, extension),
            ports_from_facts=extension.get("ports") == "facts",
            text=texts["text"],
            precondition=texts["precondition"],
            effect=texts["effect"],
            undo=texts["undo"],
        )

    def _commands(self, path: Path, commands: Any) -> None:
        if not isinstance(commands, list):
            self._wrong((*path, "commands"), "commands is not a list", "list them, or leave it out")
            return
        for index, command in enumerate(commands):
            if not isinstance(command, dict) or command.get("type") != "manual" or set(command) - {"type", "command"}:
                here = (*path, "commands", index)
                self._wrong(here, "only commands of type manual are run here", "write {type: manual, command: TEXT}")

    def _expiry(self, here: Path, extension: dict[str, Any], kind: str) -> int:
        raw = extension.get("expiry")
        if raw is None:
            if kind == "acl":
                self._wrong((*here, "expiry"), "an acl needs `expiry`", "write how long it holds, such as 4h")
            return 0
        try:
            value = duration(raw) if isinstance(raw, str) else 0
        except ValueError as error:
            self._wrong((*here, "expiry"), str(error))
            return 0
        if not 0 < value <= LONGEST:
            self._wrong((*here, "expiry"), "expiry is not between 1us and 7d", "write such as 4h")
        return value

    def _tell(self, here: Path, extension: dict[str, Any]) -> tuple[str, ...]:
        tell = extension.get("tell", [])
        if not isinstance(tell, list) or any(item not in TELL for item in tell):
            self._wrong((*here, "tell"), "tell is not a list of known audiences", f"any of {', '.join(TELL)}")
            return ()
        return tuple(tell)

    def _hosts(self, here: Path, extension: dict[str, Any]) -> tuple[str, ...]:
        hosts = extension.get("hosts", ["actors"])
        hosts = [hosts] if isinstance(hosts, str) else hosts
        if not isinstance(hosts, list) or not hosts:
            self._wrong((*here, "hosts"), "hosts is neither `actors` nor a list of addresses", "write hosts: actors")
            return ("actors",)
        for host in hosts:
            if host != "actors" and not _is_network(host):
                self._wrong((*here, "hosts"), f"{host!r} is no address or prefix", "write actors, or an address")
        return tuple(str(host) for host in hosts)

    def _protocol(self, here: Path, extension: dict[str, Any]) -> str:
        protocol = extension.get("protocol", "tcp")
        if protocol not in PROTOCOLS:
            self._wrong((*here, "protocol"), f"unknown protocol {protocol!r}", f"one of {', '.join(PROTOCOLS)}")
            return "tcp"
        return str(protocol)

    def _ports(self, here: Path, extension: dict[str, Any]) -> tuple[int, ...]:
        ports = extension.get("ports", [])
        if ports == "facts":
            return ()
        valid = isinstance(ports, list) and all(type(port) is int and 0 < port < 65536 for port in ports)
        if not valid:
            self._wrong((*here, "ports"), "ports is neither `facts` nor a list of ports", "write ports: [445]")
            return ()
        return tuple(ports)

    def _walkable(self, start: str, steps: dict[str, Step]) -> None:
        """Every reference exists, nothing goes round in circles, every step is reached."""
        if start not in steps or steps[start].type != "start":
            self._wrong(("workflow_start",), f"{start} is no start step of the workflow", "name the start step")
            return
        for step in steps.values():
            for target in references(step):
                if target not in steps:
                    near = difflib.get_close_matches(target, steps, 1)
                    hint = f"did you mean {near[0]}?" if near else "add the step"
                    self._wrong(("workflow", step.id), f"{step.id} leads to {target}, which does not exist", hint)
        if self._problems:
            return
        reached: set[str] = set()
        if self._circular(start, steps, (), reached):
            return
        for name in steps:
            if name not in reached:
                self._wrong(("workflow", name), f"no step leads to {name}", "remove it, or lead to it")

    def _circular(self, name: str, steps: dict[str, Step], above: tuple[str, ...], reached: set[str]) -> bool:
        if name in above:
            self._wrong(("workflow", name), f"the workflow comes back to {name}", "workflows here do not loop")
            return True
        if name in reached:
            return False
        found = any(self._circular(target, steps, (*above, name), reached) for target in references(steps[name]))
        reached.add(name)
        return found

    def _text(self, path: Path, raw: Any) -> Text:
        """Text in both languages; plain text counts for both."""
        if isinstance(raw, str):
            return {"nb": raw, "en": raw} if raw else {}
        if (
            not isinstance(raw, dict)
            or (raw and set(raw) != {"nb", "en"})
            or not all(isinstance(t, str) for t in raw.values())
        ):
            self._wrong(path, "text is neither a string nor has it `nb` and `en`", "write both languages")
            return {}
        return {str(key): str(text) for key, text in raw.items()}

    def _string(self, path: Path, mapping: dict[str, Any], key: str) -> str:
        value = mapping.get(key)
        if not isinstance(value, str) or not value:
            self._wrong((*path, key), f"{key} is missing", f"add `{key}`")
            return ""
        return value

    def _unknown(self, path: Path, mapping: dict[str, Any], known: set[str]) -> None:
        for key in mapping:
            if key not in known:
                near = difflib.get_close_matches(str(key), sorted(known), 1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
                self._wrong((*path, key), f"unknown key {key!r}", hint)

    def _wrong(self, path: Path, message: str, advice: str = "") -> None:
        self._problems.append(self._document.problem(path, message, advice, check="playbook"))


def references(step: Step) -> tuple[str, ...]:
    """The steps a step leads to."""
    return tuple(name for name in (*step.next, step.on_true, step.on_false, step.then) if name)


def _is_network(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
