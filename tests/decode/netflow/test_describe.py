"""What the page of an exporter shows is what the committed state holds."""

from __future__ import annotations

import struct

from csirt.decode.flows import FlowDecoder, describe
from tests.decode.netflow.datagrams import block, chunk, ipfix, ipfix_options, template, v9, v9_options, word

NOW = 1_700_000_000_000_000


def test_templates_samplers_names_and_what_waits() -> None:
    """Fields by name, with scopes and lengths; samplers by id, by interface and by name; held sets in octets."""
    decoder = FlowDecoder("s", key=b"k" * 32)
    payloads = [
        ipfix(
            block(2, template(300, (8, 4), (82, 65535))),
            block(3, ipfix_options(400, 1, (302, 8), (305, 4), (335, 4)) + ipfix_options(401, 1, (10, 4), (82, 4))),
            block(400, struct.pack(">QI4s", 7, 100, b"main")),
            block(401, struct.pack(">I4s", 5, b"ge-0")),
        ),
        ipfix(block(999, word(1, 2)), domain=8),
    ]
    state = decoder.decode(chunk(payloads, times=[NOW, NOW + 5])).state
    first, second = describe(state, "192.0.2.1")
    assert (first["version"], first["domain"], first["first"], first["heard"]) == (10, 7, NOW, NOW)
    assert [item["id"] for item in first["templates"]] == [300, 400, 401]
    assert first["templates"][0]["fields"] == [
        {"name": "source_ipv4_address", "length": 4, "scope": False},
        {"name": "interface_name", "length": None, "scope": False},
    ]
    assert first["templates"][1]["options"] and first["templates"][1]["fields"][0]["scope"]
    assert first["samplers"] == [{"id": 7, "interface": None, "name": "main", "rate": 100}]
    assert first["names"]["interface"] == [{"id": 5, "name": "ge-0"}]
    assert second["held"] == {"sets": 1, "octets": 8, "since": NOW + 5, "templates": [999]}
    assert describe(state, "192.0.2.2") == [] and describe(None, "192.0.2.1") == []


def test_samplers_of_interfaces_and_applications() -> None:
    """A rate whose scope is an interface names it; an application's number is shown in its octets."""
    payload = v9(
        block(1, v9_options(400, [(2, 4)], [(34, 4)]) + v9_options(401, [(1, 4)], [(95, 4), (96, 4)])),
        block(400, word(3, 50)),
        block(401, word(1) + b"\x03\x00\x01\xbb" + b"http"),
    )
    [item] = describe(FlowDecoder("s").decode(chunk([payload])).state, "192.0.2.1")
    assert item["samplers"] == [{"id": None, "interface": 3, "name": None, "rate": 50}]
    assert item["names"]["application"] == [{"id": "030001bb", "name": "http"}]
