"""Which lanes a source is read in."""

from __future__ import annotations

from pathlib import Path

from csirt import config as settings
from csirt.model import spool as form


def lanes_of(source: settings.Source, config: settings.Config) -> list[str]:
    """The lanes of a source, by the names of their folders: those its listeners fill, and those that an earlier or
    another receiver filled. The first is the source's own; sources without a spool have no other."""
    if source.type not in ("netflow", "syslog"):
        return [source.id]
    folder = Path(source.path or config.path("spool") / source.id)
    mine = [item for item in config.collect.listeners if item.source == source.id]
    names = {lane for item in mine for lane in item.lanes()} | form.lanes_in(folder)
    return [source.id, *(form.lane_name(source.id, lane) for lane in sorted(names - {""}, key=_order))]


def _order(lane: str) -> tuple[bool, int, str]:
    return (not lane.isdigit(), int(lane) if lane.isdigit() else 0, lane)
