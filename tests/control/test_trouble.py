"""What `csirt status` calls wrong now, and what it does not."""

from __future__ import annotations

import json
from typing import Any

from csirt.clock import HOUR, MINUTE, SECOND, Frozen, parse_iso
from csirt.config import Config, Exporter, Source
from csirt.control.trouble import counters, troubles

NOW = parse_iso("2026-11-23T03:00:00Z")


class Store:
    """States and one count."""

    def __init__(self, states: dict[str, bytes], failed: int = 0) -> None:
        self.states, self.failed = states, failed

    def state(self, name: str) -> bytes | None:
        """A saved state."""
        return self.states.get(name)

    def count(self, kind: str, where: dict[str, Any]) -> int:
        """Notifications that failed lately."""
        assert kind == "notification" and where["state"] == "failed" and where["updated__gte"] > NOW - 2 * HOUR
        return self.failed


def seen(age_us: int) -> dict[str, bytes]:
    """The last event of the source `edge`."""
    return {"time:edge": json.dumps({"greatest": NOW - age_us}).encode()}


def config() -> Config:
    """One exporter, one source."""
    made = Config()
    made.sources = [Source(id="edge", type="netflow")]
    made.decode.exporters = [Exporter(address="192.0.2.1", name="edge1")]
    return made


def document(**changes: Any) -> dict[str, Any]:
    """A status in which nothing is wrong."""
    exporter = {"address": "192.0.2.1", "version": 9, "domain": 1, "received": 10, "sequence_lost": 0}
    receiver = {"source": "edge", "listen": ["udp [::]:2055"], "received": 10, "spooled": 10, "kernel_dropped": 0}
    base: dict[str, Any] = {
        "live": True,
        "stages": [{"name": "decode", "in": 10, "out": 10, "dropped": {"ignored": 3}, "lag_s": 0.5}],
        "exporters": [{**exporter, "malformed": 0, "expired": 0}],
        "receivers": [{**receiver, "spool_dropped": {}, "failed": "", "updated": NOW - SECOND, "started": 0}],
        "backlog": {"edge": 0},
        "windows": {"dropped": {"late": 3, "gone": 1}, "learning": {}},
    }
    return {**base, **changes}


def found(status: dict[str, Any], lately: dict[str, int] | None = None, **store: Any) -> list[tuple[str, str, str]]:
    """(kind, what, subject) of everything wrong; by default every loss is of now."""
    given = Store(**{"states": seen(MINUTE), **store})
    now = counters(status) if lately is None else lately
    return [
        (item["kind"], item["what"], item["subject"]) for item in troubles(status, now, config(), given, Frozen(NOW))
    ]


def test_nothing_wrong() -> None:
    """Lines a parser ignores on purpose are no loss."""
    assert found(document()) == []


def test_deaf() -> None:
    """An exporter never heard, a source that never spoke, a source that fell silent."""
    assert found(document(exporters=[])) == [("deaf", "exporter_never", "192.0.2.1 edge1")]
    assert found(document(), states={}) == [("deaf", "source_never", "edge")]
    assert found(document(), states=seen(7 * HOUR)) == [("deaf", "source_silent", "edge")]


def test_stopped_receivers() -> None:
    """One that failed says why; one of another process that writes no counters any more is named."""
    (receiver,) = document()["receivers"]
    assert found(document(receivers=[{**receiver, "failed": "disk"}])) == [("stopped", "receiver_failed", "edge")]
    stale = {**receiver, "updated": NOW - MINUTE}
    assert found(document(receivers=[stale])) == [("stopped", "receiver_stale", "edge")]


def test_behind_needs_a_backlog_and_a_delay() -> None:
    """A burst that is worked off quickly is not behind; neither is an old delay with nothing waiting."""
    late = [{"name": "stores", "in": 1, "out": 1, "dropped": {}, "lag_s": 90.0}]
    assert found(document(backlog={"edge": 5})) == []
    assert found(document(stages=late)) == []
    assert found(document(stages=late, backlog={"edge": 5})) == [("behind", "backlog", "edge")]


def test_dropping_now() -> None:
    """Losses of every stage, exporter and receiver, while they happen; not those of last week."""
    (exporter,), (receiver,) = document()["exporters"], document()["receivers"]
    status = document(
        stages=[{"name": "decode", "in": 9, "out": 1, "dropped": {"garbage": 8}, "lag_s": 0.0}],
        exporters=[{**exporter, "sequence_lost": 4, "malformed": 2, "expired": 1}],
        receivers=[{**receiver, "kernel_dropped": 7}],
    )
    assert found(status) == [
        ("dropping", "exporter_expired", "192.0.2.1 1"),
        ("dropping", "exporter_malformed", "192.0.2.1 1"),
        ("dropping", "exporter_sequence", "192.0.2.1 1"),
        ("dropping", "kernel", "edge"),
        ("dropping", "stage", "decode"),
    ]
    assert found(status, dict.fromkeys(counters(status), 0)) == []
    assert found(document(), failed=2) == [("dropping", "notifications", "notify")]


def test_the_worst_comes_first() -> None:
    """Stopped, deaf, behind, dropping."""
    (receiver,) = document()["receivers"]
    late = [{"name": "decode", "in": 9, "out": 1, "dropped": {"garbage": 8}, "lag_s": 90.0}]
    status = document(
        stages=late, exporters=[], backlog={"edge": 5}, receivers=[{**receiver, "failed": "disk", "kernel_dropped": 1}]
    )
    kinds = [kind for kind, _, _ in found(status)]
    assert kinds == ["stopped", "deaf", "behind", "dropping", "dropping"]


def test_every_trouble_has_a_sentence() -> None:
    """In both languages, with the fields it needs."""
    from csirt.messages import text

    fields = {"subject": "edge", "count": "8", "recent": "2", "reason": "garbage", "span": "2 min"}
    for what in (
        *("no_turn", "receiver_failed", "receiver_stale", "exporter_never", "source_never", "source_silent", "backlog"),
        *("stage", "exporter_sequence", "exporter_malformed", "exporter_expired", "kernel", "notifications"),
        *("waiting", "held_back"),
    ):
        assert text(f"status.{what}", "nb", **fields) != text(f"status.{what}", "en", **fields)


def test_windows_that_lose_for_lack_of_room_are_named() -> None:
    """Groups and hits that left too early are a loss of now; late hits and those of rules that are gone are none."""
    lost = document(windows={"dropped": {"groups": 5, "late": 9}, "learning": {"rule": 3}})
    assert found(lost) == [("dropping", "windows", "correlations")]
    assert found(lost, {"windows.dropped.late": 9}) == []


def test_rules_of_the_sector() -> None:
    """One that fails, one that is far behind, one that the cluster cannot look for, and what came too late for any."""
    rule = {"id": "r", "until": None, "behind_s": 5, "failure": ""}
    rules = [{**rule, "title": "A", "failure": "away"}, {**rule, "title": "B", "behind_s": 700}, {**rule, "title": "C"}]
    refused = [{"id": "d", "title": "D", "reason": "a type of our own"}]
    sector = {"every_s": 60, "until": None, "rules": rules, "refused": refused, "late": 3, "lost": 0}
    assert found(document(sector=sector)) == [
        ("behind", "sector_behind", "B"),
        ("behind", "sector_failed", "A"),
        ("dropping", "sector_late", "elasticsearch"),
        ("due", "sector_refused", "D"),
    ]
