"""Literals of which every match of a regular expression contains one: what a scan can look for first.

The expression is parsed by Python's own parser; where that reads it differently from RE2, or not at all, nothing is
said and the expression runs on every value.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

# Fewer bytes hit too often to help; more alternatives cost more than they save.
SHORTEST = 3
MOST = 32
# So many places of a text's beginning are looked at.
PLACES = 64
# Written the same, read differently: POSIX classes, and {,n}, which is plain text to RE2.
_OTHERWISE = ("[[:", "[:", "{,", "[^[:", "\\Q", "\\C", "\\p", "\\P", "\\pN")


def literals(pattern: str) -> tuple[str, ...]:
    """Texts (case as written) of which each match holds one, compared without regard to case; empty: not known."""
    if any(mark in pattern for mark in _OTHERWISE):
        return ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = re._parser.parse(pattern)  # type: ignore[attr-defined]
        found = _sequence(tree, bool(tree.state.flags & re.IGNORECASE))
    except (re.error, RecursionError, OverflowError, Warning, ValueError):
        return ()
    return found or ()


@cache
def least(pattern: str) -> int:
    """Of how many bytes a text has to be for the expression to match in it; 0: not known."""
    if any(mark in pattern for mark in _OTHERWISE):
        return 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return int(re._parser.parse(pattern).getwidth()[0])  # type: ignore[attr-defined]
    except (re.error, RecursionError, OverflowError, Warning, ValueError):
        return 0


@cache
def beginning(pattern: str) -> tuple[frozenset[int], ...]:
    """The bytes each of the first places of a text has to be one of for the expression to match; none: not known. Only
    of expressions that are held to the text's beginning, as far as what they take is ASCII."""
    if any(mark in pattern for mark in _OTHERWISE):
        return ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = re._parser.parse(pattern)  # type: ignore[attr-defined]
    except (re.error, RecursionError, OverflowError, Warning, ValueError):
        return ()
    if not tree or str(tree[0][1]) != "AT_BEGINNING" or tree.state.flags & re.MULTILINE:
        return ()
    found: list[frozenset[int]] = []
    for operation, argument in tree[1:]:
        least, most, inner = argument if str(operation) == "MAX_REPEAT" else (1, 1, [(operation, argument)])
        taken = _bytes(inner[0], bool(tree.state.flags & re.IGNORECASE)) if len(inner) == 1 else frozenset()
        if not taken:
            break
        found += [taken] * min(least, PLACES - len(found))
        if least != most or len(found) == PLACES:
            break
    return tuple(found)


def _bytes(part: tuple[Any, Any], blind: bool) -> frozenset[int]:
    """The bytes of a character that has to be ASCII; none: it need not be."""
    found: set[int] = set()
    for operation, argument in part[1] if str(part[0]) == "IN" else [part]:
        name = str(operation)
        if name == "LITERAL":
            found.add(argument)
        elif name == "RANGE" and argument[1] < 128:
            found |= set(range(argument[0], argument[1] + 1))
        elif name == "CATEGORY" and str(argument) == "CATEGORY_DIGIT":
            found |= set(b"0123456789")
        else:
            return frozenset()
    if max(found, default=128) > 127 or (blind and found & set(b"sSkK")):
        return frozenset()
    return frozenset(found | set(bytes(found).swapcase())) if blind else frozenset(found)


def _sequence(parts: Iterable[tuple[Any, Any]], blind: bool) -> tuple[str, ...] | None:
    """The best set of literals of a sequence: the one whose shortest is longest."""
    best: tuple[str, ...] | None = None
    run: list[str] = []

    def consider(found: tuple[str, ...] | None) -> None:
        nonlocal best
        if found and len(found) <= MOST and min(map(_size, found)) >= SHORTEST and _better(found, best):
            best = found

    def close() -> None:
        if run:
            consider(("".join(run),))
            run.clear()

    for operation, argument in parts:
        letter = _letter(str(operation), argument, blind)
        if letter:
            run.append(letter)
            continue
        close()
        consider(_part(str(operation), argument, blind))
    close()
    return best


def _part(operation: str, argument: Any, blind: bool) -> tuple[str, ...] | None:
    if operation == "SUBPATTERN":
        _, add, remove, inner = argument
        return _sequence(inner, (blind or bool(add & re.IGNORECASE)) and not remove & re.IGNORECASE)
    if operation in ("MAX_REPEAT", "MIN_REPEAT") and argument[0] >= 1:
        return _sequence(argument[2], blind)
    if operation == "BRANCH":
        found: list[str] = []
        for branch in argument[1]:
            one = _sequence(branch, blind)
            if one is None:
                return None
            found += one
        return tuple(dict.fromkeys(found))
    return None


def _letter(operation: str, argument: Any, blind: bool) -> str:
    """The one character that stands there, case aside: `[Pp]` is a p. Empty: it can be another."""
    if operation == "LITERAL":
        return chr(argument) if _plain(chr(argument), blind) else ""
    if operation != "IN" or any(str(kind) != "LITERAL" for kind, _ in argument):
        return ""
    letters = {chr(code) for _, code in argument}
    folded = {letter.lower() for letter in letters}
    one = len(folded) == 1 and all(letter.isascii() and _plain(letter, blind) for letter in letters)
    return folded.pop() if one else ""


def _plain(character: str, blind: bool) -> bool:
    """Whether lower-casing finds every way to write the character. Without regard to case RE2 also takes ſ for s and
    the Kelvin sign for k, and knows more such pairs beyond ASCII."""
    return not blind or (character.isascii() and character not in "sSkK")


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _better(found: Sequence[str], best: Sequence[str] | None) -> bool:
    if best is None:
        return True
    return (min(map(_size, found)), -len(found)) > (min(map(_size, best)), -len(best))
