"""The analysis where several daemons share a store: each hands over its hits and says how far its event time is; the
one that leads analyses the hits of all, as far as the slowest has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from csirt.analysis import Analyst
from csirt.clock import Clock
from csirt.config import Config, duration
from csirt.errors import Problem, Unreachable
from csirt.watermark import Watermark

if TYPE_CHECKING:
    from csirt.stores.base import Store


class NodeAnalysis:
    """`analyst`: of the hits of all nodes. `watermark`: of this node's sources. `rules`: a digest of those that run."""

    def __init__(self, analyst: Analyst, watermark: Watermark, clock: Clock, rules: Callable[[], str]) -> None:
        self._analyst, self._watermark, self._clock, self._rules = analyst, watermark, clock, rules

    def advance(self, store: Store, until: int | None, at: int) -> dict[str, int]:
        """Hand over this node's hits up to `until`; consume those of all nodes where this one leads. While the cluster
        is away nothing is consumed: the hits wait."""
        node: Any = store
        active = self._watermark.slowest(self._clock.monotonic()) is not None
        node.runs(self._rules())
        node.report(until or 0, active=active)
        with store.leading() as leads:
            horizon = node.horizon() if leads else None
            committed = store.state("watermark") if leads else None
            if horizon is None or (committed is not None and horizon < int(committed)):
                return {}
            try:
                return self._analyst.advance(store, horizon, at)
            except Unreachable:  # said by status, which asks the store
                return {}


def unlike(config: Config, rules: str, clock: Clock) -> list[Problem]:
    """The nodes of the cluster that run other rules than those, a warning each. Raises Unreachable."""
    section = config.stores.elasticsearch
    if config.stores.kind != "elasticsearch" or not section.node:
        return []
    from csirt.messages import text
    from csirt.stores.elastic import connect, layout
    from csirt.stores.elastic.shared import nodes

    with connect.client(section) as client:
        try:
            since = clock.now() - duration(section.absent_after)
            said = nodes.others(client, layout.alias(section.prefix, layout.META), section.node, since)
        except Exception as error:
            raise connect.failed(error, section) from error
    names = [str(one["node"]) for one in said if one.get("rules") and one["rules"] != rules]
    return [Problem("cluster", 1, text("status.node_rules", "en", subject=name), level="warning") for name in names]
