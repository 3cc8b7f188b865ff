"""What an alert is about in words for members: a key of the message catalogue, by playbook."""

from __future__ import annotations

from csirt.model.records import Alert

KINDS = (
    "worm",
    "lateral",
    "scan",
    "supplier",
    "policy",
    "c2",
    "relay",
    "leak",
    "exposed",
    "flood",
    "route",
    "sector",
    "video",
    "edi_fix",
    "edi_int",
    "edi_out",
    "sight",
    "other",
)

_PLAYBOOKS = {
    "PB-WORM": "worm",
    "PB-LATERAL": "lateral",
    "PB-SCAN": "scan",
    "PB-SUPPLIER": "supplier",
    "PB-POLICY": "policy",
    "PB-ROUTE": "route",
    "PB-SELF": "sight",
    "PB-EXPOSE": "exposed",
    "PB-DDOS": "flood",
    "PB-SECTOR": "sector",
    "PB-VIDEO": "video",
    "PB-C2": "c2",
    "PB-RELAY": "relay",
    "PB-EXFIL": "leak",
    "PB-EDI-FIX": "edi_fix",
    "PB-EDI-INT": "edi_int",
    "PB-EDI-OUT": "edi_out",
}

# Members without IT staff get one page in plain words.
PLAIN = frozenset({"gp", "dental", "pharmacy", "transport", "other"})


def kind_of(alert: Alert) -> str:
    """The kind of an alert; mail that got out is a leak, whatever its playbook."""
    kind = _PLAYBOOKS.get(alert.playbook, "other")
    if kind == "relay" and "exfiltration" in {tactic.lower() for tactic in alert.tactics}:
        return "leak"
    return kind


def advice_for(kind: str, acting: bool) -> str:
    """Which steps fit: `message` for clinical messages, `machine` when an own machine acts, `visited` otherwise."""
    if kind.startswith("edi_"):
        return "message"
    return "machine" if acting else "visited"
