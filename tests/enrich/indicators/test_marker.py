"""Events that meet an indicator say so, in event time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csirt.enrich.indicators.marker import Marker
from csirt.enrich.indicators.values import Indicator
from csirt.enrich.register import Register
from csirt.enrich.stage import Enricher
from csirt.model.batch import Batch

T0 = 1_767_225_600_000_000
ITEMS = [
    Indicator("c2", "ip", "203.0.113.9", 80, "GREEN", T0, T0 + 10),
    Indicator("scan", "ip", "203.0.113.9", 20, "AMBER", T0, T0 + 5),
    Indicator("scan", "network", "198.51.100.0/24", 40, "RED", T0, T0 + 100),
    Indicator("v6", "ip", "2001:db8::9", 40, "CLEAR", T0, T0 + 100),
    Indicator("phish", "domain", "bad.example", 10, "AMBER", T0, T0 + 100),
    Indicator("phish", "domain", "very.bad.example", 95, "AMBER", T0, T0 + 100),
]
Maker = Callable[..., Batch]


def names(made: Batch, items: list[Indicator] = ITEMS, column: str = "threat.indicator.name") -> list[Any]:
    """A column of the enriched batch, or nothing where there is none."""
    table = Enricher(Register.empty(), indicators=items).apply(made).table
    return table.column(column).to_pylist() if column in table.column_names else []


def test_addresses_and_networks_of_either_end(batch: Maker) -> None:
    """The destination before the source; lists joined; the longest life, greatest confidence, strictest label."""
    rows = [
        {"@timestamp": T0, "source.ip": "10.0.0.1", "destination.ip": "203.0.113.9"},
        {"@timestamp": T0, "source.ip": "198.51.100.7", "destination.ip": "10.0.0.1"},
        {"@timestamp": T0, "source.ip": "198.51.100.7", "destination.ip": "203.0.113.9"},
        {"@timestamp": T0, "source.ip": "10.0.0.1", "destination.ip": "10.0.0.2"},
        {"@timestamp": T0, "source.ip": "2001:db8::9", "destination.ip": "2001:db8::8"},
        {"@timestamp": T0, "destination.ip": "::ffff:203.0.113.9"},
        {"@timestamp": T0},
    ]
    made = batch("flow", rows)
    host, net = "203.0.113.9", "198.51.100.0/24"
    assert names(made) == [host, net, host, None, "2001:db8::9", host, None]
    assert names(made, column="threat.feed.name")[:2] == ["c2,scan", "scan"]
    assert names(made, column="threat.indicator.marking.tlp")[:2] == ["AMBER", "RED"]
    assert names(made, column="csirt.indicator.confidence")[:4] == [80, 40, 80, None]
    assert names(made, column="threat.indicator.confidence")[:2] == ["High", "Medium"]
    assert names(made, column="threat.indicator.type")[:5] == ["ipv4-addr"] * 3 + [None, "ipv6-addr"]


def test_it_is_over_at_its_time(batch: Maker) -> None:
    """By the event's time, not the clock's; columns are there only where an event meets one."""
    rows = [{"@timestamp": T0 + at, "destination.ip": "203.0.113.9"} for at in (0, 9, 10, 11)]
    assert names(batch("flow", rows)) == ["203.0.113.9"] * 2 + [None] * 2
    assert names(batch("flow", rows[2:])) == []
    assert names(batch("flow", rows), []) == []


def test_domains_and_what_lies_below_them(batch: Maker) -> None:
    """The nearest one counts; a name that only ends alike does not; case and the last dot do not matter."""
    asked = ["bad.example", "A.Bad.Example.", "x.very.bad.example", "notbad.example", "example", "", None]
    rows = [{"@timestamp": T0, "dns.question.name": name} for name in asked]
    known = ["bad.example", "bad.example", "very.bad.example", None, None, None, None]
    assert names(batch("dns", rows)) == known
    tls = [{"@timestamp": T0, "tls.client.server_name": name} for name in asked]
    assert names(batch("tls", tls)) == known
    assert names(batch("flow", [{"@timestamp": T0, "destination.ip": "10.0.0.1"}])) == []


def test_no_rows_and_no_indicators(batch: Maker) -> None:
    """Nothing is added."""
    made = batch("flow", [])
    assert Marker(ITEMS).columns("flow", made.table) == {} == Marker([]).columns("flow", made.table)
