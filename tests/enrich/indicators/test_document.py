"""Documents of indicators, sound and hostile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.clock import DAY
from csirt.enrich.indicators.document import MAX_BYTES, Defaults, Parsed, parse
from csirt.errors import Usage

NOW = 1_773_144_000_000_000  # 2026-03-10T12:00:00Z
DEFAULTS = Defaults("c2", NOW, 30 * DAY, 365 * DAY, "feed")


def taken(text: Any, format_: str = "auto") -> Parsed:
    """What comes of a document; anything but a text as JSON."""
    return parse(text if isinstance(text, str) else json.dumps(text), "f", format_, DEFAULTS)


def test_csv_with_and_without_a_header() -> None:
    """Values, what a header names, comments; the delimiter is found; defaults hold where nothing is said."""
    found = taken("# a feed\n203.0.113.9\nBad.Example.\n2001:DB8::0:1\n198.51.100.7/24\n")
    assert found.format == "csv" and not found.refused
    assert {value: item.kind for value, item in found.items.items()} == {
        "203.0.113.9": "ip",
        "bad.example": "domain",
        "2001:db8::1": "ip",
        "198.51.100.0/24": "network",
    }
    item = found.items["203.0.113.9"]
    assert (item.list, item.confidence, item.tlp, item.expires) == ("c2", 50, "AMBER", NOW + 30 * DAY)
    text = "ioc;confidence;tlp;valid_until;uuid\n*.evil.example;90;tlp:amber+strict;2026-03-12;u1\n"
    (item,) = taken(text).items.values()
    assert (item.value, item.confidence, item.tlp, item.reference) == ("evil.example", 90, "AMBER+STRICT", "u1")
    assert item.expires == NOW - DAY // 2 + 2 * DAY


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("no value", "value"),
        ("x" * 400, "value"),
        ("x" * 5_000, "row"),
        ("a\0b", "row"),
        ("com", "wide"),
        ("0.0.0.0/0", "wide"),
        ("::/3", "wide"),
        ("127.0.0.1", "value"),
        ("0.0.0.0", "value"),
        ("1.2.3.4/99", "value"),
        ("1.2.3", "value"),
        ("http://evil.example/x", "value"),
        ("b.example,101", "confidence"),
        ("b.example,-1", "confidence"),
        ("b.example,50,purple", "tlp"),
        ("b.example,50,red,soon", "until"),
        ("b.example,50,red,2020-01-01", "over"),
        ('"b.example', "row"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_costs_no_other(row: str, reason: str) -> None:
    """Reason by reason; the rows around it count."""
    found = taken(f"value,confidence,tlp,until\na.example\n{row}\nc.example\n")
    assert dict(found.refused) == {reason: 1}
    assert set(found.items) == {"a.example", "c.example"}
    assert [(item["place"], item["reason"]) for item in found.problems] == [("f:3", reason)]


EVENT = {
    "Event": {
        "Tag": [{"name": "tlp:green"}],
        "Attribute": [
            {"type": "ip-dst", "value": "203.0.113.9", "to_ids": True, "uuid": "u1"},
            {"type": "ip-src|port", "value": "203.0.113.10|443", "Tag": [{"name": "tlp:red"}]},
            {"type": "domain|ip", "value": "bad.example|203.0.113.11"},
            {"type": "sha256", "value": "00" * 32},
            {"type": "domain", "value": "ctx.example", "to_ids": False},
            {"type": "domain", "value": "old.example", "deleted": True},
            {"type": "domain", "value": 5},
            "nothing",
        ],
        "Object": [{"Attribute": [{"type": "hostname", "value": "c2.bad.example"}]}, 7],
    }
}


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: {"response": [one]}, lambda one: [one]])
def test_misp_events_however_they_are_wrapped(wrap: Any) -> None:
    """Attributes and those of objects, by their types; the event's label where an attribute has none of its own."""
    found = taken(wrap(EVENT))
    assert found.format == "misp"
    assert {value: item.tlp for value, item in found.items.items()} == {
        "203.0.113.9": "GREEN",
        "203.0.113.10": "RED",
        "bad.example": "GREEN",
        "203.0.113.11": "GREEN",
        "c2.bad.example": "GREEN",
    }
    assert dict(found.refused) == {"kind": 1, "context": 1, "deleted": 1, "item": 3}
    assert found.items["203.0.113.9"].reference == "u1"
    assert any(item["place"].endswith("Attribute[3]") and "sha256" in item["message"] for item in found.problems)


def indicator(pattern: Any, **more: Any) -> dict[str, Any]:
    """A STIX indicator."""
    return {"type": "indicator", "id": "indicator--1", "pattern_type": "stix", "pattern": pattern, **more}


def bundle(*objects: Any) -> dict[str, Any]:
    """A STIX bundle."""
    return {"type": "bundle", "id": "bundle--1", "objects": list(objects)}


RED = "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"


def test_stix_patterns_of_values() -> None:
    """One value or another; confidence, life and markings, the bundle's own too; an unknown one is the strictest."""
    either = "[domain-name:value='a.example' OR domain-name:value = 'b.example'] OR [ipv6-addr:value='2001:db8::9']"
    own = {"type": "marking-definition", "id": "marking-definition--9", "definition": {"tlp": "green"}}
    found = taken(
        bundle(
            own,
            {"type": "report"},
            indicator("[ipv4-addr:value = '203.0.113.9']", confidence=85, valid_until="2026-03-11T00:00:00Z"),
            indicator(either, object_marking_refs=[RED]),
            indicator("[ipv4-addr:value ISSUBSET '198.51.100.0/24']", object_marking_refs=["marking-definition--9"]),
            indicator("[domain-name:value = 'c.example']", object_marking_refs=["marking-definition--of-nobody"]),
        )
    )  # fmt: skip
    assert found.format == "stix" and not found.refused
    assert {value: item.tlp for value, item in found.items.items()} == {
        "203.0.113.9": "AMBER",
        "a.example": "RED",
        "b.example": "RED",
        "2001:db8::9": "RED",
        "198.51.100.0/24": "GREEN",
        "c.example": "RED",
    }
    item = found.items["203.0.113.9"]
    assert (item.confidence, item.expires) == (85, NOW + DAY // 2)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (indicator("[ipv4-addr:value = '203.0.113.9' AND domain-name:value = 'a.example']"), "pattern"),
        (indicator("[ipv4-addr:value = '203.0.113.9'] FOLLOWEDBY [domain-name:value = 'a.example']"), "pattern"),
        (indicator("[NOT ipv4-addr:value = '203.0.113.9']"), "pattern"),
        (indicator("[file:hashes.MD5 = 'x']"), "pattern"),
        (indicator("[ipv4-addr:value = '203.0.113.9'"), "pattern"),
        (indicator("[" * 9_000), "pattern"),
        (indicator("x" * 20_000), "pattern"),
        (indicator("alert tcp", pattern_type="snort"), "pattern"),
        (indicator(5), "pattern"),
        (indicator("[domain-name:value = 'a.example']", revoked=True), "deleted"),
        (indicator("[domain-name:value = 'a.example']", confidence="high"), "confidence"),
        (indicator("[domain-name:value = 'a.example']", confidence=101), "confidence"),
        (indicator("[domain-name:value = 'a.example']", valid_until="later"), "until"),
        (indicator("[domain-name:value = 'a.example']", valid_until="2020-01-01T00:00:00Z"), "over"),
        (17, "item"),
    ],
)
def test_what_a_stix_object_asks_for_beyond_a_value_is_refused(item: Any, reason: str) -> None:
    """By its index, and nothing else with it."""
    found = taken(bundle(indicator("[domain-name:value = 'ok.example']"), item))
    assert dict(found.refused) == {reason: 1} and set(found.items) == {"ok.example"}
    assert found.problems[0]["place"] == "f: objects[1]"


def test_a_document_that_is_none_is_refused_whole() -> None:
    """Too large, broken JSON, a nest; with its place where there is one."""
    for text in ('{"a": ', "[" * 50_000, '{"type": "bundle", "objects": [}'):
        with pytest.raises(Usage, match="f:1:"):
            taken(text)
    with pytest.raises(Usage, match="f:1:"):
        taken("203.0.113.9\n", "misp")
    with pytest.raises(Usage, match="split it"):
        taken("x" * (MAX_BYTES + 1))
    assert dict(taken({"type": "bundle"}).refused) == {"item": 1}


def test_a_value_given_twice_is_one() -> None:
    """With the strictest label and the greatest confidence."""
    found = taken("value,confidence,tlp\na.example,10,green\nA.Example.,90,red\na.example,50,clear\n")
    (item,) = found.items.values()
    assert (item.confidence, item.tlp, found.repeated) == (90, "RED", 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["ip-dst", "indicator"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["Event", "Attribute", "Object", "type", "value", "objects", "pattern", "Tag", "name", "tlp",
                         "confidence", "object_marking_refs", "definition", "valid_until", "to_ids", "response"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(JSON, st.sampled_from(["auto", "misp", "stix"]))
def test_no_document_raises_anything_but_a_usage_error(document: Any, format_: str) -> None:
    """Whatever stands where."""
    try:
        found = taken(json.dumps(document), format_)
    except Usage:
        return
    assert sum(found.refused.values()) >= len(found.problems)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_no_text_raises_anything_but_a_usage_error(text: str) -> None:
    """As CSV too."""
    for format_ in ("auto", "csv"):
        try:
            parse(text, "f", format_, DEFAULTS)
        except Usage:
            continue
