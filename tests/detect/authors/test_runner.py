"""Rules over files: the shapes `csirt rules run` prints."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from csirt.detect.authors import runner
from csirt.detect.columns import files, raw
from csirt.detect.rules.load import parse_rules
from csirt.errors import NotFound, Usage

A, B, C, D = (f"00000000-0000-4000-8000-00000000000{x}" for x in "abcd")
RULES = f"""title: Mail
id: {A}
level: low
logsource: {{product: csirt, service: mail}}
detection: {{s: {{x: 1}}, condition: s}}
---
title: Windows
id: {B}
level: high
logsource: {{product: windows, category: process_creation}}
detection: {{s: {{x|gte: 1}}, condition: s}}
---
title: Base
id: {C}
name: base
logsource: {{product: csirt, service: flow}}
detection: {{s: {{x: 2}}, condition: s}}
---
title: Twice
id: {D}
level: medium
correlation: {{type: event_count, rules: [base], group-by: [who], timespan: 1m, condition: {{gte: 2}}}}
"""
EVENTS = [
    {"event": {"dataset": "mail", "id": "one"}, "x": 1},
    {"event": {"dataset": "flow"}, "x": 1},
    {"@timestamp": "2026-01-01T00:00:30Z", "event": {"dataset": "flow"}, "x": 2, "who": "p"},
    {"@timestamp": "2026-01-01T00:00:00Z", "event": {"dataset": "flow"}, "x": 2, "who": "p"},
    {"event": {"dataset": "flow"}, "x": 2, "who": "p"},
]


def test_raw_runs_every_rule_on_every_event() -> None:
    """No routing; lines by (index, rule id); base rules have no lines; the correlation names indices and window."""
    found = runner.run(parse_rules(RULES), [raw.from_events(EVENTS)], mapped=False)
    assert [(line["event"]["index"], line["rule"]["id"]) for line in found.lines if "event" in line] == [
        (0, A),
        (0, B),
        (1, A),
        (1, B),
        (2, B),
        (3, B),
        (4, B),
    ]
    assert found.lines[0] == {"rule": {"id": A, "title": "Mail", "level": "low"}, "event": {"index": 0, "id": "one"}}
    assert found.lines[-1] == {
        "rule": {"id": D, "title": "Twice", "level": "medium"},
        "events": [2, 3],
        "group": {"who": "p"},
        "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:30Z"},
    }
    assert found.counts == {A: 2, B: 5, C: 3, D: 1}
    assert found.untimed == 1


def test_mapped_shows_rules_only_their_log_source() -> None:
    """A rule for mail sees mail, a host's rule nothing."""
    found = runner.run(parse_rules(RULES), [raw.from_events(EVENTS)], mapped=True)
    assert [(line["event"]["index"], line["rule"]["id"]) for line in found.lines if "event" in line] == [(0, A)]
    assert found.counts == {A: 1, B: 0, C: 3, D: 1}


def test_a_file_without_dataset_is_taken_for_what_its_columns_say(tmp_path: Path) -> None:
    """A table in the lake's form has physical addresses and no dataset column."""
    table = pa.table(
        {
            "source.ip:f": pa.array([4, None], pa.uint8()),
            "source.ip:hi": pa.array([0, None], pa.uint64()),
            "source.ip:lo": pa.array([0x0A000001, None], pa.uint64()),
            "csirt.mail.status": ["sent", "sent"],
            "csirt.segment": ["0123456789abcdef"] * 2,
            "csirt.ordinal": pa.array([1, 2], pa.uint64()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    rules = RULES.partition("---")[0].replace("x: 1", "source.ip|cidr: 10.0.0.0/8, csirt.mail.status: SENT")
    found = runner.run(parse_rules(rules), files.read(tmp_path / "t.parquet"), mapped=True)
    assert [line["event"] for line in found.lines] == [{"index": 0, "id": "0123456789abcdef0000000000000001"}]


def test_ndjson_and_parquet_of_the_same_events_match_the_same(tmp_path: Path) -> None:
    """Nested columns of Parquet are the objects of NDJSON."""
    (tmp_path / "e.ndjson").write_bytes(b"\n".join(map(orjson.dumps, EVENTS)) + b"\n\n")
    pq.write_table(
        pa.table({name: [event.get(name) for event in EVENTS] for name in ("@timestamp", "event", "x", "who")}),
        tmp_path / "e.parquet",
    )
    rules = parse_rules(RULES)
    one, two = (runner.run(rules, files.read(tmp_path / name), mapped=True) for name in ("e.ndjson", "e.parquet"))
    assert one == two


def test_files_that_cannot_be_read_are_errors_with_their_place(tmp_path: Path) -> None:
    """Missing, not JSON, not an object, not Parquet."""
    with pytest.raises(NotFound):
        list(files.read(tmp_path / "none.ndjson"))
    (tmp_path / "bad.ndjson").write_text('{"a":1}\n{"a":\n')
    with pytest.raises(Usage, match=r"bad.ndjson:2: not JSON"):
        list(files.read(tmp_path / "bad.ndjson"))
    (tmp_path / "list.ndjson").write_text("[1]\n")
    with pytest.raises(Usage, match="not a JSON object"):
        list(files.read(tmp_path / "list.ndjson"))
    (tmp_path / "bad.parquet").write_text("x")
    with pytest.raises(Usage, match="not a Parquet file"):
        list(files.read(tmp_path / "bad.parquet"))


def test_no_events_no_lines() -> None:
    """An empty file is not an error."""
    found = runner.run(parse_rules(RULES), [raw.from_events([])], mapped=True)
    assert found.lines == []
    assert set(found.counts.values()) == {0}


def test_times_of_every_common_form_are_understood() -> None:
    """ISO with and without zone, and epoch numbers of any unit."""
    texts = ["2026-01-01T01:00:00+01:00", "2026-01-01 00:00:00", 1767225600, 1767225600000, "1767225600000000"]
    times, valid = raw.from_events([{"timestamp": text} for text in [*texts, 1767225600000000000, "soon"]]).times()
    assert times[:6].tolist() == [1767225600000000] * 6
    assert valid.tolist() == [True] * 6 + [False]
