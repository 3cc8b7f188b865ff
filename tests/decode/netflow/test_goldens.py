"""Real exporters' datagrams against the answers of another project's tests (logstash-codec-netflow, Apache-2.0)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from csirt.clock import SECOND, parse_iso
from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.decode.netflow.elements import shipped
from csirt.model import ndjson
from tests.decode.netflow.datagrams import chunk, pcap

SHARED = Path(__file__).parents[4] / "shared" / "data" / "netflow"
VENDORS = SHARED / "vendors"
pytestmark = pytest.mark.skipif(not VENDORS.is_dir(), reason="the shared fixtures are not beside the checkout")
GOLDENS = sorted(path.stem for path in (VENDORS / "golden").glob("*.json")) if VENDORS.is_dir() else []

# What the goldens themselves have wrong or leave open, and why ours differs.
NO_COUNT = {
    "IPFIX-Netscaler-with-variable-length-fields.2": "asks about a template cache on disk, and for no record",
    "Netflow-5-invalid-01": "a header that claims 55,582 records: nothing is expected, and nothing is decoded",
    "Netflow-9-Cisco-WLC-8500-release-8-2": "templates only",
    "Netflow-9-options-template-with-scope-fields": "states no count; lists the one options record there is",
}
OTHER_FORM = {
    "version", "flow_seq_num", "flowset_id", "flow_records", "uptime",  # header fields; ours are elements
    "first_switched", "last_switched",  # checked in `test_switched_times`
    "fw_event",  # two ids have this name
}  # fmt: skip


def load(name: str) -> dict[str, Any]:
    """One golden."""
    found: dict[str, Any] = json.loads((VENDORS / "golden" / f"{name}.json").read_text())
    return found


def checked(golden: dict[str, Any]) -> list[dict[str, Any]]:
    """The listed records the other project itself checks; two it does not check have slips of the pen."""
    indices = sorted(set(golden["events_checked_index"]))
    listed: list[dict[str, Any]] = golden["events"]
    return [listed[index] for index in indices] if len(listed) > len(indices) else listed


def decode(name: str) -> list[dict[str, Any]]:
    """The events of a golden's files, in order."""
    decoder = NetflowDecoder("vendors")
    events: list[dict[str, Any]] = []
    for number, file in enumerate(load(name)["files"]):
        data = chunk([(VENDORS / file).read_bytes()], times=[0], segment=f"{number:016x}")
        for batch in decoder.decode(data).batches:
            events += [json.loads(line) for line in ndjson.render(batch)]
    return sorted(events, key=lambda event: event["event"]["id"])


def names() -> dict[str, list[str]]:
    """Their field names -> ours."""
    table = shipped()
    found: dict[str, list[str]] = {}
    for file, version in (("netflow.yaml", 9), ("ipfix.yaml", 10)):
        text = (VENDORS / "names" / file).read_text().replace("- :", "- ")
        raw = yaml.load(text, yaml.CSafeLoader)  # a fixture, not content
        pens = raw if version == 10 else {0: raw}
        for pen, elements in pens.items():
            for number, item in elements.items():
                if isinstance(item, list) and len(item) > 1:
                    found.setdefault(str(item[1]).strip(), []).append(table.find(version, pen, number).name)
    for scope in range(1, 6):
        found.setdefault(table.scope(scope).name, []).append(table.scope(scope).name)
    return found


def same(theirs: Any, ours: Any) -> bool:
    """Equal but for the way it is written."""
    if isinstance(theirs, dict):  # forwarding status taken apart
        return bool(ours == theirs["status"] << 6 | theirs["reason"])
    if isinstance(theirs, str) and isinstance(ours, str):
        if theirs.endswith("Z") and ours.endswith("Z"):
            return theirs.replace(".000Z", "Z").rstrip("Z").rstrip("0") == ours.rstrip("Z").rstrip("0")
        return theirs.lower() == ours or theirs.replace("-", "") == ours or theirs == ours
    if isinstance(theirs, int) and isinstance(ours, str) and ours.endswith("Z"):  # their milliseconds, our time
        return parse_iso(ours) == theirs * 1000
    return bool(theirs == ours)


def different(theirs: dict[str, Any], ours: dict[str, Any], known: dict[str, list[str]]) -> list[str]:
    """Fields of a golden record that ours does not have, or has otherwise."""
    found = []
    for field, wanted in theirs["netflow"].items():
        if field in OTHER_FORM:
            continue
        candidates = known.get(field, [])
        values = [ours["netflow"][name] for name in candidates if name in ours["netflow"]]
        if field == "application_id":  # theirs is `5..38`: the classification engine and the selector
            values = [f"{int(value[:2], 16)}..{int(value[2:], 16)}" for value in values]
        if not any(same(wanted, value) for value in values):
            found.append(f"{field}: {wanted!r}, ours {values} as {candidates}")
    return found


@pytest.mark.parametrize("name", GOLDENS)
def test_record_counts(name: str) -> None:
    """As many records as the other project found."""
    golden = load(name)
    events = decode(name)
    if name == "Netflow-5-invalid-01":
        assert not events
    if name in NO_COUNT:
        assert not golden["expected_record_count"]
    else:
        assert len(events) == golden["expected_record_count"]


@pytest.mark.parametrize("name", [name for name in GOLDENS if not name.startswith("IPFIX-Netscaler")])
def test_every_field_of_the_listed_records(name: str) -> None:
    """Every element of every listed record is there under its IANA or vendor name with the same value."""
    golden = load(name)
    events = decode(name)
    known = names()
    indices = sorted(set(golden["events_checked_index"]))
    for wanted in checked(golden):
        tries = [different(wanted, events[index], known) for index in indices if index < len(events)]
        assert [] in tries, min(tries, key=len)


def test_switched_times() -> None:
    """First and Last are theirs to the millisecond, or one second earlier where the fraction of the export time is
    smaller than what is taken from it: the goldens leave out that borrow (RFC 3954, 5.1 and 8)."""
    compared = 0
    for name in GOLDENS:
        events = decode(name) if name.startswith("Netflow") else []
        for wanted in checked(load(name)) if events else []:
            last = wanted["netflow"].get("last_switched")
            if last:
                gaps = {parse_iso(last) - parse_iso(event["@timestamp"]) for event in events}
                assert any(abs(gap) < 1000 or abs(gap - SECOND) < 1000 for gap in gaps), (name, gaps)
                compared += 1
    assert compared > 10


def test_captures_of_many_exporters_decode_without_a_malformed_set() -> None:
    """Templates, data, options, sampling, MPLS, NAT, packet sections of real routers: nothing is refused. Sampling
    rates of options data reach the flows."""
    folder = SHARED / "akvorado" / "netflow"
    files = sorted(
        folder.glob("*.pcap"), key=lambda path: ("template" not in path.name, "options" not in path.name, path.name)
    )
    rates = set()
    rows = 0
    for prefix in {path.name.split("-")[0] for path in files}:
        decoder = NetflowDecoder("captures")
        for path in files:
            if path.name.split("-")[0] != prefix:
                continue
            payloads, exporters, times = pcap(path)
            result = decoder.decode(chunk(payloads, exporters=exporters, times=times))
            assert not result.dropped, path.name
            assert all(not row["malformed"] for row in result.exporters), path.name
            for batch in result.batches:
                rows += batch.rows
                if "csirt.flow.sampling_rate" in batch.table.column_names:
                    rates |= set(batch.table.column("csirt.flow.sampling_rate").to_pylist())
    assert rows > 100
    assert {10, 1000, 2000, 2048, 4000} <= rates
