"""The dearest datagrams anybody thought of, by hand: what came before, and 65,507 octets that cost as much as they can.

Each was slow, or large in memory, before csirt/decode/netflow/limits.py.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable

from tests.decode.netflow.datagrams import ipfix, ipfix_options, template, v5, v5_record, v9_options, word

TOP = 65_507  # the longest UDP payload
Case = tuple[list[bytes], bytes]


def message(body: bytes) -> bytes:
    """An IPFIX message, cut at the longest datagram."""
    return ipfix(body[: TOP - 16])


def full(sets: Iterable[bytes]) -> bytes:
    """As many of the sets as one datagram holds."""
    body = b""
    for item in sets:
        if len(body) + len(item) > TOP - 16:
            break
        body += item
    return ipfix(body)


def some(number: int, body: bytes) -> bytes:
    """A set without padding."""
    return struct.pack(">HH", number, 4 + len(body)) + body


def templates(*definitions: bytes) -> bytes:
    """A datagram of template records."""
    return ipfix(some(2, b"".join(definitions)))


def records(field: tuple[int, ...], body: Iterable[bytes]) -> Case:
    """One template of one field, and a datagram full of its records."""
    return [templates(template(300, field))], message(some(300, b"".join(body)[: TOP - 20]))


def shuffles(count: int) -> Case:
    """Many templates with the same elements in other orders, and a record of each."""
    rng = random.Random(1)
    lengths = {8: 4, 12: 4, 7: 2, 11: 2, 4: 1, 5: 1, 6: 1, 1: 4, 2: 4, 10: 2, 14: 2}
    orders = [rng.sample(sorted(lengths), len(lengths)) for _ in range(count)]
    known = [template(256 + n, *((ident, lengths[ident]) for ident in order)) for n, order in enumerate(orders)]
    before = [templates(*known[at : at + 1000]) for at in range(0, count, 1000)]
    return before, full(some(256 + n, b"\1" * 27) for n in range(count))


def cases() -> dict[str, Case]:
    """By what is in them."""
    wide = [templates(template(300 + k, *((1 + i, 65535, 10_000 + k) for i in range(512)))) for k in range(127)]
    narrow = templates(template(299, (1, 1)))
    same = templates(template(300, *[(1, 1)] * 512), template(299, (1, 1)))
    sampler = [ipfix(some(3, ipfix_options(400, 1, (302, 4), (34, 1))))]
    boots = [ipfix(some(3, ipfix_options(400, 1, (144, 1), (160, 7))), some(2, template(300, (21, 4), (1, 1))))]
    text, octets = (96, 65535), (9999, 11)
    long = b"\xff" + struct.pack(">H", 65_400)
    nine = struct.pack(">HHIIII", 9, 1, 1, 1_700_000_000, 0, 7)
    options = b"".join(v9_options(256 + i, [(1, 1)], [(34, 1)]) for i in range(4_600))
    one = [template(256 + i, (i + 1_000 & 0x7FFF, 4)) for i in range(8_180)]
    return {
        "records of one octet": records((1, 1), [b"\1" * TOP]),
        "empty texts": records(text, [bytes(TOP)]),
        "unknown elements of one octet": records((9999, 1), [bytes(range(256)) * 256]),
        "unknown elements like identity numbers": records(
            octets, (b"%011d" % (1_010_100_000 + i * 7_919) for i in range(5_900))
        ),
        "texts like mailboxes": records(text, (b"\x0aa%04x@b.co" % i for i in range(5_900))),
        "texts like identity numbers": records(
            text, (b"\x0b%011d" % (1_010_100_000 + i * 7_919) for i in range(5_400))
        ),
        "urls": records((130, 65535, 5951), (b"\x08/%05x?a" % i for i in range(7_200))),
        "one long text of mailboxes": records(text, [long + b"a@b." * 16_350]),
        "one long text of identity numbers": records(text, [long + b"01010750160 " * 5_450]),
        "one long text of digits": records(text, [long + b"11 11 11 111 11 " * 4_087 + b"1" * 8]),
        "empty sets": ([], full([some(300, b"")] * 17_000)),
        "empty sets of different templates": ([], full(some(300 + i, b"") for i in range(17_000))),
        "sets of one octet": ([], full(some(300 + i, b"x") for i in range(17_000))),
        "templates of one field": ([], message(some(2, b"".join(one)))),
        "sets of one template": ([], full(some(2, item) for item in one)),
        "a template before every record": (
            [],
            full(some(2, item) + some(256 + i, b"abcd") for i, item in enumerate(one)),
        ),
        "one template defined anew before every record": (
            [],
            full(some(2, template(256, (i + 1_000, 1))) + some(256, b"a") for i in range(8_180)),
        ),
        "a record before every template": (
            [],
            full(some(256 + i, b"abcd") + some(2, item) for i, item in enumerate(one)),
        ),
        "templates and their withdrawal": (
            [],
            full(some(2, template(256, (i + 1_000, 1))) + some(2, word(2 << 16)) for i in range(5_000)),
        ),
        "a template of 16,000 fields": ([], message(some(2, struct.pack(">HH", 300, 16_000) + b"\0\1\0\1" * 16_000))),
        "templates of 512 fields": (
            [],
            message(
                some(2, b"".join(template(300 + k, *((512 * k + i, 1) for i in range(512))) for k in range(31)))
            ),
        ),
        "options templates": ([], (nine + some(1, options))[:TOP]),
        "records of 512 columns each": (wide, full(some(300 + k, bytes(512)) for k in range(127))),
        "one record of 512 columns among narrow ones": (
            [wide[0], narrow],
            message(some(300, bytes(512)) + some(299, b"\1" * 64_000)),
        ),
        "wide and narrow records in turn": ([same], full([some(300, bytes(512)) + some(299, b"\1" * 500)] * 65)),
        "known templates in many orders": shuffles(2_100),
        "samplers that change": (
            [ipfix(some(3, ipfix_options(400, 1, (302, 1), (34, 1))))],
            message(some(400, bytes(x for i in range(32_000) for x in (i % 251, 1 + (i * 7) % 254)))),
        ),
        "samplers": (sampler, message(some(400, b"".join(struct.pack(">IB", i, 1 + i % 200) for i in range(13_000))))),
        "restarts": (
            boots,
            message(
                some(400, b"".join(b"\1" + (1_600_000_000_000 + i).to_bytes(7, "big") for i in range(5_000)))
                + b"".join(some(300, b"\0\1\2\3\4") for _ in range(2_700))
            ),
        ),
        "v5": ([], v5([v5_record()] * 1_364)),
    }  # fmt: skip
