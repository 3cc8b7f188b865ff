"""Counters."""

from __future__ import annotations

import logging

import pytest

from csirt.metrics import STAGES, Metrics, RateLimited


def test_stages_come_in_the_order_of_the_data_flow_and_balance() -> None:
    """in = out + dropped, for every stage, in one order everywhere."""
    metrics = Metrics()
    metrics.stage("decode", 10, 7, {"malformed": 3})
    rows = metrics.stages()
    assert [row["name"] for row in rows] == list(STAGES)
    decode = rows[STAGES.index("decode")]
    assert decode == {"name": "decode", "in": 10, "out": 7, "dropped": {"malformed": 3}}


def test_prometheus_text_escapes_labels() -> None:
    """A label from the network cannot forge a metric."""
    metrics = Metrics()
    metrics.count("csirt_x_total", reason='a"b\n# TYPE evil counter')
    text = metrics.prometheus()
    assert text.count("\n") == 2 and '\\"' in text


def test_repeated_log_lines_are_counted_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """One line per interval and key."""
    limited = RateLimited(logging.getLogger("t"), seconds=1_000)
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            limited.warning("key", "a\x1b[2Jb")
    assert len(caplog.records) == 1 and "\x1b" not in caplog.text
