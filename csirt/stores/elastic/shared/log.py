"""The log in the cluster: one document per entry, its id the entry's number, only ever created.

Creating number N + 1 is the fence: of several nodes that try, one can, and the others find what it wrote. A request
that seems lost may have arrived; the entry's token tells.

The log is cut by whole segments, each an index of its own (`cut.py`), never by deleting single entries: a number whose
document was deleted could be created again by a node with an old view, which would then believe that its change, or its
claim to send something, was accepted. Why a number is never given twice:

- A node with entry N in its folder writes N + 1 into the segment that the entries up to N name as the last: so only who
  has the last entry of a segment writes into the next one. As long as the segment is there, its entries are, and a late
  create conflicts. Once it is deleted there is no index to create anything in: the request fails, whenever it arrives.
- The name of a segment is random, and its index is made once, before an entry names it; nothing makes it again: the
  template forbids that a write makes an index. Should it be made all the same (another template), the create is still
  not accepted: the cluster's own count of writes of that index is lower than the number of entries before this one.
- The entry that ends a segment is an entry as others: of two nodes that try, one can.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from csirt.clock import Clock
from csirt.config import ElasticCluster
from csirt.errors import CsirtError, Unreachable
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.shared.entry import Entry, Segment, octets, text

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

PART = 8 * 1024 * 1024  # octets of one document
PAGE = 32  # entries read at once
TRIES = 4
PAUSE = 0.2  # seconds; one of the cluster's nodes may have ended just now
_GONE_LATER = (408, 429, 500, 502, 503, 504)
_NO_INDEX = "index_not_found_exception"
CUT = (
    "the cluster's log is no longer kept from where this folder has come: nothing was heard of this node for longer "
    "than [stores.elasticsearch] forget_after; stop this daemon, and `csirt store recover --dry-run` says what can be "
    "done"
)


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
        self._where: dict[str, Any] = {"require_alias": True}

    def client(self) -> Elasticsearch:
        """The client."""
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
            raise self._lacks(answer["error"])
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
                raise self._lacks(item["error"])
        return [item["_source"] if item["found"] else None for item in answer["docs"]]

    def put(self, name: str, body: dict[str, Any], at: tuple[int, int] | None) -> tuple[int, int] | None:
        """Create a document, or change it as it stands `at`; where it stands then, None when it stands elsewhere."""
        import elasticsearch as es

        where: dict[str, Any] = {"op_type": "create"} if at is None else {"if_seq_no": at[0], "if_primary_term": at[1]}
        try:
            done = self._asked(
                lambda client: client.index(index=self.index, id=name, document=body, **self._where, **where).body,
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
                return ask(self.client())
            except es.ConflictError:
                raise
            except Exception as error:
                passing = isinstance(error, es.ConnectionError) or (
                    isinstance(error, es.ApiError) and error.meta.status in _GONE_LATER
                )
                if not passing or not again or attempt == TRIES - 1:
                    raise self._failed(error) from error
            self._clock.sleep(PAUSE)
        raise AssertionError("unreachable")

    def _failed(self, error: Exception) -> CsirtError:
        return connect.explain(error, self.config)

    def _lacks(self, error: dict[str, Any]) -> CsirtError:
        """What it means that the index does not give a document."""
        if error["type"] == _NO_INDEX:
            return connect.Refusal(f"the cluster lacks csirt's indices ({self.index}); run `csirt store init`")
        return Unreachable(f"the cluster's index {self.index} cannot be read; bring its nodes back")


class Cut(CsirtError):
    """What is asked for is no longer kept."""

    code = "cut"


class Piece(Documents):
    """The documents of one segment. Raises Cut once it is no longer there."""

    def __init__(self, client: Callable[[], Elasticsearch], config: ElasticCluster, clock: Clock, name: str) -> None:
        super().__init__(client, config, layout.LOG, clock)
        self.index = name
        self._where = {}

    def _failed(self, error: Exception) -> CsirtError:
        import elasticsearch as es

        return Cut(CUT) if isinstance(error, es.NotFoundError) else super()._failed(error)

    def _lacks(self, error: dict[str, Any]) -> CsirtError:
        return Cut(CUT) if error["type"] == _NO_INDEX else super()._lacks(error)

    def created(self, name: str, body: dict[str, Any]) -> int | None:
        """Write a document that must not be there: its place among all that were ever written here. None when another
        is there. Raises Unreachable when that is not known: it may be found later."""
        failed: Unreachable | None = None
        for _ in range(TRIES):
            try:
                done = self.put(name, body, None)
            except connect.Refusal:
                raise
            except Unreachable as error:
                failed = error
                self._clock.sleep(PAUSE)
                continue
            if done is not None:
                return done[0]
            found = self.get(name)
            return found[1][0] if found is not None and found[0] == body else None
        assert failed is not None
        raise failed

    def forget(self, name: str) -> None:
        """Delete a document that nobody names."""
        self._asked(lambda client: client.options(ignore_status=404).delete(index=self.index, id=name).body, again=True)


class Log(Documents):
    """Entries by number, in segments."""

    def __init__(self, client: Callable[[], Elasticsearch], config: ElasticCluster, clock: Clock) -> None:
        super().__init__(client, config, layout.LOG, clock)
        self._begun: list[str] = []  # what may have been made in vain

    def at(self, name: str) -> Piece:
        """The documents of a segment."""
        return Piece(self.client, self.config, self._clock, name)

    def create(self, entry: Entry, segment: Segment) -> bool:
        """Whether this is the entry of its number now; False when another is. Raises Cut, and Unreachable when that is
        not known: the entry may be found later."""
        data = entry.pack()
        entry.size = len(data)
        parts = [data[start : start + PART] for start in range(0, len(data), PART)]
        piece = self.at(segment.name)
        for number, part in enumerate(parts[1:], 1):
            piece.created(f"{entry.token}:{number}", {"body": text(part)})
        body = {"node": entry.node, "token": entry.token, "parts": len(parts), "body": text(parts[0])}
        place = piece.created(_name(entry.number), body)
        if place is not None and place <= entry.number - segment.first:
            raise Cut(CUT)  # an index that somebody made anew: the one of that name held more
        return place is not None

    def token(self, number: int, name: str) -> str:
        """The token of an entry, empty when there is none. Raises Cut."""
        if not name:
            raise Cut(CUT)
        found = self.at(name).get(_name(number))
        return str(found[0]["token"]) if found is not None else ""

    def read(self, number: int, name: str) -> list[Entry]:
        """The entries from this number on that follow each other in a segment, at most a page. Raises Cut."""
        found: list[Entry] = []
        piece = self.at(name)
        for place, source in enumerate(piece.several([_name(number + index) for index in range(PAGE)])):
            if source is None:
                break
            entry = Entry.unpack(_whole(piece, source))
            entry.number = number + place
            found.append(entry)
        return found

    def walk(self, segment: Segment) -> Iterator[Entry]:
        """All entries from the beginning of a segment to the end of the log. Raises Cut."""
        number, name = segment.first, segment.name
        while page := self.read(number, name):
            for entry in page:
                yield entry
                name = entry.segment or name
            number += len(page)

    def begin(self, log: str, number: int) -> str:
        """Make an index for a segment that will begin after that entry, under a name that was never there. Where that
        is tried again and again, what came of the tries before is deleted: nobody was told of it."""
        while self._begun:
            self.drop(self._begun[-1])
            self._begun.pop()
        name = f"{self.index}-{number:012d}-{log[:8]}-{os.urandom(8).hex()}"
        settings = {"index": {"number_of_shards": 1}}
        self._begun.append(name)
        self._asked(lambda client: client.indices.create(index=name, settings=settings).body, again=False)
        self.at(name).created("begin", {"log": log})
        self._begun.remove(name)
        return name

    def names(self, log: str) -> list[str]:
        """The indices that were made for segments of that log."""
        pattern = re.compile(rf"{re.escape(self.index)}-\d{{12}}-{log[:8]}-[0-9a-f]{{16}}")
        there = self._asked(
            lambda client: client.indices.get_settings(index=f"{self.index}-0*", name="index.uuid").body, again=True
        )
        return sorted(name for name in there if pattern.fullmatch(name))

    def drop(self, name: str) -> None:
        """Delete an index."""
        self._asked(lambda client: client.options(ignore_status=404).indices.delete(index=name).body, again=True)


def _whole(piece: Piece, source: dict[str, Any]) -> bytes:
    more = [f"{source['token']}:{number}" for number in range(1, int(source["parts"]))]
    parts = [source, *(piece.several(more) if more else [])]
    if None in parts:
        raise Unreachable(f"an entry of the cluster's log in {piece.index} is not whole; try again")
    return b"".join(octets(part["body"]) for part in parts if part is not None)


def _name(number: int) -> str:
    return f"{number:016d}"
