"""What commits count adds up, and reaches the metrics once."""

from __future__ import annotations

from csirt.metrics import Metrics
from csirt.model.batch import Decoded
from csirt.model.chunk import Chunk, Dissection
from csirt.tally import Tally, size


def chunk(text: bytes | None, lost: dict[str, int] | None = None) -> Chunk:
    """A piece of a dissection."""
    return Chunk("tap", "f", "s", 0, 10, None if text is None else Dissection(text), lost=lost or {})


def test_a_tally_adds_up_over_chunks() -> None:
    """Units that wait for a cut are counted when they enter and when they leave; between, they are held."""
    tally = Tally("tap")
    tally.read(chunk(None, {"torn": 1}))
    tally.decoded(Decoded(entered=10, left=0, dropped={"malformed": 2}, redacted={"url.path": 1}))
    assert tally.held == 8
    exporter = {"address": "10.0.0.1", "version": 9, "domain": 7, "received": 3, "decoded": 2, "held": 1}
    tally.decoded(Decoded(entered=5, left=13, redacted={"url.path": 2}, exporters=[exporter]))
    assert tally.held == 0
    assert tally.counts == {
        "sources.in.tap": 1, "sources.dropped.tap.torn": 1, "decode.in.tap": 15, "decode.out.tap": 13,
        "decode.dropped.tap.malformed": 2, "redacted.tap|url.path": 3, "exporter.10.0.0.1|9|7.received": 3,
        "exporter.10.0.0.1|9|7.decoded": 2, "exporter.10.0.0.1|9|7.held": 1, "exporter.10.0.0.1|9|7.stored": 2,
    }  # fmt: skip


def test_metrics_get_it_when_it_is_published() -> None:
    """Stages with their reasons, and redacted values by field."""
    tally, metrics = Tally("tap"), Metrics()
    tally.read(chunk(None, {"torn": 1}))
    tally.decoded(Decoded(entered=4, left=3, dropped={"malformed": 1}, redacted={"dns.question.name": 2}))
    assert not metrics.prometheus().strip()
    tally.publish(metrics)
    assert metrics.value("csirt_redacted_total", field="dns.question.name") == 2
    assert metrics.value("csirt_stage_dropped_total", stage="sources", reason="torn") == 1
    stages = {stage["name"]: stage for stage in metrics.stages()}
    assert stages["decode"] == {"name": "decode", "in": 4, "out": 3, "dropped": {"malformed": 1}}


def test_nothing_is_dropped_without_a_count() -> None:
    """A chunk has the size of its lines, and at least one unit."""
    assert size(chunk(b"a\nb\nc\n")) == 3
    assert size(chunk(None)) == size(chunk(b"")) == 1
