"""The attributes a rule may carry under the key `csirt:`, checked name by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from csirt.config import duration
from csirt.content import Document, folder, read_yaml
from csirt.detect.rule import HOUR, Custom
from csirt.errors import Problem

KEYS = ("clinical", "facts", "group-by", "playbook", "rsit", "tell", "timespan")
TELL = ("csirt", "network-operations", "member", "all-members", "supplier", "edi", "national", "privacy-officer")


@cache
def taxonomy() -> dict[str, str]:
    """The Reference Security Incident Taxonomy (content, `playbooks/rsit.yml`): lower-case spelling with `-` between
    words -> `Class/Type` or `Class`."""
    found: dict[str, str] = {}
    for item in read_yaml(folder("playbooks") / "rsit.yml")[0].value["classes"]:
        for name in (item["name"], *(f"{item['name']}/{kind}" for kind in item["types"])):
            found[_slug(name)] = name
    return found


def _slug(text: str) -> str:
    return "/".join("-".join(re.findall(r"[a-z0-9]+", part)) for part in text.lower().split("/"))


def parse(document: Document, problems: list[Problem]) -> Custom:
    """The attributes of a rule's document; what is wrong is added to `problems` and left out."""
    raw = document.value.get("csirt")
    if raw is None:
        return Custom()
    if not isinstance(raw, dict):
        problems.append(document.problem(("csirt",), "must be a mapping", "write `csirt:` with keys below it", "csirt"))
        return Custom()

    def wrong(key: str, message: str, advice: str = "") -> None:
        problems.append(document.problem(("csirt", key), f"csirt.{key}: {message}", advice, "csirt"))

    for key in raw:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, 1)
            wrong(str(key), "unknown key", f"did you mean {near[0]!r}?" if near else f"known: {', '.join(KEYS)}")

    def take(key: str, check: Callable[[Any], Any], default: Any) -> Any:
        if key not in raw:
            return default
        try:
            return check(raw[key])
        except ValueError as error:
            wrong(key, str(error))
            return default

    return Custom(
        rsit=take("rsit", _rsit, ""),
        playbook=take("playbook", _text, ""),
        group_by=take("group-by", _names, None),
        timespan=take("timespan", _span, HOUR),
        tell=take("tell", _tell, ()),
        clinical=take("clinical", _truth, False),
        facts=take("facts", _names, None),
    )


def _rsit(value: Any) -> str:
    known = taxonomy()
    name = known.get(_slug(str(value)))
    if name is None:
        near = difflib.get_close_matches(_slug(str(value)), sorted(known), 1)
        raise ValueError(f"{value!r} is no RSIT class" + (f"; did you mean {near[0]!r}?" if near else ""))
    return name


def _tell(value: Any) -> tuple[str, ...]:
    names = _names(value)
    for name in names:
        if name not in TELL:
            raise ValueError(f"{name!r} is nobody; known: {', '.join(TELL)}")
    return names


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text")
    return value


def _names(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError("must be a list of texts")
    return tuple(dict.fromkeys(names))


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _span(value: Any) -> int:
    span = duration(value) if isinstance(value, str) else 0
    if span <= 0:
        raise ValueError("must be a duration such as '1h'")
    return span
