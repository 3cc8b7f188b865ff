"""What the order of routers, the cutting into chunks and restarts must not change, with sampler tables, templates that
change, withdrawals and data that waits for its template."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.model import ndjson
from tests.decode.netflow.datagrams import block, chunk, ipfix, ipfix_options, template, v9, v9_options, word

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROUTERS = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
# Two meanings of template 256, so that a change in the middle is seen; both are 13 octets long.
SHAPES = (((8, 4), (1, 4), (2, 4), (48, 1)), ((12, 4), (2, 4), (1, 4), (48, 1)))


@st.composite
def datagram(draw: Any, nine: bool) -> bytes:
    """Templates, a sampler table, sampler records, flows and withdrawals in any order."""
    sets = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 9))
        if kind < 2:
            sets.append(block(0 if nine else 2, template(256, *SHAPES[kind])))
        elif kind == 2 and nine:
            sets.append(block(1, v9_options(400, [(1, 4)], [(48, 1), (34, 4)])))
        elif kind == 2:
            sets.append(block(3, ipfix_options(400, 1, (149, 4), (48, 1), (34, 4))))
        elif kind == 3 and not nine:
            sets.append(block(2, struct.pack(">HH", draw(st.sampled_from([2, 256])), 0)))
        elif kind < 6:
            rate = struct.pack(">IBI", 0, draw(st.integers(1, 3)), draw(st.integers(1, 50)))
            sets.append(block(400, rate, pad=False))
        else:
            numbers = draw(st.lists(st.integers(0, 2**16), min_size=1, max_size=4))
            body = b"".join(word(n, n + 1, n + 2) + bytes([draw(st.integers(1, 3))]) for n in numbers)
            sets.append(block(256, body, pad=False))
    return (v9 if nine else ipfix)(*sets, sequence=draw(st.integers(0, 9)), domain=draw(st.integers(1, 2)))


STREAM = st.lists(
    st.tuples(st.sampled_from(ROUTERS), st.booleans()).flatmap(
        lambda who: datagram(who[1]).map(lambda raw: (who[0], raw))
    ),
    min_size=1,
    max_size=14,
)


def read(decoder: NetflowDecoder, stream: list[tuple[str, bytes]], first: int = 0) -> list[dict[str, Any]]:
    """The events of a piece of the stream."""
    data = chunk([raw for _, raw in stream], exporters=[who for who, _ in stream], first=first)
    return [json.loads(line) for batch in decoder.decode(data).batches for line in ndjson.render(batch)]


def by_id(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of the octets."""
    return sorted(events, key=lambda event: str(event["event"]["id"]))


@QUICK
@given(STREAM, st.data())
def test_chunks_and_restarts(stream: list[tuple[str, bytes]], data: st.DataObject) -> None:
    """The same events, options and sampling rates in one chunk, in any chunks, and with the state stored and read again
    between any two datagrams; the counts of all exporters are the same too."""
    whole = NetflowDecoder("s")
    wanted = by_id(read(whole, stream))
    cuts = data.draw(st.sets(st.integers(1, len(stream)), max_size=6))
    bounds = sorted({0, len(stream), *cuts})
    pieces = [(a, stream[a:b]) for a, b in pairwise(bounds)]
    decoder = NetflowDecoder("s")
    assert by_id([event for first, piece in pieces for event in read(decoder, piece, first)]) == wanted
    state: bytes | None = None
    found = []
    for first, piece in pieces:
        again = NetflowDecoder("s", key=b"k" * 32)
        again.load(state)
        found += read(again, piece, first)
        state = again._state.dump(b"k" * 32)
    assert by_id(found) == wanted
    assert whole._state.held.datagrams == decoder._state.held.datagrams == again._state.held.datagrams


@QUICK
@given(STREAM, st.randoms(use_true_random=False))
def test_the_order_of_routers(stream: list[tuple[str, bytes]], random: Any) -> None:
    """What one router sends is read the same, however the datagrams of others come between."""
    queues = {who: [item for item in stream if item[0] == who] for who in ROUTERS}
    order = [who for who, _ in stream]
    random.shuffle(order)
    mixed = [queues[who].pop(0) for who in order]

    def of(who: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        mine = [event for event in by_id(events) if event["observer"]["ip"] == who]
        return [{**event, "event": {**event["event"], "id": None}} for event in mine]

    first, second = (read(NetflowDecoder("s"), part) for part in (stream, mixed))
    for who in ROUTERS:
        assert of(who, first) == of(who, second)
