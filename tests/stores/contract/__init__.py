"""What every store must do, whatever it is made of: the promises of `stores/base.py`, by what they are about.

A test module of a store subclasses `Contract`, gives it the fixture `reopen`, and passes all of it unchanged.
`reopen()` returns the store, closing and opening it again when it was open."""

from __future__ import annotations

from tests.stores.contract.audit import Audit
from tests.stores.contract.cases import Cases
from tests.stores.contract.concurrency import Concurrency
from tests.stores.contract.documents import Documents
from tests.stores.contract.events import Events
from tests.stores.contract.fresh import Fresh
from tests.stores.contract.hits import Hits
from tests.stores.contract.incidents import Incidents
from tests.stores.contract.positions import Positions


class Contract(Positions, Hits, Fresh, Documents, Incidents, Cases, Events, Audit, Concurrency):
    """All of them."""
