"""Runs hostile input through the whole way, in this process, and says whether everything adds up."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csirt import replay
from csirt.app import App
from csirt.config import Config
from csirt.configfile import load
from csirt.control.verbs import Context, call
from csirt.model import ndjson
from csirt.model.principal import SYSTEM


@dataclass
class Outcome:
    """What came of a replay: its document, `status.show`, every event as a nested document, alerts by rule."""

    document: dict[str, Any]
    status: dict[str, Any]
    events: list[dict[str, Any]]
    rules: list[str] = field(default_factory=list)

    def stage(self, name: str) -> dict[str, Any]:
        """A stage's counters."""
        found: dict[str, Any] = next(item for item in self.status["stages"] if item["name"] == name)
        return found

    def dropped(self, name: str) -> dict[str, int]:
        """A stage's losses by reason."""
        found: dict[str, int] = self.stage(name)["dropped"]
        return found

    def contents(self) -> list[str]:
        """The events without what depends on where in which file they were, in a fixed order."""
        return sorted(json.dumps(_plain(event), sort_keys=True) for event in self.events)


def _plain(event: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in event.items() if key not in ("log", "related")}
    kept["event"] = {key: value for key, value in event["event"].items() if key not in ("id", "ingested")}
    return kept


def configured(folder: Path, text: str = "") -> Config:
    """A configuration with its state below `folder`."""
    path = folder / "hostile.toml"
    path.write_text(f'state = "{folder / "state"}"\n{text}')
    return load(path)


def run(config: Config, store: Path, *files: Path, parser: str = "") -> Outcome:
    """Replay the files into a store; every stage must add up."""
    app = App(config, store_directory=store)
    try:
        document = replay.run(app, list(files), kind="auto", parser=parser, configured=True)
        context = Context(app.store, config, SYSTEM, app.clock, app.part)
        status = call(context, "status.show", {})
        events = [json.loads(line) for batch in app.store.events() for line in ndjson.render(batch)]
        rules = sorted(str(alert["rule_id"]) for alert in app.store.find("alert"))
    finally:
        app.close()
    balanced(status)
    return Outcome(document, status, events, rules)


def balanced(status: dict[str, Any]) -> None:
    """in = out + dropped at every stage; per exporter received = decoded + held + expired + dropped."""
    held = sum(item["held"] for item in status["exporters"])
    for stage in status["stages"]:
        waiting = held if stage["name"] == "decode" else 0
        assert stage["in"] == stage["out"] + sum(stage["dropped"].values()) + waiting, stage
    for item in status["exporters"]:
        assert item["received"] == sum(item[key] for key in ("decoded", "held", "expired", "dropped")), item
        assert item["stored"] == item["decoded"], item
