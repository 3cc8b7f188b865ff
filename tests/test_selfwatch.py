"""What the daemon knows of its own sight becomes events, once a minute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.app import App
from csirt.clock import MINUTE
from csirt.config import Config, Exporter
from csirt.control import trouble
from csirt.daemon import Daemon
from csirt.model import ndjson
from csirt.model.batch import Batch, codes
from csirt.selfwatch import Selfwatch, counted

SLOW_ID = "11111111-1111-4111-8111-111111111111"
SLOW = f"""title: slow
id: {SLOW_ID}
status: experimental
logsource: {{product: csirt, service: dns}}
detection: {{s: {{dns.question.name|re: '[ab][a-z]{{0,900}}x'}}, condition: s}}
level: low
"""
START = 28_333_334 * MINUTE


def events(watch: Selfwatch, minute: int, counters: dict[str, int], behind: bool = False) -> list[dict[str, Any]]:
    """The events of a look in that minute."""
    batch = watch.look(START + minute * MINUTE + 5, lambda: (counters, behind))
    return [] if batch is None else [json.loads(line) for line in ndjson.render(batch)]


def said(found: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    """Action, subject and value of each."""
    return [
        (event["event"]["action"], event["csirt"]["self"]["subject"], event["csirt"]["self"]["value"])
        for event in found
    ]


def test_an_exporter_that_was_heard_and_is_no_more() -> None:
    """Two minutes without a datagram: an event each minute until it is heard again; who never was is none."""
    watch = Selfwatch({"192.0.2.1": "edge1", "192.0.2.2": "edge2"})
    assert events(watch, 0, {"heard 192.0.2.1": 5}) == []
    assert events(watch, 1, {"heard 192.0.2.1": 5}) == []
    [event] = events(watch, 2, {"heard 192.0.2.1": 5})
    assert said([event]) == [("exporter_silent", "192.0.2.1", 120.0)]
    assert event["observer"] == {"ip": "192.0.2.1", "name": "edge1"} and event["csirt"]["self"]["unit"] == "s"
    assert said(events(watch, 3, {"heard 192.0.2.1": 5})) == [("exporter_silent", "192.0.2.1", 180.0)]
    assert events(watch, 4, {"heard 192.0.2.1": 6}) == [] and events(watch, 5, {"heard 192.0.2.1": 6}) == []


def test_a_daemon_that_is_behind_calls_nobody_silent() -> None:
    """What was received and not read yet may be theirs."""
    watch = Selfwatch({"192.0.2.1": ""})
    for minute in range(5):
        assert events(watch, minute, {"heard 192.0.2.1": 5}, behind=True) == []
    assert events(watch, 5, {"heard 192.0.2.1": 5}) == []


def test_drops_and_lines_that_are_not_understood() -> None:
    """By how much the counters grew in the minute; a handful of lines says nothing; ids are the minute's."""
    watch = Selfwatch({})
    assert events(watch, 0, {"kernel_drops edge": 7, "lines relay": 100, "unparsed relay": 50}) == []
    now = {"kernel_drops edge": 10, "spool_drops edge": 2, "lines relay": 10_100, "unparsed relay": 75}
    found = events(watch, 1, now)
    assert said(found) == [("kernel_drops", "edge", 3.0), ("spool_drops", "edge", 2.0), ("unparsed", "relay", 0.0025)]
    assert len({event["event"]["id"] for event in found}) == 3
    assert watch.look(START + MINUTE + 9, lambda: (now, False)) is None
    assert events(watch, 2, {**now, "lines relay": 10_200, "unparsed relay": 84}) == []


def test_the_counters_that_are_compared() -> None:
    """Domains of an exporter count together; only sources of lines can be unparsed."""
    counts = {
        "exporter.192.0.2.1|9|1.received": 3, "exporter.192.0.2.1|10|2.received": 4, "exporter.192.0.2.1|9|1.held": 1,
        "decode.in.relay": 10, "decode.dropped.relay.unparsed": 2,
        "decode.in.edge": 9, "decode.dropped.edge.malformed": 9,
    }  # fmt: skip
    receivers = [{"source": "edge", "kernel_dropped": 1, "spool_dropped": {"oldest": 2, "spool_full": 3}}]
    assert counted(counts, receivers, {"relay"}) == {
        "heard 192.0.2.1": 7, "lines relay": 10, "unparsed relay": 2, "kernel_drops edge": 1, "spool_drops edge": 5
    }  # fmt: skip


def test_an_event_becomes_an_alert_and_a_case(tmp_path: Path) -> None:
    """A silent router: committed once, matched by SELF-01, grouped by exporter, answered by PB-SELF."""
    config = Config()
    config.state = str(tmp_path)
    config.decode.exporters = [Exporter(address="192.0.2.1", name="edge1")]
    app = App(config)
    pipeline = app.pipeline([], deliver=False)
    watch = Selfwatch({"192.0.2.1": "edge1"})
    for minute in range(5):
        now = START + minute * MINUTE
        batch = watch.look(now, lambda: ({"heard 192.0.2.1": 5}, False))
        if batch is not None:
            pipeline.tell(batch, now)
    pipeline.advance(pipeline.watermark.greatest())
    [alert] = app.store.find("alert", {})
    assert alert["group"] == {"observer.ip": "192.0.2.1"} and alert["count"] == 3 and alert["playbook"] == "PB-SELF"
    assert app.store.count("case") == 1 and app.store.counts()["events.self"] == 3
    app.close()


def test_a_rule_that_is_switched_off_is_an_alert_and_stands_in_status(tmp_path: Path) -> None:
    """An expression that overruns its budget: its rule is off, said once as an event that SELF-02 matches, and named in
    the warnings until rules are loaded anew."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "slow.yml").write_text(SLOW)
    config = Config()
    config.state = str(tmp_path / "state")
    config.detect.rules = [str(rules)]
    config.detect.regex_budget = "1ms"
    app = App(config)
    at = pa.array([START] * 1_000, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    each = np.arange(1_000)
    columns = {
        "@timestamp": at, "csirt.segment": codes(each * 0, ["0" * 16]), "csirt.ordinal": pa.array(each, pa.uint64()),
        "dns.question.name": codes(each, ["9x" + "ab" * 2000 + str(number) for number in range(1_000)]),
    }  # fmt: skip
    assert app.detector().match(Batch("dns", pa.table(columns))).num_rows == 0
    assert list(app.switched_off()) == [SLOW_ID] and app.overruns == {SLOW_ID: 1}
    pipeline = app.pipeline([], deliver=False)
    daemon = Daemon(app)
    found = trouble.pipeline(daemon, config, app.clock)
    [warning] = [item for item in found if item["what"] == "rule_off"]
    assert warning["subject"] == SLOW_ID and warning["reason"].endswith("slow.yml:1")
    watch = Selfwatch({})
    batch = watch.look(START, lambda: ({f"rule_overrun {SLOW_ID}": app.overruns[SLOW_ID]}, False))
    assert batch is not None
    pipeline.tell(batch, START)
    assert watch.look(START + MINUTE, lambda: ({f"rule_overrun {SLOW_ID}": 1}, False)) is None
    pipeline.advance(pipeline.watermark.greatest())
    [alert] = app.store.find("alert", {})
    assert alert["group"] == {"csirt.self.subject": SLOW_ID} and alert["playbook"] == "PB-SELF"
    app.reload()
    assert app.switched_off() == {}
    app.close()
