"""What the daemon sees, loses and does not see."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from csirt.clock import iso
from csirt.control.verbs import Context, verb

EXPORTER = (
    "received",
    "kernel_dropped",
    "spool_dropped",
    "sequence_lost",
    "malformed",
    "held",
    "expired",
    "decoded",
    "stored",
)


@verb("status.show", right="status")
def show(context: Context) -> dict[str, Any]:
    """`csirt.status/1`: stages, exporters, receivers, warnings."""
    counts = context.store.counts()
    daemon = context.part("daemon")
    receivers = [receiver.stats() for receiver in daemon.receivers] if daemon else []
    stages = _stages(counts, daemon)
    mark = context.store.state("watermark")
    document = {
        "schema": "csirt.status/1",
        "live": context.live,
        "store": str(getattr(context.store, "directory", "")),
        "watermark": iso(int(mark)) if mark else None,
        "stages": stages,
        "exporters": _exporters(counts),
        "events": {name[7:]: value for name, value in sorted(counts.items()) if name.startswith("events.")},
        "receivers": receivers,
    }
    document["warnings"] = _warnings(context, document, daemon)
    return document


@verb("status.reload", right="operate")
def reload(context: Context) -> dict[str, Any]:
    """Read register, rules, playbooks and routes again."""
    daemon = context.part("daemon")
    notes = daemon.reload() if daemon else []
    return {"schema": "csirt.reload/1", "problems": notes}


def _stages(counts: dict[str, int], daemon: Any) -> list[dict[str, Any]]:
    """Every stage with in, out and dropped; decoding is counted over restarts, the rest since the start."""
    live = {stage["name"]: stage for stage in daemon.app.metrics.stages()} if daemon else {}
    decode: dict[str, Any] = {"name": "decode", "in": 0, "out": 0, "dropped": defaultdict(int)}
    for name, value in counts.items():
        if name.startswith("decode.in."):
            decode["in"] += value
        elif name.startswith("decode.out."):
            decode["out"] += value
        elif name.startswith("decode.dropped."):
            decode["dropped"][name.rpartition(".")[2]] += value
    decode["dropped"] = dict(decode["dropped"])
    events = sum(value for name, value in counts.items() if name.startswith("events."))
    defaults = {
        "decode": decode,
        "stores": {"name": "stores", "in": events, "out": events, "dropped": {}},
    }
    from csirt.metrics import STAGES

    empty: dict[str, Any] = {"in": 0, "out": 0, "dropped": {}}
    lag = daemon.pipeline.lag if daemon and daemon.pipeline else {}
    return [
        {**(defaults.get(name) or live.get(name) or {"name": name, **empty}), "lag_s": round(lag.get(name, 0.0), 3)}
        for name in STAGES
    ]


def _exporters(counts: dict[str, int]) -> list[dict[str, Any]]:
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


def _warnings(context: Context, document: dict[str, Any], daemon: Any) -> list[str]:
    warnings: list[str] = []
    for stage in document["stages"]:
        for reason, number in sorted(stage["dropped"].items()):
            if reason not in ("ignored",):
                warnings.append(f"{stage['name']}: {number} dropped: {reason}")
    for exporter in document["exporters"]:
        name = f"exporter {exporter['address']} domain {exporter['domain']}"
        for key, sentence in (
            ("sequence_lost", "lost on the way, by its sequence numbers"),
            ("malformed", "malformed"),
            ("expired", "never got their template"),
        ):
            if exporter[key]:
                warnings.append(f"{name}: {exporter[key]} {sentence}")
    for receiver in document["receivers"]:
        for key in ("kernel_dropped", "spool_dropped"):
            value = receiver.get(key)
            total = sum(value.values()) if isinstance(value, dict) else int(value or 0)
            if total:
                warnings.append(f"receiver {receiver.get('source', '')}: {total} {key.replace('_', ' ')}")
    if daemon:
        good, sentence = daemon.healthy()
        if not good:
            warnings.append(sentence)
    return warnings
