"""A small JSON Schema check for tests: the keywords the project's schemas use, and an error for any other."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
KNOWN = {
    *("$schema", "$id", "$defs", "$ref", "title", "description", "type", "properties", "required", "const", "enum"),
    *("additionalProperties", "items", "minimum", "pattern", "anyOf"),
}


def schema(name: str) -> dict[str, Any]:
    """The schema file of that name, such as `members-1`."""
    found: dict[str, Any] = json.loads(files("csirt.schemas").joinpath(f"{name}.json").read_text("utf-8"))
    return found


def check(document: dict[str, Any], rules: dict[str, Any] | None = None) -> None:
    """Raise AssertionError with the place unless the document has the shape its `schema` field names."""
    rules = rules or schema(document["schema"].removeprefix("csirt.").replace("/", "-"))
    _check(document, rules, rules, "$")


def _check(value: Any, rules: Any, root: dict[str, Any], place: str) -> None:
    if rules is True:
        return
    assert not rules.keys() - KNOWN, f"{place}: keywords {rules.keys() - KNOWN} are not understood here"
    if "$ref" in rules:
        _check(value, root["$defs"][rules["$ref"].rpartition("/")[2]], root, place)
    if "anyOf" in rules:
        assert any(_fits(value, option, root) for option in rules["anyOf"]), f"{place}: fits none of anyOf"
    kinds = rules.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    fits = any(isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds)
    assert fits or ("boolean" in kinds and isinstance(value, bool)), f"{place}: {value!r} is not {kinds}"
    assert "const" not in rules or value == rules["const"], f"{place}: {value!r}"
    assert "enum" not in rules or value in rules["enum"], f"{place}: {value!r} is none of {rules['enum']}"
    assert "minimum" not in rules or value >= rules["minimum"], f"{place}: {value!r} is too small"
    assert "pattern" not in rules or re.search(rules["pattern"], value), f"{place}: {value!r}"
    if isinstance(value, dict):
        properties = rules.get("properties", {})
        missing = set(rules.get("required", ())) - value.keys()
        assert not missing, f"{place}: {missing} missing"
        extra = rules.get("additionalProperties", True)
        for key, inner in value.items():
            assert extra is not False or key in properties, f"{place}: {key!r} is not in the schema"
            _check(inner, properties.get(key, extra), root, f"{place}.{key}")
    if isinstance(value, list) and "items" in rules:
        for position, inner in enumerate(value):
            _check(inner, rules["items"], root, f"{place}[{position}]")


def _fits(value: Any, rules: Any, root: dict[str, Any]) -> bool:
    try:
        _check(value, rules, root, "$")
    except AssertionError:
        return False
    return True
