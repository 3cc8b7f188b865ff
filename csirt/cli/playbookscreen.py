"""How plans and runs look to people: every action with its precondition, what it stops, its undo and its end."""

from __future__ import annotations

from typing import Any

from csirt.cli.casescreen import fold
from csirt.cli.common import Settings, say, write
from csirt.cli.times import Times
from csirt.messages import text
from csirt.safety import terminal


def write_run(settings: Settings, run: dict[str, Any]) -> None:
    """A run within 80 columns; access-list lines are never folded, they are for copying."""
    lang, times = settings.language(), Times(settings)

    def put(key: str, indent: str = "  ", **fields: Any) -> None:
        line = text(f"playbooks.{key}", lang, **{name: terminal(value) for name, value in fields.items()}).rstrip()
        for folded in fold(line, indent, indent + "  "):
            write(folded)

    put(
        "head",
        "",
        number=run["number"] or "-",
        playbook=run["playbook"],
        title=run["playbook_name"],
        case=run["case_number"],
    )
    state = text(f"playbooks.state_{run['state']}", lang)
    put("state", state=state, requested_by=run["requested_by"], hash=run["plan_hash"][:12])
    if run["approvals"]:
        put("approved_by", names=", ".join(run["approvals"]))
    for number, action in enumerate(run["actions"], 1):
        kind = text(f"playbooks.kind_{action['kind']}", lang)
        write(f"{number}. [{kind}] {terminal(action['name'])}")
        parameters = action["parameters"]
        said = parameters.get("text", {})
        for folded in fold(terminal(said.get(lang, "")), "     ", "     ") if said else ():
            write(folded)
        if action["kind"] != "acl":
            continue
        for line in parameters["lines"]:
            write(f"       {terminal(line)}")
        known = [
            f"{key} {parameters[key]}" for key in ("exporter", "interface", "member", "site") if parameters.get(key)
        ]
        if known:
            put("place", "     ", place=", ".join(known))
        for key in ("precondition", "effect", "undo"):
            if action[key]:
                put(key, "     ", text=action[key])
        if action["expires"]:
            put("expires", "     ", time=times.both(action["expires"]))
        elif parameters.get("expiry_us"):
            put("until", "     ", span=times.span(parameters["expiry_us"]))
        if action["refused"]:
            put("refused", "     ", reason=action["refused"])
    for receipt in run.get("receipts", []):
        outcome = receipt["outcome"] or text("playbooks.unknown", lang)
        put(
            "receipt", effect=receipt["effect"], outcome=outcome, detail=receipt["detail"], artifact=receipt["artifact"]
        )
    if run["state"] == "awaiting_approval":
        name = run["number"] or run["id"][:12]
        if run["requested_by"] == "system":
            put("next_any", number=name)
        else:
            put("next", number=name, requested_by=run["requested_by"])
    put("not_applied")


def say_done(settings: Settings, run: dict[str, Any], what: str) -> None:
    """What changed, and how to undo it."""
    lang = settings.language()
    if run["dry_run"]:
        write_run(settings, run)
        say(text("playbooks.would", lang, number=run["number"] or run["id"][:12]))
        return
    effect = {"approve": "acl", "undo": "rollback"}.get(what, "")
    files = sorted({one["artifact"] for one in run["receipts"] if one["effect"] == effect and one["artifact"]})
    fields = {
        "number": run["number"],
        "playbook": run["playbook"],
        "case": run["case_number"],
        "requested_by": run["requested_by"],
        "state": text(f"playbooks.state_{run['state']}", lang),
        "names": ", ".join(run["approvals"]),
        "artifact": ", ".join(files) or "-",
    }
    say(text(f"playbooks.did_{what}", lang, **fields))
    if what in ("approve", "undo"):
        say(text("playbooks.not_applied", lang))
