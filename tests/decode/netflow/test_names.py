"""Options tables: what exporters call their interfaces, VRFs and applications fills the flows' columns."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.decode.netflow import names
from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.model import ndjson
from tests.decode.netflow.datagrams import block, chunk, ipfix, ipfix_options, template, v9, v9_options, word

FLOWS = block(2, template(300, (8, 4), (10, 4), (14, 4)))
TABLE = block(3, ipfix_options(400, 1, (10, 4), (82, 8)))


@dataclass
class Known:
    """A configured exporter."""

    address: str
    name: str = ""
    sampling_rate: int = 0


def called(number: int, name: str) -> bytes:
    """An options record that gives an interface a name."""
    return block(400, struct.pack(">I8s", number, name.encode()))


def flow(number: int, out: int = 9) -> bytes:
    """A flow that came in there."""
    return block(300, word(0x0A000001, number, out))


def events(*payloads: bytes, decoder: NetflowDecoder | None = None) -> list[dict[str, Any]]:
    """The flows of datagrams, in order."""
    result = (decoder or NetflowDecoder("s")).decode(chunk(list(payloads)))
    return [json.loads(line) for batch in result.batches if batch.dataset == "flow" for line in ndjson.render(batch)]


def ingress(event: dict[str, Any]) -> str | None:
    """What the interface it came in by is called."""
    name: str | None = event["observer"]["ingress"]["interface"].get("name")
    return name


def test_a_name_counts_from_the_datagram_that_brings_it() -> None:
    """Flows before it have none, flows of the same datagram and later ones do; a new name changes nothing before."""
    found = events(
        ipfix(FLOWS, TABLE, flow(1)),
        ipfix(flow(1), called(1, "ge-0/0/1")),
        ipfix(flow(1, out=1), flow(2)),
        ipfix(called(1, "xe-9")),
        ipfix(flow(1)),
    )
    assert [ingress(event) for event in found] == [None, "ge-0/0/1", "ge-0/0/1", None, "xe-9"]
    assert found[2]["observer"]["egress"]["interface"] == {"id": 1, "name": "ge-0/0/1"}


def test_names_survive_a_restart_and_belong_to_one_exporter() -> None:
    """They are part of the committed state; another domain's are others."""
    decoder = NetflowDecoder("s")
    state = decoder.decode(chunk([ipfix(FLOWS, TABLE, called(1, "ge-0")), ipfix(FLOWS, domain=8)])).state
    again = NetflowDecoder("s")
    again.load(state)
    assert again._state.dump() == state
    found = events(ipfix(flow(1)), ipfix(flow(1), domain=8), decoder=again)
    assert [ingress(event) for event in found] == ["ge-0", None]


def test_interfaces_of_version_nine_are_scopes() -> None:
    """The scope of a v9 options record is the interface (RFC 3954, 6.1)."""
    found = events(
        v9(
            block(0, template(300, (8, 4), (10, 2))),
            block(1, v9_options(400, [(2, 4)], [(82, 8)])),
            block(400, struct.pack(">I8s", 7, b"Gi0/7")),
            block(300, struct.pack(">IH", 0x0A000001, 7)),
        )
    )
    assert [ingress(event) for event in found] == ["Gi0/7"]


def test_applications_and_vrfs() -> None:
    """A record with only the id of its application gets the name, one that names it keeps its own; VRFs by id."""
    found = events(
        ipfix(
            block(2, template(300, (8, 4), (95, 4), (234, 4), (235, 4)) + template(301, (8, 4), (95, 4), (96, 8))),
            block(3, ipfix_options(400, 1, (95, 4), (96, 8)) + ipfix_options(401, 1, (234, 4), (236, 8))),
            block(400, b"\x03\x00\x01\xbb" + b"https\0\0\0" + b"\x0d\x00\x00\x01" + b"dicom\0\0\0"),
            block(401, struct.pack(">I8s", 5, b"members")),
            block(300, word(0x0A000001) + b"\x03\x00\x01\xbb" + word(5, 6)),
            block(301, word(0x0A000001) + b"\x0d\x00\x00\x01" + b"own\0\0\0\0\0"),
            block(300, word(0x0A000001) + b"\x0d\x00\x00\x02" + word(0, 5)),
        )
    )
    assert [event["network"].get("application") for event in found] == ["https", "own", None]
    vrfs = [
        (event["csirt"]["flow"].get("ingress_vrf"), event["csirt"]["flow"].get("egress_vrf")) for event in found[::2]
    ]
    assert vrfs == [("members", None), (None, "members")]


def test_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In number, for listed and for other exporters; what they call things cannot grow without end either."""
    monkeypatch.setattr(names, "MAX_OTHER", 3)
    monkeypatch.setattr(names, "MAX_LISTED", 5)
    monkeypatch.setattr(names, "MAX_LENGTH", 4)
    payload = ipfix(TABLE, *(called(n, f"name{n}") for n in range(20)))
    decoder = NetflowDecoder("s", exporters=[Known("192.0.2.1")], accept_unknown=True)
    decoder.decode(chunk([payload, payload], exporters=["192.0.2.1", "192.0.2.2"]))
    assert [item.names["interface"] for item in decoder._state.exporters] == [
        dict.fromkeys(range(5), "name"), dict.fromkeys(range(3), "name")
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=2, max_size=12), st.data())
def test_chunks_and_restarts_change_no_name(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    """Against an oracle that walks datagram by datagram: whatever is renamed when, each flow has the name of then."""
    payloads, wanted = [ipfix(FLOWS, TABLE)], []
    known: dict[int, str] = {}
    for number, name in steps:
        if name:
            known[number] = f"if{name}"
            payloads.append(ipfix(flow(number), called(number, known[number])))
        else:
            payloads.append(ipfix(flow(number)))
        wanted.append(known.get(number))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(payloads) - 1))))
    found: list[str | None] = []
    state: bytes | None = None
    for a, b in pairwise([0, *cuts, len(payloads)]):
        decoder = NetflowDecoder("s")
        decoder.load(state)
        result = decoder.decode(chunk(payloads[a:b], first=a))
        state = result.state
        flows = [batch for batch in result.batches if batch.dataset == "flow"]
        found += [ingress(json.loads(line)) for batch in flows for line in ndjson.render(batch)]
    assert found == wanted


def test_names_that_outnumber_the_rows_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more names than rows only those asked for are looked up: each flow has the name it has anyhow."""
    sent = [ipfix(FLOWS, TABLE, called(1, "a"))]
    sent += [
        ipfix(called(number, f"n{at}"), flow(1), called(1 + at % 2, f"m{at}")) for at, number in enumerate((1, 7, 9))
    ]
    usual = [ingress(event) for event in events(*sent)]
    monkeypatch.setattr(names, "FEW", 0)
    assert [ingress(event) for event in events(*sent)] == usual == ["m0", "m0", "m2"]


def test_rates_by_interface() -> None:
    """A rate whose scope is an interface counts for flows that came in there, or, seen leaving, left there; several
    samplers, sampler 0, and a rate stated as interval and space (RFC 5477)."""
    rates = block(3, ipfix_options(400, 1, (10, 4), (305, 4), (306, 4)))
    flows = block(2, template(300, (8, 4), (10, 4), (14, 4), (61, 1)))
    found = events(
        ipfix(
            rates, flows, block(400, word(1, 1, 99) + word(2, 2, 18)),
            block(300, word(1, 1, 2) + b"\0" + word(1, 1, 2) + b"\1" + word(1, 3, 1) + b"\0"),
        )
    )  # fmt: skip
    assert [event["csirt"]["flow"]["sampling_rate"] for event in found[:2]] == [100, 10]
    assert "csirt" not in found[2]
    by_id = events(
        ipfix(
            block(3, ipfix_options(400, 1, (302, 8), (305, 4), (306, 4))), block(2, template(300, (8, 4), (302, 8))),
            block(400, struct.pack(">QII", 0, 1, 63) + struct.pack(">QII", 7, 1, 511)),
            block(300, struct.pack(">IQ", 1, 0) + struct.pack(">IQ", 1, 7)),
        )
    )  # fmt: skip
    assert [event["csirt"]["flow"]["sampling_rate"] for event in by_id] == [64, 512]
