"""The Reference Security Incident Taxonomy: which class a case belongs to. The classes are content (playbooks/)."""

from __future__ import annotations

import difflib
import re
from functools import cache

from csirt.content import folder, read_yaml
from csirt.errors import Usage


@cache
def classes() -> dict[str, str]:
    """Every accepted spelling, in lower case with `-` between words, to `Class/Type` (or `Class`).

    A type that occurs in one class only may be given alone.
    """
    document = read_yaml(folder("playbooks") / "rsit.yml")[0].value
    found: dict[str, str] = {}
    alone: dict[str, list[str]] = {}
    for item in document["classes"]:
        name = item["name"]
        found[_slug(name)] = name
        for kind in item["types"]:
            whole = f"{name}/{kind}"
            found[_slug(whole)] = whole
            alone.setdefault(_slug(kind), []).append(whole)
    for slug, whole_names in alone.items():
        if len(whole_names) == 1:
            found.setdefault(slug, whole_names[0])
    return found


def resolve(text: str) -> str:
    """`malicious-code/infected-system`, `Infected System` or a class alone as `Class/Type`. Raises Usage with the
    nearest ones."""
    known = classes()
    slug = _slug(text)
    if slug in known:
        return known[slug]
    near = difflib.get_close_matches(slug, known, 3)
    hint = "did you mean " + " or ".join(repr(known[name]) for name in near) if near else "`csirt cases close --help`"
    raise Usage(f"no RSIT class {text!r}; {hint}")


def _slug(text: str) -> str:
    return "/".join(re.sub(r"[^a-z0-9]+", "-", part.casefold()).strip("-") for part in text.split("/"))
