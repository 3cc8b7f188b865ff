"""The outbox: text files a person takes to a device. Written whole or not at all, readable by the daemon's user."""

from __future__ import annotations

import os
from pathlib import Path

from csirt.clock import iso
from csirt.model.disk import sync_folder
from csirt.model.records import Action, Run


def write(folder: Path, name: str, text: str) -> Path:
    """Write one file atomically with mode 0600, synced with its folder. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    temporary = folder / f".{name}.new"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(handle, 0o600)
        data = text.encode("utf-8")
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)
    sync_folder(folder)
    return path


def block(run: Run, case: str, actions: list[Action]) -> str:
    """The access list of an approved run: where it belongs, until when, and how it is taken back."""
    lines = _head(run, case, "apply at the edge; nothing has been applied for you")
    for action in actions:
        lines += _place(action)
        lines.append(f"! expires {iso(action.expires)}; take it back then with:")
        lines += [f"!   {line}" for line in action.parameters["rollback"]]
        lines.append(f"remark csirt {run.number} expires {iso(action.expires)}")
        lines += action.parameters["lines"]
    return "\n".join(lines) + "\n"


def rollback(run: Run, case: str, actions: list[Action], why: str) -> str:
    """The lines that take it back."""
    lines = _head(run, case, why)
    for action in actions:
        lines += _place(action)
        lines.append(f"no remark csirt {run.number} expires {iso(action.expires)}")
        lines += action.parameters["rollback"]
    return "\n".join(lines) + "\n"


def _head(run: Run, case: str, what: str) -> list[str]:
    return [f"! csirt {run.number} case {case} playbook {run.playbook}", f"! plan {run.plan_hash}", f"! {what}"]


def _place(action: Action) -> list[str]:
    known = [
        f"{key} {action.parameters[key]}"
        for key in ("exporter", "interface", "member", "site")
        if action.parameters.get(key)
    ]
    return [f"! {', '.join(known)}"] if known else ["! exporter and interface unknown: find the member's edge"]
