"""Real exporters' datagrams against the answers of another project's tests (logstash-codec-netflow, Apache-2.0)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from csirt.clock import parse_iso
from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.decode.netflow.elements import shipped
from csirt.model import ndjson
from tests.decode.netflow.datagrams import chunk, pcap

SHARED = Path(__file__).parents[4] / "shared" / "data" / "netflow"
VENDORS = SHARED / "vendors"
pytestmark = pytest.mark.skipif(not VENDORS.is_dir(), reason="the shared fixtures are not beside the checkout")
GOLDENS = sorted(path.stem for path in (VENDORS / "golden").glob("*.json")) if VENDORS.is_dir() else []

NO_COUNT = {
    "IPFIX-Netscaler-with-variable-length-fields.2": "lists what its template cache holds, and no record",
    "Netflow-5-invalid-01": "a header that claims 55,582 records: nothing is expected, and nothing is decoded",
    "Netflow-9-Cisco-WLC-8500-release-8-2": "templates only",
    "Netflow-9-options-template-with-scope-fields": "states no count; lists the one options record there is",
}
# Fields of the messages, which are no elements of a record.
HEADER = {"flow_seq_num", "flowset_id", "flow_records"}
# What the goldens have wrong, and why ours differs: by golden and field. The test fails for one that no longer differs.
LATER = (
    "a second late: the fraction of the export time is smaller than what is taken from it, and no second is borrowed"
)
SLIP = "a slip of the pen, in a record the other project itself does not check"
WRAPPED = "the uptime wrapped between the flow's start and its export, which makes it 49.7 days late"
DIFFERENT: dict[tuple[str, str], str] = {
    **{
        (name, field): LATER
        for name in GOLDENS
        if name.startswith("Netflow-9")
        and name
        not in (
            "Netflow-9-Cisco-ASA",
            "Netflow-9-Cisco-WLC-8500-release-8-2",
            "Netflow-9-options-template-with-scope-fields",
        )
        for field in ("first_switched", "last_switched")
    },
    ("Netflow-5-valid-01", "last_switched"): LATER,
    ("Netflow-5-valid-01", "first_switched"): WRAPPED,
    ("Netflow-9-Streamcore", "reamcore_id_rule_1 of 2"): SLIP,
    ("Netflow-9-Streamcore", "first_switched of 1"): SLIP,
    ("Netflow-9-Streamcore", "last_switched of 1"): SLIP,
    ("Netflow-9-Streamcore", "first_switched of 2"): SLIP,
    ("Netflow-9-Streamcore", "last_switched of 2"): SLIP,
}
GAPS = {LATER: 1_000, WRAPPED: 2**32}  # milliseconds


def load(name: str) -> dict[str, Any]:
    """One golden."""
    found: dict[str, Any] = json.loads((VENDORS / "golden" / f"{name}.json").read_text())
    return found


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


def switched(wanted: str, ours: dict[str, Any], field: str) -> int:
    """Milliseconds that their First or Last is later than ours."""
    mine = ours["@timestamp"] if field == "last_switched" else ours["event"]["start"]
    return round((parse_iso(wanted) - parse_iso(mine)) / 1_000)


def different(
    theirs: dict[str, Any], ours: dict[str, Any], known: dict[str, list[str]], name: str, which: str
) -> dict[str, str]:
    """Fields of a golden record that ours does not have, or has otherwise. `which`: added to their names."""
    found: dict[str, str] = {}
    for field, wanted in theirs["netflow"].items():
        if field in HEADER:
            continue
        if field in ("first_switched", "last_switched"):
            gap = switched(wanted, ours, field) if "start" in ours["event"] else None
            reason = DIFFERENT.get((name, field + which), "")
            if gap not in (0, -1):
                found[field + which] = reason if reason and gap == GAPS.get(reason, gap) else f"{gap} ms late"
            continue
        candidates = known.get(field, [])
        values = [ours["netflow"][item] for item in candidates if item in ours["netflow"]]
        if field == "version":
            values = [ours["netflow"]["exporter"]["version"]]
        if field == "application_id":  # theirs is `5..38`: the classification engine and the selector
            values = [f"{int(value[:2], 16)}..{int(value[2:], 16)}" for value in values]
        if not any(same(wanted, value) for value in values):
            found[field + which] = DIFFERENT.get((name, field + which)) or f"{wanted!r}, ours {values} as {candidates}"
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
    """Every element of every listed record is there under its IANA or vendor name with the same value, but for what is
    wrong in the golden; and that list has nothing in it that is right."""
    events = decode(name)
    known = names()
    seen: set[str] = set()
    listed, checked = load(name)["events"], set(load(name)["events_checked_index"])
    for index, wanted in enumerate(listed):
        which = f" of {index}" if index not in checked and len(listed) > len(checked) else ""
        tries = [different(wanted, event, known, name, which) for event in events]
        best = min(tries, key=lambda found: (sum((name, f) not in DIFFERENT for f in found), len(found)))
        wrong = {field: text for field, text in best.items() if text != DIFFERENT.get((name, field))}
        assert not wrong
        seen |= set(best)
    assert seen == {field for golden, field in DIFFERENT if golden == name}


def test_the_template_cache_of_netscaler() -> None:
    """Where the golden lists templates, ours have the same elements in the same order."""
    name = "IPFIX-Netscaler-with-variable-length-fields.2"
    golden = load(name)
    decoder = NetflowDecoder("vendors")
    for file in golden["files"]:
        decoder.decode(chunk([(VENDORS / file).read_bytes()], times=[0]))
    table, known = shipped(), names()
    [exporter] = decoder._state.exporters
    [wanted] = golden["events"]
    for key, fields in wanted.items():
        signature = exporter.templates[int(key.split("|")[1])]
        ours = [table.find(10, pen, ident).name for pen, ident, _ in signature.fields]
        theirs = [field[1] for field in fields]
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine in known[other]) if other else mine == "padding_octets"


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
