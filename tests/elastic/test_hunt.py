"""Hunting in the cluster gives what hunting in the lake gives, event by event and sum by sum."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from csirt.clock import DAY, MINUTE, Frozen
from csirt.control.hunted import hunted
from csirt.detect.authors.backtest import Backtest
from csirt.detect.rules.load import Ruleset
from csirt.errors import Usage
from csirt.model import ecs
from csirt.model.batch import Batch
from csirt.model.filter import Filter
from csirt.model.ndjson import render
from csirt.stores.base import Commit
from csirt.stores.elastic.events import rebuild
from csirt.stores.elastic.hunt import ClusterEvents, condition
from csirt.stores.elastic.store import ElasticStore
from csirt.stores.embedded import open_embedded
from csirt.stores.hunt.select import Outcome, Question, lines
from csirt.stores.hunt.top import top
from tests.elastic import desk
from tests.elastic.test_content import flows
from tests.stores import build

pytestmark = pytest.mark.timeout(600)
FILTERS = (
    "",
    "destination.port:445",
    "destination.port>400 network.bytes>=500000",
    "source.ip:10.0.0.0/22",
    "destination.port:53 or destination.port:25",
    "-destination.port:443 csirt.source.member.id:DENTAL",
    'event.action:delivered "post@m3"',
    "observer.name:edge*",
)
RULE = """
title: SMB from a hospital
id: 3f6bb0d2-7f0c-4b8e-9a55-0a2f0b7c1d11
logsource: {product: csirt, service: flow}
detection:
  smb: {destination.port: 445, csirt.source.member.id: HOSPITAL}
  condition: smb
level: high
"""


@pytest.fixture(scope="module")
def store(elasticsearch: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElasticStore]:
    """A store whose cluster has every event that counts, two of them with times that no index holds."""
    prefix = f"hunt-{uuid.uuid4().hex[:8]}"
    desk.install(elasticsearch, prefix)
    batch = flows(3_000)
    place = batch.table.column_names.index("@timestamp")
    times = batch.table.column(place).cast(pa.int64()).to_pylist()
    times[1], times[2] = -5 * DAY, 9_300_000_000_000_000
    odd = batch.table.set_column(place, "@timestamp", pa.array(times, pa.int64()).cast(ecs.TIME))
    folder = tmp_path_factory.mktemp("hunt")
    with desk.opened(folder, elasticsearch, prefix, content="all") as found:
        found.commit(Commit(batches=[Batch("flow", odd), build.mails(50)]))
        found.shipper.settle(desk.SECONDS, patient=True)
        found.shipper.client.indices.refresh(index=f"{prefix}-event")
        yield found


def both(store: ElasticStore, **asked: object) -> tuple[list[bytes], list[bytes]]:
    """The lines of a question from the lake and from the cluster."""
    here, there = Question(**asked), Question(**asked)  # type: ignore[arg-type]
    cluster = ClusterEvents(store.shipper.client, store.config.elasticsearch, there.where)
    return list(lines(store, here, Outcome())), list(lines(cluster, there, Outcome()))


@pytest.mark.parametrize("text", FILTERS)
def test_the_same_events_in_the_same_order(store: ElasticStore, text: str) -> None:
    """Whatever the filter, the dataset, the time and the limit; the same bytes."""
    where = Filter.parse(text, build.START) if text else None
    found, cluster = both(store, where=where)
    assert found == cluster and found
    for asked in (
        {"since": build.START + MINUTE, "until": build.START + 9 * MINUTE},
        {"dataset": "mail"},
        {"limit": 7},
    ):
        found, cluster = both(store, where=where, **asked)
        assert found == cluster


@pytest.mark.parametrize("fields", [["destination.port"], ["source.ip", "csirt.source.member.id"], ["event.dataset"]])
def test_the_same_sums(store: ElasticStore, fields: list[str]) -> None:
    """`--top` over either."""
    where = Filter.parse("network.bytes>100000", build.START)
    cluster = ClusterEvents(store.shipper.client, store.config.elasticsearch, where)
    here, there = (top(one, Question(where=where, limit=20), fields) for one in (store, cluster))
    assert here.pop("duplicates") > there.pop("duplicates") == 0  # those are not in the cluster
    assert here == there and here["items"]


def test_the_same_backtest(store: ElasticStore) -> None:
    """A rule finds in the cluster what it finds in the lake."""
    reports = []
    for one in (store, ClusterEvents(store.shipper.client, store.config.elasticsearch)):
        test = Backtest(Ruleset.parse(RULE, "rule"))
        for batch in one.events("flow", since=build.START, until=build.START + DAY):
            test.add(batch)
        names = ("id", "hits", "days", "members", "alerts")
        reports.append([{name: item[name] for name in names} for item in test.report()])
    assert reports[0] == reports[1] and reports[0][0]["hits"] > 0


def test_events_become_the_tables_they_were() -> None:
    """An event's text, made into a table and rendered again, is the same text; raw elements of mixed kinds too."""
    for batch in (flows(200), build.mails(50)):
        text = list(render(batch))
        events = [orjson.loads(line) for line in text]
        assert [line for one in rebuild.batches(events) for line in render(one)] == text


def test_only_what_an_index_decides_is_asked_of_it() -> None:
    """Numbers and addresses; of what it cannot decide nothing is asked, so that no event is missed."""
    ask = {text: condition(Filter.parse(text, 0).node) for text in FILTERS if text}
    assert ask["destination.port:445"] == {"bool": {"should": [{"term": {"destination.port": 445}}]}}
    assert ask["source.ip:10.0.0.0/22"] == {"bool": {"should": [{"term": {"source.ip": "10.0.0.0/22"}}]}}
    assert ask["-destination.port:443 csirt.source.member.id:DENTAL"] is None


def test_who_asks_where(store: ElasticStore, tmp_path: Path) -> None:
    """The cluster is asked for what it holds; a store without one, and duplicates, are a sentence."""
    assert isinstance(hunted(store, "cluster", Question()), ClusterEvents)
    assert hunted(store, "store") is store
    with pytest.raises(Usage, match="no records of flows that others count"):
        hunted(store, "cluster", Question(duplicates=True))
    with open_embedded(tmp_path, clock=Frozen(build.START)) as alone, pytest.raises(Usage, match="no cluster follows"):
        hunted(alone, "cluster")
