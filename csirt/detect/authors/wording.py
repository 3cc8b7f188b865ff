"""Atoms in words, as rules write them."""

from __future__ import annotations

import ipaddress

from csirt.detect.atoms import Atom, Leaf, Node, Not, leaves

_SIGNS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "eq": "="}
_PLAIN = {"text": "any text", "null": "absent or null", "exists": "present"}


def atom(item: Atom) -> str:
    """What one atom wants: `contains 'x'`, `>= 500`, `in 10.0.0.0/8`."""
    argument = item.argument
    if item.kind in _PLAIN:
        return _PLAIN[item.kind]
    if item.kind in ("eq", "contains", "startswith", "endswith"):
        text = f"'{argument}'" if item.kind == "eq" else f"{item.kind} '{argument}'"
        return f"{text} (case counts)" if item.cased else text
    if item.kind == "wild":
        return f"'{_glob(argument[0])}'"
    if item.kind == "re":
        return f"matches /{argument}/"
    if item.kind == "number":
        return str(argument)
    if item.kind == "compare":
        return f"{_SIGNS[argument[0]]} {argument[1]}"
    if item.kind == "part":
        return f"{argument[0]} {_SIGNS[argument[1]]} {argument[2]}"
    if item.kind == "cidr":
        return f"in {_prefix(*argument)}"
    other, mode = argument
    return f"as {other}" if mode == "eq" else f"{mode} {other}"


def _prefix(family: int, first: int, last: int) -> str:
    bits = (32 if family == 4 else 128) - (first ^ last).bit_length()
    address = ipaddress.IPv4Address(first) if family == 4 else ipaddress.IPv6Address(first)
    return f"{address}/{bits}"


def _glob(pattern: str) -> str:
    """The wildcards that a compiled pattern was made from."""
    body = pattern.removeprefix("(?s)").removeprefix("\\A").removesuffix("\\z")
    shown, at = "", 0
    while at < len(body):
        if body[at] == "\\":
            shown, at = shown + body[at + 1 : at + 2], at + 2
        elif body.startswith(".*", at):
            shown, at = shown + "*", at + 2
        else:
            shown, at = shown + ("?" if body[at] == "." else body[at]), at + 1
    return shown


MANY = 5


def node(item: Node) -> str:
    """What a test wants: its atoms, the first few of many."""
    if isinstance(item, Leaf):
        return atom(item.atom)
    if isinstance(item, Not):
        return f"not {node(item.child)}" if isinstance(item.child, Leaf) else f"none of: {node(item.child)}"
    known = list(dict.fromkeys(map(atom, leaves(item))))
    more = f" or {len(known) - MANY} more" if len(known) > MANY else ""
    return " or ".join(known[:MANY]) + more
