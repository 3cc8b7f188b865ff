"""Which cases this user looked at, and in which version: what `@last` means, and how a stale write is noticed.

A small file of the user's own; where none can be written, only `@last` and the guard against stale writes are missed.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from csirt.cli.common import Settings

KEPT = 30


def remember(settings: Settings, case: dict[str, Any]) -> None:
    """Keep that this case was seen in this version."""
    entry = {"id": case["id"], "number": case["number"], "version": case["version"]}
    everything = _read()
    mine = [item for item in everything.get(_where(settings), []) if item["id"] != entry["id"]]
    everything[_where(settings)] = [entry, *mine][:KEPT]
    path = _file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(everything, out)
        temporary.replace(path)


def last(settings: Settings) -> str:
    """The id of the case looked at last. Raises NotFound."""
    from csirt.errors import NotFound

    seen = _read().get(_where(settings), [])
    if not seen:
        raise NotFound("there is no @last yet; `csirt cases next` or `csirt cases show CASE` makes one")
    return str(seen[0]["id"])


def named(settings: Settings, name: str) -> str:
    """A case as the daemon understands it: `@last` is known here, `-` is read from stdin."""
    if name == "@last":
        return last(settings)
    if name != "-":
        return name
    import sys

    from csirt.errors import Usage

    words = sys.stdin.readline().split()
    if not words:
        raise Usage("no case on stdin")
    return words[0]


def version(settings: Settings, name: str) -> int | None:
    """The version in which a case, named in full, was last seen here."""
    for item in _read().get(_where(settings), []):
        if name.casefold() in (item["id"], item["number"].casefold()):
            return int(item["version"])
    return None


def _where(settings: Settings) -> str:
    """Two daemons or stores have different cases of the same number."""
    if settings.store:
        return str(Path(settings.store).absolute())
    from csirt.cli.common import DEFAULT_SOCKET

    return settings.socket_path or str(settings.raw_config().get("control", {}).get("socket", DEFAULT_SOCKET))


def _file() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path(os.environ.get("HOME", "/nonexistent")) / ".local" / "state")
    return Path(base) / "csirt" / "cases.json"


def _read() -> dict[str, list[dict[str, Any]]]:
    try:
        found = json.loads(_file().read_text("utf-8"))
        return {str(key): [dict(item) for item in items] for key, items in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
