"""What the cluster lacks, and in which order it may be sent: no cluster is needed to try that."""

from __future__ import annotations

import random
from pathlib import Path

import orjson
import pytest

from csirt.clock import Frozen
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from csirt.stores.elastic import outbox
from csirt.stores.embedded import EmbeddedStore, open_embedded
from tests.stores import build

Held = dict[tuple[str, str], str]


def joined(folder: Path) -> EmbeddedStore:
    """A store folder that keeps account."""
    store = open_embedded(folder, clock=Frozen(build.START))
    with store.database.transaction("test") as connection:
        outbox.join(connection)
    return store


def acknowledge(store: EmbeddedStore, sent: list[outbox.Waiting], held: Held, *refused: outbox.Refused) -> None:
    """The cluster has them."""
    held.update({(one.kind, one.key): one.text or "" for one in sent})
    with store.database.transaction("test") as connection:
        outbox.acknowledge(connection, sent, list(refused), 1)


def window(
    store: EmbeddedStore, limit: int, octets: int = 1 << 20
) -> tuple[list[outbox.Waiting], list[outbox.Waiting]]:
    """What to send next."""
    with store.database.reading() as connection:
        return outbox.window(connection, limit, octets)


def waiting(store: EmbeddedStore) -> int:
    """How many documents wait."""
    with store.database.reading() as connection:
        return outbox.waiting(connection)


class Sources:
    """Two inputs that extend one alert in turn, each with alerts of its own."""

    def __init__(self, store: EmbeddedStore, chance: random.Random) -> None:
        self.store, self.chance = store, chance
        self.offset = {"a": 0, "b": 0}
        self.promised: dict[tuple[str, int], int] = {}  # input and offset -> the count of the shared alert
        self.count = 0

    def commit(self) -> None:
        """One step of one of them."""
        name = self.chance.choice("ab")
        before = self.offset[name]
        self.offset[name] += 1
        self.count += 1
        self.promised[name, self.offset[name]] = self.count
        alerts = [build.alert("shared", count=self.count), build.alert(f"{name}{self.offset[name]}")]
        change = Commit(alerts=alerts, position=Position(name, "f", self.offset[name]), previous=before)
        self.store.commit(change)

    def kept(self, held: Held) -> bool:
        """Whether the cluster holds what its positions promise."""
        for (kind, key), text in held.items():
            if kind != "position":
                continue
            name, upto = orjson.loads(key)[0], int(orjson.loads(text)["offset"])
            shared = held.get(("alert", build.alert("shared").id), "{}")
            if orjson.loads(shared).get("count", 0) < self.promised[name, upto]:
                return False
            if any(("alert", build.alert(f"{name}{n}").id) not in held for n in range(1, upto + 1)):
                return False
        return True


@pytest.mark.parametrize("seed", range(12))
def test_positions_never_run_ahead(tmp_path: Path, seed: int) -> None:
    """However few documents a round takes, whatever is committed meanwhile and wherever a round is cut short: at every
    moment the cluster holds all that its positions promise, and in the end everything, in its newest form."""
    chance = random.Random(seed)
    with joined(tmp_path) as store:
        sources, held = Sources(store, chance), Held()
        for _ in range(60):
            for _ in range(chance.randrange(3)):
                sources.commit()
            documents, positions = window(store, chance.randrange(1, 6))
            if chance.random() < 0.3:
                sources.commit()
            if chance.random() < 0.2:  # some arrive, and nobody hears of it
                held.update({(one.kind, one.key): one.text or "" for one in documents[:1]})
                assert sources.kept(held)
                continue
            acknowledge(store, documents, held)
            assert sources.kept(held)
            if chance.random() < 0.8:
                acknowledge(store, positions, held)
                assert sources.kept(held)
        while waiting(store):
            for sent in window(store, 3):
                acknowledge(store, sent, held)
        assert sources.kept(held)
        assert {key for kind, key in held if kind == "alert"} == {item["id"] for item in store.find("alert")}
        for name, offset in sources.offset.items():
            key = orjson.dumps([name, "f"]).decode()
            assert offset == 0 or orjson.loads(held["position", key])["offset"] == offset


def test_a_stream_of_commits_starves_no_position(tmp_path: Path) -> None:
    """A position that is committed again before each round ends moves in the cluster all the same."""
    with joined(tmp_path) as store:
        sources, held = Sources(store, random.Random(1)), Held()
        for n in range(1, 10):
            sources.commit()
            documents, positions = window(store, 100)
            sources.commit()
            acknowledge(store, documents, held)
            acknowledge(store, positions, held)
            assert sum(orjson.loads(text)["offset"] for (kind, _), text in held.items() if kind == "position") >= n


def test_a_long_outage_costs_one_row_per_document(tmp_path: Path) -> None:
    """A document that changes again and again waits once, and is sent as it is then; one that was deleted, too."""
    with joined(tmp_path) as store:
        for n in range(50):
            store.commit(Commit(alerts=[build.alert("a", count=n + 1), build.alert("b")]))
        assert waiting(store) == 2
        with store.database.transaction("test") as connection:
            connection.execute("DELETE FROM alerts WHERE id = ?", (build.alert("b").id,))
        (documents, _) = window(store, 100)
        texts = {one.key: one.text for one in documents}
        assert orjson.loads(texts[build.alert("a").id] or "")["count"] == 50
        assert texts[build.alert("b").id] is None


def test_what_was_refused_holds_up_nothing(tmp_path: Path) -> None:
    """A refused document waits no more and is listed; sent again or changed, and taken, it is listed no more."""
    with joined(tmp_path) as store:
        held = Held()
        store.commit(Commit(alerts=[build.alert("a")], position=Position("a", "f", 1)))
        documents, positions = window(store, 100)
        one = documents[0]
        acknowledge(store, documents, held, outbox.Refused(one.kind, one.key, one.last, 400, "no"))
        acknowledge(store, positions, held)
        with store.database.transaction("test") as connection:
            assert (outbox.waiting(connection), outbox.count_dead(connection)) == (0, 1)
            assert outbox.dead_letters(connection)[0]["reason"] == "no"
            assert outbox.retry(connection) == 1
        assert [again.key for again in window(store, 100)[0]] == [one.key]
        acknowledge(store, window(store, 100)[0], held)
        with store.database.reading() as connection:
            assert (outbox.waiting(connection), outbox.count_dead(connection)) == (0, 0)
