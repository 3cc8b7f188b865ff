"""What the daemon sees, loses and does not see."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from csirt.clock import iso
from csirt.collect.stats import read_all
from csirt.config import Config
from csirt.control import trouble
from csirt.control.verbs import Context, verb
from csirt.metrics import STAGES

WINDOWS = "windows"  # csirt.detect.windows.windows.KEY; that module is heavy
EXPORTER = (
    "received",
    "kernel_dropped",
    "spool_dropped",
    "sequence_lost",
    "sequence_late",
    "sequence_duplicates",
    "sequence_resets",
    "malformed",
    "held",
    "expired",
    "skipped",
    "dropped",
    "decoded",
    "stored",
)


@verb("status.show", right="status")
def show(context: Context) -> dict[str, Any]:
    """`csirt.status/1`: stages, exporters, receivers, backlog, and what is wrong now (`warnings`)."""
    daemon = context.part("daemon")
    document = overview(context.store, context.config, daemon, live=context.live)
    numbers, now = trouble.counters(document), context.clock.monotonic()
    lately, pipeline = numbers, []
    if daemon:
        lately, pipeline = daemon.recent.since(now, numbers), trouble.pipeline(daemon, context.config, context.clock)
        rates = daemon.recent.rates(now, numbers)
        for stage in document["stages"]:
            stage["rate"] = rates.get(f"stage.{stage['name']}.in", 0.0)
    document["warnings"] = trouble.troubles(document, lately, context.config, context.store, context.clock) + pipeline
    document["warnings"].sort(key=trouble.order)
    return document


def overview(store: Any, config: Config, daemon: Any, *, live: bool) -> dict[str, Any]:
    """The counters of the document, without what needs earlier ones to compare."""
    counts = store.counts()
    followed = {"cluster": _cluster(store)} if hasattr(store, "cluster") else {}
    receivers = _receivers(config, daemon, live=live)
    # The store's is of the last step that changed something; the daemon's may have come further.
    mark = (daemon.pipeline.watermark.mark if daemon and daemon.pipeline else None) or store.state("watermark")
    return {
        "schema": "csirt.status/1",
        **followed,
        **({"sector": daemon.sector.status()} if daemon and daemon.sector else {}),
        "live": live,
        "store": str(getattr(store, "directory", "")),
        "watermark": iso(int(mark)) if mark else None,
        "stages": _stages(counts, daemon, receivers),
        "exporters": exporters(counts),
        "events": {name[7:]: value for name, value in sorted(counts.items()) if name.startswith("events.")},
        "redacted": _redacted(counts),
        "forgotten": _forgotten(counts),
        "receivers": receivers,
        "backlog": _backlog(counts, receivers),
        "windows": _windows(store),
    }


def _cluster(store: Any) -> dict[str, Any]:
    """How the cluster follows, and the nodes that share it."""
    found: dict[str, Any] = store.cluster()
    for item in found.get("nodes", ()):
        item["mark"] = iso(item["mark"]) if item["mark"] else None
    if "log" in found and (snapshot := found["log"]["snapshot"]):
        snapshot["time"] = iso(snapshot["time"])
    return found


def _windows(store: Any) -> dict[str, dict[str, int]]:
    """What the bounds of rules' windows cost, and what baselines still learn, as of the last commit."""
    raw = store.state(WINDOWS)
    if raw is None:
        return {"dropped": {}, "learning": {}}
    from csirt.detect.windows.state import seen

    found = seen(raw)
    return {**found, "dropped": {reason: number for reason, number in found["dropped"].items() if number}}


def _backlog(counts: dict[str, int], receivers: list[dict[str, Any]]) -> dict[str, int]:
    """By source, units that are in the spool and not yet read."""
    spooled: dict[str, int] = defaultdict(int)
    for item in receivers:
        spooled[item["source"]] += item["spooled"]
    return {source: max(0, number - counts.get(f"sources.in.{source}", 0)) for source, number in spooled.items()}


@verb("status.reload", right="operate")
def reload(context: Context) -> dict[str, Any]:
    """Read register, rules, playbooks and routes again."""
    daemon = context.part("daemon")
    notes = daemon.reload() if daemon else []
    return {"schema": "csirt.reload/1", "problems": notes}


def _receivers(config: Config, daemon: Any, *, live: bool) -> list[dict[str, Any]]:
    """Counters of every receiver that fills this spool: the daemon's own as they are now, those of other processes as
    they last wrote them."""
    own = [receiver.stats() for receiver in daemon.receivers] if daemon else []
    others = read_all(config.path("spool")) if live else []

    def name(item: dict[str, Any]) -> tuple[str, ...]:
        return item["source"], item["kind"], item.get("lane", ""), *item["listen"]

    known = {name(item) for item in own}
    return own + [item for item in others if name(item) not in known]


def _stages(counts: dict[str, int], daemon: Any, receivers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every stage with in, out and dropped, counted over restarts; correlate and later since the start."""
    live = {str(stage["name"]): stage for stage in daemon.app.metrics.stages()} if daemon else {}
    known: dict[str, dict[str, Any]] = {"collect": _collected(receivers)}
    for name in ("sources", "decode"):
        known[name] = _counted(counts, name)
    stored = sum(value for key, value in counts.items() if key.startswith("events."))
    done = {name: counts.get(f"{name}.rows", 0) for name in ("enrich", "biflow", "detect")}
    for name, rows in {**done, "stores": stored}.items():
        known[name] = {"in": rows, "out": rows, "dropped": {}}
    lag = daemon.pipeline.lag if daemon and daemon.pipeline else {}
    return [
        {
            **(known.get(name) or live.get(name) or {"in": 0, "out": 0, "dropped": {}}),
            "name": name,
            "lag_s": round(lag.get(name, 0.0), 3),
        }
        for name in STAGES
    ]


def _collected(receivers: list[dict[str, Any]]) -> dict[str, Any]:
    dropped: dict[str, int] = defaultdict(int)
    for item in receivers:
        for reason, number in item["spool_dropped"].items():
            dropped[reason] += number
    entered, left = (sum(item[key] for item in receivers) for key in ("received", "spooled"))
    return {"in": entered, "out": left, "dropped": dict(dropped)}


def _counted(counts: dict[str, int], stage: str) -> dict[str, Any]:
    """A stage's commit counters over all sources (csirt.tally)."""
    totals: dict[str, int] = {"in": 0, "out": 0}
    dropped: dict[str, int] = defaultdict(int)
    for name, value in counts.items():
        kind = name.removeprefix(f"{stage}.").partition(".")[0] if name.startswith(f"{stage}.") else ""
        if kind == "dropped":
            dropped[name.rpartition(".")[2]] += value
        elif kind:
            totals[kind] += value
    return {**totals, "dropped": dict(dropped)}


def _redacted(counts: dict[str, int]) -> dict[str, int]:
    """Values that held an identity number, by column, over all sources."""
    found: dict[str, int] = defaultdict(int)
    for name, value in counts.items():
        if name.startswith("redacted."):
            found[name.partition("|")[2]] += value
    return dict(sorted(found.items()))


def _forgotten(counts: dict[str, int]) -> dict[str, int]:
    """Exporters and templates that went to keep within bounds, by reason, over all sources."""
    found: dict[str, int] = defaultdict(int)
    for name, value in counts.items():
        if name.startswith("forgotten."):
            found[name.rpartition(".")[2]] += value
    return dict(sorted(found.items()))


def exporters(counts: dict[str, int]) -> list[dict[str, Any]]:
    """The rows of exporters, by address, version and domain."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for name, value in sorted(counts.items()):
        if not name.startswith("exporter."):
            continue
        where, _, key = name[len("exporter.") :].rpartition(".")
        address, version, domain = where.split("|")
        row = found.setdefault(
            (address, version, domain),
            {"address": address, "version": int(version), "domain": int(domain), **dict.fromkeys(EXPORTER, 0)},
        )
        row[key] = row.get(key, 0) + value
    return list(found.values())
