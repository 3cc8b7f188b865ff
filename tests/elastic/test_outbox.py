"""What the cluster lacks, and in which order it may be sent: no cluster is needed to try that."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import apsw
import orjson
import pytest

from csirt.clock import Frozen
from csirt.config import ElasticCluster
from csirt.errors import Conflict
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from csirt.stores.elastic import layout, outbox, parcels
from csirt.stores.elastic.fresh import Fresh, Parcel
from csirt.stores.embedded import EmbeddedStore
from csirt.stores.embedded.catalogue import apply
from csirt.stores.embedded.lake.parts import Part
from csirt.stores.embedded.store import open_embedded
from tests.stores import build

Held = dict[tuple[str, str], str]


class Noted(EmbeddedStore):
    """A folder whose commits note their documents at once, as those of a store with a cluster do."""

    fresh: Fresh | None = None

    def _apply(
        self, connection: apsw.Connection, change: Commit, written: list[Part], hits: apply.Hits | None, now: int
    ) -> dict[str, str]:
        made = self.fresh.making() if self.fresh else None
        try:
            return apply.apply(connection, change, written, hits, now, outbox.Noting(connection, made))
        finally:
            if self.fresh is not None and made is not None:
                self.fresh.add(made)


def joined(folder: Path, made: type[EmbeddedStore] = Noted) -> EmbeddedStore:
    """A store folder that keeps account."""
    store = open_embedded(folder, clock=Frozen(build.START), made=made)
    with store.database.transaction("test") as connection:
        outbox.join(connection)
    return store


def acknowledge(
    store: EmbeddedStore,
    sent: list[outbox.Waiting],
    held: Held,
    *refused: outbox.Refused,
    besides: Sequence[Parcel] = (),
) -> None:
    """The cluster has them."""
    held.update({(one.kind, one.key): one.text or "" for one in sent})
    with store.database.transaction("test") as connection:
        outbox.acknowledge(connection, [one.name for one in sent], list(refused), 1, besides)


def window(
    store: EmbeddedStore, limit: int, octets: int = 1 << 20
) -> tuple[list[outbox.Waiting], list[outbox.Waiting]]:
    """What to send next."""
    with store.database.reading() as connection:
        return outbox.window(connection, limit, octets)


def parcels_and_window(
    store: Noted, limit: int, octets: int
) -> tuple[list[Parcel], list[outbox.Waiting], list[outbox.Waiting]]:
    """What to send next, what commits made of it apart."""
    assert store.fresh is not None
    taken = store.fresh.take(octets)
    with store.database.reading() as connection:
        made = parcels.there(connection, taken)
        return made, *outbox.window(connection, limit, 1 << 20, besides=made)


def unpacked(made: list[Parcel]) -> list[outbox.Waiting]:
    """What is in parcels."""
    return [
        outbox.Waiting(kind, key, step, step, layout.text(orjson.loads(lines.split(b"\n", 1)[1])))
        for parcel in made
        for (kind, key, step), lines in zip(parcel.names, parcel.lines, strict=True)
    ]


def taken_over(store: EmbeddedStore) -> None:
    """What another process does first that opens the folder."""
    with store.database.transaction("test") as connection:
        outbox.join(connection)


def unsent(store: EmbeddedStore, taken: list[Parcel]) -> list[Parcel]:
    """The parcels that the folder still has."""
    with store.database.reading() as connection:
        return parcels.there(connection, taken)


def waiting(store: EmbeddedStore) -> int:
    """How many documents wait."""
    with store.database.reading() as connection:
        return outbox.waiting(connection)


def everything(count: int) -> Commit:
    """A commit with a document of every kind, which come again in the next one."""
    case, events = build.opened("c", alerts=count)
    return Commit(
        alerts=[build.alert(name, count=count) for name in ("z", "a", f"new {count}")],
        incidents=[build.incident("i", title=f"{count} alerts")],
        case_events=events if count == 1 else [],
        cases=[case],
        runs=[build.run("r")],
        receipts=[build.receipt("r")],
        notifications=[build.notification("n")],
        audit=[build.entry()],
        position=Position("a", "f", count),
        previous=count - 1,
    )


def rows(store: EmbeddedStore) -> list[tuple[str, str, int, int]]:
    """All that waits."""
    with store.database.reading() as connection:
        return list(connection.execute("SELECT kind, id, first, last FROM outbox ORDER BY first"))


def test_a_commit_notes_what_triggers_would(tmp_path: Path) -> None:
    """Documents that are noted at once wait as those that triggers note one by one: the same, in the same order and
    steps, before their position; whether they are new or come again."""
    with joined(tmp_path / "one", EmbeddedStore) as one, joined(tmp_path / "other") as other:
        for count in (1, 2, 3):
            for store in (one, other):
                store.commit(everything(count))
            found = rows(other)
            assert found == rows(one)
        assert {kind for kind, *_ in found} == set(layout.KINDS)
        latest = max(last for kind, _, _, last in found if kind != "position")
        assert [last > latest for kind, _, _, last in found if kind == "position"] == [True]


def test_a_commit_that_fails_leaves_the_triggers_awake(tmp_path: Path) -> None:
    """After a commit, and after one that was refused or interrupted half-way, what anybody else changes is noted."""
    with joined(tmp_path) as store:
        store.commit(everything(1))
        with pytest.raises(Conflict):
            case, events = build.opened("c")
            store.commit(Commit(alerts=[build.alert("lost")], cases=[case], case_events=events))
        with pytest.raises(KeyboardInterrupt), store.database.transaction("test") as connection:
            outbox.Noting(connection).__enter__()
            raise KeyboardInterrupt
        before = {row[:2]: row[3] for row in rows(store)}
        with store.database.transaction("test") as connection:
            connection.execute("UPDATE alerts SET doc = doc WHERE id = ?", (build.alert("a").id,))
        changed = {row[:2] for row in rows(store) if before.get(row[:2]) != row[3]}
        assert changed == {("alert", build.alert("a").id)}


def test_triggers_of_before_are_taken_away(tmp_path: Path) -> None:
    """A folder that an older csirt joined notes each document once."""
    with joined(tmp_path) as store:
        with store.database.transaction("test") as connection:
            connection.execute(
                """CREATE TRIGGER outbox_alert_insert AFTER INSERT ON alerts BEGIN
                     UPDATE cluster SET steps = steps + 1; END"""
            )
            outbox.join(connection)
        with store.database.reading() as connection:
            before = outbox.steps(connection)
        store.commit(Commit(alerts=[build.alert("a")]))
        with store.database.reading() as connection:
            assert outbox.steps(connection) == before + 1


def test_what_a_commit_made_is_what_its_text_gives(tmp_path: Path) -> None:
    """The lines that are made with a commit are those made of the folder's texts, in the order and the steps in which
    they wait otherwise; they are given out once, and as many as there is room for."""
    config = ElasticCluster(prefix="p")
    with joined(tmp_path / "one") as store, joined(tmp_path / "other") as other:
        assert isinstance(store, Noted)
        fresh = store.fresh = Fresh(config)
        store.commit(everything(1))
        other.commit(everything(1))
        noted = [row for row in rows(other) if row[0] not in ("audit", "position")]
        assert [row[0] for row in rows(store)] == ["audit", "position"]
        assert waiting(store) == waiting(other)
        (parcel,) = fresh.take(1 << 20)
        assert parcel.names == [(kind, key, step) for kind, key, _, step in noted]
        with store.database.reading() as connection:
            texts = [outbox.text_of(connection, kind, key) for kind, key, _ in parcel.names]
        for (kind, key, step), lines, text in zip(parcel.names, parcel.lines, texts, strict=True):
            assert lines == layout.action(config, kind, key, step, text)
        assert fresh.take(1 << 20) == []
        store.fresh = Fresh(config, octets=1)
        store.commit(everything(2))
        store.commit(everything(3))
        taken = store.fresh.take(1 << 20)
        assert [len(parcel.names) for parcel in taken] == [1]
        store.commit(everything(4))
        assert store.fresh.take(1 << 20) == []
        store.fresh.give_back(taken)
        assert store.fresh.take(1 << 20) == taken
        store.fresh.done(taken)
        store.commit(everything(5))
        assert [len(parcel.names) for parcel in store.fresh.take(1 << 20)] == [1]


def test_what_a_commit_made_of_documents_that_were_there(tmp_path: Path) -> None:
    """Each document of a large commit is sent once, as the folder has it, also where some were there before."""
    config, names = ElasticCluster(prefix="p"), [f"n{number:03}" for number in range(250)]
    with joined(tmp_path) as store:
        assert isinstance(store, Noted)
        store.commit(Commit(alerts=[build.alert(name) for name in names[130:133]]))
        store.fresh = Fresh(config)
        store.commit(Commit(alerts=[build.alert(name, count=7) for name in names]))
        (parcel,) = store.fresh.take(1 << 24)
        assert [key for _, key, _ in parcel.names] == [build.alert(name).id for name in names]
        with store.database.reading() as connection:
            for (kind, key, step), lines in zip(parcel.names, parcel.lines, strict=True):
                text = outbox.text_of(connection, kind, key)
                assert text is not None
                assert '"count":7' in text
                assert lines == layout.action(config, kind, key, step, text)


def test_a_parcel_does_not_hide_what_changed_since(tmp_path: Path) -> None:
    """A document that changed after its lines were made is sent as it is now, too, as a later version; a parcel that
    the cluster has waits no more."""
    with joined(tmp_path) as store:
        assert isinstance(store, Noted)
        fresh = store.fresh = Fresh(ElasticCluster(prefix="p"))
        store.commit(Commit(alerts=[build.alert("a"), build.alert("b")]))
        store.fresh = None
        store.commit(Commit(alerts=[build.alert("a", count=9)]))
        (parcel,) = fresh.take(1)
        ((one,), _) = window(store, 10)
        assert one.key == build.alert("a").id and orjson.loads(one.text or "")["count"] == 9
        assert one.last > parcel.steps[1]
        acknowledge(store, [one], Held())
        assert unsent(store, [parcel]) == [parcel] and waiting(store) == 2
        acknowledge(store, [], Held(), besides=[parcel])
        assert unsent(store, [parcel]) == [] and waiting(store) == 0


def test_what_is_at_hand_is_noted_for_the_next_process(tmp_path: Path) -> None:
    """Whoever opens a folder finds in it, document by document, all that the cluster did not take: the same as where
    nothing was at hand, whatever there was room for."""
    with joined(tmp_path / "one") as one, joined(tmp_path / "other") as other:
        assert isinstance(one, Noted)
        for count, octets in enumerate((1 << 20, 3_000, 1, 1 << 20), 1):
            one.fresh = Fresh(ElasticCluster(prefix="p"), octets)
            one.commit(everything(count))
            other.commit(everything(count))
        assert rows(one) != rows(other) and waiting(one) == waiting(other)
        taken_over(one)
        assert rows(one) == rows(other)
        assert unsent(one, one.fresh.take(1 << 20) if one.fresh else []) == []


def test_a_commit_that_is_undone_leaves_no_parcel(tmp_path: Path) -> None:
    """What a commit made that was refused is never sent, though the next commit has its steps."""
    with joined(tmp_path) as store:
        assert isinstance(store, Noted)
        store.fresh = Fresh(ElasticCluster(prefix="p"))
        with pytest.raises(Conflict):
            store.commit(Commit(alerts=[build.alert("lost")], consumed=[7]))
        with pytest.raises(Conflict):
            case, events = build.opened("c", alerts=2)
            store.commit(Commit(alerts=[build.alert("lost")], cases=[case, case], case_events=[*events, *events]))
        store.commit(Commit(alerts=[build.alert("kept")]))
        lost, kept = store.fresh.take(1 << 20)
        assert lost.first == kept.first
        assert unsent(store, [lost, kept]) == [kept] and waiting(store) == 1


def test_what_was_deleted_waits_for_older_parcels(tmp_path: Path) -> None:
    """A document is not deleted in the cluster before all older parcels are there, one of which may hold it; positions
    wait as long."""
    with joined(tmp_path) as store:
        assert isinstance(store, Noted)
        store.fresh = Fresh(ElasticCluster(prefix="p"))
        store.commit(Commit(alerts=[build.alert("a")]))
        with store.database.transaction("test") as connection:
            connection.execute("DELETE FROM alerts WHERE id = ?", (build.alert("a").id,))
        store.commit(Commit(position=Position("a", "f", 1)))
        made, documents, positions = parcels_and_window(store, 10, 1 << 20)
        assert len(made) == 1 and documents == [] and positions == []
        acknowledge(store, [], Held(), besides=made)
        (one,), (position,) = window(store, 10)
        assert (one.kind, one.text) == ("alert", None) and position.kind == "position"


@pytest.mark.parametrize("seed", range(12))
def test_positions_wait_for_parcels(tmp_path: Path, seed: int) -> None:
    """The same where what commits made is sent as it is, some of it twice, some lost, some never made."""
    chance = random.Random(seed)
    with joined(tmp_path) as store:
        assert isinstance(store, Noted)
        sources, held, versions = Sources(store, chance), Held(), dict[tuple[str, str], int]()

        def arrive(sent: list[outbox.Waiting]) -> None:
            for one in sent:  # the newest version stays, in whatever order they come
                if one.last > versions.get((one.kind, one.key), 0):
                    held[one.kind, one.key], versions[one.kind, one.key] = one.text or "", one.last
            assert sources.kept(held)

        for _ in range(60):
            store.fresh = store.fresh or Fresh(ElasticCluster(prefix="p"), chance.choice((1, 3_000, 1 << 20)))
            for _ in range(chance.randrange(4)):
                sources.commit()
            made, documents, positions = parcels_and_window(store, chance.randrange(1, 6), chance.choice((1, 1 << 20)))
            sent = [*unpacked(made), *documents]
            chance.shuffle(sent)
            if chance.random() < 0.3:
                sources.commit()
            if chance.random() < 0.2:  # some arrive, and nobody hears of it
                arrive(sent[:2])
                if chance.random() < 0.5:
                    store.fresh.give_back(made)
                else:
                    store.fresh = None
                    taken_over(store)
                continue
            arrive(sent)
            acknowledge(store, documents, Held(), besides=made)
            store.fresh.done(made)
            if chance.random() < 0.8:
                arrive(positions)
                acknowledge(store, positions, Held())
        taken_over(store)
        while waiting(store):
            for more in window(store, 3):
                arrive(more)
                acknowledge(store, more, Held())
        alerts = {item["id"]: item["count"] for item in store.find("alert")}
        assert {key: orjson.loads(text)["count"] for (kind, key), text in held.items() if kind == "alert"} == alerts


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
