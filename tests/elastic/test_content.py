"""What goes into the cluster beside the documents: matched events, sums by minute, all events, or nothing; each once,
however rows are committed, sent again, merged or late; gone when its time is over."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from csirt.clock import DAY, HOUR, MINUTE, Frozen
from csirt.config import Retention
from csirt.model import ecs
from csirt.model.batch import Batch, codes, constant, event_ids
from csirt.model.ndjson import render
from csirt.stores.base import Commit, Settled
from csirt.stores.elastic import outbox
from csirt.stores.elastic.store import ElasticStore
from tests.elastic import desk, proxy
from tests.live import until
from tests.stores import build

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def corner(elasticsearch: str, installed: str) -> str:
    """Empty indices."""
    desk.empty(elasticsearch, installed)
    return installed


def hits(*ids: str) -> pa.Table:
    """Hits of these events, one of them twice."""
    found = build.hits([build.START] * (len(ids) + 1))
    return found.set_column(found.column_names.index("event"), "event", pa.array([*ids, ids[0]]))


def held(store: ElasticStore, kind: str) -> dict[str, dict[str, Any]]:
    """The cluster's documents of a kind, by id, everything committed included."""
    store.shipper.settle(desk.SECONDS, patient=True)
    client, name = store.shipper.client, f"{store.config.elasticsearch.prefix}-{kind}"
    client.indices.refresh(index=name)
    found = client.search(index=name, size=10_000)["hits"]["hits"]
    assert len({hit["_id"] for hit in found}) == len(found)
    return {hit["_id"]: hit["_source"] for hit in found}


def ids(batch: Batch) -> list[str]:
    """The ids of a batch's rows."""
    return event_ids(batch.table).to_pylist()  # type: ignore[no-any-return]


def flows(rows: int, *, first: int = 0) -> Batch:
    """Flows over several minutes, one in ten a duplicate, each opened by either end or nobody knows which."""
    batch = build.flows(rows, first=first)
    number = np.arange(first, first + rows)
    twice = pa.array([build.segment() + "0" * 16 if n % 10 == 9 else None for n in number], pa.string())
    time = pa.array(build.START + number * 500_000, ecs.TIME)
    table = batch.table.set_column(batch.table.column_names.index("@timestamp"), "@timestamp", time)
    table = table.append_column(ecs.DUPLICATE, twice)
    ends: list[str | None] = ["source", "destination", None]
    table = table.append_column("csirt.flow.client", codes(number % 3, ends))
    version = pa.array(np.full(rows, 9, np.uint8))
    return Batch("flow", table.append_column("netflow.exporter.version", version))


def added_up(*batches: Batch) -> Counter[tuple[Any, ...]]:
    """What the sums must come to, one flow after the other."""
    total: Counter[tuple[Any, ...]] = Counter()
    for batch in batches:
        for line in render(batch):
            row = json.loads(line)
            if "duplicate_of" in row.setdefault("csirt", {}).get("flow", {}):
                continue
            ends = ["source", "destination"]
            client = row["csirt"].get("flow", {}).get("client")
            swap = client == "destination" if client else row["source"]["port"] < row["destination"]["port"]
            client_end, server_end = reversed(ends) if swap else ends
            port = row[server_end]["port"]
            members = [row["csirt"].get(end, {}).get("member", {}).get("id") for end in (client_end, server_end)]
            key = (row["@timestamp"][:16], *members, port if port < 32_768 else None)
            total[(*key, "records")] += 1
            total[(*key, "sent" if not swap else "received")] += row["network"]["bytes"]
    return total


def summed(found: dict[str, dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """The cluster's sums, added up."""
    total: Counter[tuple[Any, ...]] = Counter()
    for row in found.values():
        members = [row["csirt"][end].get("member", {}).get("id") for end in ("source", "destination")]
        key = (row["@timestamp"][:16], *members, row["destination"].get("port"))
        total[(*key, "records")] += row["csirt"]["minute"]["records"]
        total[(*key, "sent")] += row["source"]["bytes"]
        total[(*key, "received")] += row["destination"]["bytes"]
        assert row["network"]["bytes"] == row["source"]["bytes"] + row["destination"]["bytes"]
    return +total


@pytest.mark.parametrize(("content", "events", "sums"), [("none", 0, 0), ("matched", 3, 0), ("aggregates", 3, 1)])
def test_each_level_sends_its_part(
    corner: str, elasticsearch: str, tmp_path: Path, content: str, events: int, sums: int
) -> None:
    """Matched events by their own ids, whole as the lake renders them; sums by minute; documents in any case."""
    batch, mails = flows(40), build.mails(20)
    wanted = [ids(batch)[3], ids(batch)[30], ids(mails)[7]]
    with desk.opened(tmp_path, elasticsearch, corner, content=content) as store:
        store.commit(Commit(batches=[batch, mails], hits=hits(*wanted), alerts=[build.alert("a")]))
        found = held(store, "event")
        assert sorted(found) == sorted(wanted[:events])
        lines = {json.loads(line)["event"]["id"]: line for one in (batch, mails) for line in render(one)}
        for id, source in found.items():
            assert source.pop("lake")["received"] == store.clock.now() // HOUR * HOUR // 1000
            assert orjson.dumps(source, option=orjson.OPT_SORT_KEYS) == lines[id]
        assert bool(held(store, "minute")) == bool(sums)
        assert len(held(store, "alert")) == 1
        told = store.cluster()
        assert (told["content"], told["events"]["sent"], told["waiting"]) == (content, events, 0)


def test_all_sends_every_event_but_duplicates(corner: str, elasticsearch: str, tmp_path: Path) -> None:
    """Every row of the lake once; records of flows that others count already stay out; numbers and times that no index
    can hold leave the document whole."""
    batch = flows(50)
    large = pa.array([1 << 63, *([7] * 49)], pa.uint64())
    table = batch.table.set_column(batch.table.column_names.index("network.bytes"), "network.bytes", large)
    forged = pa.array([1, -DAY, *batch.table.column("@timestamp").cast(pa.int64()).to_pylist()[2:]], pa.int64())
    table = table.set_column(table.column_names.index("@timestamp"), "@timestamp", forged.cast(ecs.TIME))
    batch = Batch("flow", table)
    with desk.opened(tmp_path, elasticsearch, corner, content="all") as store:
        store.commit(Commit(batches=[batch, build.mails(5)]))
        found = held(store, "event")
        assert len(found) == 45 + 5
        exact = json.loads(found[ids(batch)[0]]["document"])
        assert (exact["network"]["bytes"], found[ids(batch)[0]]["network"]["bytes"]) == (1 << 63, (1 << 63) - 1)
        assert found[ids(batch)[1]]["@timestamp"].startswith("1969-12-31")
        told = store.cluster()
        assert (told["events"]["clipped"], told["dead_letters"]) == (1, 0)


def test_sums_stay_right_however_rows_come(corner: str, elasticsearch: str, tmp_path: Path) -> None:
    """In many commits, through restarts, merges, lost answers, rows that are settled later, hours that change and late
    rows: the cluster's sums are those of the flows, each counted once, after every step."""
    clock, batches = Frozen(build.START), [flows(97, first=n * 97) for n in range(8)]
    with proxy.before(elasticsearch) as bad:
        for n, batch in enumerate(batches):
            with desk.opened(tmp_path, bad.url, corner, clock=clock) as store:
                bad.mode = "forgetful" if n % 3 == 2 else "well"
                store.commit(Commit(batches=[Batch("flow", batch.table.slice(0, 50))]))
                store.commit(Commit(batches=[Batch("flow", batch.table.slice(50))]))
                clock.time += 20 * MINUTE
                store.maintain()
                bad.mode = "well"
                assert summed(held(store, "minute")) == added_up(*batches[: n + 1])
        with desk.opened(tmp_path, bad.url, corner, clock=clock) as store:
            waiting = Batch("flow", flows(60, first=10_000).table.append_column(ecs.DUE, _due(60, 10_000)))
            store.commit(Commit(fresh=[waiting]))
            assert summed(held(store, "minute")) == added_up(*batches)
            with store.waiting() as parts:
                settled = Settled(build.START + DAY, {part.id: part.rows for part in parts})
            store.commit(Commit(batches=[Batch("flow", waiting.table.drop_columns(ecs.DUE))], settled=settled))
            late = flows(30, first=1)  # as another router's records of these minutes
            segment = constant(build.segment("two"), 30)
            place = late.table.column_names.index("csirt.segment")
            late = Batch("flow", late.table.set_column(place, "csirt.segment", segment))
            store.commit(Commit(batches=[late]))
            everything = [*batches, Batch("flow", waiting.table.drop_columns(ecs.DUE)), late]
            assert summed(held(store, "minute")) == added_up(*everything)
            store.follower.everything()
            assert summed(held(store, "minute")) == added_up(*everything)


def _due(rows: int, first: int) -> pa.Array:
    return pa.array(build.START + np.arange(first, first + rows) * 500_000, ecs.TIME)


def test_minutes_wait_until_they_are_at_rest(corner: str, elasticsearch: str, tmp_path: Path) -> None:
    """Unless somebody waits for them, sums are sent once their minute has not changed for a while."""
    clock = Frozen(build.START)
    with desk.opened(tmp_path, elasticsearch, corner, clock=clock) as store:
        store.shipper.settle(desk.SECONDS, patient=True)
        until(lambda: bool(store.shipper._head), 20)
        store.commit(Commit(batches=[flows(20)], alerts=[build.alert("a")]))
        until(lambda: store.cluster()["waiting"] == store.cluster()["minutes"]["waiting"], 20)
        assert store.cluster()["minutes"] == {"waiting": 1, "sent": 0}
        clock.time += MINUTE
        store.shipper.wake()
        until(lambda: store.cluster()["waiting"] == 0, 20)
        assert store.cluster()["minutes"]["sent"] > 0


def test_lost_indices_get_their_events_again(elasticsearch: str, corner: str, prefix: str, tmp_path: Path) -> None:
    """A store that goes to another prefix sends what was matched before, and the sums of what is in its lake; rows that
    were gathered and merged meanwhile are found."""
    clock, batches = Frozen(build.START), [flows(30, first=n * 30) for n in range(3)]
    wanted = [ids(batch)[n] for n, batch in enumerate(batches)]
    with desk.opened(tmp_path, elasticsearch, corner, clock=clock) as store:
        for batch, id in zip(batches, wanted, strict=True):
            store.commit(Commit(batches=[batch], hits=hits(id)))
        assert sorted(held(store, "event")) == sorted(wanted)
        clock.time += 3 * HOUR
        store.maintain()
        store.maintain()
        with store.database.reading() as connection:
            assert connection.execute("SELECT count(*), sum(rows) FROM event_note").fetchall() == [(1, 3)]
    desk.install(elasticsearch, prefix)
    with desk.opened(tmp_path, elasticsearch, prefix, clock=clock) as store:
        until(lambda: len(held(store, "event")) == 3 and not store.cluster()["waiting"], 20)
        assert summed(held(store, "minute")) == added_up(*batches)


def test_what_was_never_installed_is_said(elasticsearch: str, prefix: str, tmp_path: Path) -> None:
    """Without the template no index is made by chance; a refused event is put aside singly, and sent again."""
    desk.install(elasticsearch, prefix)
    batch = flows(20)
    with desk.opened(tmp_path, elasticsearch, prefix, content="matched") as store:
        store.shipper.settle(desk.SECONDS)
        client = store.shipper.client
        body = client.indices.get_index_template(name=f"{prefix}-event")["index_templates"][0]["index_template"]
        client.indices.delete_index_template(name=f"{prefix}-event")
        store.commit(Commit(batches=[batch], hits=hits(*ids(batch)[:2])))
        until(lambda: "csirt store init" in store.cluster()["trouble"], 20)
        day = f"{prefix}-event-flow-2025.11.23"
        assert not client.indices.exists(index=day)
        body["template"]["mappings"]["properties"]["observer"]["properties"]["name"] = {"type": "long"}
        client.indices.put_index_template(
            name=f"{prefix}-event", index_patterns=body["index_patterns"], template=body["template"]
        )
        store.shipper.settle(desk.SECONDS, patient=True)
        with store.database.transaction("test") as connection:
            dead = outbox.dead_letters(connection)
            assert sorted(one["id"] for one in dead) == sorted(ids(batch)[:2])
            assert {one["reason"] for one in dead} == {"document_parsing_exception in field observer.name"}
        client.indices.delete(index=day)
        desk.install(elasticsearch, prefix)
        with store.database.transaction("test") as connection:
            assert outbox.retry(connection) == 2
        store.follower.forget()
        assert sorted(held(store, "event")) == sorted(ids(batch)[:2])
        assert store.cluster()["dead_letters"] == 0


def test_retention_reaches_events_and_sums(elasticsearch: str, prefix: str, tmp_path: Path) -> None:
    """Daily indices go as a whole, of monthly ones what is over its time goes singly; what is young stays, and so does
    the alias; the audit says what went."""
    desk.install(elasticsearch, prefix)
    clock = Frozen(build.START)
    with desk.opened(tmp_path, elasticsearch, prefix, clock=clock) as store:
        store.retention = Retention(flow="2d", mail="2d", minutes="40d")
        batches = [flows(20), build.mails(20)]
        store.commit(Commit(batches=batches, hits=hits(*(ids(batch)[1] for batch in batches))))
        assert (len(held(store, "event")), len(held(store, "minute")) > 0) == (2, True)
        clock.time += 4 * DAY
        young = build.mails(5, first=100)
        store.commit(Commit(batches=[young], hits=hits(ids(young)[0])))
        store.shipper.settle(desk.SECONDS)
        until(lambda: list(held(store, "event")) == [ids(young)[0]], 20)
        client = store.shipper.client
        assert not client.indices.exists(index=f"{prefix}-event-flow-2025.11.23")
        assert held(store, "minute")
        clock.time += 100 * DAY
        store.commit(Commit(alerts=[build.alert("later")]))
        until(lambda: not held(store, "event") and not held(store, "minute"), 20)
        assert client.indices.exists_alias(name=f"{prefix}-event")
        told = [entry.detail for entry in store.audit() if entry.action == "cluster.retention"]
        assert told[0]["indices"] == [f"{prefix}-event-flow-2025.11.23"]


def test_what_left_the_lake_first_is_counted(corner: str, elasticsearch: str, tmp_path: Path) -> None:
    """Events that retention took before the cluster came back are counted as gone."""
    from csirt.stores.embedded.retention import apply

    clock = Frozen(build.START)
    with proxy.before(elasticsearch) as bad:
        bad.mode = "away"
        with desk.opened(tmp_path, bad.url, corner, clock=clock) as store:
            store.commit(Commit(batches=[flows(20)], hits=hits(*ids(flows(20))[:2])))
            clock.time += 200 * DAY
            apply(store, Retention(), clock.now())
            bad.mode = "well"
            assert (held(store, "event"), store.cluster()["events"]["gone"]) == ({}, 2)
