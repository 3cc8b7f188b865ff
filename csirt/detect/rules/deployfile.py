"""The `deploy.yml` that csirt writes itself: one entry per rule that somebody deployed by `csirt rules deploy`."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from csirt.clock import iso
from csirt.content import BadContent, read_yaml
from csirt.detect.rules.deploy import Deployed
from csirt.errors import CsirtError, Usage

HEAD = "# How rules are deployed; csirt rules deploy writes it. It wins over the deploy.yml of rules folders.\n"
_WRITING = threading.Lock()


def write(path: Path, rule: str, title: str, deployed: Deployed) -> None:
    """Set the entry of a rule; all else in the file stays. Written whole or not at all. Raises CsirtError."""
    import yaml

    with _WRITING:
        document = _read(path)
        entry: dict[str, Any] = {"title": title, "state": deployed.state, "by": deployed.by, "reason": deployed.reason}
        if deployed.since is not None:
            entry["since"] = iso(deployed.since)
        if deployed.scope != "node":
            entry["scope"] = deployed.scope
        document["rules"] = {**(document.get("rules") or {}), rule: entry}
        text = HEAD + yaml.safe_dump(document, allow_unicode=True, sort_keys=True, default_flow_style=False)
        fresh = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            fresh.replace(path)
        except OSError as error:
            raise CsirtError(f"{path}: cannot be written ({error.strerror})") from error


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = read_yaml(path)[0].value
    except (BadContent, IndexError) as error:
        raise Usage(f"{error}; mend it first: what is in it would be lost") from error
    if not isinstance(value, dict) or not isinstance(value.get("rules") or {}, dict):
        raise Usage(f"{path}: not what csirt writes; mend it first: what is in it would be lost")
    return value
