"""Builds every component from the configuration, in the order of the data flow.

Constructors are inert: building an App opens the store at most; `csirt check` builds everything and starts nothing.
Components are made on first use (`part`), so that a command which only lists cases loads no rule engine.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csirt import cachefolder, ids
from csirt.clock import SYSTEM, Clock
from csirt.config import Config, duration
from csirt.configfile import load, taken_over
from csirt.content import folder
from csirt.errors import Problem, Usage
from csirt.metrics import Metrics

if TYPE_CHECKING:
    import pyarrow as pa

    from csirt.biflow.stage import Pairing
    from csirt.detect.match import Detector
    from csirt.detect.rule import Meta
    from csirt.feed import Feed
    from csirt.model.batch import Batch
    from csirt.pipeline import Analysis, Pipeline
    from csirt.scope import Scope
    from csirt.stores.base import Store

LOG = logging.getLogger("csirt.app")


class App:
    """Every component of one process, made when first asked for, replaced by `reload`."""

    def __init__(
        self,
        config: Config,
        *,
        store_directory: Path | None = None,
        clock: Clock = SYSTEM,
        metrics: Metrics | None = None,
        config_file: str | None = None,
    ) -> None:
        self.config, self.clock = config, clock
        self.config_file = config_file
        self.metrics = metrics or Metrics()
        self.store_directory = store_directory or Path(config.state) / "store"
        self._follows = store_directory is None  # a store named on its own is nobody's cluster's
        self._parts: dict[str, Any] = {}
        self._left_out: dict[str, list[Problem]] = {}  # content that is broken, by component
        self._lock = threading.RLock()
        self._mine = threading.local()
        # Rules of a ruleset that took too much of a batch, and how often that happened since the start.
        self._off: tuple[Any, dict[str, Meta]] = (None, {})
        self.overruns: dict[str, int] = {}
        self._scope: tuple[Any, Scope] | None = None  # of which ruleset
        self._digest: tuple[Any, str] = (None, "")  # of which ruleset
        self._makers: dict[str, Callable[[], Any]] = {
            "store": self._make_store,
            "register": self._make_register,
            "indicators": self._make_indicators,
            "enricher": self._make_enricher,
            "ruleset": self._make_ruleset,
            "playbooks": self._make_playbooks,
            "exporters": self._make_exporters,
            "responder": self._make_responder,
            "router": self._make_router,
            "deliverer": self._make_deliverer,
        }

    @property
    def store(self) -> Store:
        """The store; opened, and owned, on first use."""
        found: Store = self.part("store")
        return found

    def part(self, name: str) -> Any:
        """A component by name, or None for one that exists only in a running daemon."""
        with self._lock:
            if name not in self._parts:
                if name not in self._makers:
                    return None
                self._parts[name] = self.make(name)
            return self._parts[name]

    def make(self, name: str) -> Any:
        """A component made anew, which takes nobody's place."""
        return self._makers[name]()

    def provide(self, name: str, part: Any) -> None:
        """Add a component that only a running daemon has (`daemon`)."""
        self._parts[name] = part

    def close(self) -> None:
        """Release the store."""
        with self._lock:
            store = self._parts.pop("store", None)
            if store is not None:
                store.close()

    def reload(self) -> list[str]:
        """Read the configuration file, register, rules, playbooks and routes again. What has an error keeps its old
        version as a whole, so that a slip of the pen takes no rule away; all of it is reported."""
        notes = self._reload_configuration()
        for name, dependents in (
            ("register", ("enricher", "responder")),
            ("indicators", ("enricher",)),
            ("ruleset", ()),
            ("playbooks", ("responder",)),
            ("router", ("deliverer",)),
        ):
            known = self._left_out.get(name, [])
            try:
                fresh = self.make(name)
            except Usage as error:
                notes.append(f"{name} not reloaded: {error.message}")
                continue
            broken = [str(problem) for problem in self._left_out.get(name, ())]
            notes += broken
            if name in self._parts and set(broken) - {str(problem) for problem in known}:
                self._left_out[name] = known
                notes.append(f"{name} not reloaded: the old ones stay until this is mended")
                continue
            with self._lock:
                self._parts[name] = fresh
                for dependent in dependents:
                    self._parts.pop(dependent, None)
        routes: list[str] = self.part("router").check()
        return notes + routes

    def renew(self, *names: str) -> None:
        """Make these components again when they are next asked for."""
        with self._lock:
            for name in names:
                self._parts.pop(name, None)

    def left_out(self) -> dict[str, list[Problem]]:
        """Rules and playbooks that do not run because they are broken, by component."""
        return {name: list(problems) for name, problems in self._left_out.items() if problems}

    def _reload_configuration(self) -> list[str]:
        if self.config_file is None:
            return []
        try:
            self.config, waiting = taken_over(self.config, load(self.config_file))
        except Usage as error:
            return [f"configuration not reloaded: {error.message}"]
        return [f"{key} changed: it takes effect at the next start" for key in waiting]

    def rule_folders(self) -> list[Path]:
        """The shipped rules, then the configured folders."""
        shipped = [folder("rules")] if self.config.detect.shipped else []
        return shipped + [Path(name) for name in self.config.detect.rules]

    def playbook_folders(self) -> list[Path]:
        """The shipped playbooks, then the configured folders."""
        shipped = [folder("playbooks")] if self.config.respond.shipped else []
        return shipped + [Path(name) for name in self.config.respond.playbooks]

    def feeds(self, *, patience: float = math.inf, known: Collection[str] = ()) -> list[Feed]:
        """The configured sources, and every lane of them, each with its decoder; without the `known`. `patience`:
        seconds a read may wait for tshark."""
        from csirt.decode.build import decoder_for
        from csirt.feed import Feed
        from csirt.sources.build import open_source
        from csirt.sources.lanes import lanes_of

        now = self.clock.now()
        return [
            Feed(
                open_source(source, self.config, lane=lane, clock=self.clock, patience=patience),
                decoder_for(source, self.config, now=now),
                source.vrf,
                lane=lane,
            )
            for source in self.config.sources
            for lane in lanes_of(source, self.config)
            if lane not in known
        ]

    def pipeline(self, feeds: list[Feed], *, deliver: bool = True) -> Pipeline:
        """The whole way from these feeds to the store. `deliver` false: notifications are recorded, never sent."""
        from csirt.analysis import Analyst
        from csirt.heap import keep_freed
        from csirt.nodes import NodeAnalysis
        from csirt.pipeline import Pipeline
        from csirt.watermark import Watermark

        keep_freed()
        detect = self.config.detect
        offsets = [duration(exporter.clock_offset) for exporter in self.config.decode.exporters]
        watermark = Watermark(
            self.store,
            [feed.key for feed in feeds],
            lateness_us=duration(detect.lateness),
            idle_after_s=duration(detect.idle_after) / 1e6,
            ahead_us=max([0, *offsets]),
            since=self.clock.monotonic() if hasattr(self.store, "horizon") else None,
        )
        analyst = Analyst(
            ruleset=lambda: self.scope().streaming,
            responder=lambda: self.part("responder"),
            router=lambda: self.part("router"),
            names=self._member_names,
            window_us=duration(self.config.correlate.window),
            deliver=deliver,
        )
        self.provide("analyst", analyst)
        analysis: Analysis = analyst
        if hasattr(self.store, "horizon"):
            analysis = NodeAnalysis(analyst, watermark, self.clock, self.rules_digest)
        return Pipeline(
            store=self.store,
            feeds=feeds,
            enrich=self._enrich,
            match=self._match,
            analysis=analysis,
            watermark=watermark,
            clock=self.clock,
            metrics=self.metrics,
            stores=self.config.stores,
            pairing=self._pairing(),
            workers=self.config.decode.workers,
        )

    def _pairing(self) -> Pairing:
        """The pairing stage; flows of the exporters listed first count first."""
        from csirt.biflow.layout import Limits
        from csirt.biflow.stage import Pairing

        order = {exporter.address: place for place, exporter in reversed(list(enumerate(self.config.decode.exporters)))}
        limits = self.config.biflow
        return Pairing(
            order,
            Limits(
                ahead=min(duration(limits.ahead), duration(self.config.detect.lateness)),
                gap=duration(limits.gap),
                pairs=limits.pairs,
            ),
        )

    def _member_names(self) -> dict[str, str]:
        return {member.id: member.name for member in self.part("register").members()}

    def _member_name(self, member: str) -> str:
        found = self.part("register").member(member)
        return found.name if found is not None else member

    def _enrich(self, batch: Batch, vrf: str) -> Batch:
        enriched: Batch = self.part("enricher").apply(batch, vrf=vrf)
        return enriched

    def _match(self, batch: Batch) -> pa.Table:
        return self.detector().match(batch)

    def detector(self) -> Detector:
        """The detector of the calling thread: every worker has its own."""
        from csirt.detect.match import Detector

        ruleset = self.part("ruleset").running
        if getattr(self._mine, "ruleset", None) is not ruleset:
            budget = duration(self.config.detect.regex_budget) / 1e6
            elsewhere = self.scope().searches
            detector_ = Detector(
                ruleset, budget=budget, overrun=self.overrun, exempted=self._exempted, elsewhere=elsewhere
            )
            self._mine.ruleset, self._mine.detector = ruleset, detector_
        detector: Detector = self._mine.detector
        return detector

    def scope(self) -> Scope:
        """Which rules the stream runs, and which the cluster."""
        from csirt.scope import scope

        with self._lock:
            loaded = self.part("ruleset")
            if self._scope is None or self._scope[0] is not loaded:
                since = int(self.store.state("watermark") or 0)
                self._scope = loaded, scope(loaded, self.config, cluster=hasattr(self.store, "cluster"), since=since)
                for name, reason in self._scope[1].refused.items():
                    LOG.warning("%s is looked for on the stream, not in the cluster: %s", name, reason)
            return self._scope[1]

    def switched_off(self) -> dict[str, Meta]:
        """The rules that are loaded and no longer matched because they overran their budget, by id."""
        ruleset = self.part("ruleset").running
        if self._off[0] is not ruleset:
            self._off = (ruleset, {})
        return self._off[1]

    def overrun(self, meta: Meta) -> None:
        """A rule is switched off: said in the log, in status and as a `self` event, and counted."""
        self.metrics.count("csirt_rules_overrun_total", rule=meta.id)
        self.switched_off()[meta.id] = meta
        self.overruns[meta.id] = self.overruns.get(meta.id, 0) + 1
        budget = self.config.detect.regex_budget
        LOG.error(
            "rule %s (%s:%d) is switched off: an expression of it took more than %s of CPU on one batch "
            "([detect] regex_budget); correct it and reload",
            meta.id,
            meta.file,
            meta.line,
            budget,
        )

    def _exempted(self, rule: str, rows: int) -> None:
        self.metrics.count("csirt_exempted_total", rows, rule=rule)

    def rules_digest(self) -> str:
        """What this node finds, as a short text: its rules as they are deployed, and the configuration's values."""
        ruleset = self.part("ruleset")
        if self._digest[0] is not ruleset:
            values = sorted((name, *given) for name, given in self.config.detect.placeholders.items())
            self._digest = ruleset, ids.digest(ruleset.digest(), repr(values), size=8)
        return self._digest[1]

    def rule_options(self) -> dict[str, Any]:
        """What rules are loaded with."""
        detect = self.config.detect
        return {
            "placeholders": {**self.part("indicators").placeholders(), **detect.placeholders},
            "disabled": detect.disabled,
            "cache": cachefolder.below("rules"),
            "deployed": self.config.path("deploy.yml"),
        }

    def _make_store(self) -> Any:
        if self.config.stores.kind == "elasticsearch" and self._follows:
            from csirt.stores.elastic.shared.store import open_node
            from csirt.stores.elastic.store import open_elastic

            opened = open_node if self.config.stores.elasticsearch.node else open_elastic
            return opened(
                self.store_directory, clock=self.clock, config=self.config.stores, retention=self.config.retention
            )
        from csirt.stores.embedded import open_embedded

        return open_embedded(
            self.store_directory, clock=self.clock, config=self.config.stores, retention=self.config.retention
        )

    def read_register(self) -> Any:
        """The configured register, None where it has errors; and its problems."""
        from csirt.enrich.register import Register

        return Register.load(Path(self.config.enrich.register_file))

    def _make_register(self) -> Any:
        from csirt.enrich.register import Register

        if not self.config.enrich.register_file:
            return Register.empty()
        register, problems = self.read_register()
        errors = [str(problem) for problem in problems if problem.level == "error"]
        if register is None or errors:
            raise Usage("\n".join(errors))
        return register

    def _make_enricher(self) -> Any:
        from csirt.enrich.stage import Enricher

        vrfs = {exporter.address: exporter.vrf for exporter in self.config.decode.exporters if exporter.vrf}
        return Enricher(self.part("register"), vrfs=vrfs, indicators=self.part("indicators").items.values())

    def _make_indicators(self) -> Any:
        from csirt.enrich.indicators.book import Book

        return Book.load(self.config.path("indicators.json"))

    def _make_ruleset(self) -> Any:
        from csirt.detect.rules.load import load_rules

        ruleset = load_rules(self.rule_folders(), **self.rule_options())
        self._leave_out("ruleset", ruleset.problems)
        return ruleset

    def _leave_out(self, name: str, problems: list[Problem]) -> None:
        """One broken rule or playbook stops no other, but nobody may miss that it does not run."""
        self._left_out[name] = [problem for problem in problems if problem.level == "error"]
        for problem in self._left_out[name]:
            LOG.warning("left out: %s", problem)

    def _make_playbooks(self) -> Any:
        from csirt.respond.folders import load_playbooks

        playbooks, problems = load_playbooks(self.playbook_folders())
        self._leave_out("playbooks", problems)
        return playbooks

    def _make_exporters(self) -> Any:
        from csirt.decode.flows import describe

        return describe

    def _make_responder(self) -> Any:
        from csirt.respond.plan import Responder

        return Responder(self.part("playbooks"), register=self.part("register"), config=self.config)

    def _make_router(self) -> Any:
        from csirt.notify.router import Router

        return Router(self.config, self._member_name)

    def _make_deliverer(self) -> Any:
        from csirt.notify.deliver import Deliverer

        return Deliverer(self.store, self.config, self.clock, self.metrics, self._member_name)
