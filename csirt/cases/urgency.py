"""Which case first: points with their reasons, so that the order can be read and argued with.

| reason | points |
|---|---|
| severity | critical 80, high 40, medium 20, low 10, informational 0 |
| clinical | 25: care depends on what is hit |
| members | 3 for each member beyond the first, at most 15 |
| unacknowledged | 10: nobody has looked yet; among equals the one waiting longest comes first |
| new_evidence | 15: alerts joined after the last acknowledgement |
| acknowledged | -15: somebody is on it and nothing is new |

No clock is read: the order of the same cases is the same tomorrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEVERITY = {"critical": 80, "high": 40, "medium": 20, "low": 10, "informational": 0}


def urgency(case: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The reasons of a case document: `[{reason, points, value}]`, largest first; their sum is the urgency."""
    members = len(case["members"])
    reasons = [{"reason": "severity", "points": SEVERITY[case["severity"]], "value": case["severity"]}]
    if case["clinical"]:
        reasons.append({"reason": "clinical", "points": 25, "value": True})
    if members > 1:
        reasons.append({"reason": "members", "points": min(3 * (members - 1), 15), "value": members})
    if case["state"] == "open":
        reasons.append({"reason": "unacknowledged", "points": 10, "value": True})
    elif case["state"] == "acknowledged" and case.get("news"):
        reasons.append({"reason": "new_evidence", "points": 15, "value": case["news"]})
    elif case["state"] == "acknowledged":
        reasons.append({"reason": "acknowledged", "points": -15, "value": case["acked_by"]})
    return sorted(reasons, key=lambda item: -item["points"])


def order(case: Mapping[str, Any]) -> tuple[int, int, str]:
    """Sort key: most urgent first, then the one that waits longest, then the id."""
    points = sum(item["points"] for item in urgency(case))
    return -points, case.get("created") or case["first"], case["id"]
