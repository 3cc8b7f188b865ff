"""What a round of sending takes, gives back and notes: no cluster is needed to try that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from csirt.clock import Frozen
from csirt.config import ElasticCluster
from csirt.errors import Unreachable
from csirt.stores.base import Commit
from csirt.stores.elastic import fresh, outbox
from csirt.stores.elastic.bulk import Bulk
from csirt.stores.elastic.ship import Shipper
from tests.elastic.test_outbox import Noted, joined, waiting
from tests.stores import build

CONFIG = ElasticCluster(prefix="p", in_flight=1)
ROOM = 1 << 20


class Cluster:
    """Takes what it is sent, but for what it is told to refuse; `asked` is called with the number of each request."""

    def __init__(self, asked: Callable[[int], None] = lambda number: None, refused: str = "") -> None:
        self.asked, self.refused = asked, refused
        self.requests = 0
        self.taken: list[str] = []

    def bulk(self, operations: bytes, filter_path: str) -> Any:
        """One request."""
        self.requests += 1
        self.asked(self.requests)
        names = [orjson.loads(line)["index"]["_id"] for line in operations.splitlines()[::2]]
        self.taken += [name for name in names if name != self.refused]
        bad = {"status": 400, "error": {"type": "document_parsing_exception"}}
        items = [{"index": bad if name == self.refused else {"status": 201}} for name in names]
        return SimpleNamespace(body={"errors": self.refused in names, "items": items})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder whose commits make a parcel of each document."""
    monkeypatch.setattr(fresh, "LARGE", 1)
    with joined(tmp_path) as found:
        assert isinstance(found, Noted)
        found.fresh = fresh.Fresh(CONFIG, ROOM)
        yield found


def shipper(store: Noted, cluster: Cluster) -> Shipper:
    """One whose rounds are made by hand, with a request for each document."""
    assert store.fresh is not None
    follower: Any = SimpleNamespace(retire=lambda client: None)
    made = Shipper(store.database, CONFIG, Frozen(build.START), follower, store.fresh)
    client: Any = cluster
    made._client, made._bulk = client, Bulk(client, CONFIG, made._stop)
    made._bulk.size = 1
    made._head = SimpleNamespace(write=lambda step: None)  # type: ignore[assignment]
    return made


def alerts(*names: str) -> Commit:
    """A commit of so many documents."""
    return Commit(alerts=[build.alert(name) for name in names])


def ids(*names: str) -> list[str]:
    """Theirs."""
    return [build.alert(name).id for name in names]


def test_commits_that_come_meanwhile_are_part_of_a_round(store: Any) -> None:
    """What is committed while a round sends goes with it, is acknowledged with it, and leaves room as it goes."""
    rooms: list[int] = []

    def asked(number: int) -> None:
        if number == 1:
            store.commit(alerts("c", "d"))
        rooms.append(store.fresh._room)

    cluster = Cluster(asked)
    sending = shipper(store, cluster)
    store.commit(alerts("a", "b"))
    assert sending.turn()
    assert cluster.taken == ids("a", "b", "c", "d")
    assert waiting(store) == 0 and store.fresh._room == ROOM
    assert rooms[-1] > min(rooms)
    assert not sending.turn() and cluster.requests == 4


def test_a_round_has_an_end(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits that come without end do not keep a round from noting what the cluster has."""
    monkeypatch.setattr("csirt.stores.elastic.ship.LONGEST", 3 * 600)
    sending = shipper(store, Cluster(lambda number: store.commit(alerts(str(number)))))
    store.commit(alerts("first"))
    assert sending.turn()
    assert 0 < waiting(store) < 5


def test_what_was_sent_before_a_round_failed_is_not_sent_again(store: Any) -> None:
    """After a failure, what the cluster had whole is noted, and only the rest is sent again."""

    def asked(number: int) -> None:
        if number == 3:
            raise OSError("away")

    cluster = Cluster(asked)
    sending = shipper(store, cluster)
    store.commit(alerts("a", "b", "c", "d", "e"))
    with pytest.raises(Unreachable):
        sending.turn()
    assert waiting(store) == 5
    assert sending.turn()
    counts = Counter(cluster.taken)
    assert set(counts) == set(ids("a", "b", "c", "d", "e"))
    assert [counts[id] for id in ids("a", "b", "c")] == [1, 1, 1]
    assert waiting(store) == 0 and store.fresh._room == ROOM


def test_a_refusal_is_noted_though_the_round_fails(store: Any) -> None:
    """A parcel of which something was refused is sent again after a failure, so that the refusal is not forgotten."""

    def asked(number: int) -> None:
        if number == 3:
            raise OSError("away")

    (bad,) = ids("a")
    cluster = Cluster(asked, bad)
    sending = shipper(store, cluster)
    store.commit(alerts("a", "b", "c"))
    with pytest.raises(Unreachable):
        sending.turn()
    assert sending.turn()
    with store.database.reading() as connection:
        assert [one["id"] for one in outbox.dead_letters(connection)] == [bad]
    assert set(cluster.taken) == set(ids("b", "c"))
    assert waiting(store) == 0 and store.fresh._room == ROOM


def test_a_commit_that_was_undone_takes_up_no_room(store: Any) -> None:
    """Lines of a commit that was refused are not sent, and take up no room."""
    cluster = Cluster()
    sending = shipper(store, cluster)
    case, events = build.opened("c", alerts=2)
    with pytest.raises(Exception, match="read it again"):
        store.commit(Commit(alerts=[build.alert("lost")], cases=[case, case], case_events=[*events, *events]))
    assert store.fresh._room < ROOM
    assert not sending.turn()
    assert cluster.taken == [] and store.fresh._room == ROOM
