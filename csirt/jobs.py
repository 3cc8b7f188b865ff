"""What the scheduler repeats, with its interval in seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from csirt.clock import parse_iso
from csirt.collect.spool import Spool
from csirt.config import duration
from csirt.heap import give_back
from csirt.model.audit import AuditEntry

if TYPE_CHECKING:
    from csirt.app import App
    from csirt.clock import Clock
    from csirt.metrics import Metrics
    from csirt.stores.embedded import EmbeddedStore

LOG = logging.getLogger("csirt.jobs")


class Daemon(Protocol):
    """What the jobs need of the daemon at work."""

    app: App
    pipeline: Any
    sector: Any

    def sample(self) -> dict[str, Any]:
        """The document of `csirt status`, kept as the latest sample too."""

    def reload(self) -> object:
        """Read configuration and content again."""


def jobs(daemon: Daemon) -> list[tuple[str, float, Callable[[], None]]]:
    """(name, interval in seconds, work)."""
    app = daemon.app
    return [
        ("deliver", 1, lambda: led(app, lambda: app.part("deliverer").tick())),
        ("maintain", 5, lambda: app.store.maintain()),
        ("spool", 2, lambda: clean_spool(app)),
        ("expire", 30, lambda: led(app, lambda: expire_actions(app))),
        ("indicators", 60, lambda: expire_indicators(daemon)),
        ("retention", 3600, lambda: apply_retention(app)),
        ("gauges", 5, lambda: gauges(daemon)),
        ("memory", 60, give_back),
        *([("sector", daemon.sector.every, daemon.sector.look)] if daemon.sector is not None else []),
    ]


def led(app: App, work: Callable[[], None]) -> None:
    """Do it where this daemon leads: of several that share a store one tells people and ends containment."""
    with app.store.leading() as leads:
        if leads:
            work()


def clean_spool(app: App) -> None:
    """Delete what is committed and older than its time; every deletion is logged and audited."""
    spool = Spool(app.config.collect.spool, app.config.path("spool"))

    def committed(source: str, fingerprint: str) -> bool:
        position = app.store.position(source, fingerprint)
        return position is not None and position.done

    deleted = spool.delete_committed(committed, app.clock.now(), duration(app.config.collect.spool.keep))
    if not deleted:
        return
    for item in deleted:
        LOG.info("spool: deleted %s", item)
    app.store.append_audit(
        [
            AuditEntry(
                time=app.clock.now(),
                actor="system",
                category="operation",
                action="spool.delete",
                detail={"segments": [str(item) for item in deleted]},
            )
        ]
    )


def expire_actions(app: App) -> None:
    """Containment whose time is over is marked and its rollback written."""
    from csirt.respond.runs import expire

    for run in expire(app.store, app.config, app.clock.now()):
        if run.state == "expired":
            LOG.warning(
                "%s has expired: a person must take its block back now; the lines are in the outbox", run.number
            )


def expire_indicators(daemon: Daemon) -> None:
    """Indicators whose time is over leave the book; events of that time meet them no more in any case."""
    from csirt.enrich.indicators.book import change
    from csirt.model.indicators import PREFIX

    app = daemon.app
    now = app.clock.now()
    gone = change(app.config.path("indicators.json"), lambda book: book.without(lambda item: item.expires <= now))
    if not gone:
        return
    lists = sorted({item.list for item in gone})
    LOG.info("indicators: %d are over, of %s", len(gone), ", ".join(lists))
    app.metrics.count("csirt_indicators_expired_total", len(gone))
    detail = {"count": len(gone), "lists": lists, "reason": "their time is over"}
    entry = AuditEntry(time=now, actor="system", category="operation", action="indicators.expire", detail=detail)
    app.store.append_audit([entry])
    used = any(name.startswith(PREFIX) for name in app.part("ruleset").placeholders)
    if used:
        daemon.reload()
    else:
        app.renew("indicators", "enricher")


def apply_retention(app: App) -> None:
    """Delete what has been kept long enough, with a report."""
    from csirt.report.shelf import Shelf
    from csirt.stores.embedded.retention import apply

    now = app.clock.now()
    apply(cast("EmbeddedStore", app.store), app.config.retention, now)
    shelf = Shelf(app.config.path("reports"), app.config.language)
    for name in shelf.expire(now - duration(app.config.retention.reports)):
        LOG.info("reports: deleted %s", name)


def gauges(daemon: Daemon) -> None:
    """Lag and receivers, for Prometheus; and a sample of every counter, for what `csirt status` calls now."""
    document = daemon.sample()
    metrics = daemon.app.metrics
    for stage, seconds in daemon.pipeline.lag.items():
        metrics.gauge("csirt_lag_seconds", seconds, stage=stage)
    for address, counters in by_address(document["exporters"]).items():
        for name, number in counters.items():
            metrics.gauge("csirt_exporter", number, address=address, counter=name)
    if cluster := document.get("cluster"):
        metrics.gauge("csirt_cluster_waiting", cluster["waiting"])
        metrics.gauge("csirt_cluster_dead_letters", cluster["dead_letters"])
        for kind in ("events", "minutes"):
            for name, number in cluster[kind].items():
                metrics.gauge("csirt_cluster_content", number, kind=kind, counter=name)
        metrics.gauge("csirt_cluster_trouble", bool(cluster["trouble"]))
        if "nodes" in cluster:
            metrics.gauge("csirt_node_leads", cluster["leads"])
            metrics.gauge("csirt_node_unsent_hits", cluster["unsent_hits"])
            metrics.gauge("csirt_nodes_absent", sum(item["absent"] for item in cluster["nodes"]))
            _log(metrics, cluster, daemon.app.clock)
    for item in document.get("sector", {}).get("rules", ()):
        metrics.gauge("csirt_sector_behind_seconds", item["behind_s"], rule=item["id"])
    mark = daemon.pipeline.watermark.mark
    if mark is not None:
        metrics.gauge("csirt_watermark_seconds", mark / 1e6)


def _log(metrics: Metrics, cluster: dict[str, Any], clock: Clock) -> None:
    """The log that nodes share."""
    log = cluster["log"]
    metrics.gauge("csirt_log_applied", cluster["applied"])
    metrics.gauge("csirt_log_entries", log["entries"])
    metrics.gauge("csirt_log_first", log["first"])
    metrics.gauge("csirt_log_octets", log["octets"])
    metrics.gauge("csirt_log_uncut_seconds", log["uncut_s"])
    if snapshot := log["snapshot"]:
        metrics.gauge("csirt_log_snapshot_age_seconds", (clock.now() - parse_iso(snapshot["time"])) / 1e6)
        metrics.gauge("csirt_log_snapshot_octets", snapshot["octets"])


def by_address(exporters: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Counters of exporters over their versions and domains. Who is not listed has a row of its own only up to a bound
    (csirt.decode.netflow.roll), so the metrics are bounded too."""
    found: dict[str, dict[str, int]] = {}
    for item in exporters:
        totals = found.setdefault(item["address"], {})
        for name, number in item.items():
            if name not in ("address", "version", "domain"):
                totals[name] = totals.get(name, 0) + number
    return found
