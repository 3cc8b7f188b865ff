"""What must hold for any bytes, any template and any way of cutting the stream into chunks."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.model import ndjson
from tests.decode.netflow.datagrams import block, chunk, ipfix, template, v5, v5_record, v9
from tests.decode.netflow.oracle import Oracle

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# (id, lengths, enterprise): elements of every type, some with lengths that do not fit.
ELEMENTS = [
    (8, [4, 3], 0), (12, [4], 0), (27, [16], 0), (28, [16], 0), (15, [4], 0), (7, [2, 1], 0), (11, [2, 4], 0),
    (4, [1], 0), (1, [1, 2, 3, 4, 5, 8], 0), (2, [4, 8, 7], 0), (85, [8], 0), (6, [1, 2], 0), (10, [2, 3, 4, 8], 0),
    (16, [2, 4], 0), (56, [6, 5], 0), (80, [6], 0), (82, [1, 9, 65535], 0), (96, [65535, 4], 0), (95, [4, 65535], 0),
    (152, [8, 4], 0), (153, [8], 0), (150, [4], 0), (151, [4], 0), (155, [8], 0), (157, [8], 0), (61, [1], 0),
    (58, [2], 0), (5, [1], 0), (210, [3], 0), (314, [5, 65535], 0), (311, [8, 4], 0), (320, [4, 8], 0), (276, [1], 0),
    (434, [1, 3, 8], 0),
    (999, [1, 9, 65535], 0), (118, [2, 65535], 35632), (1, [8], 29305), (225, [4], 0), (34, [4], 0), (48, [1, 2], 0),
]  # fmt: skip
FIELD = st.sampled_from(ELEMENTS).flatmap(lambda e: st.sampled_from(e[1]).map(lambda n: (e[0], n, e[2])))
FIELDS = st.lists(FIELD, min_size=1, max_size=9).filter(lambda fields: sum(n for _, n, _ in fields if n < 65535) >= 4)


@st.composite
def record(draw: Any, fields: list[tuple[int, int, int]]) -> bytes:
    """Octets of one record of a template."""
    out = b""
    for _, length, _ in fields:
        if length == 65535:
            body = draw(st.binary(max_size=12))
            out += bytes([255]) + struct.pack(">H", len(body)) if draw(st.booleans()) else bytes([len(body)])
            out += body
        else:
            out += draw(st.binary(min_size=length, max_size=length))
    return out


@st.composite
def stream(draw: Any) -> list[bytes]:
    """Datagrams of two templates, v9 or IPFIX, with data before, between and after their definitions."""
    version = draw(st.sampled_from([9, 10]))
    make = v9 if version == 9 else ipfix
    templates = {number: draw(FIELDS) for number in (256, 257)}
    if version == 9:
        templates = {
            number: [(i, n, 0) for i, n, p in fields if not p] or [(8, 4, 0)] for number, fields in templates.items()
        }
    datagrams = []
    for _ in range(draw(st.integers(1, 8))):
        sets = []
        for _ in range(draw(st.integers(1, 3))):
            number = draw(st.sampled_from([256, 257]))
            if draw(st.integers(0, 3)) == 0:
                fields = [item if item[2] else item[:2] for item in templates[number]]
                sets.append(block(0 if version == 9 else 2, template(number, *fields)))
            else:
                body = b"".join(draw(st.lists(record(templates[number]), min_size=1, max_size=4)))
                sets.append(block(number, body, pad=False))
        datagrams.append(make(*sets, sequence=draw(st.integers(0, 9))))
    return datagrams


def rows(decoder: NetflowDecoder, chunks: list[Any]) -> list[dict[str, Any]]:
    """All events of some chunks, by id."""
    events = []
    for item in chunks:
        for batch in decoder.decode(item).batches:
            batch.table.validate(full=True)
            events += [json.loads(line) for line in ndjson.render(batch)]
    return sorted(events, key=lambda event: event["event"]["id"])


@QUICK
@given(stream())
def test_kernels_agree_with_the_slow_decoder(datagrams: list[bytes]) -> None:
    """Every field of every record of any template has the value the RFC gives it, under its own name."""
    oracle = Oracle()
    for frame, raw in enumerate(datagrams):
        oracle.read(frame, raw)
    wanted = [(f"{frame << 16 | number:016x}", found) for frame, number, found in oracle.records]
    events = rows(NetflowDecoder("s"), [chunk(datagrams)])
    got = []
    for event in events:
        raw = dict(event["netflow"])
        for name in ("exporter", "next_hop", "bgp_next_hop"):
            raw.pop(name, None)
        got.append((event["event"]["id"][16:], raw))
    assert got == sorted(wanted, key=lambda item: item[0])


@QUICK
@given(stream(), st.data())
def test_chunks_and_restarts_change_nothing(datagrams: list[bytes], data: st.DataObject) -> None:
    """The same datagrams give the same rows in one chunk, in any chunks, and with the state written and read."""
    whole = rows(NetflowDecoder("s"), [chunk(datagrams)])
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(datagrams) - 1, 1)))))
    bounds = [0, *[cut for cut in cuts if cut < len(datagrams)], len(datagrams)]
    pieces = [chunk(datagrams[a:b], first=a) for a, b in pairwise(bounds) if a < b]
    assert rows(NetflowDecoder("s"), pieces) == whole
    state: bytes | None = None
    events: list[dict[str, Any]] = []
    for piece in pieces:
        decoder = NetflowDecoder("s")
        decoder.load(state)
        events += rows(decoder, [piece])
        state = decoder._state.dump()
        again = NetflowDecoder("s")
        again.load(state)
        assert again._state.dump() == state
    assert sorted(events, key=lambda event: event["event"]["id"]) == whole


@QUICK
@given(stream(), st.data())
def test_every_datagram_ends_in_exactly_one_count(datagrams: list[bytes], data: st.DataObject) -> None:
    """Datagrams in = decoded + dropped + held, after every chunk, and after the end of input nothing is held."""
    for i in range(len(datagrams)):
        if data.draw(st.integers(0, 3)) == 0:
            cut = data.draw(st.integers(0, len(datagrams[i])))
            datagrams[i] = datagrams[i][:cut] + data.draw(st.binary(max_size=6))
    decoder = NetflowDecoder("s", hold_bytes=400)
    entered = left = dropped = 0
    for i, raw in enumerate(datagrams):
        result = decoder.decode(chunk([raw], first=i))
        entered, left = entered + result.entered, left + result.left
        dropped += sum(result.dropped.values())
        assert entered == left + dropped + result.held
    end = decoder.finish()
    assert entered == left + end.left + dropped + sum(end.dropped.values())
    assert decoder.finish().left == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=120), min_size=1, max_size=6), st.lists(st.sampled_from([5, 7, 9, 10]), max_size=6))
def test_garbage_never_raises(bodies: list[bytes], versions: list[int]) -> None:
    """Any octets, also behind a version number, are decoded or counted."""
    for i, version in enumerate(versions[: len(bodies)]):
        bodies[i] = struct.pack(">H", version) + bodies[i]
    decoder = NetflowDecoder("s")
    result = decoder.decode(chunk(bodies))
    assert result.entered == result.left + sum(result.dropped.values()) + result.held
    for batch in result.batches:
        batch.table.validate(full=True)
        for line in ndjson.render(batch):
            json.loads(line)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream(), st.data())
def test_flipped_octets_never_raise(datagrams: list[bytes], data: st.DataObject) -> None:
    """Datagrams with damaged octets are decoded or counted."""
    for i, raw in enumerate(datagrams):
        damaged = bytearray(raw)
        for _ in range(data.draw(st.integers(0, 4))):
            damaged[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        datagrams[i] = bytes(damaged)
    result = NetflowDecoder("s").decode(chunk(datagrams))
    assert result.entered == result.left + sum(result.dropped.values()) + result.held


@QUICK
@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_uptimes_survive_the_way_to_times_and_back(pairs: list[tuple[int, int]], uptime: int) -> None:
    """First and Last of v5, whatever they are and whether the uptime wrapped in between, come back as they were."""
    records = [v5_record(first=first, last=last) for first, last in pairs]
    events = rows(NetflowDecoder("s"), [chunk([v5(records, uptime=uptime)])])
    got = [(e["netflow"]["flow_start_sys_up_time"], e["netflow"]["flow_end_sys_up_time"]) for e in events]
    assert got == pairs
