"""What is wrong now, worst first: stopped, deaf, behind, dropping (`csirt status`, `status --check`); then what is due:
work for people, no failure.

Each is `{kind, what, subject, count, recent, reason, seconds}`; the sentence is the reader's language's
(`status.<what>`). `recent` is how much was lost in the last quarter of an hour; without a daemon, which alone knows
that, every loss there ever was counts.
"""

from __future__ import annotations

import json
from typing import Any

from csirt.clock import HOUR, MINUTE, SECOND, Clock
from csirt.config import Config, duration
from csirt.sources.lanes import lanes_of

KINDS = ("stopped", "deaf", "behind", "dropping", "due")
HARMLESS = {"ignored"}  # lines a parser knows and does not want
SILENT = 6 * HOUR  # since a source's last event
STALE = 30 * SECOND  # since a receiver of another process last wrote its counters
HELD_BACK = 10 * MINUTE  # by which a source's event time may lag behind the present, beside the lateness
UNTOLD = HOUR  # how long a notification that could not be delivered is a trouble of now
BEHIND = MINUTE  # from receipt to commit
BOUNDS = ("groups", "hits")  # what rules' windows lose for lack of room
SECTOR = ("late", "lost")  # what rules of the sector did not see in time
LOSSES = {"sequence_lost": "exporter_sequence", "malformed": "exporter_malformed", "expired": "exporter_expired"}


def counters(document: dict[str, Any]) -> dict[str, int]:
    """Every counter of a status document under one name, for `csirt.recent`."""
    found: dict[str, int] = {}
    for stage in document["stages"]:
        found[f"stage.{stage['name']}.in"] = stage["in"]
        for reason, number in stage["dropped"].items():
            found[f"stage.{stage['name']}.dropped.{reason}"] = number
    for item in document["exporters"]:
        name = exporter_name(item)
        found.update({f"{name}.{key}": item[key] for key in (*LOSSES, "received")})
    for item in document["receivers"]:
        name = _receiver(item)
        found[f"{name}.received"] = item["received"]
        found[f"{name}.kernel_dropped"] = item["kernel_dropped"]
        for reason, number in item["spool_dropped"].items():
            found[f"{name}.spool_dropped.{reason}"] = number
    found |= {f"sector.{name}": document["sector"][name] for name in SECTOR if "sector" in document}
    found |= {f"windows.dropped.{reason}": number for reason, number in document["windows"]["dropped"].items()}
    return found


def exporter_name(item: dict[str, Any]) -> str:
    """Under which its counters are kept."""
    return f"exporter.{item['address']}.{item['version']}.{item['domain']}"


def troubles(
    document: dict[str, Any], lately: dict[str, int], config: Config, store: Any, clock: Clock
) -> list[dict[str, Any]]:
    """Everything that the counters and the store say is wrong, worst first."""
    found = []
    if document["live"]:
        found += _receivers(document, clock) + _deaf(document, config, store, clock)
    found += _behind(document) + _dropping(document, lately)
    found += of_cluster(document.get("cluster")) + _sector(document.get("sector"), lately)
    failed = int(store.count("notification", {"state": "failed", "updated__gte": clock.now() - UNTOLD}))
    if failed:
        found.append(_trouble("dropping", "notifications", "notify", count=failed, recent=failed))
    return sorted(found, key=order)


def order(item: dict[str, Any]) -> tuple[int, str, str, str]:
    """Worst first."""
    return KINDS.index(item["kind"]), item["what"], item["subject"], item["reason"]


def pipeline(daemon: Any, config: Config, clock: Clock) -> list[dict[str, Any]]:
    """What the running pipeline knows: it hangs, its turns fail, or one source holds event time back for all."""
    found = []
    stalled = daemon.stalled()
    if stalled is not None:
        found.append(_trouble("stopped", "no_turn", "pipeline", seconds=stalled))
    if daemon.waiting:
        found.append(_trouble("stopped", "waiting", "pipeline", reason=daemon.waiting))
    found += [
        _trouble("deaf", "left_out", name, count=len(problems), reason=str(problems[0]))
        for name, problems in daemon.app.left_out().items()
    ]
    found += [
        _trouble("deaf", "rule_off", rule, reason=f"{meta.file}:{meta.line}")
        for rule, meta in sorted(daemon.app.switched_off().items())
    ]
    deployment = daemon.app.part("ruleset").deployment
    found += [
        _trouble(
            "due",
            "exemption",
            item.rule,
            reason=f"{item.file}:{item.line}",
            seconds=(clock.now() - item.until) / SECOND,
        )
        for item in deployment.expired(clock.now())
    ]
    slowest = daemon.pipeline.watermark.slowest(clock.monotonic()) if daemon.pipeline else None
    if slowest is not None:
        offsets = [abs(duration(exporter.clock_offset)) for exporter in config.decode.exporters]
        age = clock.now() - slowest[1]
        if age > duration(config.detect.lateness) + HELD_BACK + max(offsets, default=0):
            found.append(_trouble("behind", "held_back", slowest[0], seconds=age / SECOND))
    return found


def _receiver(item: dict[str, Any]) -> str:
    """The name of a receiver's counters; the lanes of a source listen alike."""
    return f"receiver.{item['source']}.{item.get('lane', '')}.{','.join(item['listen'])}"


def _trouble(
    kind: str, what: str, subject: str, *, count: int = 0, recent: int = 0, reason: str = "", seconds: float = 0.0
) -> dict[str, Any]:
    fields = {"kind": kind, "what": what, "subject": subject, "count": count, "recent": recent}
    return {**fields, "reason": reason, "seconds": round(seconds)}


def _receivers(document: dict[str, Any], clock: Clock) -> list[dict[str, Any]]:
    found = []
    for item in document["receivers"]:
        age = clock.now() - int(item["updated"] or item["started"])
        if item["failed"]:
            found.append(_trouble("stopped", "receiver_failed", item["source"], reason=item["failed"]))
        elif age > STALE:
            found.append(_trouble("stopped", "receiver_stale", item["source"], seconds=age / SECOND))
    return found


def _deaf(document: dict[str, Any], config: Config, store: Any, clock: Clock) -> list[dict[str, Any]]:
    """Sources and exporters that are configured and from which nothing has come, ever or for long."""
    found = []
    heard = {item["address"] for item in document["exporters"]}
    for exporter in config.decode.exporters:
        if exporter.address not in heard:
            subject = f"{exporter.address} {exporter.name}".strip()
            found.append(_trouble("deaf", "exporter_never", subject))
    for source in config.sources:
        # An exporter is in one lane only, and others may be empty.
        states = [store.state(f"time:{lane}") for lane in lanes_of(source, config)]
        heard_until = max((int(json.loads(state)["greatest"]) for state in states if state), default=None)
        if heard_until is None:
            found.append(_trouble("deaf", "source_never", source.id))
            continue
        age = clock.now() - heard_until
        if age > SILENT:
            found.append(_trouble("deaf", "source_silent", source.id, seconds=age / SECOND))
    return found


def _behind(document: dict[str, Any]) -> list[dict[str, Any]]:
    lag = max((stage["lag_s"] for stage in document["stages"]), default=0.0)
    if lag * SECOND < BEHIND:
        return []
    return [
        _trouble("behind", "backlog", source, count=waiting, seconds=lag)
        for source, waiting in sorted(document["backlog"].items())
        if waiting > 0
    ]


def of_cluster(cluster: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The cluster that follows the store does not get what waits, or has refused some of it."""
    if cluster is None:
        return []
    found = []
    if cluster["trouble"]:
        waiting, reason = cluster["waiting"], cluster["trouble"]
        found.append(_trouble("behind", "cluster", "elasticsearch", count=waiting, reason=reason))
    if "nodes" in cluster and not cluster["leader"] and not cluster["trouble"]:
        found.append(_trouble("stopped", "no_leader", "elasticsearch"))
    found += [
        _trouble("deaf", "node_absent", item["node"], seconds=item["heard_s"] or 0.0)
        for item in cluster.get("nodes", ())
        if item["absent"]
    ]
    found += [_trouble("deaf", "node_rules", item["node"], reason=item["rules"]) for item in _unlike(cluster)]
    if log := cluster.get("log"):
        found += [_trouble("due", "log_held", name, count=log["entries"]) for name in log["held_by"]]
        if log["trouble"] and not cluster["trouble"]:
            reason, seconds = log["trouble"], log["uncut_s"]
            found.append(_trouble("behind", "log_uncut", "elasticsearch", reason=reason, seconds=seconds))
    if dead := cluster["dead_letters"]:
        found.append(_trouble("dropping", "dead_letters", "elasticsearch", count=dead, recent=dead))
    return found


def _sector(sector: dict[str, Any] | None, lately: dict[str, int]) -> list[dict[str, Any]]:
    """Rules that are looked for in the cluster and were not, or too late, or that it cannot look for."""
    if sector is None:
        return []
    found = []
    for item in sector["rules"]:
        late = item["behind_s"] * SECOND > HELD_BACK
        if item["failure"] or late:
            what = "sector_failed" if item["failure"] else "sector_behind"
            found.append(_trouble("behind", what, item["title"], reason=item["failure"], seconds=item["behind_s"]))
    found += [_trouble("due", "sector_refused", item["title"], reason=item["reason"]) for item in sector["refused"]]
    for name in SECTOR:
        if (recent := lately.get(f"sector.{name}", 0)) > 0:
            found.append(_trouble("dropping", f"sector_{name}", "elasticsearch", count=sector[name], recent=recent))
    return found


def _unlike(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes that are there and run other rules than this one."""
    nodes = [item for item in cluster.get("nodes", ()) if item["rules"] and not item["absent"]]
    own = next((item["rules"] for item in nodes if item["node"] == cluster["node"]), "")
    return [item for item in nodes if own and item["rules"] != own]


def _dropping(document: dict[str, Any], lately: dict[str, int]) -> list[dict[str, Any]]:
    found = []

    def add(what: str, subject: str, counter: str, total: int, reason: str = "") -> None:
        recent = lately.get(counter, 0)
        if recent > 0:
            found.append(_trouble("dropping", what, subject, count=total, recent=recent, reason=reason))

    for stage in document["stages"]:
        for reason, number in stage["dropped"].items():
            if reason not in HARMLESS:
                add("stage", stage["name"], f"stage.{stage['name']}.dropped.{reason}", number, reason)
    for reason, number in document["windows"]["dropped"].items():
        if reason in BOUNDS:
            add("windows", "correlations", f"windows.dropped.{reason}", number, reason)
    for item in document["exporters"]:
        name = exporter_name(item)
        for key, what in LOSSES.items():
            add(what, f"{item['address']} {item['domain']}", f"{name}.{key}", item[key])
    for item in document["receivers"]:
        name = _receiver(item)
        add("kernel", item["source"], f"{name}.kernel_dropped", item["kernel_dropped"])
    return found
