"""The filter grammar: what it accepts, refuses, and that documents and tables agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.errors import Usage
from csirt.model import address, ecs
from csirt.model.batch import address_columns
from csirt.model.filter import Filter

NOW = 1_763_900_000_000_000
HOUR = 3_600_000_000

CASE: dict[str, Any] = {
    "id": "ab12",
    "number": "C-2026-0004",
    "severity": "high",
    "priority": "P2",
    "members": ["gp-solberg", "dental-vest"],
    "member": ["gp-solberg", "Solberg legekontor", "gp", "dental-vest", "dental"],
    "rules": ["NET-05 SMB worm fan-out"],
    "rule": ["net-05"],
    "acked_by": "",
    "clinical": True,
    "title": "NET-05 SMB worm fan-out: gp-solberg",
    "first": NOW - HOUR,
    "last": NOW - HOUR // 2,
    "alerts": 12,
    "entities": [{"kind": "host", "value": "10.31.0.77"}, {"kind": "host", "value": "10.21.0.5"}],
    "owner": None,
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", True),
        ("severity>=high", True),
        ("severity>high", False),
        ("severity:HIGH", True),
        ("severity:low,high", True),
        ("severity!=high", False),
        ("priority>=P2", True),
        ("priority>P2", False),
        ("priority<P1", True),
        ("member:dental", True),
        ("member:hospital", False),
        ("member:den*", True),
        ("age<2h", True),
        ("age<30m", False),
        ("age>=1h", True),
        ("last:2h", True),
        ("first>=2020-01-01", True),
        ("first<2020-01-01T00:00Z", False),
        ("not:ack", True),
        ("is:ack", False),
        ("is:clinical", True),
        ("clinical:true", True),
        ("clinical=no", False),
        ("rule:net-05", True),
        ("rules:net-05", True),
        ("rules:net-0", False),
        ("rules=net-05", False),
        ("rules!=net-05", True),
        ('rules="net-05 smb worm FAN-OUT"', True),
        ("id:C-2026-0004", True),
        ("id:c-2026-0004", True),
        ('"fan-out"', True),
        ('"no such text"', False),
        ("worm", True),
        ("-worm", False),
        ("-nothing severity:high", True),
        ("not:severity:high", False),
        ("not:(severity:low or severity:medium)", True),
        ("severity:low or member:dental", True),
        ("severity:low or (member:dental rule:net-06)", False),
        ("severity:high and member:dental", True),
        ("alerts>=12 alerts<=12 alerts:12 alerts<13", True),
        ("alerts>12", False),
        ("entities.value:10.31.0.0/16", True),
        ("entities.value:10.99.0.0/16", False),
        ("entities.value:10.31.0.77", True),
        ("10.31.0.77", True),
        ("owner:anna", False),
        ("owner!=anna", True),
        ("missing>3", False),
        ("-missing:3", True),
        ('title:"NET-05 SMB worm fan-out: gp-solberg"', True),
    ],
)
def test_one_case_answers_every_kind_of_term(text: str, wanted: bool) -> None:
    """Each form of the grammar means what the documentation says."""
    assert Filter.parse(text, NOW).matches(CASE) is wanted


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("(severity:high", 1),
        ("severity:high)", 14),
        ("severity:", 10),
        ('"open', 1),
        ("severity:high or", 17),
        ("or severity:high", 1),
        ("not:", 5),
        ("a,b member:", 12),
        ("()", 2),
    ],
)
def test_a_bad_filter_is_refused_with_its_position(text: str, position: int) -> None:
    """The error names the character where reading stopped."""
    with pytest.raises(Usage) as error:
        Filter.parse(text, NOW)
    assert f"position {position}:" in error.value.message


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    """With a set of known fields, a slip of the pen is answered with the field meant; aliases stay usable."""
    with pytest.raises(Usage, match=r"position 6: unknown field 'serverity'; did you mean 'severity'"):
        Filter.parse(
            "a -(\tserverity>=high)".replace("a -(\t", "abcd ").rstrip(")"), NOW, fields=["severity", "members"]
        )
    assert Filter.parse("member:x severity:high", NOW, fields=["severity", "members"]).names() == {
        "members",
        "severity",
    }
    with pytest.raises(Usage, match="unknown field 'zone'"):
        Filter.parse("zone:x", NOW, fields=["severity"])


def test_hostile_filters_are_bounded() -> None:
    """Deep nests and endless filters end in a sentence, not in a crash or a long wait."""
    for text in ("(" * 5000, "-" * 5000 + "x", "a " * 4000, "x" * 9000, "not:" * 1000 + "a"):
        with pytest.raises(Usage):
            Filter.parse(text, NOW).matches(CASE)
    assert not Filter.parse("title:" + "*a" * 300, NOW).matches({"title": "b" * 20_000})


ADDRESSES = ["10.31.0.77", "10.31.1.5", "192.0.2.1", "2001:db8::5", "2001:db8:1::9"]
WORDS = ["alpha", "Alpha two", "Beta", "gamma ray", "910060", "10.31.0.77", "high", "Straße", "a*b"]
BIG = [0, 1, 445, 70_000, 2**53 + 1, 2**64 - 1]
TIMES = [NOW, NOW - HOUR, NOW - 30 * HOUR, NOW + 5]


@st.composite
def tables(draw: Any) -> tuple[pa.Table, list[dict[str, Any]]]:
    """A small event table and the same rows as documents."""
    size = draw(st.integers(0, 6))

    def column(values: list[Any]) -> list[Any]:
        return draw(st.lists(st.sampled_from([*values, None]), min_size=size, max_size=size))

    ips, words, names = column(ADDRESSES), column(WORDS), column(WORDS)
    ports, sizes, delays = column([22, 445, 65_535]), column(BIG), column([0.5, 2.0, 90.0, float("nan")])
    flags, times = column([True, False]), column(TIMES)
    lists = column([[], ["alpha"], ["Beta", "gamma ray"], ["910060", None]])
    parts = [(0, 0, 0) if ip is None else address.from_text(ip) for ip in ips]
    arrays: dict[str, Any] = address_columns(
        "source.ip",
        np.array([part[0] for part in parts], np.uint8),
        np.array([part[1] for part in parts], np.uint64),
        np.array([part[2] for part in parts], np.uint64),
    )
    arrays["@timestamp"] = pa.array(times, ecs.TIME)
    arrays["destination.port"] = pa.array(ports, pa.uint16())
    arrays["network.bytes"] = pa.array(sizes, pa.uint64())
    arrays["csirt.mail.delay"] = pa.array(delays, pa.float64())
    arrays["csirt.cross_member"] = pa.array(flags, pa.bool_())
    arrays["csirt.source.site"] = pa.array(words, pa.string()).dictionary_encode().cast(ecs.TEXT)
    arrays["dns.question.name"] = pa.array(names, pa.string())
    arrays["email.to.address"] = pa.array(lists, ecs.LIST)
    rows = []
    for i in range(size):
        moment = None if times[i] is None else datetime.fromtimestamp(times[i] / 1e6, UTC)
        rows.append(
            {
                "source": {"ip": ips[i]},
                "@timestamp": moment,
                "destination.port": ports[i],
                "network": {"bytes": sizes[i]},
                "csirt.mail.delay": delays[i],
                "csirt": {"cross_member": flags[i], "source": {"site": words[i]}},
                "dns.question.name": names[i],
                "email": {"to": {"address": lists[i]}},
            }
        )
    table = pa.table(arrays)
    if size > 2 and draw(st.booleans()):
        table = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    return table, rows


FIELDS = [
    "source.ip",
    "ip",
    "@timestamp",
    "age",
    "destination.port",
    "port",
    "network.bytes",
    "csirt.mail.delay",
    "csirt.cross_member",
    "site",
    "dns.question.name",
    "email.to.address",
    "absent",
]
VALUES = [
    *(
        "10.31.0.0/16",
        "10.31.0.77",
        "2001:db8::/32",
        "::/0",
        "0.0.0.0/0",
        "10.*",
        "alpha",
        "BETA",
        "*a*",
        '"gamma ray"',
    ),
    *(
        "445",
        "22,445",
        "1.5",
        "2",
        "9007199254740993",
        "9007199254740992.5",
        "18446744073709551615",
        "-1",
        "99999999999999999999999",
    ),
    *(
        "2h",
        "90s",
        "500ms",
        "2025-11-23",
        "2025-11-23T12:13:20Z",
        "true",
        "no",
        "high",
        "P1",
        "strasse",
        '"a*b"',
        "a*b",
        "*",
    ),
]
TERMS = st.one_of(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(FIELDS),
        st.sampled_from([":", "=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from(VALUES),
    ),
    st.builds("{}:{}".format, st.sampled_from(["is", "not"]), st.sampled_from(FIELDS)),
    st.sampled_from(["alpha", '"gamma ray"', "31.0", "-alpha", "*ta", "10.31.0.77", "2001:db8::5", "STRASSE"]),
)
FILTERS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds("{} {}".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("-({})".format, inner),
    ),
    max_leaves=4,
)


@settings(max_examples=400, deadline=None)
@given(tables(), FILTERS)
def test_a_table_and_its_rows_answer_alike(data: tuple[pa.Table, list[dict[str, Any]]], text: str) -> None:
    """`mask` over a table equals `matches` over each of its rows, for any filter."""
    table, rows = data
    parsed = Filter.parse(text, NOW)
    mask = parsed.mask(table)
    assert mask.dtype == bool
    assert mask.tolist() == [parsed.matches(row) for row in rows]


def test_a_prefix_selects_addresses_in_columns() -> None:
    """`source.ip:10.0.0.0/8` takes exactly the addresses of the prefix, IPv4-mapped ones excluded."""
    parts = [address.from_text(text) for text in ("10.1.2.3", "11.0.0.1", "::ffff:10.1.2.3")]
    table = pa.table(
        address_columns(
            "source.ip",
            *(np.array([part[i] for part in parts], kind) for i, kind in enumerate((np.uint8, np.uint64, np.uint64))),
        )
    )
    assert Filter.parse("source.ip:10.0.0.0/8", NOW).mask(table).tolist() == [True, False, False]


def test_names_tell_which_columns_a_filter_needs() -> None:
    """A reader can project columns: aliases are resolved, free text is announced."""
    parsed = Filter.parse("port:445 not:csirt.cross_member", NOW)
    assert {"source.port", "destination.port", "csirt.cross_member"} <= parsed.names()
    assert not parsed.searches_text
    assert Filter.parse("-word", NOW).searches_text
