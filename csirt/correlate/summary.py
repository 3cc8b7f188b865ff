"""What an incident says of itself: how severe it is and what it is called."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice

from csirt.model.severity import RANK, SEVERITIES, Severity

MANY_TACTICS = 3
MANY_MEMBERS = 3
TITLE = 120


def rank(severity: Severity) -> int:
    """0 for informational to 4 for critical."""
    return RANK[severity]


def severity(worst: Severity, members: Collection[str], tactics: Collection[str]) -> Severity:
    """The incident's severity: its worst alert's, one step up when it touched three members or shows three tactics.
    `members`, `tactics`: each once."""
    if len(tactics) >= MANY_TACTICS or len(members) >= MANY_MEMBERS:
        return SEVERITIES[min(len(SEVERITIES) - 1, rank(worst) + 1)]
    return worst


def title(
    rules: Sequence[str],
    members: Iterable[str],
    acting: Collection[str],
    actors: Collection[str],
    names: Mapping[str, str],
) -> str:
    """The leading rule, who acts and who is hit: `NET-05 SMB worm fan-out (+2): Solberg -> Vest, Nord +1`.

    Free of words of any one language, so that it reads the same in bokmål and English. `acting`: the members that act;
    `actors`: hosts and domains that act, named where no member is known. `names`: member id -> name.
    """
    others = [member for member in members if member not in acting]
    more = f" (+{len(rules) - 1})" if len(rules) > 1 else ""
    by, at = _few(acting or actors, names), _few(others, names)
    who = f"{by} -> {at}" if by and at else by or at
    text = f"{rules[0]}{more}" if rules else "?"
    text = f"{text}: {who}" if who else text
    return text if len(text) <= TITLE else text[: TITLE - 3].rstrip() + "..."


def _few(values: Collection[str], names: Mapping[str, str]) -> str:
    if len(values) == 1:
        (value,) = values
        return names.get(value, value)
    shown = ", ".join([names.get(value, value) for value in islice(values, 2)])
    return f"{shown} +{len(values) - 2}" if len(values) > 2 else shown
