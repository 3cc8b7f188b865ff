"""pySigma as this room uses it: documents that are already plain values become its objects, its errors Problems.

What is added to pySigma 1.5 is in the specification 2.1 or harmless to it: the modifier `utf16le` (a synonym of
`wide`), CIDR values with host bits, which mean the network they lie in, and `base64` and `base64offset` of texts beyond
ASCII.
"""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sigma import modifiers
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule
from sigma.types import SigmaCIDRExpression, SigmaExpansion, SigmaString

from csirt.content import Document
from csirt.errors import Problem


class _Utf16Le(modifiers.SigmaWideModifier):
    """`utf16le`: the specification's name for `wide`."""


class _Network(modifiers.SigmaCIDRModifier):
    """`cidr` that takes a network with host bits for the network."""

    def modify(self, val: SigmaString) -> SigmaCIDRExpression:
        try:
            return super().modify(SigmaString(str(ipaddress.ip_network(str(val), strict=False))))
        except ValueError:
            return super().modify(val)


_MARK = "\ufeff".encode()


class _Base64(modifiers.SigmaBase64Modifier):
    """`base64` of the bytes that `utf16` means: pySigma writes its byte order mark as UTF-8."""

    def modify(self, val: SigmaString) -> SigmaString:
        plain = bytes(val)
        if not plain.startswith(_MARK) or val.contains_special():
            return super().modify(val)
        return SigmaString(b64encode(b"\xff\xfe" + plain[len(_MARK) :]).decode())


class _Base64Offset(modifiers.SigmaBase64OffsetModifier):
    """`base64offset` of the bytes a text is: pySigma counts its characters, and so cuts texts beyond ASCII wrongly."""

    def modify(self, val: SigmaString) -> SigmaExpansion:
        if val.contains_special():
            return super().modify(val)
        plain = bytes(val)
        if plain.startswith(_MARK):
            plain = b"\xff\xfe" + plain[len(_MARK) :]
        found: list[Any] = []
        for offset, start in enumerate(self.start_offsets):
            end = self.end_offsets[(len(plain) + offset) % 3]
            found.append(SigmaString(b64encode(b" " * offset + plain)[start:end].decode()))
        return SigmaExpansion(found)


modifiers.modifier_mapping["base64offset"] = _Base64Offset
modifiers.reverse_modifier_mapping[_Base64Offset.__name__] = "base64offset"
modifiers.modifier_mapping["base64"] = _Base64
modifiers.reverse_modifier_mapping[_Base64.__name__] = "base64"
modifiers.modifier_mapping["utf16le"] = _Utf16Le
modifiers.modifier_mapping["cidr"] = _Network
modifiers.reverse_modifier_mapping[_Utf16Le.__name__] = "utf16le"
modifiers.reverse_modifier_mapping[_Network.__name__] = "cidr"


def rule(document: Document, problems: list[Problem]) -> SigmaRule | None:
    """The rule of a document, or None with the problems added."""
    detection = document.value.get("detection")
    if isinstance(detection, dict):
        huge = list(_huge(document, detection))
        if huge:
            problems += huge
            return None
        document = replace(document, value=document.value | {"detection": _exact(detection)})
    parsed: SigmaRule | None = _parse(SigmaRule, document, problems)
    return parsed


# The longest public condition has 542 characters, the longest expression 217; parsers take their time over more.
MAX_CONDITION, MAX_BRACKETS, MAX_EXPRESSION = 4_000, 32, 4_000


def _huge(document: Document, detection: dict[str, Any]) -> Iterator[Problem]:
    """Conditions and expressions that would cost a parser more than any rule is worth."""
    conditions = detection.get("condition")
    for condition in conditions if isinstance(conditions, list) else [conditions]:
        text = str(condition)
        depth = deepest = 0
        for character in text[: MAX_CONDITION + 1]:
            depth += (character == "(") - (character == ")")
            deepest = max(deepest, depth)
        if len(text) > MAX_CONDITION or deepest > MAX_BRACKETS:
            message = f"longer than {MAX_CONDITION} characters, or brackets nested deeper than {MAX_BRACKETS}"
            yield document.problem(("detection", "condition"), message, "write plain selections instead", "sigma")
    for path in document.marks:
        field = next((step for step in reversed(path) if isinstance(step, str)), "")
        if path[:1] == ("detection",) and "re" in field.split("|")[1:]:
            value: Any = document.value
            for step in path:
                value = value[step]
            if isinstance(value, str) and len(value) > MAX_EXPRESSION:
                message = f"the regular expression is longer than {MAX_EXPRESSION} characters"
                yield document.problem(path, message, "write plain selections instead", "sigma")


def _exact(value: Any) -> Any:
    """Whole numbers that pySigma would round to a float, as the text that writes them: equality is the same."""
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) > 2**53 else value


def correlation(document: Document, problems: list[Problem]) -> SigmaCorrelationRule | None:
    """The correlation of a document, or None with the problems added."""
    parsed: SigmaCorrelationRule | None = _parse(SigmaCorrelationRule, document, problems)
    return parsed


def filter_(document: Document, problems: list[Problem]) -> SigmaFilter | None:
    """The filter of a document, or None with the problems added."""
    parsed: SigmaFilter | None = _parse(SigmaFilter, document, problems)
    return parsed


def _parse(kind: Any, document: Document, problems: list[Problem]) -> Any:
    try:
        parsed = kind.from_dict(document.value, collect_errors=True)
    except SigmaError as error:
        problems.append(_problem(document, error))
        return None
    except Exception as error:  # pySigma lets values of unexpected types raise anything
        problems.append(
            document.problem((), f"not a Sigma rule: {type(error).__name__}: {error}", "compare it with a shipped rule")
        )
        return None
    problems += [_problem(document, found) for found in parsed.errors]
    return None if parsed.errors else parsed


# What an error is about, by a word of its class name, and where in the document that is.
_PLACES = (
    ("Logsource", ("logsource",), "see docs/rule-authors.md for the log sources"),
    ("Condition", ("detection", "condition"), "name selections that exist"),
    ("Correlation", ("correlation",), ""),
    ("Timespan", ("correlation", "timespan"), "write a number and s, m, h or d"),
    ("Identifier", ("id",), "write a random UUID"),
    ("Level", ("level",), "informational, low, medium, high or critical"),
    ("Status", ("status",), "stable, test, experimental, deprecated or unsupported"),
    ("Date", ("date",), "write YYYY-MM-DD"),
    ("Modified", ("modified",), "write YYYY-MM-DD"),
    ("Title", ("title",), ""),
    ("Tag", ("tags",), ""),
    ("Modifier", ("detection",), "see docs/rule-authors.md for the modifiers"),
    ("RegularExpression", ("detection",), "correct the expression"),
    ("Detection", ("detection",), ""),
    ("Value", ("detection",), ""),
    ("Type", ("detection",), ""),
)


def _problem(document: Document, error: Exception) -> Problem:
    name = type(error).__name__
    path, advice = next(((path, advice) for word, path, advice in _PLACES if word in name), ((), ""))
    if path and path[0] == "detection" and "correlation" in document.value:
        path = ("correlation", *path[1:])
    message = " ".join(str(error).split()) or name
    return document.problem(_nearest(document, path, message), message, advice, "sigma")


def _nearest(document: Document, path: tuple[str, ...], message: str) -> tuple[str | int, ...]:
    """The node of the selection or field that the message quotes, where it can be found."""
    detection = document.value.get("detection")
    if path[:1] == ("detection",) and path != ("detection", "condition") and isinstance(detection, dict):
        for marked in sorted(document.marks, key=len, reverse=True):
            leaf = document.value
            for step in marked:
                leaf = leaf[step]
            if marked[:1] == ("detection",) and isinstance(leaf, str) and len(leaf) > 1 and f"'{leaf}'" in message:
                return marked
        for marked in document.marks:
            if marked[:1] == ("detection",) and any("|" in str(step) and _unknown(str(step)) for step in marked):
                return marked
    return path


def _unknown(key: str) -> bool:
    return any(part not in modifiers.modifier_mapping for part in key.split("|")[1:])
