"""What an incident says of itself: how severe it is and what it is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from csirt.model.records import Incident
from csirt.model.severity import SEVERITIES, Severity

MANY_TACTICS = 3
MANY_MEMBERS = 3
TITLE = 120


def rank(severity: Severity) -> int:
    """0 for informational to 4 for critical."""
    return SEVERITIES.index(severity)


def raised(incident: Incident) -> bool:
    """Whether the incident is one step more severe than its worst alert: three tactics, or three members touched."""
    return len(set(incident.tactics)) >= MANY_TACTICS or len(set(incident.members)) >= MANY_MEMBERS


def severity(worst: Severity, incident: Incident) -> Severity:
    """The incident's severity: its worst alert's, one step up when `raised`."""
    return SEVERITIES[min(len(SEVERITIES) - 1, rank(worst) + 1)] if raised(incident) else worst


def title(incident: Incident, acting: Iterable[str], actors: Iterable[str], names: Mapping[str, str]) -> str:
    """The leading rule, who acts and who is hit: `NET-05 SMB worm fan-out (+2): Solberg -> Vest, Nord +1`.

    Free of words of any one language, so that it reads the same in bokmål and English. `acting`: the members that act;
    `actors`: hosts and domains that act, named where no member is known. `names`: member id -> name.
    """
    who_acts = list(acting)
    others = [member for member in incident.members if member not in who_acts]
    who_acts = who_acts or list(actors)
    more = f" (+{len(incident.rules) - 1})" if len(incident.rules) > 1 else ""
    who = " -> ".join(part for part in (_few(who_acts, names), _few(others, names)) if part)
    text = f"{incident.rules[0]}{more}" if incident.rules else "?"
    text = f"{text}: {who}" if who else text
    return text if len(text) <= TITLE else text[: TITLE - 3].rstrip() + "..."


def _few(values: list[str], names: Mapping[str, str]) -> str:
    shown = ", ".join(names.get(value, value) for value in values[:2])
    return f"{shown} +{len(values) - 2}" if len(values) > 2 else shown
