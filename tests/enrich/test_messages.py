"""Enrichment of mail and EDI rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from csirt.clock import parse_iso
from csirt.enrich.register import Register
from csirt.enrich.stage import Enricher
from csirt.model.batch import Batch, assemble

NOON = parse_iso("2026-03-10T12:00:00Z")
EDI = "edi.helsenett.example"


def _mail(make: SimpleNamespace, rows: list[dict[str, Any]]) -> Batch:
    columns: dict[str, Any] = {
        "@timestamp": pa.array([row.get("time", NOON) for row in rows], pa.timestamp("us", "UTC")),
        **make.addresses("source.ip", [row.get("client") for row in rows]),
        "csirt.mail.from.domain": pa.array([row.get("from") for row in rows], pa.string()),
        "csirt.mail.to.domain": pa.array([row.get("to") for row in rows], pa.list_(pa.string())),
        "email.from.address": pa.array([row.get("sender") for row in rows], pa.list_(pa.string())),
        "email.to.address": pa.array([row.get("rcpt") for row in rows], pa.list_(pa.string())),
    }
    return assemble("mail", columns)


def _edi(make: SimpleNamespace, rows: list[tuple[str | None, str | None, str | None]]) -> Batch:
    columns: dict[str, Any] = {
        "@timestamp": pa.array([NOON] * len(rows), pa.timestamp("us", "UTC")),
        **make.addresses("source.ip", [row[2] for row in rows]),
        "csirt.edi.her_from": pa.array([row[0] for row in rows], pa.string()).dictionary_encode(),
        "csirt.edi.her_to": pa.array([row[1] for row in rows], pa.string()).dictionary_encode(),
    }
    return assemble("edi", columns)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"to": [EDI]}, False),
        ({"to": ["m001.example", "mx.ikt1.example"]}, False),
        ({"to": [EDI, "evil.example"]}, True),
        ({"to": ["evil.example"]}, True),
        ({"to": ["edi.helsenett.example.evil.example"]}, True),
        ({"to": ["xedi.helsenett.example"]}, True),
        ({"to": ["legacy.example"]}, False),
        ({"to": ["legacy.example"], "time": parse_iso("2030-07-01T00:00:00Z")}, True),
        ({"to": []}, None),
        ({"to": None}, None),
        ({"to": [None]}, None),
    ],
)
def test_foreign_recipients(register: Register, make: SimpleNamespace, row: dict[str, Any], expected: Any) -> None:
    """Foreign is any recipient domain that is neither registered nor allowed at that time; null without recipients."""
    batch = Enricher(register).apply(_mail(make, [{"to": [EDI]}, row, {"to": [EDI]}]))
    make.follows_schema(batch)
    assert make.column(batch, "csirt.mail.foreign") == [False, expected, False]


@pytest.mark.parametrize(
    ("sender", "recipients", "expected"),
    [
        ("edi-test.helsenett.example", [EDI], True),
        (EDI, ["m001.example", "edi-test.helsenett.example"], True),
        (EDI, [EDI], False),
        ("edi-test.helsenett.example", ["edi-test.helsenett.example"], False),
        ("evil.example", [EDI], False),
        (None, [EDI], None),
        (EDI, None, None),
    ],
)
def test_test_and_production_in_one_message(
    register: Register, make: SimpleNamespace, sender: str | None, recipients: list[str] | None, expected: Any
) -> None:
    """A cross-over is a test sender with a production recipient, or the reverse."""
    batch = Enricher(register).apply(_mail(make, [{"from": sender, "to": recipients}]))
    assert make.column(batch, "csirt.mail.test_crossover") == [expected]


def test_mail_ends(register: Register, make: SimpleNamespace) -> None:
    """The source is the client, else the sender; the destination the one member all recipients belong to."""
    hf, gp, shared = f"m001-hf@{EDI}", f"m017-gp@{EDI}", f"meldingstjener-api@{EDI}"
    rows = [
        {"client": "10.37.0.25", "sender": [hf], "rcpt": [hf.upper()], "from": EDI, "to": [EDI]},
        {"client": None, "sender": [gp], "rcpt": [hf, hf], "from": EDI, "to": [EDI]},
        {"client": "203.0.113.7", "sender": [gp], "rcpt": [hf, gp], "from": EDI, "to": [EDI]},
        {
            "client": None,
            "sender": None,
            "rcpt": ["p-1f2e@m001.example"],
            "from": "mx.m001.example",
            "to": ["m001.example"],
        },
        {"client": None, "sender": [shared], "rcpt": [shared], "from": EDI, "to": [EDI]},
        {"client": None, "sender": ["x@ikt1.example"], "rcpt": None, "from": "ikt1.example", "to": None},
    ]
    batch = Enricher(register).apply(_mail(make, rows))
    make.follows_schema(batch)
    assert make.column(batch, "csirt.source.member.id") == ["m017", "m017", None, "m001", None, None]
    assert make.column(batch, "csirt.source.role") == ["msh", None, None, None, None, None]
    assert make.column(batch, "csirt.source.zone") == ["member", None, "outside", None, None, None]
    assert make.column(batch, "csirt.destination.member.id") == ["m001", "m001", None, "m001", None, None]
    assert make.column(batch, "csirt.cross_member") == [True, True, None, False, None, None]
    assert "csirt.agreement" not in batch.table.column_names


@pytest.mark.parametrize(
    ("her", "client", "expected"),
    [
        ("910170", "10.37.0.25", False),
        ("910170", "10.21.0.25", True),  # another member's handler
        ("910170", "203.0.113.7", True),  # nobody's
        ("910170", "10.200.1.10", False),  # its supplier hosts it
        ("910170", "10.90.0.20", False),  # its operator
        ("910011", "10.90.0.20", True),  # somebody else's operator
        ("910011", "10.90.0.10", False),  # a relay hands on
        ("910180", "10.21.0.25", False),  # a shared EDI address: any registered host
        ("910180", "203.0.113.7", True),  # but not an unregistered one
        ("910170", None, None),
        ("910179", None, True),  # not active
        ("910179", "10.37.0.25", True),
        ("999999", "10.37.0.25", True),  # not registered
        ("999999", None, True),
        (None, "10.37.0.25", None),
    ],
)
def test_sender_mismatch(
    register: Register, make: SimpleNamespace, her: str | None, client: str | None, expected: Any
) -> None:
    """The sender's HER-id must be registered, active, and at home where the message came from."""
    rows = [("910170", "910011", "10.37.0.25"), (her, "910011", client), ("910170", None, None)]
    batch = Enricher(register).apply(_edi(make, rows))
    make.follows_schema(batch)
    assert make.column(batch, "csirt.edi.sender_mismatch") == [False, expected, None]


def test_without_a_register_nobody_is_a_stranger(make: SimpleNamespace) -> None:
    """An empty register says of no HER-id that it is another's; of mail only that a domain is not registered."""
    edi = _edi(make, [("910170", "910011", "10.37.0.25")])
    assert Enricher(Register.empty()).apply(edi) is edi
    mail = Enricher(Register.empty()).apply(_mail(make, [{"client": "10.37.0.25", "to": ["x.example"]}]))
    assert make.column(mail, "csirt.mail.foreign") == [True]
    assert "csirt.source.zone" not in mail.table.column_names


def test_edi_ends_are_the_parties(register: Register, make: SimpleNamespace) -> None:
    """HER-ids name the members; the client's site and role stay only when it is the party's own."""
    rows = [
        ("910170", "910011", "10.37.0.25"),
        ("910170", "910012", "10.90.0.10"),
        ("910011", "999999", None),
        (None, "910180", "10.90.0.10"),
    ]
    batch = Enricher(register).apply(_edi(make, rows))
    assert make.column(batch, "csirt.source.member.id") == ["m017", "m017", "m001", "ikt1"]
    assert make.column(batch, "csirt.source.role") == ["msh", None, None, "relay"]
    assert make.column(batch, "csirt.destination.member.id") == ["m001", "m001", None, "m018"]
    assert make.column(batch, "csirt.cross_member") == [True, True, None, True]
    # a hospital never closes; of who is unknown, or says nothing, nothing is claimed
    assert make.column(batch, "csirt.destination.open_hours")[:3] == ["always", "always", None]
    back = Enricher(register).apply(_edi(make, [("910011", "910170", None)]))
    assert make.column(back, "csirt.destination.open_hours") == ["mon,tue,wed,thu,fri 08:00-15:30 Europe/Oslo"]
