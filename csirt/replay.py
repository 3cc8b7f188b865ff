"""Files through the whole pipeline, once, in the order given, with the same result wherever they lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from csirt.app import App
from csirt.config import Source as SourceConfig
from csirt.decode.build import decoder_for
from csirt.errors import Conflict, NotFound, Usage
from csirt.feed import Feed
from csirt.model.chunk import Position
from csirt.sources.base import Input, Source
from csirt.sources.files import open_file
from csirt.sources.watch import sha256


class Files:
    """Several files of one kind as one source: their decoder sees them in the order given."""

    def __init__(self, id: str, kind: str) -> None:
        self.id = id
        self.kind = kind
        self.files: list[Source] = []

    def inputs(self) -> list[Input]:
        """Every file's inputs, in order."""
        return [item for file in self.files for item in file.inputs()]

    def exhausted(self) -> bool:
        """Files do not grow while they are replayed."""
        return True


def run(
    app: App, files: list[Path], *, kind: str, parser: str, configured: bool, spent: dict[str, float] | None = None
) -> dict[str, Any]:
    """Replay and report as `csirt.replay/1`; `spent` receives the CPU seconds of every stage. Raises NotFound for a
    file that is not there, and Usage for files that cannot be told apart, before any is read."""
    for path in files:
        if not path.is_file():
            raise NotFound(f"{path}: no such file")
    if not configured:
        app.config.state = str(_state_folder(app.store_directory))
    store = app.store
    groups: dict[str, Files] = {}
    configs: dict[str, SourceConfig] = {}
    opened: list[tuple[Path, Source]] = []
    for path in files:
        probe = open_file(path, kind=kind, parser=parser, config=app.config)
        opened.append((path, probe))
        group = groups.setdefault(probe.id, Files(probe.id, probe.kind))
        group.files.append(probe)
        configs.setdefault(probe.id, _source_config(probe, path))
    _tell_apart(opened)
    before = {path: _done(store, source) for path, source in opened}
    now = app.clock.now()
    feeds = [Feed(group, decoder_for(configs[name], app.config, now=now)) for name, group in groups.items()]
    pipeline = app.pipeline(feeds, deliver=False)
    pipeline.drain()
    if spent is not None:
        spent.update(pipeline.spent)
    report = []
    for path, source in opened:
        events = sum(_events(store, item) for item in source.inputs())
        report.append({"sha256": sha256(path), "already": before[path], "events": events})
    return {
        "schema": "csirt.replay/1",
        "files": report,
        "events": sum(file["events"] for file in _distinct(report)),
        "alerts": store.count("alert"),
        "incidents": store.count("incident", {"merged_into": ""}),
    }


def _tell_apart(opened: list[tuple[Path, Source]]) -> None:
    """Raise Usage when two files have one identity (a segment's UUID, a log's first line) and neither is the other's
    beginning: the second would be taken for the first, and what only it holds would be lost."""
    known: dict[tuple[str, str], Path] = {}
    for path, source in opened:
        for item in source.inputs():
            other = known.setdefault((item.source, item.fingerprint), path)
            if not _begins_alike(path, other):
                raise Usage(
                    f"{path} and {other} have the same identity and different contents: parts of one spool segment "
                    "(give the whole segment, or write each with `editcap -F pcap`), or logs with the same first line "
                    "(replay them one by one into stores of their own)"
                )


def _begins_alike(one: Path, other: Path) -> bool:
    """Whether the shorter file is the beginning of the longer."""
    left = min(one.stat().st_size, other.stat().st_size) if one != other else 0
    with one.open("rb") as first, other.open("rb") as second:
        while left > 0:
            size = min(left, 1 << 20)
            if first.read(size) != second.read(size):
                return False
            left -= size
    return True


def _distinct(report: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same content given twice counts once."""
    return list({file["sha256"]: file for file in report}.values())


def _source_config(source: Source, path: Path) -> SourceConfig:
    types = {"netflow": "netflow", "capture": "capture", "log": "log", "syslog": "syslog"}
    return SourceConfig.parse(
        {"id": source.id, "type": types[source.kind], "path": str(path), "parser": getattr(source, "parser", "")}
    )


def _done(store: Any, source: Source) -> bool:
    inputs = source.inputs()
    for item in inputs:
        known = store.find_input(item.fingerprint)
        if known is not None and known.source != item.source:
            if not known.done:
                raise Conflict(
                    f"this content is being read by the source {known.source}; let `csirt run` finish it, "
                    "or replay into another store"
                )
            return True
    return bool(inputs) and all(item.finished(item.resolve(_lookup(store, item))) for item in inputs)


def _lookup(store: Any, item: Input) -> Callable[[str], Position | None]:
    return lambda content: store.position(item.source, content)


def _events(store: Any, item: Input) -> int:
    position = item.resolve(_lookup(store, item)) or store.find_input(item.fingerprint)
    return int(position.extra.get("events", 0)) if position else 0


def _state_folder(store: Path) -> Path:
    """Where the pseudonym key is when no configuration says so: the user's state folder, so that the same person's
    replays into different stores agree; beside the store when there is no home."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    home = Path(base) / "csirt"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return store
    return home if os.access(home, os.W_OK) else store
