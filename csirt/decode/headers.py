"""Syslog headers over whole columns: RFC 3164, RFC 5424, and files with ISO 8601 (RFC 3339) times.

A time without a year (RFC 3164) takes it, in this order:
1. from the line's receive time: the year that brings it nearest;
2. from the time of the line before it, in the same input order: the year that brings it nearest, so that a log runs
   over New Year in both directions;
3. for the first such line of a source, from the reference time: the latest year that does not lie more than a day
   after it. The reference is committed with the state, so that later runs decide alike.
Without any of these a line has no time.

A time without a zone is in the source's zone. In the hour that autumn doubles, a line belongs to the first pass until
the log's clock has jumped back by more than 15 minutes, and from there to the second; the receive time decides where
there is one. A time that spring skips is read with the offset before the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from csirt.model.batch import Array

DAY = 86_400_000_000
_QUARTER = 900_000_000
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_LENGTHS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])

_ISO = (
    r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)[T ](?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)(?:[.,](?P<f>\d{1,9}))?"
    r" ?(?P<z>Z|[+-]\d\d:?\d\d)?"
)
_BSD = (
    r"(?P<mon>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}(?P<bd>\d{1,2}) (?:(?P<by>\d{4}) )?"
    r"(?P<bH>\d\d):(?P<bM>\d\d):(?P<bS>\d\d)(?:\.(?P<bf>\d{1,9}))?(?: (?P<ly>\d{4}))?"
)
# <PRI>VERSION SP TIMESTAMP SP HOSTNAME SP APP-NAME SP PROCID SP MSGID SP STRUCTURED-DATA [SP MSG]
_RFC5424 = (
    rf"^<\d{{1,3}}>1 (?:-|{_ISO}) (?P<host>\S{{1,255}}) (?P<tag>\S{{1,48}}) (?P<pid>\S{{1,128}}) \S{{1,32}} "
    r'(?:-|(?:\[[^\s\]"=]+(?: [^\s\]"=]+="(?:[^"\\]|\\.)*")*\])+)(?: \x{FEFF}?(?P<msg>(?s:.*)))?$'
)
_PLAIN = (
    rf"^(?:<\d{{1,3}}>)?(?:{_ISO}|{_BSD}) (?P<host>\S{{1,255}}) (?P<tag>[^\s:\[]{{1,128}})"
    r"(?:\[(?P<pid>[^\]\s]{0,32})\])?: ?(?P<msg>(?s:.*))$"
)
_PARTS = ("y", "m", "d", "H", "M", "S", "f", "z", "mon", "bd", "by", "bH", "bM", "bS", "bf", "ly", "host", "tag")
COLUMNS = (*_PARTS, "pid", "msg")


@dataclass(slots=True)
class Sequence:
    """What the next line's time depends on. `year`, `day`: of the last dated line (day is month * 31 + day of month,
    from 0). `local`, `doubled`, `second`: of the last line without a zone."""

    reference: int = 0
    year: int = 0
    day: int = 0
    local: int = 0
    doubled: bool = False
    second: bool = False


class Headers:
    """Splits lines into time, host, tag and message, and remembers what the next chunk's times depend on."""

    def __init__(self, timezone: str, reference_us: int = 0) -> None:
        self._zone = ZoneInfo(timezone)
        self._first = reference_us
        self.sequence = Sequence(reference_us)

    def state(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: getattr(self.sequence, name) for name in Sequence.__slots__}

    def load(self, state: dict[str, Any] | None) -> None:
        """Go on from a state, or start afresh."""
        self.sequence = Sequence(**state) if state else Sequence(self._first)

    def split(self, lines: pl.Series, received: Array) -> pl.DataFrame:
        """Columns `time` (microseconds UTC, null when the line has none), `yearless` (it has none because nothing tells
        the year), `known` (the header was recognised), `host`, `tag`, `pid`, `msg`; one row per line."""
        modern = lines.str.contains(r"^<\d{1,3}>1 ")
        plain = _extract(lines, _PLAIN, ~modern)
        if modern.any():
            new = _extract(lines, _RFC5424, modern)
            plain = plain.select(pl.when(modern).then(new[name]).otherwise(plain[name]).alias(name) for name in COLUMNS)
        known = plain["tag"].is_not_null()
        time, dated, yearless = self._times(plain, received)
        return plain.select(
            pl.Series("time", time).set(pl.Series(~dated), None),
            pl.Series("yearless", yearless),
            known.alias("known"),
            *(pl.when(pl.col(name) == "-").then(None).otherwise(pl.col(name)).alias(name) for name in ("host", "pid")),
            "tag",
            pl.col("msg").fill_null(""),
        )

    def iso(self, texts: pl.Series, received: Array) -> pl.Series:
        """ISO 8601 times of a column, in microseconds UTC; null where there is none."""
        parts = _extract(texts, f"^{_ISO}$", pl.Series([True]).new_from_index(0, len(texts)))
        time, dated, _ = self._times(parts, received)
        return pl.Series("time", time).set(pl.Series(~dated), None)

    def _times(self, parts: pl.DataFrame, received: Array) -> tuple[Array, Array, Array]:
        """(microseconds UTC, whether valid, whether only the year is missing) of every line."""

        def number(*names: str) -> Array:
            text = parts.select(pl.coalesce(names)).to_series()
            return text.cast(pl.Int64, strict=False).fill_null(-1).to_numpy()

        year = number("y", "by", "ly")
        named = parts["mon"].replace_strict(_MONTHS, range(1, 13), default=None, return_dtype=pl.Int64)
        month = np.where(named.is_null(), number("m"), named.fill_null(0).to_numpy())
        day, hour, minute, second = (number(a, b) for a, b in (("d", "bd"), ("H", "bH"), ("M", "bM"), ("S", "bS")))
        fraction = parts.select(pl.coalesce("f", "bf").str.pad_end(6, "0").str.slice(0, 6)).to_series()
        micro = fraction.cast(pl.Int64, strict=False).fill_null(0).to_numpy()
        valid = (month >= 1) & (month <= 12) & (day >= 1) & (hour >= 0) & (hour < 24)
        valid &= (minute >= 0) & (minute < 60) & (second >= 0) & (second <= 60)
        valid &= day <= _LENGTHS[np.clip(month, 0, 12)]
        clock = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro
        valid &= (year < 0) | ((year >= 1970) & (year <= 2200))
        year = self._years(year, month, day, clock, received, valid)
        yearless = valid & (year <= 0)
        valid &= (year > 0) & ((month != 2) | (day != 29) | _leap(year))
        local = _days(year, month, day) * DAY + clock
        offset, zoned = _offsets(parts["z"])
        utc = local - offset
        bare = valid & ~zoned
        if bare.any():
            utc[bare] = self._from_zone(local[bare], received[bare])
        return utc, valid, yearless

    def _years(self, year: Array, month: Array, day: Array, clock: Array, received: Array, valid: Array) -> Array:
        """Every valid line's year, by the rules above; 0 where nothing tells."""
        rows = np.flatnonzero(valid)
        if not len(rows):
            return np.maximum(year, 0)
        state = self.sequence
        y, m, d = year[rows], month[rows], day[rows]
        when = received[rows]
        near = (y < 0) & (when > 0)
        if near.any():
            y = np.where(near, _nearest(m, d, clock[rows], when), y)
        place = (m - 1) * 31 + d - 1
        before = np.concatenate([[state.day if state.year else place[0]], place[:-1]])
        step = np.where(place - before < -186, 1, 0) - np.where(place - before > 186, 1, 0)
        turns = np.cumsum(step)
        if y[0] < 0 and not state.year and state.reference:
            y = y.copy()
            y[0] = _latest(m[0], d[0], clock[rows][0], state.reference)
        anchor = np.maximum.accumulate(np.where(y > 0, np.arange(len(y)), -1))
        base = np.where(anchor >= 0, y[anchor] - turns[anchor], state.year)
        known = (anchor >= 0) | (state.year > 0)
        result = np.where(y > 0, y, np.where(known, base + turns, 0))
        if result[-1] > 0:
            state.year, state.day = int(result[-1]), int(place[-1])
        whole = np.zeros(len(year), np.int64)
        whole[rows] = result
        return whole

    def _from_zone(self, local: Array, received: Array) -> Array:
        """Local times of the source's zone in UTC; works once per distinct quarter of an hour."""
        quarters, inverse = np.unique(local // _QUARTER, return_inverse=True)
        early, late = self._both(quarters)
        first, second = early[inverse], late[inverse]
        doubled = first > second
        state = self.sequence
        if not doubled.any():
            chosen = first
            state.second = False
        else:
            before = np.concatenate([[state.local], local[:-1]])
            was = np.concatenate([[state.doubled], doubled[:-1]])
            jumped = doubled & was & (before - local > _QUARTER)
            run = np.cumsum(doubled & ~was)
            count = np.cumsum(jumped)
            start = np.concatenate([[0], count])[np.searchsorted(run, run)]
            carried = (run == 0) & doubled & state.second
            latter = doubled & ((count > start) | carried)
            near = doubled & (received > 0)
            nearer = np.abs(local - second - received) < np.abs(local - first - received)
            latter = np.where(near, nearer, latter)
            chosen = np.where(latter, second, first)
            state.second = bool(latter[-1])
        state.local, state.doubled = int(local[-1]), bool(doubled[-1])
        return local - chosen

    def _both(self, quarters: Array) -> tuple[Array, Array]:
        """UTC offsets in microseconds at the first and the second pass of each quarter of an hour."""
        result = []
        for quarter in quarters.tolist():
            naive = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(seconds=quarter * 900)
            pair = []
            for fold in (0, 1):
                offset = naive.replace(tzinfo=self._zone, fold=fold).utcoffset()
                assert offset is not None
                pair.append(int(offset.total_seconds()) * 1_000_000)
            # Where spring skips an hour, both readings use the offset before the change.
            result.append(pair if pair[0] > pair[1] else [pair[0], pair[0]])
        both = np.array(result, np.int64)
        return both[:, 0], both[:, 1]


def _extract(lines: pl.Series, pattern: str, mask: pl.Series) -> pl.DataFrame:
    """The named groups of the lines under the mask; null elsewhere and for groups the pattern lacks."""
    target = lines if mask.all() else pl.select(pl.when(mask).then(lines).otherwise(None)).to_series()
    found = target.str.extract_groups(pattern).struct.unnest()
    return found.select(
        pl.col(name) if name in found.columns else pl.lit(None, pl.String).alias(name) for name in COLUMNS
    )


def _offsets(zone: pl.Series) -> tuple[Array, Array]:
    """(offset from UTC in microseconds, whether one is given) of zone texts."""
    names = zone.unique().drop_nulls().to_list()
    table = {}
    for name in names:
        digits = name[1:].replace(":", "")
        minutes = 0 if name == "Z" else int(digits[:2]) * 60 + int(digits[2:])
        table[name] = (-minutes if name[0] == "-" else minutes) * 60_000_000
    mapped = zone.replace_strict(table, default=None, return_dtype=pl.Int64) if table else zone.cast(pl.Int64)
    return mapped.fill_null(0).to_numpy(), zone.is_not_null().to_numpy()


def _leap(year: Array) -> Array:
    leap: Array = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return leap


def _days(year: Array, month: Array, day: Array) -> Array:
    """Days since 1970-01-01 of proleptic Gregorian dates (Hinnant's days_from_civil)."""
    y = year - (month <= 2)
    era = y // 400
    yoe = y - era * 400
    doy = (153 * (month + np.where(month > 2, -3, 9)) + 2) // 5 + day - 1
    days: Array = era * 146_097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719_468
    return days


def _year_of(times: Array) -> Array:
    years: Array = times.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970
    return years


def _nearest(month: Array, day: Array, clock: Array, when: Array) -> Array:
    """The years that bring local times nearest to receive times (the zone does not matter at this distance)."""
    middle = _year_of(when)
    options = np.stack([middle - 1, middle, middle + 1])
    distance = np.abs(_days(options, month, day) * DAY + clock - when)
    picked: Array = options[np.argmin(distance, axis=0), np.arange(len(month))]
    return picked


def _latest(month: Any, day: Any, clock: Any, reference: int) -> int:
    """The latest year in which a local time lies at most a day after the reference; 29 February needs a leap year."""
    year = int(_year_of(np.array([reference]))[0]) + 1
    for candidate in range(year, year - 12, -1):
        date = np.array([candidate]), np.array([month]), np.array([day])
        if int(month) == 2 and int(day) == 29 and not _leap(date[0])[0]:
            continue
        if int(_days(*date)[0]) * DAY + int(clock) <= reference + DAY:
            return candidate
    return year - 1
