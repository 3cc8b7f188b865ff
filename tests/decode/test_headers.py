"""Syslog headers: forms, years, zones, doubled and skipped hours."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from csirt.clock import iso, parse_iso
from csirt.decode.headers import Headers


def times(
    texts: list[str], *, zone: str = "Europe/Oslo", reference: str = "2026-11-01", received: str = ""
) -> list[str]:
    """The time of each line, as ISO; empty when it has none."""
    when = np.full(len(texts), parse_iso(received) if received else 0, np.int64)
    frame = Headers(zone, parse_iso(reference) if reference else 0).split(pl.Series(texts), when)
    return ["" if time is None else iso(time) for time in frame["time"]]


@pytest.mark.parametrize(
    ("text", "time", "host", "tag", "pid"),
    [
        ("Mar 10 09:12:31 relay postfix/smtpd[4312]: m", "2026-03-10T08:12:31Z", "relay", "postfix/smtpd", "4312"),
        ("<22>Mar  1 09:12:31 relay a: m", "2026-03-01T08:12:31Z", "relay", "a", None),
        ("Mar 10 2019 09:12:31 relay a: m", "2019-03-10T08:12:31Z", "relay", "a", None),
        ("Mar 10 09:12:31.25 2019 relay a: m", "2019-03-10T08:12:31.250000Z", "relay", "a", None),
        ("2024-08-25T12:31:56.154748+00:00 relay a[1]: m", "2024-08-25T12:31:56.154748Z", "relay", "a", "1"),
        ("2024-08-25 12:31:56+0200 relay a[1]: m", "2024-08-25T10:31:56Z", "relay", "a", "1"),
        ("2024-08-25T12:31:56 relay a[1]: m", "2024-08-25T10:31:56Z", "relay", "a", "1"),
        ("<22>2024-08-25T12:31:56Z relay a[1]: m", "2024-08-25T12:31:56Z", "relay", "a", "1"),
        ("<22>1 2026-03-10T08:12:31.120Z relay a/b 4313 - - m", "2026-03-10T08:12:31.120000Z", "relay", "a/b", "4313"),
        ('<22>1 2026-03-10T08:12:31Z - a - ID [x y="\\"]"][z] m', "2026-03-10T08:12:31Z", None, "a", None),
    ],
)
def test_all_three_forms(text: str, time: str, host: str | None, tag: str, pid: str | None) -> None:
    """RFC 3164, RFC 5424 and ISO files; fractions, offsets and a year where the sender writes one."""
    frame = Headers("Europe/Oslo", parse_iso("2026-11-01")).split(pl.Series([text]), np.zeros(1, np.int64))
    row = frame.row(0, named=True)
    assert (iso(row["time"]), row["host"], row["tag"], row["pid"], row["msg"]) == (time, host, tag, pid, "m")


def test_what_has_no_header_says_so() -> None:
    """No form fits: nothing is guessed."""
    frame = Headers("UTC").split(pl.Series(["", "hello", "Mar 10 relay a: m"]), np.zeros(3, np.int64))
    assert frame["known"].to_list() == [False] * 3 and frame["time"].null_count() == 3


def test_the_year_turns_with_the_log_in_both_directions() -> None:
    """New Year's Eve is followed by the next year; a late line of the old year stays in the old one."""
    found = times(
        ["Dec 31 23:59:58 h a: 1", "Jan  1 00:00:01 h a: 2", "Dec 31 23:59:59 h a: 3", "Jan  1 00:00:02 h a: 4"]
    )
    assert [text[:4] for text in found] == ["2025", "2025", "2025", "2025"]
    assert found[1] == "2025-12-31T23:00:01Z" and found[3] == "2025-12-31T23:00:02Z"
    found = times(["Dec 31 12:00:00 h a: 1", "Jan  2 12:00:00 h a: 2", "Dec 31 12:00:01 h a: 3"], zone="UTC")
    assert [text[:4] for text in found] == ["2025", "2026", "2025"]


def test_the_first_line_lies_at_most_a_day_after_the_reference() -> None:
    """A log of last December read in January is last year's; a clock a little ahead is not."""
    assert times(["Dec 31 12:00:00 h a: 1"], reference="2026-01-02")[0][:4] == "2025"
    assert times(["Jan  2 12:00:00 h a: 1"], reference="2026-01-02T00:00:00Z")[0][:4] == "2026"
    assert times(["Feb 29 12:00:00 h a: 1"], reference="2027-05-01")[0] == "2024-02-29T11:00:00Z"


def test_a_receive_time_tells_the_year_without_any_reference() -> None:
    """The year that brings the line nearest to when it was received."""
    assert times(["Dec 31 23:59:59 h a: 1"], reference="", received="2031-01-01T00:00:05Z", zone="UTC")[0][:4] == "2030"


def test_without_anything_a_line_has_no_year_until_a_line_tells() -> None:
    """Nothing is assumed; the first dated line tells for those after it."""
    found = times(["Mar 10 09:00:00 h a: 1", "2026-03-10T09:00:00Z h a: 2", "Mar 10 09:00:01 h a: 3"], reference="")
    assert found == ["", "2026-03-10T09:00:00Z", "2026-03-10T08:00:01Z"]


def test_the_doubled_hour_is_read_in_the_order_of_the_log() -> None:
    """First pass summer time; after the clock has jumped back, winter time; a step of a few seconds is no jump."""
    day = "2026-10-25T"
    texts = [
        f"{day}{clock} h a: m" for clock in ("01:59:00", "02:10:00", "02:50:00", "02:49:55", "02:05:00", "02:40:00")
    ]
    found = times([*texts, f"{day}03:00:00 h a: m"])
    assert [text[11:19] for text in found] == [
        "23:59:00", "00:10:00", "00:50:00", "00:49:55", "01:05:00", "01:40:00", "02:00:00",
    ]  # fmt: skip


def test_the_doubled_hour_by_receive_time() -> None:
    """Where the receive time is known it decides."""
    assert times(["2026-10-25T02:30:00 h a: m"], received="2026-10-25T01:30:01Z") == ["2026-10-25T01:30:00Z"]


def test_a_skipped_time_uses_the_offset_before_the_change() -> None:
    """02:30 on the last Sunday of March does not exist; it is read as 03:30 summer time."""
    assert times(["2026-03-29T02:30:00 h a: m"]) == ["2026-03-29T01:30:00Z"]


@pytest.mark.parametrize(
    "bad", ["2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "1960-01-01T00:00:00Z"]
)
def test_impossible_times_are_none(bad: str) -> None:
    """A date that does not exist is not moved to one that does."""
    assert times([f"{bad} h a: m"]) == [""]


def test_any_split_with_the_state_between_gives_the_same_times() -> None:
    """Year, doubled hour and reference go on where the last chunk ended."""
    texts = ["Dec 31 23:59:58 h a: 1", "Jan  1 00:00:01 h a: 2", "Oct 25 02:50:00 h a: 3", "Oct 25 02:05:00 h a: 4",
             "Oct 25 02:06:00 h a: 5", "Oct 25 03:06:00 h a: 6"]  # fmt: skip
    whole = times(texts)
    for cut in range(1, len(texts)):
        one, two = Headers("Europe/Oslo", parse_iso("2026-11-01")), Headers("Europe/Oslo", parse_iso("1999-01-01"))
        first = one.split(pl.Series(texts[:cut]), np.zeros(cut, np.int64))
        two.load(one.state())
        second = two.split(pl.Series(texts[cut:]), np.zeros(len(texts) - cut, np.int64))
        assert [iso(time) for time in [*first["time"], *second["time"]]] == whole
