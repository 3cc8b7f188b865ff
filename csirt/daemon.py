"""`csirt run`: receivers, the pipeline's thread, the scheduler, the command socket, health, and the watchdog that is
fed by progress, never by a timer."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Any

from csirt import systemd
from csirt.app import App
from csirt.config import duration
from csirt.control.server import Server
from csirt.control.trouble import counters
from csirt.control.verbs import Context
from csirt.control.verbs.status import overview
from csirt.errors import CsirtError, Unreachable
from csirt.health import HealthServer
from csirt.jobs import jobs
from csirt.metrics import RateLimited
from csirt.model.audit import AuditEntry
from csirt.model.principal import Principal
from csirt.recent import Recent
from csirt.selfwatch import Selfwatch, counted, normal

LOG = logging.getLogger("csirt.daemon")
PAUSE = 0.2
RETRY = 1.0
PATIENCE = 5.0  # seconds for the jobs at work to end when the daemon stops
LANES = 5.0  # seconds between two looks for new lanes of a source
STALLED = 60.0  # seconds without a finished turn: the watchdog is no longer fed
BEHIND = 30.0  # seconds from receipt to commit: who is not heard may only not have been read yet
FATAL_EXIT = 74  # EX_IOERR: the disk refused a sync; systemd restarts us and we recover from the last commit


class Daemon:
    """Owns the store and everything that runs beside it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.stop = threading.Event()
        self.receivers: list[Any] = []
        self.pipeline: Any = None
        self.sector: Any = None
        self.exit_code = 0
        self.recent = Recent()
        self.waiting = ""  # why the pipeline does not move on, as long as its turns fail
        self._reload = threading.Event()
        self._turned = app.clock.monotonic()
        self._server: Server | None = None
        self._health: HealthServer | None = None
        self._scheduler: Any = None
        self._busy: set[str] = set()  # jobs at work
        self._lanes_due = 0.0
        self._warn = RateLimited(LOG)
        self._watch = Selfwatch({normal(item.address): item.name for item in app.config.decode.exporters})

    def run(self, *, once: bool = False) -> int:
        """Start, work until stopped (or until everything is drained), stop in reverse order; the exit code."""
        app = self.app
        app.provide("daemon", self)
        app.store  # noqa: B018 opening it first makes a second owner fail before anything listens
        self._note("start", {"once": once})
        if once:
            self.pipeline = app.pipeline(app.feeds())
            self.pipeline.drain()
            self._drain_sector()
            with app.store.leading() as leads:
                if leads:
                    app.part("deliverer").tick()
            self._note("stop", {})
            app.close()
            return 0
        self._signals()
        try:
            self._receive()  # before the analysis is built: what comes meanwhile is kept
            self.pipeline = app.pipeline(app.feeds(patience=0.0))
            self.sector = self._sector()
            self._start()
            systemd.notify("READY=1\nSTATUS=running")
            LOG.info("running: %s; store %s", self._inventory(), app.store_directory)
            self._loop()
            LOG.info("stopping")
        finally:
            self._stop()
        if self._busy:
            # A relay that does not answer, a long merge: what it was about to do is settled or swept at the next start.
            LOG.warning("not waiting for the job %s", ", ".join(sorted(self._busy)))
            logging.shutdown()
            os._exit(self.exit_code)
        return self.exit_code

    def reload(self) -> list[str]:
        """Read configuration and content again; what has an error is logged and keeps its old version."""
        notes = self.app.reload()
        if self._server is not None:
            self._server.control = self.app.config.control
        for note in notes:
            LOG.warning("%s", note)
        self._note("reload", {"problems": notes})
        LOG.info("reloaded: %s", self._inventory())
        return notes

    def context(self, principal: Principal, lang: str) -> Context:
        """What a verb of this caller works with."""
        app = self.app
        language = lang or app.config.language
        return Context(app.store, app.config, principal, app.clock, app.part, language, live=True)

    def sample(self) -> dict[str, Any]:
        """Keep the counters as they are now, for what `csirt status` calls now; the document they are of."""
        document = overview(self.app.store, self.app.config, self, live=True)
        self.recent.sample(self.app.clock.monotonic(), counters(document))
        return document

    def healthy(self) -> tuple[bool, str]:
        """Whether the pipeline moves on, and a sentence."""
        age = self.stalled()
        if self.waiting:
            return False, self.waiting
        return (True, "ok") if age is None else (False, f"no turn of the pipeline for {age:.0f} s")

    def stalled(self) -> float | None:
        """Seconds without a turn of the pipeline, when they are too many."""
        age = self.app.clock.monotonic() - self._turned
        return age if age > STALLED else None

    def _signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())
        signal.signal(signal.SIGHUP, lambda *_: self._reload.set())

    def _inventory(self) -> str:
        rules, sources = self.app.part("ruleset"), len(self.app.config.sources)
        return f"{sources} sources, {len(self.receivers)} receivers, {len(rules.rules) + len(rules.correlations)} rules"

    def _receive(self) -> None:
        from csirt.collect import lanes

        app, config = self.app, self.app.config
        listeners = config.collect.listeners
        # A socket unit keeps its sockets, and what arrives on them, over our restart.
        for listener, handed in zip(listeners, lanes.share(listeners, systemd.listen_fds()), strict=True):
            self.receivers += lanes.start(
                listener, config.collect.spool, config.path("spool"), app.metrics, app.clock, handed=handed
            )

    def _start(self) -> None:
        app, config = self.app, self.app.config
        self.sample()
        self._server = Server(config.control, self.context)
        threading.Thread(target=self._server.serve_forever, name="control", daemon=True).start()
        if config.health.listen:
            self._health = HealthServer(config.health.listen, app.metrics, self.healthy)
            self._health.start()
        self._schedule()

    def _schedule(self) -> None:
        from apscheduler.schedulers.background import BackgroundScheduler

        self._scheduler = BackgroundScheduler(job_defaults={"coalesce": True, "max_instances": 1})
        for name, seconds, work in jobs(self):
            self._scheduler.add_job(self._guarded(name, work), "interval", seconds=seconds, id=name)
        self._scheduler.start()

    def _guarded(self, name: str, work: Any) -> Any:
        """A job that fails is logged and counted, and runs again at its next time."""

        def run() -> None:
            self._busy.add(name)
            try:
                work()
            except CsirtError as error:  # its sentence says all there is to know
                self._warn.warning(name, f"the job {name} failed: {error.message}")
                self.app.metrics.count("csirt_job_failures_total", job=name)
            except Exception:
                LOG.exception("the job %s failed", name)
                self.app.metrics.count("csirt_job_failures_total", job=name)
            finally:
                self._busy.discard(name)

        return run

    def _loop(self) -> None:
        from csirt.stores.errors import FatalStoreError

        pipeline = self.pipeline
        while not self.stop.is_set():
            if self._reload.is_set():
                self._reload.clear()
                self.reload()
            failed = next((receiver.failed for receiver in self.receivers if receiver.failed), None)
            if failed is not None:
                LOG.error("a receiver can no longer promise what it spools; stopping: %s", failed.message)
                self.exit_code = FATAL_EXIT
                return
            try:
                self._find_lanes()
                moved = pipeline.turn()
                self._look_at_self()
                pipeline.advance(pipeline.until())
                if self.sector is not None:
                    pipeline.came(self.sector.settle())
            except FatalStoreError:
                LOG.exception("the store can no longer promise what it commits; stopping")
                self.exit_code = FATAL_EXIT
                return
            except Unreachable as error:
                # A full disk, a locked catalogue: nothing was committed, nothing is lost, and a restart mends nothing.
                self._failed(error.message)
                self._fed()
                self.stop.wait(RETRY)
                continue
            except Exception as error:
                # Nothing was committed, so nothing is lost: the same step is tried again. The watchdog goes hungry.
                self._failed(f"a turn of the pipeline fails ({type(error).__name__}); the log says where", error)
                self.stop.wait(RETRY)
                continue
            if self.waiting:
                LOG.info("the pipeline goes on")
                self.waiting = ""
                systemd.notify("STATUS=running")
            self._fed()
            if not moved:
                pipeline.rest(PAUSE, self.stop)

    def _sector(self) -> Any:
        if not hasattr(self.app.store, "cluster"):
            return None
        from csirt.sector import sector

        return sector(self.app, self.pipeline)

    def _drain_sector(self) -> None:
        """Look in the cluster too, once it has everything; what is not looked at waits for the next start."""
        self.sector = self._sector()
        if self.sector is None or not self.app.scope().searches:
            return
        store: Any = self.app.store
        try:
            store.shipper.settle(PATIENCE, patient=True)
            self.pipeline.came(self.sector.drain())
        except CsirtError as error:
            LOG.warning("rules of the sector were not looked for: %s", error.message)

    def _look_at_self(self) -> None:
        """Once a minute: who is silent, what was dropped, as events that rules can match."""
        app = self.app
        batch = self._watch.look(app.clock.now(), self._counted)
        if batch is not None:
            self.pipeline.tell(batch, app.clock.now() - duration(app.config.detect.lateness))

    def _counted(self) -> tuple[dict[str, int], bool]:
        config = self.app.config
        document = overview(self.app.store, config, self, live=True)
        behind = any(document["backlog"].values()) and max(self.pipeline.lag.values(), default=0.0) > BEHIND
        logs = {source.id for source in config.sources if source.type in ("log", "syslog")}
        numbers = counted(self.app.store.counts(), document["receivers"], logs)
        numbers |= {f"rule_overrun {rule}": times for rule, times in self.app.overruns.copy().items()}
        return numbers, behind or bool(self.waiting)

    def _find_lanes(self) -> None:
        """A collector that was given more workers fills lanes that were not there before."""
        now = self.app.clock.monotonic()
        if now < self._lanes_due:
            return
        self._lanes_due = now + LANES
        for feed in self.app.feeds(patience=0.0, known={feed.key for feed in self.pipeline.feeds}):
            LOG.info("a new lane: %s", feed.key)
            self.pipeline.add(feed)

    def _fed(self) -> None:
        """A turn was made: as old as the progress of the worker that hangs longest."""
        self._turned = self.pipeline.worked()
        if self.stalled() is None:
            systemd.notify("WATCHDOG=1")

    def _failed(self, why: str, error: BaseException | None = None) -> None:
        """A turn that will be tried again: said in the log, to systemd, in status and health, and counted."""
        self.app.metrics.count("csirt_turn_failures_total")
        if error is not None and why != self.waiting:
            LOG.error("%s", why, exc_info=error)
        else:
            self._warn.warning("turn", why)
        self.waiting = why
        systemd.notify(f"STATUS={why}")

    def _stop(self) -> None:
        systemd.notify("STOPPING=1")
        for receiver in self.receivers:
            receiver.stop()
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
            deadline = self.app.clock.monotonic() + PATIENCE
            while self._busy and self.app.clock.monotonic() < deadline:
                self.app.clock.sleep(0.02)
        if self._server is not None:
            self._server.close()
        if self._health is not None:
            self._health.stop()
        if self.pipeline is not None:
            self.pipeline.close()
        if not self.exit_code:
            self._note("stop", {})
        self.app.close()

    def _note(self, action: str, detail: dict[str, Any]) -> None:
        self.app.store.append_audit(
            [
                AuditEntry(
                    time=self.app.clock.now(),
                    actor="system",
                    uid=os.getuid(),
                    category="operation",
                    action=f"daemon.{action}",
                    detail=detail,
                )
            ]
        )
