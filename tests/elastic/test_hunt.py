"""Hunting in the cluster gives what hunting in the lake gives, event by event and sum by sum."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csirt.clock import DAY, MINUTE, Frozen
from csirt.config import Config
from csirt.control.hunted import ORIGINS, hunted
from csirt.control.verbs import Context, call
from csirt.detect.authors.backtest import Backtest
from csirt.detect.match import Detector
from csirt.detect.rules.load import parse_rules
from csirt.detect.sector.candidates import hunt
from csirt.errors import Usage
from csirt.model import ecs
from csirt.model.batch import Batch, address_columns, assemble, constant
from csirt.model.filter import Filter
from csirt.model.ndjson import render
from csirt.model.principal import Principal
from csirt.stores.base import Commit
from csirt.stores.elastic.decided import Decided
from csirt.stores.elastic.events import rebuild
from csirt.stores.elastic.hunt import ClusterEvents
from csirt.stores.elastic.store import ElasticStore
from csirt.stores.embedded import open_embedded
from csirt.stores.hunt.select import Outcome, Question, lines
from csirt.stores.hunt.top import top
from tests.elastic import cluster, desk
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
    "member:hospital port:445",
    "-source.ip:10.0.0.0/22 network.transport:tcp",
    "zone:k or csirt.source.member.name:x*",
    "source.ip:::/0 or network.bytes>9000000000000000000",
    "is:csirt.source.nat or dataset:mail",
    "network.iana_number>6 -destination.port<100",
)
# What --top is asked for; the last two are not the cluster's to add up.
FIELDS = (
    "destination.port", "source.ip", "event.dataset", "network.transport", "network.iana_number", "csirt.source.nat",
    "csirt.source.member.id", "csirt.source.member.name", "event.action", "email.to.address", "event.start",
)  # fmt: skip
RULE = """
title: SMB from a hospital
id: 3f6bb0d2-7f0c-4b8e-9a55-0a2f0b7c1d11
logsource: {product: csirt, service: flow}
detection:
  smb: {destination.port: 445, csirt.source.member.id: HOSPITAL}
  tiny: {network.bytes|lt: 2000}
  large: {network.bytes|gte: 900000}
  condition: smb
level: high
"""


def strange(rows: int) -> Batch:
    """Flows that the index says something else of than they say: IPv4 within IPv6, numbers and texts that are too
    large for it; and texts that differ in case."""
    number = np.arange(rows, dtype=np.uint64)
    large = [1 << 63, (1 << 64) - 1, 7, 1_000]
    texts = ["x" * 9_000, "X" * 9_000, "hospital", "HOSPITAL", "K", "\u212a", "k"]
    family = np.where(number % 3 == 0, 6, 4).astype(np.uint64)
    low = (number % 5) + np.where(family == 6, 0xFFFF << 32, 10 << 24).astype(np.uint64)
    return assemble(
        "flow",
        {
            "@timestamp": pa.array(build.START + number.astype(np.int64) * MINUTE, pa.int64()).cast(ecs.TIME),
            "csirt.segment": constant(build.segment("strange"), rows),
            "csirt.ordinal": number,
            "network.bytes": pa.array([large[n % 4] if n % 2 else 3 for n in range(rows)], pa.uint64()),
            "network.iana_number": pa.array([(6, 17, 250, None)[n % 4] for n in range(rows)], pa.uint8()),
            "csirt.source.member.name": pa.array([texts[n % 7] for n in range(rows)]).dictionary_encode(),
            "csirt.source.zone": pa.array([texts[-n % 7][:5] for n in range(rows)]).dictionary_encode(),
            "csirt.source.nat": pa.array([(True, False, None)[n % 3] for n in range(rows)]),
            **address_columns("source.ip", family, np.zeros(rows, np.uint64), low),
        },
    )


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
        found.commit(Commit(batches=[Batch("flow", odd), build.mails(50), strange(42)]))
        found.shipper.settle(desk.SECONDS, patient=True)
        found.shipper.client.indices.refresh(index=f"{prefix}-event")
        yield found


def both(store: ElasticStore, **asked: object) -> tuple[list[bytes], list[bytes]]:
    """The lines of a question from the lake and from the cluster."""
    here, there = Question(**asked), Question(**asked)  # type: ignore[arg-type]
    return list(lines(store, here, Outcome())), list(lines(hunted(store, "cluster", there), there, Outcome()))


@pytest.mark.parametrize("text", FILTERS)
def test_the_same_events_in_the_same_order(store: ElasticStore, text: str) -> None:
    """Whatever the filter, the dataset, the time and the limit; the same bytes."""
    where = Filter.parse(text, build.START) if text else None
    found, there = both(store, where=where)
    assert found == there and found
    for asked in (
        {"since": build.START + MINUTE, "until": build.START + 9 * MINUTE},
        {"dataset": "mail"},
        {"limit": 7},
    ):
        found, there = both(store, where=where, **asked)
        assert found == there


@pytest.mark.parametrize("fields", [["destination.port"], ["source.ip", "csirt.source.member.id"], ["event.dataset"]])
def test_the_same_sums(store: ElasticStore, fields: list[str]) -> None:
    """`--top` over either."""
    where = Filter.parse("network.bytes>100000", build.START)
    events = ClusterEvents(store.shipper.client, store.config.elasticsearch, where)
    here, there = (top(one, Question(where=where, limit=20), fields) for one in (store, events))
    assert here.pop("duplicates") > there.pop("duplicates") == 0  # those are not in the cluster
    assert here == there and here["items"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3, unique=True),
    text=st.sampled_from(FILTERS),
    dataset=st.sampled_from([None, "flow", "mail"]),
    minutes=st.tuples(st.integers(-2, 30), st.integers(-2, 30)),
    order=st.sampled_from(["bytes", "packets", "events"]),
)
def test_sums_of_any_question_are_the_lakes(
    store: ElasticStore, fields: list[str], text: str, dataset: str | None, minutes: tuple[int, int], order: str
) -> None:
    """Whatever is summed, of whatever events, also of those that the index holds otherwise than they are: item by item
    the embedded store's."""
    where = Filter.parse(text, build.START) if text else None
    since, until = (build.START + minute * MINUTE for minute in minutes)
    for asked in ({"dataset": dataset}, {"dataset": dataset, "since": since, "until": until}):
        here, there = (Question(where=where, limit=40, **asked) for _ in range(2))  # type: ignore[arg-type]
        found, told = top(store, here, fields, order), top(hunted(store, "cluster", there), there, fields, order)
        del found["duplicates"], told["duplicates"]
        assert found == told


def test_sums_are_made_where_the_events_are(store: ElasticStore) -> None:
    """Of all events only those are fetched that the index holds otherwise than they are; and none where a filter says
    what only a whole event can."""
    where = Filter.parse("member:hospital port:445", build.START)
    question = Question(dataset="flow", where=where)
    events = hunted(store, "cluster", question)
    assert isinstance(events, ClusterEvents)
    told = events.sums(question, ["destination.port", "csirt.source.member.id"])
    assert told is not None
    table, rest = told
    counted = sum(table.column("+events").to_pylist())
    fetched = sum(batch.rows for batch in rest.events("flow"))
    assert counted > 50 and 0 < fetched < 50
    assert events.sums(question, ["event.start"]) is events.sums(question, ["email.to.address"]) is None
    free = Question(where=Filter.parse('"post@m3"', build.START))
    assert events.sums(free, ["destination.port"]) is None


def test_a_filter_fetches_what_passes(store: ElasticStore) -> None:
    """Text, too, is decided in the cluster: what does not pass stays there."""
    question = Question(dataset="flow", where=Filter.parse("member:dental", build.START))
    passed = len(list(lines(hunted(store, "cluster", question), question, Outcome())))
    events = hunted(store, "cluster", question)
    fetched = sum(batch.rows for batch in events.events("flow"))
    everything = sum(batch.rows for batch in hunted(store, "cluster", Question()).events("flow"))
    assert passed <= fetched < passed + 50 < everything
    mails = Question(where=Filter.parse("event.action:delivered", build.START))
    both = hunted(store, "cluster", mails)  # what texts there are is asked for each dataset and time anew
    assert [sum(batch.rows for batch in both.events(name)) for name in ("flow", "mail")][1] == 50


@pytest.mark.parametrize("condition", ["smb", "smb or tiny", "not smb", "large"])
def test_a_rule_is_looked_for_in_the_cluster(store: ElasticStore, condition: str) -> None:
    """What a rule matches is the same, in the same order, and little else is fetched where the cluster has ES|QL; but
    for a `not` of text, of which the cluster cannot say that it is not."""
    rules = parse_rules(RULE.replace("condition: smb", f"condition: {condition}"), "rule")
    assert not rules.problems
    detector = Detector(rules)

    def match(batch: Batch) -> Any:
        passes = np.zeros(batch.rows, bool)
        for rows in detector.rows(batch).values():
            passes[rows] = True
        return passes

    def question() -> Question:
        routed = frozenset({"flow"})
        return Question(match=match, routed=routed, search=lambda kinds: hunt(rules, kinds))

    here, there = question(), question()
    found = list(lines(store, here, Outcome()))
    events = hunted(store, "cluster", there)
    assert found == list(lines(events, there, Outcome())) and found
    fetched = sum(batch.rows for batch in events.events())
    narrow = cluster.MAJOR == 8 and not condition.startswith("not")
    assert len(found) <= fetched and (not narrow or fetched < len(found) + 50)
    assert top(events, there, ["source.ip"]) == {**top(store, here, ["source.ip"]), "duplicates": 0}


def test_the_same_backtest(store: ElasticStore) -> None:
    """A rule finds in the cluster what it finds in the lake."""
    reports = []
    for one in (store, ClusterEvents(store.shipper.client, store.config.elasticsearch)):
        test = Backtest(parse_rules(RULE, "rule"))
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
    """Numbers, addresses, and texts that the cluster was asked for; of what it cannot decide nothing is asked, so that
    no event is missed."""
    members = ["Hospital", "DENTAL", "dental", "GP"]

    def asked(text: str, known: list[str] | None = members) -> tuple[Any, Any]:
        where = Filter.parse(text, 0)
        return Decided(where, lambda name: known).wide(), Decided(where, lambda name: known).exact()

    port, address = {"term": {"destination.port": 445}}, {"term": {"source.ip": "10.0.0.0/22"}}
    assert asked("destination.port:445")[1] == {"bool": {"should": [port]}}
    assert asked("source.ip:10.0.0.0/22") == ({"bool": {"should": [address]}},) * 2
    words = {"terms": {"csirt.source.member.id": ["DENTAL", "dental"]}}
    assert asked("csirt.source.member.id:dental")[1] == {"bool": {"should": [words]}}
    assert asked("csirt.source.member.id:dental", None) == (None, None)
    for text in ('"post@m3"', "source.ip:::ffff:10.0.0.1", "source.ip:10.0.*", "age<2h", "observer.ip:10.0.0.1"):
        assert asked(text) == asked(f"-({text})") == (None, None)
    assert asked('destination.port:445 "post@m3"')[1] is None
    assert "term" in str(asked('destination.port:445 "post@m3"')[0])


def test_as_people_ask(store: ElasticStore) -> None:
    """The verbs of `events query`, with a rule's text and a filter: the same from either."""
    context = Context(store, Config(), Principal("kari", 1001, "lead"), Frozen(build.START + DAY), lambda name: None)
    asked = {"rule": RULE, "where": "member:hospital", "dataset": "flow", "since": "1970-01-01T00:00Z"}
    given = [list(call(context, "events.query", {**asked, "origin": one})) for one in ORIGINS]
    assert given[0][:-1] == given[1][:-1] and given[0][-1]["count"] == given[1][-1]["count"] > 100
    sums = {"fields": ["destination.port"], "where": "member:hospital", "limit": 5}
    for more in ({}, {"rule": RULE}):
        told = [call(context, "events.top", {**sums, **more, "origin": one}) for one in ORIGINS]
        assert told[0]["items"] == told[1]["items"] and told[0]["items"]


def test_who_asks_where(store: ElasticStore, tmp_path: Path) -> None:
    """The cluster is asked for what it holds; a store without one, and duplicates, are a sentence."""
    assert isinstance(hunted(store, "cluster", Question()), ClusterEvents)
    assert hunted(store, "store") is store
    with pytest.raises(Usage, match="no records of flows that others count"):
        hunted(store, "cluster", Question(duplicates=True))
    with open_embedded(tmp_path, clock=Frozen(build.START)) as alone, pytest.raises(Usage, match="no cluster follows"):
        hunted(alone, "cluster")
