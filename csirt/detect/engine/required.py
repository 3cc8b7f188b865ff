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
# Of 65,536; more pairs of bytes than these stand in most texts.
MOST_PAIRS = 1024
# As RE2 has them.
_CATEGORIES = {
    "CATEGORY_DIGIT": set(b"0123456789"),
    "CATEGORY_SPACE": set(b"\t\n\f\r "),
}
# Written the same, read differently: POSIX classes, and {,n}, which is plain text to RE2.
_OTHERWISE = ("[[:", "[:", "{,", "[^[:", "\\Q", "\\C", "\\p", "\\P", "\\pN")


def literals(pattern: str) -> tuple[str, ...]:
    """Texts (case as written) of which each match holds one, compared without regard to case; empty: not known."""
    tree = _tree(pattern)
    try:
        return (_sequence(tree, bool(tree.state.flags & re.IGNORECASE)) if tree is not None else None) or ()
    except RecursionError:
        return ()


@cache
def least(pattern: str) -> int:
    """Of how many bytes a text has to be for the expression to match in it; 0: not known."""
    tree = _tree(pattern)
    try:
        return int(tree.getwidth()[0]) if tree is not None else 0
    except (OverflowError, RecursionError):
        return 0


@cache
def beginning(pattern: str) -> tuple[frozenset[int], ...]:
    """The bytes each of the first places of a text has to be one of for the expression to match; none: not known. Only
    of expressions that are held to the text's beginning, as far as what they take is ASCII."""
    tree = _tree(pattern)
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


@cache
def neighbours(pattern: str) -> tuple[frozenset[int], frozenset[int]] | None:
    """The bytes of two neighbours that every match holds, those that fewest pairs can be; None: not known."""
    tree = _tree(pattern)
    best, before = None, frozenset[int]()
    for operation, argument in tree or ():
        repeated = str(operation) in ("MAX_REPEAT", "MIN_REPEAT")
        least, inner = (argument[0], argument[2]) if repeated else (1, [(operation, argument)])
        taken = _bytes(inner[0], bool(tree.state.flags & re.IGNORECASE)) if least and len(inner) == 1 else frozenset()
        pairs = [(before, taken), *([(taken, taken)] if least > 1 else [])]
        best = min((pair for pair in [best, *pairs] if pair and all(pair)), key=_count, default=None)
        before = taken
    return best if best is not None and _count(best) <= MOST_PAIRS else None


def _count(pair: tuple[frozenset[int], frozenset[int]]) -> int:
    return len(pair[0]) * len(pair[1])


def _tree(pattern: str) -> Any:
    """The expression as Python's parser reads it, or None where that may be another one than RE2 reads."""
    if any(mark in pattern for mark in _OTHERWISE):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re._parser.parse(pattern)  # type: ignore[attr-defined]
    except (re.error, RecursionError, OverflowError, Warning, ValueError):
        return None


def _bytes(part: tuple[Any, Any], blind: bool) -> frozenset[int]:
    """The bytes of a character that has to be ASCII; none: it need not be."""
    found: set[int] = set()
    for operation, argument in part[1] if str(part[0]) == "IN" else [part]:
        name = str(operation)
        if name == "LITERAL":
            found.add(argument)
        elif name == "RANGE" and argument[1] < 128:
            found |= set(range(argument[0], argument[1] + 1))
        elif name == "CATEGORY" and str(argument) in _CATEGORIES:
            found |= _CATEGORIES[str(argument)]
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
