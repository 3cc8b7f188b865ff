"""The text view of batches: valid, sorted, and the same as a slow reference says, for every dataset."""

from __future__ import annotations

import base64
import hashlib
import io
import ipaddress
import json
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.model import ecs, ndjson, ndjson_program
from csirt.model.batch import Batch, assemble
from tests.decode.netflow.datagrams import block, chunk, ipfix, template, v5, v5_record

CONTROL = "".join(chr(n) for n in range(32)) + '"\\/\x7f\x80'
TEXT = (
    st.text(max_size=40)
    | st.text(CONTROL, max_size=20)
    | st.sampled_from(['"', "{\x01", "æøå", "\u2028", "\U0001f9ea" * 9])
)
HALF = st.sampled_from([0, 1, 3, 2**63, 0xFD << 56, 0xFFFF01020304, 0x10000, 1 << 48]) | st.integers(0, 2**64 - 1)
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # what Python can say: the years 1 to 9999
TIME = st.integers(FIRST, LAST) | st.integers(FIRST // 10**6, LAST // 10**6).map(lambda s: s * 1_000_000)
FREE = {  # columns beyond the schema
    "netflow.a": pa.int8(),
    "netflow.b": pa.int64(),
    "netflow.c": pa.uint64(),
    "netflow.d.e": pa.float64(),
    "netflow.d.f": pa.float32(),
    "netflow.d.g.h": pa.list_(pa.int32()),
    "netflow.d.g.i": pa.list_(pa.string()),
    "netflow.j": pa.large_string(),
    "netflow.k": pa.bool_(),
    "netflow.l": ecs.TIME,
    "netflow.m": pa.string(),
    "netflow.n": pa.dictionary(pa.int8(), pa.string()),
    'netflow."': pa.uint32(),
}


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Values of a column of the schema."""
    if pa.types.is_timestamp(kind):
        return TIME
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_integer(kind):
        low = 0 if pa.types.is_unsigned_integer(kind) else -(2 ** (kind.bit_width - 1))
        return st.integers(low, low + 2**kind.bit_width - 1) | st.integers(max(low, -11), 11)
    if pa.types.is_floating(kind):
        return st.floats(allow_nan=True, width=kind.bit_width)
    if pa.types.is_list(kind):
        return st.lists(st.none() | values(kind.value_type), max_size=3)
    return TEXT


def array(kind: pa.DataType, items: list[Any]) -> pa.Array:
    """A column of the schema."""
    if pa.types.is_dictionary(kind):
        return pa.array(items, pa.string()).dictionary_encode().cast(kind)
    return pa.array(items, kind)


@st.composite
def batches(draw: Any) -> Batch:
    """A batch of any dataset with some of its columns, some of them with nulls."""
    dataset = draw(st.sampled_from(sorted(ecs.DATASETS)))
    rows = draw(st.integers(1, 6))
    columns: dict[str, Any] = {
        "csirt.segment": array(ecs.TEXT, ["00112233445566aa"] * rows),
        "csirt.ordinal": np.arange(rows, dtype=np.uint64),
        "@timestamp": array(ecs.TIME, draw(st.lists(TIME, min_size=rows, max_size=rows))),
    }
    schema = {name: kind for name, kind in (ecs.DATASETS[dataset] | FREE).items() if name not in columns}
    for name in draw(st.lists(st.sampled_from(sorted(schema)), unique=True, max_size=12)):
        items = st.none() | values(schema[name]) if draw(st.booleans()) else values(schema[name])
        columns[name] = array(schema[name], draw(st.lists(items, min_size=rows, max_size=rows)))
    if not dataset.startswith("flow_") and draw(st.booleans()):
        for name in ("source.ip", "destination.ip"):
            family = draw(st.lists(st.sampled_from([0, 4, 6]), min_size=rows, max_size=rows))
            low = [draw(HALF) & (2**32 - 1 if f == 4 else 2**64 - 1) for f in family]
            high = [draw(HALF) if f == 6 else 0 for f in family]
            columns[f"{name}:f"] = pa.array([f or None for f in family], pa.uint8())
            columns[f"{name}:hi"] = pa.array([h if f else None for f, h in zip(family, high, strict=True)], pa.uint64())
            columns[f"{name}:lo"] = pa.array([v if f else None for f, v in zip(family, low, strict=True)], pa.uint64())
    return assemble(dataset, columns)


def reference(batch: Batch) -> list[dict[str, Any]]:
    """Each row the slow way, without community ids; the value of a number is its JSON's."""
    return [_row(batch, row) for row in batch.table.to_pylist()]


def _iso(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _row(batch: Batch, row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name not in ("csirt.segment", "csirt.ordinal") and ":" not in name and value is not None:
            flat[name] = _iso(value)
    for name in ecs.ADDRESSES:
        if row.get(f"{name}:f"):
            number = row[f"{name}:hi"] << 64 | row[f"{name}:lo"]
            kind = ipaddress.IPv4Address if row[f"{name}:f"] == 4 else ipaddress.IPv6Address
            flat[name] = str(kind(number))
    kind, category, type_ = ecs.CATEGORY[batch.dataset]
    flat |= {"event.dataset": batch.dataset, "event.kind": kind, "event.category": [category], "event.type": [type_]}
    flat |= {"event.id": f"{row['csirt.segment']}{row['csirt.ordinal']:016x}", "event.module": "csirt"}
    flat["ecs.version"] = ecs.ECS_VERSION
    ends = [flat[name] for name in ("source.ip", "destination.ip") if name in flat]
    if ends:
        flat["related.ip"] = list(dict.fromkeys(ends))
    if "observer.ip" in flat and "netflow.exporter.version" in flat:
        flat["netflow.exporter.address"] = flat["observer.ip"]
    if batch.dataset == "flow":
        _flow(flat, row)
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        if isinstance(value, float) and value - value != 0:
            continue
        *outer, last = name.split(".")
        node = nested
        for key in outer:
            node = node.setdefault(key, {})
        node[last] = value
    return nested


def _flow(flat: dict[str, Any], row: dict[str, Any]) -> None:
    flat["event.end"] = flat["@timestamp"]
    if row.get("event.start") is not None and row["event.start"] <= row["@timestamp"]:
        length = (row["@timestamp"] - row["event.start"]) // timedelta(microseconds=1) * 1000
        if length < 2**63:  # 292 years
            flat["event.duration"] = length
    for ours, theirs in (("source", "network"), ("destination", "csirt.flow.reverse")):
        for unit in ("bytes", "packets"):
            if flat.get(f"{theirs}.{unit}") is not None:
                flat[f"{ours}.{unit}"] = flat[f"{theirs}.{unit}"]
    if row.get("source.ip:f"):
        flat["network.type"] = f"ipv{row['source.ip:f']}"
    if flat.get("network.iana_number") in ecs.TRANSPORT:
        flat["network.transport"] = ecs.TRANSPORT[flat["network.iana_number"]]


def _octets(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def _community(row: dict[str, Any]) -> str | None:
    """The specification in its own order of steps, of addresses as text."""
    ends = [(row.get("source") or {}).get("ip"), (row.get("destination") or {}).get("ip")]
    protocol = (row.get("network") or {}).get("iana_number")
    if None in ends or protocol is None or (":" in ends[0]) != (":" in ends[1]):
        return None
    sides = [(row.get("source") or {}).get("port"), (row.get("destination") or {}).get("port")]
    turns = True
    if protocol in (1, 58):
        icmp = row.get("icmp") or {}
        pairs = [(8, 0), (13, 14), (15, 16), (17, 18), (10, 9)]
        if protocol == 58:
            pairs = [(128, 129), (133, 134), (135, 136), (130, 131), (144, 145), (139, 140)]
        answer = dict(pairs) | {b: a for a, b in pairs}
        turns = icmp.get("type") in answer
        sides = [icmp.get("type"), answer[icmp["type"]] if turns else icmp.get("code")]
    ports = protocol in (1, 6, 17, 58, 132)
    if ports and None in sides:
        return None
    both = [(_octets(end), side if ports else 0) for end, side in zip(ends, sides, strict=True)]
    both = sorted(both) if turns else both
    text = bytes(2) + both[0][0] + both[1][0] + bytes([protocol, 0])
    text += b"".join(struct.pack(">H", side) for _, side in both) if ports else b""
    return "1:" + base64.b64encode(hashlib.sha1(text).digest()).decode()


def _plain(row: dict[str, Any], dataset: str) -> bytes:
    found = _community(row) if dataset == "flow" else None
    if found is not None:
        row["network"]["community_id"] = found
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches(), st.sampled_from([1, 2, 20_000]), st.sampled_from([64, 1 << 20]))
def test_every_line_is_what_the_slow_reference_says(batch: Batch, rows: int, size: int) -> None:
    """Each line is, octet by octet, the sorted JSON of what the reference says of the row, community id included,
    however many rows are rendered at a time and however small the buffer; the blocks are the lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ndjson, "ROWS", rows)
        patch.setattr(ndjson_program, "SIZE", size)
        lines = list(ndjson.render(batch))
        assert lines == [_plain(row, batch.dataset) for row in reference(batch)]
        text = b"".join(line + b"\n" for line in lines)
        assert b"".join(ndjson.blocks(batch)) == text
        pieces: list[bytes] = []
        ndjson.write(batch, lambda piece: pieces.append(bytes(piece)))
        assert b"".join(pieces) == text


def _at(node: Any, name: str) -> Any:
    for key in name.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches())
def test_columns_by_themselves_say_what_the_lines_say(batch: Batch) -> None:
    """What CSV is made of: every logical column's JSON text is the member of the line, or null where that has none."""
    lines = [orjson.loads(line) for line in ndjson.render(batch)]
    for name, value in ndjson.texts(batch).items():
        cells = [value] * batch.rows if isinstance(value, str) else value.to_pylist()
        assert [None if cell is None else orjson.loads(cell) for cell in cells] == [_at(line, name) for line in lines]


def test_times_of_any_year_are_written() -> None:
    """The whole range of microseconds in 64 bits, as numpy writes it: years may be negative or have more digits."""
    times = [0, -1, -62_167_219_200_000_001, -(2**63), 2**63 - 1, 253_402_300_800_000_000, -93_692_592_000_000_000]
    columns = {
        "csirt.segment": array(ecs.TEXT, ["00112233445566aa"] * len(times)),
        "csirt.ordinal": np.arange(len(times), dtype=np.uint64),
        "@timestamp": pa.array(times, ecs.TIME),
    }
    got = [orjson.loads(line)["@timestamp"] for line in ndjson.render(assemble("self", columns))]
    seconds = [(time // 10**6, time % 10**6) for time in times]
    whole = [str(np.datetime_as_string(np.datetime64(second, "s"))) for second, _ in seconds]
    assert got == [
        f"{text}.{part:06d}Z" if part else f"{text}Z" for text, (_, part) in zip(whole, seconds, strict=True)
    ]


def test_community_ids_are_the_specification_s() -> None:
    """Baseline values of the Community ID specification, both directions and ICMP among them."""
    known = [
        ("128.232.110.120", "66.35.250.204", 6, 34855, 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("66.35.250.204", "128.232.110.120", 6, 80, 34855, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("192.168.1.52", "8.8.8.8", 17, 54585, 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        ("192.168.0.89", "192.168.0.1", 1, 0, 0x0800, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        ("192.168.0.1", "192.168.0.89", 1, 0, 0x0000, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
    ]
    records = [v5_record(a, b, protocol=p, sport=s, dport=d) for a, b, p, s, d, _ in known]
    [batch] = NetflowDecoder("s").decode(chunk([v5(records)])).batches
    assert [json.loads(line)["network"]["community_id"] for line in ndjson.render(batch)] == [item[5] for item in known]


def test_raw_elements_survive_parquet_and_other_templates_beside_them() -> None:
    """netflow.* of elements that live in ECS columns are there after Parquet and after joining tables of different
    templates, each row with its own template's elements only."""
    one = NetflowDecoder("s").decode(chunk([v5([v5_record()])])).batches[0]
    fields = ((28, 16), (56, 6), (153, 8), (85, 4), (4, 1))
    body = bytes(15) + b"\x01" + bytes.fromhex("00005e005301") + struct.pack(">QIB", 1_600_000_000_123, 77, 17)
    two = (
        NetflowDecoder("s")
        .decode(chunk([ipfix(block(2, template(300, *fields)), block(300, body))], first=1))
        .batches[0]
    )
    whole = [json.loads(line) for batch in (one, two) for line in ndjson.render(batch)]
    assert whole[1]["netflow"] == {
        "destination_ipv6_address": "::1",
        "exporter": {"address": "192.0.2.1", "domain": 7, "version": 10},
        "flow_end_milliseconds": "2020-09-13T12:26:40.123000Z",
        "octet_total_count": 77,
        "protocol_identifier": 17,
        "source_mac_address": "00:00:5e:00:53:01",
    }
    assert whole[1]["source"]["mac"] == "00-00-5E-00-53-01"
    files = []
    for batch in (one, two):
        file = io.BytesIO()
        pq.write_table(batch.table, file)
        files.append(pq.read_table(io.BytesIO(file.getvalue())))
    joined = Batch("flow", pa.concat_tables(files, promote_options="permissive"))
    assert [json.loads(line) for line in ndjson.render(joined)] == whole


def test_an_empty_batch_has_no_lines() -> None:
    """No rows, no text."""
    [batch] = NetflowDecoder("s").decode(chunk([v5([v5_record()])])).batches
    assert list(ndjson.render(Batch("flow", batch.table.slice(0, 0)))) == []


@pytest.mark.parametrize("rows", [1, 7])
def test_slices_change_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are rendered at a time, the text is the same."""
    [batch] = NetflowDecoder("s").decode(chunk([v5([v5_record(dport=n) for n in range(20)])])).batches
    whole = b"".join(ndjson.blocks(batch))
    monkeypatch.setattr(ndjson, "ROWS", rows)
    assert b"".join(ndjson.blocks(batch)) == whole
