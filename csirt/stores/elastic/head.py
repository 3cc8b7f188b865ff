"""The cluster's note of which store it holds, and who wrote last: nobody else writes beside us unseen.

The note is the last document of every round, changed only if it is as we left it (`if_seq_no`, `if_primary_term`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from csirt.errors import Conflict
from csirt.stores.elastic import layout

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

ID = "head"


class Head:
    """The note in the cluster. Raises what the client raises; Conflict when somebody else wrote it."""

    def __init__(self, client: Elasticsearch, prefix: str, store: str, writers: set[str], writer: str) -> None:
        self._client, self._index = client, layout.alias(prefix, layout.META)
        self._store, self._writers, self._writer = store, writers, writer
        self._at: tuple[int, int] | None = None  # sequence number and term of the note as we left it

    def claim(self, fresh: Callable[[], None]) -> None:
        """Take the indices for this store, or make sure that they are its own and it wrote last. `fresh` is called
        before indices are taken that hold nothing yet."""
        found = self._read()
        if found is not None:
            source = found["_source"]
            if source["store"] != self._store:
                raise Conflict(
                    f"the indices {self._index.removesuffix(layout.META)}* hold another store's documents; give this "
                    "one a [stores.elasticsearch] prefix of its own"
                )
            if source["writer"] not in self._writers:
                raise Conflict(
                    "the cluster was written by another copy of this store folder since; let only one copy run, or "
                    "give this one a [stores.elasticsearch] prefix of its own, where everything is sent again"
                )
            self._at = found["_seq_no"], found["_primary_term"]
        else:
            fresh()
        self.write(0)

    def write(self, step: int) -> None:
        """Note how far the cluster has everything."""
        import elasticsearch as es

        body = {"store": self._store, "writer": self._writer, "step": step}
        where: dict[str, Any] = {"index": self._index, "id": ID, "require_alias": True}
        if self._at is None:
            where["op_type"] = "create"
        else:
            where["if_seq_no"], where["if_primary_term"] = self._at
        try:
            done = self._client.index(document=body, **where).body
            self._at = done["_seq_no"], done["_primary_term"]
        except es.ConflictError as error:
            # A request of ours that seemed lost may have arrived.
            found = self._read()
            if found is None or found["_source"].get("writer") != self._writer:
                raise Conflict(
                    "another process writes into the cluster's indices of this store; stop it, then start this again"
                ) from error
            self._at = found["_seq_no"], found["_primary_term"]

    def _read(self) -> dict[str, Any] | None:
        answer = self._client.options(ignore_status=404).get(index=self._index, id=ID).body
        return dict(answer) if answer.get("found") else None
