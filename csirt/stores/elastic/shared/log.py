"""The log in the cluster: one document per entry, its id the entry's number, only ever created.

Creating number N + 1 is the fence: of several nodes that try, one can, and the others find what it wrote. A request
that seems lost may have arrived; the entry's token tells.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from csirt.clock import Clock
from csirt.config import ElasticCluster
from csirt.errors import Unreachable
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.shared.entry import Entry

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

PART = 8 * 1024 * 1024  # octets of one document
PAGE = 32  # entries read at once
TRIES = 4
PAUSE = 0.2  # seconds; one of the cluster's nodes may have ended just now
_GONE_LATER = (408, 429, 500, 502, 503, 504)


class Documents:
    """Single documents of one index, read and written so that the answer is the newest. Raises Unreachable."""

    def __init__(
        self,
        client: Callable[[], Elasticsearch],
        config: ElasticCluster,
        kind: str,
        clock: Clock,
        timeout: float | None = None,
    ) -> None:
        """`timeout`: seconds for an answer, where that is not the client's."""
        self._connected, self.config, self._clock, self._timeout = client, config, clock, timeout
        self.index = layout.alias(config.prefix, kind)

    def _client(self) -> Elasticsearch:
        found = self._connected()
        return found if self._timeout is None else found.options(request_timeout=self._timeout)

    def now(self) -> int:
        """The time here."""
        return self._clock.now()

    def get(self, name: str) -> tuple[dict[str, Any], tuple[int, int]] | None:
        """A document, and where it stands."""
        answer = self._asked(
            lambda client: client.options(ignore_status=404).get(index=self.index, id=name).body, again=True
        )
        if answer.get("found"):
            return answer["_source"], (answer["_seq_no"], answer["_primary_term"])
        if "error" in answer:
            raise connect.Refusal(f"the cluster lacks csirt's indices ({self.index}); run `csirt store init`")
        return None

    def told(self, node: str) -> str:
        """The text of the last audit entry that the cluster has from a node of that name, empty when it has none."""
        index = layout.alias(self.config.prefix, "audit")
        question: dict[str, Any] = {"query": {"prefix": {"csirt.id": f"{node}:"}}, "sort": [{"csirt.seq": "desc"}]}

        def ask(client: Elasticsearch) -> Any:
            client.indices.refresh(index=index)
            return client.search(index=index, size=1, source={"includes": [layout.TEXT]}, **question).body

        hits = self._asked(ask, again=True)["hits"]["hits"]
        return str(hits[0]["_source"][layout.TEXT]) if hits else ""

    def several(self, names: list[str]) -> list[dict[str, Any] | None]:
        """Documents in this order, None for what is not there."""
        answer = self._asked(lambda client: client.mget(index=self.index, ids=names).body, again=True)
        for item in answer["docs"]:
            if "error" in item:
                raise Unreachable(f"the cluster's index {self.index} cannot be read; bring its nodes back")
        return [item["_source"] if item["found"] else None for item in answer["docs"]]

    def put(self, name: str, body: dict[str, Any], at: tuple[int, int] | None) -> tuple[int, int] | None:
        """Create a document, or change it as it stands `at`; where it stands then, None when it stands elsewhere."""
        import elasticsearch as es

        where: dict[str, Any] = {"op_type": "create"} if at is None else {"if_seq_no": at[0], "if_primary_term": at[1]}
        try:
            done = self._asked(
                lambda client: client.index(index=self.index, id=name, document=body, require_alias=True, **where).body,
                again=False,
            )
        except es.ConflictError:
            return None
        return done["_seq_no"], done["_primary_term"]

    def _asked(self, ask: Callable[[Any], Any], *, again: bool) -> Any:
        """An answer; `again`: asking twice changes nothing, so a node that has just ended is no failure."""
        import elasticsearch as es

        for attempt in range(TRIES):
            try:
                return ask(self._client())
            except es.ConflictError:
                raise
            except Exception as error:
                passing = isinstance(error, es.ConnectionError) or (
                    isinstance(error, es.ApiError) and error.meta.status in _GONE_LATER
                )
                if not passing or not again or attempt == TRIES - 1:
                    raise connect.explain(error, self.config) from error
            self._clock.sleep(PAUSE)
        raise AssertionError("unreachable")


class Log(Documents):
    """Entries by number."""

    def __init__(self, client: Callable[[], Elasticsearch], config: ElasticCluster, clock: Clock) -> None:
        super().__init__(client, config, layout.LOG, clock)

    def create(self, entry: Entry) -> bool:
        """Whether this is the entry of its number now; False when another is. Raises Unreachable when that is not
        known: the entry may be found later."""
        data = entry.pack()
        parts = [data[start : start + PART] for start in range(0, len(data), PART)]
        for number, part in enumerate(parts[1:], 1):
            self._created(f"{entry.token}:{number}", {"body": _text(part)})
        body = {"node": entry.node, "token": entry.token, "parts": len(parts), "body": _text(parts[0])}
        return self._created(_name(entry.number), body)

    def _created(self, name: str, body: dict[str, Any]) -> bool:
        failed: Unreachable | None = None
        for _ in range(TRIES):
            try:
                if self.put(name, body, None) is not None:
                    return True
            except connect.Refusal:
                raise
            except Unreachable as error:
                failed = error
                self._clock.sleep(PAUSE)
                continue
            found = self.get(name)
            return found is not None and found[0] == body
        assert failed is not None
        raise failed

    def token(self, number: int) -> str:
        """The token of an entry, empty when there is none."""
        found = self.get(_name(number))
        return str(found[0]["token"]) if found is not None else ""

    def read(self, number: int) -> list[Entry]:
        """The entries from this number on that follow each other, at most a page."""
        found: list[Entry] = []
        for place, source in enumerate(self.several([_name(number + index) for index in range(PAGE)])):
            if source is None:
                break
            entry = Entry.unpack(self._whole(source))
            entry.number = number + place
            found.append(entry)
        return found

    def _whole(self, source: dict[str, Any]) -> bytes:
        more = [f"{source['token']}:{number}" for number in range(1, int(source["parts"]))]
        parts = [source, *(self.several(more) if more else [])]
        if None in parts:
            raise Unreachable(f"an entry of the cluster's log in {self.index} is not whole; try again")
        return b"".join(base64.b64decode(part["body"]) for part in parts if part is not None)


def _name(number: int) -> str:
    return f"{number:016d}"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
