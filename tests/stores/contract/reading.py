"""What the contract's tests read of a store."""

from __future__ import annotations

from collections.abc import Callable

from csirt.model.batch import event_ids
from csirt.stores.base import Store

Reopen = Callable[[], Store]


def rows_of(store: Store, **where: object) -> int:
    return sum(batch.rows for batch in store.events(**where))  # type: ignore[arg-type]


def names_of(store: Store, **where: object) -> list[str]:
    return sorted(name for batch in store.events(**where) for name in event_ids(batch.table).to_pylist())  # type: ignore[arg-type]
