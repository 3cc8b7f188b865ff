"""Template records: what is read, what is refused, and that nothing a stranger sends raises."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from csirt.decode.netflow.templates import MAX_FIELDS, Definition, Signature, parse
from tests.decode.netflow.datagrams import ipfix_options, template, v9_options


def test_several_records_in_one_set() -> None:
    """All templates of a set are read, padding behind them is not one."""
    found, broken = parse(9, 0, template(256, (1, 4)) + template(257, (8, 4), (12, 4)) + bytes(2))
    assert broken == 0
    assert [item.template for item in found] == [256, 257]
    assert found[1].signature == Signature(9, False, 0, ((0, 8, 4), (0, 12, 4)))


def test_enterprise_numbers() -> None:
    """The enterprise bit is IPFIX's; v9 has sixteen bits of field type."""
    [item], _ = parse(10, 2, template(256, (5, 4, 35632)))
    assert item.signature is not None and item.signature.fields == ((35632, 5, 4),)
    [item], _ = parse(9, 0, struct.pack(">HHHH", 256, 1, 40000, 4))
    assert item.signature is not None and item.signature.fields == ((0, 40000, 4),)


def test_options_templates() -> None:
    """Scope fields are counted in octets by v9 and in fields by IPFIX; a v9 scope may have length 0."""
    [item], _ = parse(9, 1, v9_options(300, [(1, 0)], [(34, 4)]))
    assert item.signature == Signature(9, True, 1, ((0, 1, 0), (0, 34, 4)))
    [item], _ = parse(10, 3, ipfix_options(300, 1, (149, 4), (34, 4)))
    assert item.signature == Signature(10, True, 1, ((0, 149, 4), (0, 34, 4)))


def test_withdrawals() -> None:
    """A count of zero withdraws a template, the set's own id all of that kind (RFC 7011, 8.1)."""
    assert parse(10, 2, struct.pack(">HH", 300, 0)) == ([Definition(300, None, False)], 0)
    assert parse(10, 3, struct.pack(">HH", 3, 0)) == ([Definition(0, None, True)], 0)
    assert parse(10, 2, struct.pack(">HH", 3, 0)) == ([], 1)


def test_what_cannot_be_a_template_is_counted() -> None:
    """Too many fields, too few octets, records of no length, no scope: one broken set each, earlier records kept."""
    good = template(256, (1, 4))
    for bad in (
        struct.pack(">HH", 257, MAX_FIELDS + 1) + bytes(4 * MAX_FIELDS + 4),
        struct.pack(">HHHH", 257, 2, 1, 4),
        template(257, (1, 0)),
        template(258, *[(1, 60000)] * 2),
    ):
        found, broken = parse(10, 2, good + bad)
        assert [item.template for item in found] == [256] and broken == 1
    assert parse(10, 3, ipfix_options(300, 0, (34, 4))) == ([], 1)
    assert parse(10, 3, ipfix_options(300, 3, (34, 4))) == ([], 1)


@given(st.sampled_from([9, 10]), st.integers(0, 3), st.binary(max_size=200))
def test_any_octets(version: int, number: int, body: bytes) -> None:
    """Random octets give definitions that keep the bounds, and never raise."""
    found, broken = parse(version, number, body)
    assert broken in (0, 1)
    for item in found:
        assert item.template == 0 or item.template >= 256
        assert item.signature is None or (len(item.signature.fields) <= MAX_FIELDS and item.signature.least > 0)


@given(
    st.sampled_from([9, 10]),
    st.lists(
        st.tuples(st.sampled_from([0, 9, 35632]), st.integers(1, 0x7FFF), st.integers(1, 99)), min_size=1, max_size=9
    ),
)
def test_a_signature_is_what_its_fields_are(version: int, fields: list[tuple[int, int, int]]) -> None:
    """Kept as octets or made of numbers, also where an enterprise number is 0: equal, found by each other, one text."""
    fields = fields if version == 10 else [(0, ident, length) for _, ident, length in fields]
    body = struct.pack(">HH", 256, len(fields))
    for place, (pen, ident, length) in enumerate(fields):
        wide = pen > 0 or (version == 10 and place == 3)
        body += struct.pack(">HH", ident | 0x8000 if wide else ident, length) + (
            struct.pack(">I", pen) if wide else b""
        )
    [item], broken = parse(version, 0 if version == 9 else 2, body)
    made = Signature(version, False, 0, tuple(fields))
    assert item.signature is not None and not broken
    assert item.signature == made and {made: 1}[item.signature] and item.signature.raw() == made.raw()
    assert item.signature.fields == made.fields == tuple(fields) and item.signature.count == len(fields)
    assert item.signature.least == made.least == sum(length for _, _, length in fields)
    assert made != Signature(version, True, 0, tuple(fields))
    assert made != Signature(version, False, 0, (*fields[:-1], (0, 0, 1)))
