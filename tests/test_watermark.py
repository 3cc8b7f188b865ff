"""How far event time has come, and which source holds it back."""

from __future__ import annotations

from csirt.watermark import Watermark

MINUTE = 60_000_000


class Empty:
    """A store without states."""

    def state(self, key: str) -> bytes | None:
        """Nothing is known."""
        return None


def watermark() -> Watermark:
    """Five minutes' lateness, idle after 30 s."""
    return Watermark(Empty(), ["edge", "relay"], lateness_us=5 * MINUTE, idle_after_s=30.0)  # type: ignore[arg-type]


def test_the_slowest_active_source_holds_event_time_back() -> None:
    """The least of the active sources less the lateness; an idle one holds nothing back; it never goes back."""
    mark = watermark()
    assert mark.until(0.0) is None and mark.slowest(0.0) is None
    mark.saw("edge", 100 * MINUTE, 0.0)
    mark.saw("relay", 40 * MINUTE, 10.0)
    assert mark.slowest(10.0) == ("relay", 40 * MINUTE) and mark.until(10.0) == 35 * MINUTE
    mark.mark = mark.until(31.0)  # the edge is idle, the relay is not
    assert mark.slowest(31.0) == ("relay", 40 * MINUTE)
    mark.saw("edge", 101 * MINUTE, 41.0)
    assert mark.slowest(41.0) == ("edge", 101 * MINUTE) and mark.until(41.0) == 96 * MINUTE
    assert mark.until(80.0) == 101 * MINUTE  # everything is idle: nothing more is expected
    mark.mark = 101 * MINUTE
    mark.saw("relay", 50 * MINUTE, 81.0)
    assert mark.until(81.0) == 101 * MINUTE


def test_what_is_not_committed_does_not_move_event_time() -> None:
    """The state for a commit can be asked for before the commit; only `saw` moves the source on."""
    mark = watermark()
    assert mark.state("edge", None) == {}
    assert mark.state("edge", 7) == {"time:edge": b'{"greatest": 7}'}
    assert mark.until(0.0) is None
    mark.saw("edge", 9, 0.0)
    assert mark.state("edge", 7) == mark.state("edge", None) == {"time:edge": b'{"greatest": 9}'}
