"""Captures of real exporters (of Akvorado's tests, AGPL-3.0, and of others) as tshark reads them, field by field."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from csirt.clock import parse_iso
from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.decode.netflow.elements import Element, shipped
from csirt.model import ndjson
from tests.decode.netflow.datagrams import chunk, pcap
from tests.decode.netflow.dissector import FIVE, TSHARK, Flow, Shown, dissect

SHARED = Path(__file__).parents[4] / "shared" / "data" / "netflow"
pytestmark = [
    pytest.mark.skipif(not SHARED.is_dir(), reason="the shared fixtures are not beside the checkout"),
    pytest.mark.skipif(not TSHARK, reason="not installed: tshark"),
]


def exporters() -> dict[str, list[Path]]:
    """The captures by exporter: templates, then options data, then data."""
    found: dict[str, list[Path]] = {}
    for path in sorted((SHARED / "akvorado" / "netflow").glob("*.pcap")):
        name = re.sub(r"(^|-)(options-)?(data|templates?)$", "", path.stem)
        found.setdefault(name or "plain", []).append(path)
    for path in sorted((SHARED / "vendors" / "pcap").glob("*.pcap")):
        found[path.stem] = [path]
    for name, paths in found.items():
        found[name] = sorted(paths, key=lambda path: ("template" not in path.name, "options" not in path.name))
    return found


# tshark shows 30 records where the header claims 55,582 and none fits; nobody else does, and neither do we.
REFUSED = {"Netflow-5-invalid-01"}
# Records before their template in the same datagram, for which tshark does not wait.
EARLY = {"data+templates": 11}
EXPORTERS = exporters() if SHARED.is_dir() else {}


def decode(paths: list[Path]) -> list[tuple[int, dict[str, Any]]]:
    """(frame counted over all captures, event) in order of the records."""
    decoder = NetflowDecoder("captures")
    events: list[tuple[int, dict[str, Any]]] = []
    first = 0
    for path in paths:
        payloads, senders, times = pcap(path)
        batches = decoder.decode(chunk(payloads, exporters=senders, times=times, first=first)).batches
        for batch in (batch for batch in batches if batch.dataset in ("flow", "flow_options")):
            for line in ndjson.render(batch):
                event = json.loads(line)
                events.append((int(event["event"]["id"][16:], 16), event))
        first += len(payloads)
    return [(number >> 16, event) for number, event in sorted(events, key=lambda item: item[0])]


def moment(shown: str) -> int:
    """tshark's way to write a time, as microseconds."""
    text, _, fraction = shown.removesuffix(" UTC").partition(".")
    stamp = datetime.strptime(re.sub(r"\s+", " ", text), "%b %d, %Y %H:%M:%S").replace(tzinfo=UTC)
    return int(stamp.timestamp()) * 1_000_000 + int(fraction[:6] or 0)


def same(element: Element, ours: Any, shown: Shown) -> bool:
    """Whether a value of ours is what tshark shows."""
    text, octets = shown
    raw = ":".join(octets[at : at + 2] for at in range(0, len(octets), 2))
    unread = text == raw and element.type not in ("macAddress", "octetArray")  # an element tshark has no name for
    if element.type.startswith(("unsigned", "signed")):
        signed = element.type.startswith("s")
        number = int.from_bytes(bytes.fromhex(octets), "big", signed=signed)
        plain = not unread and re.fullmatch(r"-?\d+|0x[0-9a-f]+", text)
        return bool(ours == number and (not plain or int(text, 0) == number))
    if element.type.startswith("dateTime"):
        return unread or abs(parse_iso(ours) - moment(text)) <= 1
    if element.type in ("ipv4Address", "ipv6Address", "macAddress"):
        return bool(ours == text)
    if element.type == "string":
        kept = bytes.fromhex(octets).rstrip(b"\0").decode("utf-8", "replace")
        return bool(ours == kept and (unread or ours == text.rstrip("\0")))
    if element.type == "boolean":
        return bool(ours == (octets == "01"))
    if element.type.startswith("float"):
        return bool(ours == pytest.approx(float(text), rel=1e-5))
    return bool(octets.startswith(ours) and ours)  # packet sections end with the transport header


def compare(flow: Flow, event: dict[str, Any]) -> tuple[int, list[str]]:
    """(how many fields were compared, what differs)."""
    table = shipped()
    seen: dict[str, int] = {}
    compared, wrong = 0, []
    for number, (pen, ident, length) in enumerate(flow.fields):
        scope = flow.version == 9 and number < flow.scopes
        element = (
            table.scope(ident) if scope else table.find(flow.version if flow.fields is not FIVE else 5, pen, ident)
        )
        if element.name in table.padding or element.name in table.private or not length:
            continue
        seen[element.name] = seen.get(element.name, 0) + 1
        name = element.name + (f"_{seen[element.name]}" if seen[element.name] > 1 else "")
        if number not in flow.shown:
            continue
        compared += 1
        ours = event["netflow"].get(name)
        if ours is None or not same(element, ours, flow.shown[number]):
            wrong.append(f"{name} ({element.type}): {ours!r}, tshark {flow.shown[number]}")
    return compared, wrong


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_field_is_what_tshark_shows(name: str, tmp_path: Path) -> None:
    """As many records as tshark reads, in the same frames, and every field it shows has the same value."""
    flows = dissect(EXPORTERS[name], tmp_path)
    events = decode(EXPORTERS[name])
    if name in REFUSED:
        assert flows and not events
        return
    events = events[EARLY.get(name, 0) :]
    assert [flow.frame for flow in flows] == [frame for frame, _ in events]
    results = [compare(flow, event) for flow, (_, event) in zip(flows, events, strict=True)]
    assert not [text for _, wrong in results for text in wrong]
    assert sum(count for count, _ in results) >= len(flows)
