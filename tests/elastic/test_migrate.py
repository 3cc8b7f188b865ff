"""`csirt store migrate` on a real cluster: a mapping that cannot change in place, while a daemon's store goes on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from csirt.errors import CsirtError
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from csirt.stores.elastic import connect, layout, migrate, templates
from csirt.stores.elastic.store import ElasticStore
from csirt.stores.embedded.catalogue import documents
from csirt.stores.embedded.dump import dump
from tests.elastic import desk, former
from tests.elastic.test_commands import Desk
from tests.live import until
from tests.stores import build

pytestmark = pytest.mark.timeout(600)


def aged(client: Any, prefix: str) -> None:
    """As an older csirt would have it: the alerts' index has a field of another type."""
    client.indices.delete(index=f"{prefix}-alert-000001")
    mapping = templates.indices(prefix)[f"{prefix}-alert"]["template"]["mappings"]
    other = {**mapping["properties"]["csirt"]["properties"], "dataset": {"type": "text"}}
    old = {"dynamic": False, "properties": {"csirt": {"properties": other}}}
    aliases = {f"{prefix}-alert": {"is_write_index": True}}
    client.indices.create(index=f"{prefix}-alert-000001", mappings=old, aliases=aliases)


class Writer:
    """Commits all the time: new alerts, one that changes again and again, and alerts that are deleted."""

    def __init__(self, store: ElasticStore) -> None:
        self._store, self._done, self.count = store, threading.Event(), 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.02):
            n, self.count = self.count, self.count + 1
            alerts = [build.alert(f"new{n}"), build.alert("long", count=n + 1)]
            self._store.commit(Commit(alerts=alerts, position=Position("s", "f", n + 1), previous=n))
            with self._store.database.transaction("test") as connection:
                connection.execute("DELETE FROM alerts WHERE id = ?", (build.alert(f"old{n}").id,))


def test_a_new_mapping_without_a_stop(
    elasticsearch: str, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a store that goes on writing, changing and deleting, the alias moves to an index with the new mapping, and
    the cluster has every document in its newest form, none twice and none that was deleted."""
    desk.install(elasticsearch, prefix)
    at = Desk(tmp_path, elasticsearch, prefix, capsys)
    with connect.client(desk.settings(elasticsearch, prefix).elasticsearch) as client:
        aged(client, prefix)
        init = [item for item in at.json("store", "init", "--dry-run")[1]["items"] if item["state"] == "changed"]
        assert [item["changes"] for item in init] == [[f"! {prefix}-alert-000001: csirt.dataset: csirt store migrate"]]
        assert at.json("store", "init")[0] == 0
        with desk.opened(tmp_path / "store", elasticsearch, prefix) as store:
            store.commit(Commit(alerts=[build.alert(f"old{n}") for n in range(3_000)]))
            store.shipper.settle(desk.SECONDS)
            plan = {"old": f"{prefix}-alert-000001", "new": f"{prefix}-alert-000002", "fields": ["csirt.dataset"]}
            code, dry = at.json("store", "migrate", "--dry-run")
            assert (code, dry["items"]) == (0, [{**plan, "documents": 0}])
            with Writer(store) as writer:
                code, done = at.json("store", "migrate")
            assert code == 0 and {**done["items"][0], "documents": 0} == {**plan, "documents": 0}
            assert writer.count > 10
            store.shipper.settle(desk.SECONDS, patient=True)
            assert list(store.dump(["alert", "position"])) == list(dump(store, ["alert", "position"]))
            assert list(client.indices.get_alias(name=f"{prefix}-alert")) == [f"{prefix}-alert-000002"]
            client.indices.refresh(index=f"{prefix}-alert")
            assert client.count(index=f"{prefix}-alert")["count"] == store.count("alert")
        assert at.json("store", "migrate")[1]["items"] == []


def test_what_does_not_fit_changes_nothing(elasticsearch: str, prefix: str) -> None:
    """A document that the new mapping refuses ends the migration: the old index takes writes again, the new one is
    gone, and the sentence names the document and nothing that is in it."""
    desk.install(elasticsearch, prefix)
    with connect.client(desk.settings(elasticsearch, prefix).elasticsearch) as client:
        aged(client, prefix)
        bad = {"@timestamp": "yesterday, as Kari Nordmann says"}
        client.indices.delete(index=f"{prefix}-alert-000001")
        aliases = {f"{prefix}-alert": {"is_write_index": True}}
        odd = {"dynamic": False, "properties": {"@timestamp": {"type": "keyword"}}}
        client.indices.create(index=f"{prefix}-alert-000001", mappings=odd, aliases=aliases)
        client.index(index=f"{prefix}-alert", id="a", document=bad, refresh=True)
        (step,) = migrate.needed(client, prefix)
        assert step.fields == ["@timestamp"]
        with pytest.raises(CsirtError, match="refuses a: 400 document_parsing_exception") as caught:
            migrate.migrate(client, step)
        assert "Kari" not in caught.value.message
        assert not client.indices.exists(index=step.new)
        client.index(index=f"{prefix}-alert", id="b", document=bad, require_alias=True)


def test_indices_of_an_older_csirt(
    elasticsearch: str, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where documents say their facts twice: the daemon says what to do and works on from its folder, nothing is
    refused; `init` names every index; after `migrate` old and new documents are found by ECS names and their own, and
    the cluster holds what the folder does, by canonical dump."""
    desk.install(elasticsearch, prefix)
    at = Desk(tmp_path, elasticsearch, prefix, capsys)
    old = [build.alert(f"old{n}", techniques=["T1046"]) for n in range(1_200)]
    incident = build.incident("i", aliases=["b"])
    with connect.client(desk.settings(elasticsearch, prefix).elasticsearch) as client:
        with desk.opened(tmp_path / "store", elasticsearch, prefix) as store:
            store.commit(Commit(alerts=old, incidents=[incident]))
            store.shipper.settle(desk.SECONDS)
        former.made(client, prefix)
        lines = former.lines(prefix, "alert", [one.model_dump() for one in old])
        lines += former.lines(prefix, "incident", [incident.model_dump()])
        assert not client.bulk(operations=lines, refresh=True)["errors"]
        with desk.opened(tmp_path / "store", elasticsearch, prefix) as store:
            store.commit(Commit(alerts=[build.alert("new", techniques=["T1046"])]))
            until(lambda: "`csirt store migrate`" in store.cluster()["trouble"], 20)
            assert (store.count("alert"), store.cluster()["dead_letters"]) == (1_201, 0)
            assert at.json("check")[0] != 0
            init = [one for one in at.json("store", "init", "--dry-run")[1]["items"] if one["state"] == "changed"]
            wanted = {f"{layout.alias(prefix, kind)}-000001" for kind in documents.KINDS}
            assert {one["name"] for one in init} == wanted
            (alert,) = [one["changes"] for one in init if one["name"] == f"{prefix}-alert-000001"]
            assert f"! {prefix}-alert-000001: event.id: csirt store migrate" in alert
            assert at.json("store", "init")[0] == 0
            code, done = at.json("store", "migrate")
            assert code == 0 and len(done["items"]) == len(documents.KINDS)
            store.shipper.settle(desk.SECONDS, patient=True)
            assert store.cluster()["dead_letters"] == 0
            kinds = ["alert", "incident"]
            assert list(store.dump(kinds)) == list(dump(store, kinds))
            for name in ("threat.technique.id", "csirt.techniques"):
                assert client.count(index=f"{prefix}-alert", query={"term": {name: "T1046"}})["count"] == 1_201
            assert client.count(index=f"{prefix}-incident", query={"term": {"csirt.aliases": "b"}})["count"] == 1
        # A daemon that is still older is refused, not taken half.
        late = client.bulk(operations=former.lines(prefix, "alert", [build.alert("late").model_dump()]))
        assert [one["index"]["status"] for one in late["items"]] == [400]
        init = at.json("store", "init", "--dry-run")[1]["items"]
        assert {one["state"] for one in init} == {"same"}
        assert at.json("store", "migrate")[1]["items"] == []
