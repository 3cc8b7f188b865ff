"""Batches to hits: physical columns, computed columns, streams, groups, values, entities."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa
import pytest

from csirt import ids
from csirt.detect import hits
from csirt.detect.match import Detector, by_rule
from csirt.detect.rules.load import parse_rules
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.streams import streams
from csirt.model.batch import Batch
from csirt.model.hits import HITS, none

Maker = Callable[..., Batch]
T0 = 1_767_225_600_000_000


def ruleset(detection: str, service: str = "flow", extra: str = "") -> Ruleset:
    """One rule over a service."""
    text = f"""
title: One
id: 00000000-0000-4000-8000-000000000001
name: one
logsource: {{product: csirt, service: {service}}}
detection: {detection}
{extra}
"""
    loaded = parse_rules(text)
    assert not loaded.problems, [str(problem) for problem in loaded.problems]
    return loaded


def matched(loaded: Ruleset, batch: Batch) -> list[int]:
    """The rows the only rule matches."""
    rows = Detector(loaded).rows(batch)
    return list(next(iter(rows.values()))) if rows else []


FLOWS: list[dict[str, Any]] = [
    {
        "@timestamp": T0,
        "event.start": T0 - 2_000_000,
        "source.ip": "10.0.0.1",
        "destination.ip": "10.41.0.9",
        "destination.port": 445,
        "network.iana_number": 6,
        "network.bytes": 2**63 + 1,
        "csirt.cross_member": True,
        "csirt.source.member.id": "m1",
        "csirt.destination.member.id": "m2",
    },
    {
        "@timestamp": T0 + 1,
        "source.ip": "2001:db8::1",
        "destination.ip": "2001:db8:41::9",
        "destination.port": 53,
        "network.iana_number": 17,
        "network.bytes": 10,
        "csirt.cross_member": False,
    },
    {"@timestamp": T0 + 2, "destination.ip": "10.41.0.9", "destination.port": 445, "network.bytes": 5},
]


@pytest.mark.parametrize(
    ("detection", "rows"),
    [
        ("{s: {source.ip|cidr: 10.0.0.0/8}, condition: s}", [0]),
        ("{s: {source.ip|cidr: '2001:db8::/48'}, condition: s}", [1]),
        ("{s: {source.ip|cidr: ['0.0.0.0/0', '::/0']}, condition: s}", [0, 1]),
        ("{s: {source.ip: '2001:DB8:0::1'}, condition: s}", [1]),
        ("{s: {source.ip|startswith: '10.'}, condition: s}", [0]),
        ("{s: {source.ip: null}, condition: s}", [2]),
        ("{s: {source.ip|exists: true}, condition: s}", [0, 1]),
        ("{s: {destination.port: '445'}, condition: s}", [0, 2]),
        ("{s: {destination.port|startswith: '4'}, condition: s}", [0, 2]),
        ("{s: {destination.port: [22, 53, 3389, 445]}, condition: s}", [0, 1, 2]),
        ("{s: {network.bytes: 9223372036854775809}, condition: s}", [0]),
        ("{s: {network.bytes|gt: 9}, condition: s}", [0, 1]),
        ("{s: {csirt.cross_member: true}, condition: s}", [0]),
        ("{s: {csirt.cross_member: false}, condition: s}", [1]),
        ("{s: {csirt.cross_member: null}, condition: s}", [2]),
        ("{s: {destination.port: 445}, f: {csirt.cross_member: true}, condition: s and not f}", [2]),
        ("{s: {network.transport: UDP}, condition: s}", [1]),
        ("{s: {network.type: ipv6}, condition: s}", [1]),
        ("{s: {event.dataset: flow, event.kind: event, event.category: network}, condition: s}", [0, 1, 2]),
        ("{s: {event.duration: 2000000000}, condition: s}", [0]),
        ("{s: {event.duration|exists: false}, condition: s}", [1, 2]),
        ("{s: {related.ip: 10.41.0.9}, condition: s}", [0, 2]),
        ("{s: {'@timestamp|year': 2026, '@timestamp|hour': 0}, condition: s}", [0, 1, 2]),
        ("{s: {csirt.source.member.id|fieldref: csirt.destination.member.id}, condition: s}", []),
        ("{k: ['10.41.0.9'], condition: k}", [0, 2]),
        ("{k: ['445'], condition: k}", [0, 2]),
        ("{s: {no.such.field: x}, condition: s}", []),
        ("{s: {event.id|endswith: '1'}, condition: s}", [1]),
    ],
)
def test_typed_columns_match_as_their_text_would(batch: Maker, detection: str, rows: list[int]) -> None:
    """Numbers, addresses, booleans, times and computed columns answer every kind of test."""
    assert matched(ruleset(detection), batch("flow", FLOWS)) == rows


def test_sliced_and_chunked_tables_match_the_same(batch: Maker) -> None:
    """Offsets, several chunks and differing dictionaries of a table change nothing."""
    whole = batch("flow", FLOWS)
    loaded = ruleset("{s: {csirt.source.member.id: m1, csirt.cross_member: true}, condition: s}")
    import pyarrow as pa

    pieces = pa.concat_tables([whole.table.slice(1, 2), whole.table.slice(0, 2)])
    assert matched(loaded, Batch("flow", pieces)) == [2]
    assert matched(loaded, Batch("flow", whole.table.slice(1))) == []


def test_a_hit_says_who_what_when(batch: Maker) -> None:
    """A plain rule's hits carry time, event id, default group, actor, target, members and facts."""
    table = Detector(ruleset("{s: {destination.port: 445}, condition: s}")).match(batch("flow", FLOWS))
    assert table.schema == HITS
    first, second = table.to_pylist()
    assert first == {
        "stream": "00000000-0000-4000-8000-000000000001",
        "rule": "00000000-0000-4000-8000-000000000001",
        "time": T0,
        "event": ids.event("0123456789abcdef", 0),
        "group": '{"source.ip":"10.0.0.1"}',
        "value": None,
        "number": None,
        "count": None,
        "total": None,
        "values": None,
        "counted": None,
        "source": "host:10.0.0.1",
        "target": "host:10.41.0.9",
        "source_member": "m1",
        "target_member": "m2",
        "link": None,
        "facts": '{"destination.port":"445","network.transport":"tcp"}',
    }
    assert (second["source"], second["group"], second["target"]) == (None, "{}", "host:10.41.0.9")


def test_rules_see_only_their_datasets(batch: Maker) -> None:
    """A rule for mail never matches a flow."""
    loaded = ruleset("{s: {destination.port: 445}, condition: s}", service="mail")
    assert Detector(loaded).match(batch("flow", FLOWS)).equals(none())


def test_an_empty_batch_has_no_hits(batch: Maker) -> None:
    """Nothing in, nothing out, with the schema."""
    whole = batch("flow", FLOWS)
    loaded = ruleset("{s: {destination.port: 445}, condition: s}")
    assert Detector(loaded).match(Batch("flow", whole.table.slice(0, 0))).equals(none())


CORRELATION = """
---
title: Many
id: 00000000-0000-4000-8000-000000000002
correlation:
  type: value_count
  rules: [one]
  aliases: {client: {one: source.ip}}
  group-by: [client]
  timespan: 10m
  condition: {gte: 2, field: FIELD}
"""


def test_a_base_rule_feeds_its_correlation_and_does_not_alert(batch: Maker) -> None:
    """The stream is named correlation/rule; the group uses the alias; a list makes a row per distinct member."""
    extra = CORRELATION.replace("FIELD", "email.to.address")
    loaded = ruleset("{s: {csirt.mail.status: reject}, condition: s}", "mail", extra)
    rows = [
        {"@timestamp": T0, "source.ip": "10.0.0.1", "csirt.mail.status": "reject", "email.to.address": ["b", "a", "b"]},
        {"@timestamp": T0, "source.ip": "10.0.0.1", "csirt.mail.status": "reject", "email.to.address": []},
        {"@timestamp": T0, "source.ip": "10.0.0.2", "csirt.mail.status": "reject", "email.to.address": ["c"]},
    ]
    table = Detector(loaded).match(batch("mail", rows))
    name = "00000000-0000-4000-8000-000000000002/00000000-0000-4000-8000-000000000001"
    assert by_rule(table) == {name: 3}
    assert [(json.loads(hit["group"]), hit["value"], hit["event"][-1]) for hit in table.to_pylist()] == [
        ({"client": "10.0.0.1"}, "a", "0"),
        ({"client": "10.0.0.1"}, "b", "0"),
        ({"client": "10.0.0.2"}, "c", "2"),
    ]


def test_generate_keeps_the_base_rules_alerts(batch: Maker) -> None:
    """`generate: true` lets the base rule alert besides feeding the correlation."""
    extra = CORRELATION.replace("FIELD", "[destination.ip, destination.port]").replace(
        "  timespan", "  generate: true\n  timespan"
    )
    loaded = ruleset("{s: {destination.port: 445}, condition: s}", extra=extra)
    table = Detector(loaded).match(batch("flow", FLOWS))
    assert len(by_rule(table)) == 2
    assert table.column("value").to_pylist()[2:] == ['["10.41.0.9","445"]'] * 2


def test_edi_rows_are_about_her_ids_and_messages(batch: Maker) -> None:
    """A receipt is linked to the message it refers to; the actor is the sending HER-id."""
    loaded = ruleset("{s: {event.action: '*'}, condition: s}", "edi")
    rows = [
        {"@timestamp": T0, "event.action": "sent", "csirt.edi.message_id": "a", "csirt.edi.her_from": "1"},
        {
            "@timestamp": T0,
            "event.action": "application_receipt",
            "csirt.edi.message_id": "b",
            "csirt.edi.ref_to_id": "a",
            "csirt.edi.her_from": "2",
            "csirt.edi.her_to": "1",
        },
    ]
    table = Detector(loaded).match(batch("edi", rows))
    assert table.column("link").to_pylist() == ["message:a", "message:a"]
    assert table.column("source").to_pylist() == ["her:1", "her:2"]
    assert table.column("group").to_pylist() == [
        '{"csirt.edi.her_from":"1"}',
        '{"csirt.edi.her_from":"2","csirt.edi.her_to":"1"}',
    ]


def test_own_group_by_and_facts(batch: Maker) -> None:
    """`csirt: group-by` and `facts` replace the dataset's defaults; lists become their members in order."""
    extra = "csirt: {group-by: [csirt.mail.from.domain, source.ip], facts: [email.to.address]}"
    loaded = ruleset("{s: {csirt.mail.status: sent}, condition: s}", "mail", extra)
    rows = [
        {
            "@timestamp": T0,
            "csirt.mail.status": "sent",
            "csirt.mail.from.domain": 'a"b',
            "email.to.address": ["y", "x"],
            "csirt.mail.to.domain": ["d1", "d2"],
        }
    ]
    hit = Detector(loaded).match(batch("mail", rows)).to_pylist()[0]
    assert json.loads(hit["group"]) == {"csirt.mail.from.domain": 'a"b'}
    assert json.loads(hit["facts"]) == {"email.to.address": "x,y"}
    assert hit["target"] == "domain:d1"


def test_learning_does_not_change_what_is_found(batch: Maker) -> None:
    """A program that measured its witnesses on a big batch finds the same rows as a fresh one."""
    loaded = ruleset(
        "{s: {destination.port: 445, network.iana_number: 6, source.ip|cidr: 10.0.0.0/8, network.bytes|gt: 1},"
        " f: {csirt.cross_member: false}, condition: s and not f}"
    )
    big = batch("flow", FLOWS * 400)
    detector = Detector(loaded)
    expected = [row for row in range(1200) if row % 3 == 0]
    assert [list(detector.rows(big).popitem()[1]) for _ in range(3)] == [expected] * 3
    assert list(detector.rows(batch("flow", FLOWS)).popitem()[1]) == [0]


def test_a_rule_that_overruns_its_budget_is_told_of_once(batch: Callable[..., Batch]) -> None:
    """It is off from then on; the rules beside it match as before."""
    rule = "title: {0}\nid: {0}\nlogsource: {{product: csirt, service: dns}}\ndetection: {{s: {{{1}}}, condition: s}}\n"
    texts = [
        rule.format("00000000-0000-4000-8000-00000000000a", "dns.question.name|re: '([a-z]{0,900}){1}[0-9]x'"),
        rule.format("00000000-0000-4000-8000-00000000000b", "dns.question.name|endswith: '7'"),
    ]
    told: list[str] = []
    ruleset = parse_rules("---\n".join(texts))
    assert not ruleset.refused
    detector = Detector(ruleset, budget=0.0005, overrun=lambda meta: told.append(meta.id))
    names = [("ab" * 500) + f"1x{number}" for number in range(200)]
    rows = [{"@timestamp": 1, "dns.question.name": name} for name in names]
    for _ in range(2):
        hits = detector.match(batch("dns", rows))
        assert set(hits.column("rule").to_pylist()) == {"00000000-0000-4000-8000-00000000000b"}
    assert told == ["00000000-0000-4000-8000-00000000000a"]


SEVERAL = """
title: Rule {number}
id: 0000000{number}-0000-4000-8000-000000000001
name: rule{number}
logsource: {{product: csirt, service: flow}}
detection: {{s: {{{where}}}, condition: s}}
---
"""
COUNTED = """
title: Counted
id: 00000009-0000-4000-8000-000000000001
correlation: {type: TYPE, rules: [rule1, rule2, rule3], group-by: [destination.ip], timespan: 5m, condition: CONDITION}
"""


@pytest.mark.parametrize(
    ("kind", "condition"),
    [
        ("event_count", "{gte: 2}"),
        ("value_count", "{field: source.ip, gte: 2}"),
        ("value_sum", "{field: network.bytes, gte: 2}"),
    ],
)
def test_hits_of_rules_that_are_made_together_are_those_of_each(batch: Maker, kind: str, condition: str) -> None:
    """Rules whose hits have the same fields get what each would get alone, rows without a value or not, in the order
    of the rules; one that shows other facts stands between them."""
    where = ("destination.port: 445", "network.bytes|gte: 6", "destination.ip|contains: '.'")
    text = "".join(SEVERAL.format(number=number, where=item) for number, item in enumerate(where, 1))
    text = text.replace("name: rule2\n", "name: rule2\ncsirt: {facts: [network.transport]}\n")
    loaded = parse_rules(text + COUNTED.replace("TYPE", kind).replace("CONDITION", condition))
    assert not loaded.problems, [str(problem) for problem in loaded.problems]
    given = batch("flow", FLOWS)
    detector = Detector(loaded)
    frame, found = detector.found(given)
    rules, ids_of = loaded.rules, frame.event_ids
    alone = [
        hits.hits(
            frame, "flow", streams(rules[index], loaded.correlations, "flow"), rows, frame.times(rows), ids_of(rows)
        )
        for index, rows in sorted(found.items())
    ]
    assert len(alone) == 3
    assert detector.match(given).to_pylist() == pa.concat_tables(alone).to_pylist()


RATIO = """
title: Ratio
id: 00000009-0000-4000-8000-0000000000NUMBER
correlation: {type: ratio, rules: [rule1, rule2], group-by: [GROUP], timespan: 5m, condition: CONDITION}
"""


def test_what_ratios_divide_by_is_only_counted_and_once(batch: Maker) -> None:
    """A row, for all ratios that divide by the same, says of which group each event is and when, and nothing that an
    alert would show; an event without the field whose values are counted counts all the same. The hits of what is
    divided are whole, and each ratio's own."""
    text = "".join(SEVERAL.format(number=number, where="destination.port: 445") for number in (1, 2))
    ratios = (
        ("destination.ip", "{gt: 0, field: network.bytes}"),
        ("destination.ip", "{gt: 1}"),
        ("source.ip", "{gt: 1}"),
    )
    text += "---".join(
        RATIO.replace("NUMBER", str(number)).replace("GROUP", group).replace("CONDITION", condition)
        for number, (group, condition) in enumerate(ratios, 10)
    )
    loaded = parse_rules(text)
    assert not loaded.problems, [str(problem) for problem in loaded.problems]
    without = {name: value for name, value in FLOWS[2].items() if name != "network.bytes"}
    detector = Detector(loaded)
    found = detector.match(batch("flow", [*FLOWS, without])).to_pylist()
    divided, by = ([hit for hit in found if hit["rule"] == item.meta.id] for item in loaded.rules)
    own = [item.stream(item.rules[0]) for item in loaded.correlations]
    assert sorted(hit["stream"] for hit in divided) == sorted(own[:1] * 2 + own[1:] * 3)
    assert all(hit["target"] and hit["facts"] for hit in divided)
    told = {"stream", "rule", "time", "values", "counted"}
    assert all({name for name, value in hit.items() if value is not None} == told for hit in by)
    shared = {item.stream(item.rules[1]): item.group_by[0] for item in loaded.correlations}
    events: dict[str, list[Any]] = {"destination.ip": [], "source.ip": []}
    for hit in by:
        times = [hit["time"] - one["before"] - T0 for one in hit["counted"]]
        groups = [hit["values"][one["group"]] for one in hit["counted"]]
        events[shared[hit["stream"]]] += zip(groups, times, strict=True)
    assert events["destination.ip"] == [('{"destination.ip":"10.41.0.9"}', time) for time in (0, 2, 2)]
    assert events["source.ip"] == [('{"source.ip":"10.0.0.1"}', 0), ("{}", 2), ("{}", 2)]


def test_objects_are_canonical_json() -> None:
    """Group and facts are what orjson writes of each row, with fields left out where a row has none."""
    texts = ['say "{,"', "back\\slash", "tab\t", "blåbær", "{,", "plain"]
    plain = ["a", "b,", "{,", "d}", "e", "f"]
    table = {
        "z": pa.array([*texts, None, None, "plain"]).dictionary_encode(),
        "a": pa.array([*plain, "a", None, "f"]).dictionary_encode(),
        "m": pa.nulls(9, pa.dictionary(pa.int32(), pa.string())),
    }
    made = hits._objects(_Given(table), [(name, name) for name in table], 9)  # type: ignore[arg-type]
    rows = zip(*(column.to_pylist() for column in table.values()), strict=True)
    wanted = [{name: text for name, text in zip(table, row, strict=True) if text is not None} for row in rows]
    assert made.to_pylist() == [orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode() for row in wanted]


class _Given:
    def __init__(self, columns: dict[str, pa.DictionaryArray]) -> None:
        self.get = columns.__getitem__
        self.there = columns.__contains__
