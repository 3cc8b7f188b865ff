"""The analysis where several daemons share a store: each hands over its hits and says how far its event time is; the
one that leads analyses the hits of all, as far as the slowest has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from csirt.analysis import Analyst
from csirt.clock import Clock
from csirt.errors import Unreachable
from csirt.watermark import Watermark

if TYPE_CHECKING:
    from csirt.stores.base import Store


class NodeAnalysis:
    """`analyst`: of the hits of all nodes. `watermark`: of this node's sources."""

    def __init__(self, analyst: Analyst, watermark: Watermark, clock: Clock) -> None:
        self._analyst, self._watermark, self._clock = analyst, watermark, clock

    def advance(self, store: Store, until: int | None, at: int) -> dict[str, int]:
        """Hand over this node's hits up to `until`; consume those of all nodes where this one leads. While the cluster
        is away nothing is consumed: the hits wait."""
        node: Any = store
        active = self._watermark.slowest(self._clock.monotonic()) is not None
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
