"""A cluster that is away, busy, half broken or forgetful costs nothing: every document arrives once, in its newest
form, and positions never run ahead of what they promise."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from csirt import ids
from csirt.clock import DAY, Frozen
from csirt.config import Retention
from csirt.errors import Unreachable
from csirt.model.chunk import Position
from csirt.stores.base import Commit, Store
from csirt.stores.elastic import outbox
from csirt.stores.elastic.store import ElasticStore
from csirt.stores.embedded import open_embedded
from csirt.stores.embedded.retention import apply
from tests.elastic import desk, proxy
from tests.live import until
from tests.stores import build

pytestmark = pytest.mark.timeout(600)
STEPS = 40


@pytest.fixture
def bad(elasticsearch: str) -> Iterator[proxy.Proxy]:
    """The proxy before the cluster."""
    with proxy.before(elasticsearch) as found:
        yield found


@pytest.fixture
def corner(elasticsearch: str, installed: str) -> str:
    """Empty indices."""
    desk.empty(elasticsearch, installed)
    return installed


def step(store: Store, n: int) -> None:
    """One commit: an alert of its own, another that is extended again and again, a case, the audit, the position."""
    case, events = build.opened(f"{n}")
    store.commit(
        Commit(
            batches=[build.mails(2, first=n * 2)],
            alerts=[build.alert(f"{n}"), build.alert("long", count=n + 1, last=build.START + n)],
            incidents=[build.incident(f"{n}", case=case.id)],
            cases=[case],
            case_events=events,
            audit=[build.entry(detail={"n": n})],
            notifications=[build.notification(f"{n}")],
            position=Position("s", "f", n + 1),
            previous=n,
        )
    )


def undisturbed(folder: Path) -> list[bytes]:
    """The dump of a store that never met a cluster."""
    with open_embedded(folder, clock=Frozen(build.START)) as store:
        for n in range(STEPS):
            step(store, n)
        return list(store.dump())


def ask(url: str, path: str, body: Any = None) -> Any:
    """One request to the cluster itself."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def counted(url: str, prefix: str) -> int:
    """How many documents there are, of all kinds, the note of the writer left out."""
    ask(url, f"/{prefix}-*/_refresh")
    return int(ask(url, f"/{prefix}-*,-{prefix}-meta*/_count")["count"])


class Watch:
    """Looks at the cluster all the time: what a position promises must be there."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url, self._prefix = url, prefix
        self._done = threading.Event()
        self.looks, self.ahead = 0, list[str]()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        where = f"/{self._prefix}-position/_mget"
        while not self._done.wait(0.02):
            found = ask(self._url, where, {"ids": [ids.digest("s", "f")]})["docs"][0]
            if not found["found"]:
                continue
            self.looks += 1
            upto = int(found["_source"]["csirt"]["offset"])
            wanted = [build.alert(f"{n}").id for n in range(upto)]
            docs = ask(self._url, f"/{self._prefix}-alert/_mget", {"ids": wanted})["docs"] if wanted else []
            self.ahead += [f"{upto}: {doc['_id']}" for doc in docs if not doc["found"]]
            long = ask(self._url, f"/{self._prefix}-alert/_mget", {"ids": [build.alert("long").id]})["docs"][0]
            if long["_source"]["csirt"]["count"] < upto:
                self.ahead.append(f"{upto}: an old alert")


def test_an_outage_costs_nothing(bad: proxy.Proxy, corner: str, elasticsearch: str, tmp_path: Path) -> None:
    """Away: commits go on, what was committed is read, one sentence says why, one row waits per document. Back: all of
    it arrives once, and the dump from the cluster is that of an undisturbed run."""
    wanted = undisturbed(tmp_path / "calm")
    bad.mode = "away"
    with desk.opened(tmp_path / "store", bad.url, corner) as store:
        for n in range(STEPS):
            step(store, n)
        until(lambda: bool(store.cluster()["trouble"]), 20)
        assert "cannot be reached" in store.cluster()["trouble"]
        assert (store.count("alert"), store.count("case")) == (STEPS + 1, STEPS)
        waiting = 1 + 6 * STEPS + 1
        assert store.cluster()["waiting"] == waiting
        with pytest.raises(Unreachable, match="cannot be reached"):
            list(store.dump(["alert"]))
        assert counted(elasticsearch, corner) == 0
        bad.mode = "well"
        store.shipper.settle(desk.SECONDS, patient=True)
        assert list(store.dump()) == wanted
        assert (store.cluster()["waiting"], store.cluster()["trouble"]) == (0, "")
        assert counted(elasticsearch, corner) == waiting


def test_every_kind_of_bad_day(bad: proxy.Proxy, corner: str, elasticsearch: str, tmp_path: Path) -> None:
    """Through all of them in turn, with restarts between: equal to an undisturbed run, nothing twice, and at no moment
    a position ahead of its documents."""
    wanted = undisturbed(tmp_path / "calm")
    days = ("well", "partly", "forgetful", "busy", "ill", "partly", "away", "forgetful")
    with Watch(elasticsearch, corner) as watch:
        done = 0
        for day in days:
            with desk.opened(tmp_path / "store", bad.url, corner) as store:
                bad.mode = "well"
                until(lambda store=store: not store.cluster()["waiting"], 20)  # type: ignore[misc]
                bad.mode = day
                for _ in range(STEPS // len(days)):
                    step(store, done)
                    done += 1
                asked = bad.asked
                until(lambda asked=asked: bad.asked > asked + 1, 20)  # type: ignore[misc]
        bad.mode = "well"
        with desk.opened(tmp_path / "store", bad.url, corner) as store:
            store.shipper.settle(desk.SECONDS, patient=True)
            assert list(store.dump()) == wanted
    assert (watch.ahead, watch.looks > 10) == ([], True)
    assert counted(elasticsearch, corner) == 1 + 6 * STEPS + 1


def test_a_poison_document_is_put_aside_singly(corner: str, elasticsearch: str, tmp_path: Path) -> None:
    """What the cluster refuses (a whole request for one bad id, one document against a mapping) is listed with a reason
    that holds nothing of it; everything else arrives; once it may, it arrives as well."""
    with desk.opened(tmp_path / "store", elasticsearch, corner) as store:
        bad_id = build.alert("x").model_copy(update={"id": "x" * 600})
        store.commit(Commit(alerts=[build.alert(f"{n}") for n in range(20)] + [bad_id]))
        store.shipper.settle(desk.SECONDS)
        dead = letters(store)
        assert [(one["kind"], one["id"], one["status"]) for one in dead] == [("alert", "x" * 600, 400)]
        assert counted(elasticsearch, corner) == 20
        assert store.get("alert", "x" * 600) is not None


def test_a_mapping_conflict_blocks_nobody(elasticsearch: str, prefix: str, tmp_path: Path) -> None:
    """Alerts that an index will not take are put aside one by one, without their values; the rest arrives; mended and
    sent again they arrive too."""
    desk.install(elasticsearch, prefix)
    with desk.opened(tmp_path / "store", elasticsearch, prefix) as store:
        client = store.shipper.client
        client.indices.delete(index=f"{prefix}-alert-000001")
        wrong = {"dynamic": False, "properties": {"csirt": {"properties": {"rule_name": {"type": "long"}}}}}
        client.indices.create(index=f"{prefix}-alert-x", aliases={f"{prefix}-alert": {}}, mappings=wrong)
        alerts = [build.alert("a", rule_name="Kari Nordmann"), build.alert("b", rule_name="17")]
        store.commit(Commit(alerts=alerts, incidents=[build.incident("i")], position=Position("s", "f", 9)))
        store.shipper.settle(desk.SECONDS)
        dead = letters(store)
        assert [(one["id"], one["reason"]) for one in dead] == [
            (alerts[0].id, "document_parsing_exception in field csirt.rule_name")
        ]
        assert counted(elasticsearch, prefix) == 3
        client.indices.delete(index=f"{prefix}-alert-x")
        client.indices.create(index=f"{prefix}-alert-000001", aliases={f"{prefix}-alert": {"is_write_index": True}})
        with store.database.transaction("test") as connection:
            assert outbox.retry(connection) == 1
            outbox.add_all(connection)
        store.shipper.settle(desk.SECONDS)
        assert (letters(store), counted(elasticsearch, prefix)) == ([], 4)


def letters(store: ElasticStore) -> list[dict[str, Any]]:
    """The dead letters."""
    with store.database.reading() as connection:
        return outbox.dead_letters(connection)


def test_without_indices_nothing_is_made_by_chance(elasticsearch: str, prefix: str, tmp_path: Path) -> None:
    """Before `csirt store init` the daemon's store says so and makes no index; after it everything arrives."""
    with desk.opened(tmp_path / "store", elasticsearch, prefix) as store:
        step(store, 0)
        until(lambda: "csirt store init" in store.cluster()["trouble"], 20)
        assert ask(elasticsearch, f"/{prefix}*") == {}
        desk.install(elasticsearch, prefix)
        store.shipper.settle(desk.SECONDS, patient=True)
        assert counted(elasticsearch, prefix) == 8


def test_two_writers_are_one_too_many(corner: str, elasticsearch: str, tmp_path: Path) -> None:
    """Another store, and a copy of the folder that falls behind, are refused and change nothing."""
    with desk.opened(tmp_path / "store", elasticsearch, corner) as store:
        step(store, 0)
        store.shipper.settle(desk.SECONDS)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    with desk.opened(tmp_path / "store", elasticsearch, corner) as store:
        step(store, 1)
        store.shipper.settle(desk.SECONDS)
        before = list(store.dump(["alert", "case", "position"]))
    with desk.opened(tmp_path / "copy", elasticsearch, corner) as late:
        step(late, 1)
        until(lambda: "another copy" in late.cluster()["trouble"], 20)
    with desk.opened(tmp_path / "other", elasticsearch, corner) as other:
        step(other, 0)
        until(lambda: "another store" in other.cluster()["trouble"], 20)
    with desk.opened(tmp_path / "store", elasticsearch, corner) as store:
        store.shipper.settle(desk.SECONDS)
        assert list(store.dump(["alert", "case", "position"])) == before


def test_new_indices_get_everything(elasticsearch: str, prefix: str, tmp_path: Path, corner: str) -> None:
    """A store that goes to another prefix, or whose indices were lost, sends all of it there."""
    with desk.opened(tmp_path / "store", elasticsearch, corner) as store:
        for n in range(3):
            step(store, n)
        store.shipper.settle(desk.SECONDS)
        wanted = list(store.dump())
    desk.install(elasticsearch, prefix)
    with desk.opened(tmp_path / "store", elasticsearch, prefix) as store:
        until(lambda: not store.cluster()["waiting"] and counted(elasticsearch, prefix) == 20, 20)
        assert list(store.dump()) == wanted


def test_retention_reaches_the_cluster(corner: str, elasticsearch: str, tmp_path: Path) -> None:
    """What retention deletes in the folder goes from the cluster too: cases with all that belongs to them, audit."""
    clock = Frozen(build.START)
    with desk.opened(tmp_path / "store", elasticsearch, corner, clock=clock) as store:
        case, events = build.opened("old", state="closed")
        alert = build.alert("old", incident=build.incident("old").id)
        change = Commit(alerts=[alert], incidents=[build.incident("old", case=case.id)], cases=[case])
        change.case_events, change.audit = events, [build.entry()]
        store.commit(change)
        store.shipper.settle(desk.SECONDS)
        assert counted(elasticsearch, corner) == 5
        clock.time += 2_000 * DAY
        report = apply(store, Retention(), clock.now())
        assert report["documents"]["case"] == 1
        store.maintain()
        until(lambda: not store.cluster()["waiting"], 20)
        kept = ask(elasticsearch, f"/{corner}-*,-{corner}-meta*/_search")["hits"]["hits"]
        assert counted(elasticsearch, corner) == 1, kept  # the entry of the deletion itself


@pytest.mark.parametrize("kind", ["alert", "audit"])
def test_what_is_sent_twice_or_late_changes_nothing(corner: str, elasticsearch: str, tmp_path: Path, kind: str) -> None:
    """An acknowledgement that is lost makes documents be sent again: no second one, no older one."""
    with desk.opened(tmp_path / "store", elasticsearch, corner) as store:
        send: Callable[[list[outbox.Waiting]], Any] = lambda items: store.shipper._bulk.send(items)  # type: ignore[union-attr]  # noqa: E731
        store.commit(Commit(alerts=[build.alert("a", count=2)], audit=[build.entry()]))
        store.shipper.settle(desk.SECONDS)
        reader = desk.reader(store)
        (newest,) = reader.all(kind)
        text = json.dumps({**newest, "count": 1} if kind == "alert" else newest)
        key = newest["id"] if kind == "alert" else f"{newest['seq']:012d}"
        assert send([outbox.Waiting(kind, key, 5, 5, text), outbox.Waiting(kind, key, 5, 5, text)]) == []
        assert list(desk.reader(store).all(kind)) == [newest]
