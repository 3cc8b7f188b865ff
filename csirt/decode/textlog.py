"""Log lines to rows, by a declarative parser: the decoder of `log` and `syslog` sources.

In: chunks of lines. Out: `mail` or `edi` batches. Counted per line: entered = left + dropped; a line that waits in a
transaction has left. Dropped: `ignored` (the parser knows it and it tells nothing), `foreign` (another program's),
`empty`, `malformed` (no header, not JSON, or an impossible time), `no_year` (RFC 3164 without anything that tells the
year), `unparsed` (a form the parser does not know). State: the header's year and zone, and the waiting transactions,
scrubbed like the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import polars as pl

from csirt.decode import lines as raw
from csirt.decode.headers import Headers
from csirt.decode.join import Transactions
from csirt.decode.parser import Parser, Pattern
from csirt.decode.privacy import Privacy
from csirt.decode.rows import batch, field_types
from csirt.decode.values import clean
from csirt.errors import CsirtError
from csirt.model.batch import Decoded
from csirt.model.chunk import Chunk, Lines

VERSION = 1
_BASE = ("time", "received", "segment", "position", "host", "path", "origin")


class LogDecoder:
    """Decodes one source's lines with one parser; `parser.form` decides between syslog text and ndjson.

    `timezone`: of times without a zone. `observer`: the relay's name, instead of the header's host. `reference_us`:
    the present, for the year of RFC 3164 headers; only the first one counts, for it is committed with the state.
    """

    def __init__(
        self, source_id: str, parser: Parser, *, timezone: str, observer: str, privacy: Privacy, reference_us: int = 0
    ) -> None:
        self._source = source_id
        self._parser = parser
        self._observer = observer
        self._privacy = privacy
        self._headers = Headers(timezone, reference_us)
        self._fields = field_types(parser)
        self._join = Transactions(parser.join, self._fields) if parser.join else None
        self._committed = b""
        self.matched: set[str] = set()  # names of the patterns seen so far, for `csirt parsers test`

    def load(self, state: bytes | None) -> None:
        """Resume from a committed state, or start afresh. Raises CsirtError for a state of another version."""
        data: dict[str, Any] = {}
        if state:
            data = orjson.loads(state)
            if data.get("version") != VERSION or data.get("parser") != self._parser.name:
                raise CsirtError(
                    f"source {self._source}: the stored state is of parser {data.get('parser')!r}, version "
                    f"{data.get('version')}; give the source a new id, or restore the parser"
                )
        self._headers.load(data.get("headers"))
        if self._join:
            self._join.load(data.get("join"))
        self._committed = state or b""

    def decode(self, chunk: Chunk) -> Decoded:
        """The rows that a chunk's lines settle."""
        if not isinstance(chunk.data, Lines) or not len(chunk.data.offset):
            return Decoded()
        data = chunk.data
        text = raw.text(data)
        decoded = Decoded(entered=len(text))
        frame = _with_sender(self._read(text, data, decoded), data)
        frame = frame.with_columns(
            pl.lit(chunk.segment).alias("segment"), pl.lit(data.path or None, pl.String).alias("path")
        )
        frame, decoded.redacted = clean(frame, self._parser.fields, self._privacy)
        frame = self._constants(frame)
        host, removed = self._privacy.column(frame["host"], "host")
        if removed:
            decoded.redacted["observer.name"] = removed
        frame = frame.with_columns(host.alias("host"))
        frame = self._required(frame, decoded)
        decoded.left = len(frame)
        events = frame.filter(pl.col("role") == "event").select(*_BASE, *self._fields)
        if self._join:
            settled = self._join.push(frame.filter(pl.col("role") != "event"))
            events = pl.concat([events, settled.select(events.columns)])
            if self._join.evicted:
                decoded.problems.append(
                    f"{self._source}: {self._join.evicted} messages were written early: more wait than `limit` allows"
                )
                self._join.evicted = 0
        return self._finished(decoded, events)

    def finish(self) -> Decoded:
        """Write every message that still waits."""
        decoded = Decoded()
        if not self._join:
            return self._finished(decoded, None)
        return self._finished(decoded, self._join.flush().select(*_BASE, *self._fields))

    def _finished(self, decoded: Decoded, events: pl.DataFrame | None) -> Decoded:
        if events is not None and len(events):
            decoded.batches.append(batch(self._parser, events, self._observer))
        state = {"version": VERSION, "parser": self._parser.name, "headers": self._headers.state()}
        if self._join:
            state["join"] = self._join.state()
        raw_state = orjson.dumps(state, option=orjson.OPT_SORT_KEYS)
        if raw_state != self._committed:
            decoded.state = self._committed = raw_state
        return decoded

    def _required(self, frame: pl.DataFrame, decoded: Decoded) -> pl.DataFrame:
        """Without rows that lack a field the parser requires."""
        if not self._parser.require:
            return frame
        full = frame.drop_nulls(list(self._parser.require))
        _drop(decoded, "unparsed", len(frame) - len(full))
        return full

    def _read(self, text: pl.Series, data: Lines, decoded: Decoded) -> pl.DataFrame:
        """Lines with time, host, role and raw fields; everything else is counted in `decoded`."""
        blank = text.str.strip_chars() == ""
        _drop(decoded, "empty", int(blank.sum()))
        frame = pl.DataFrame(
            {"line": text, "received": data.time.astype(np.int64), "position": data.position.astype(np.int64)}
        ).filter(~blank)
        if self._parser.form == "ndjson":
            from csirt.decode.ndjson_log import read

            return read(frame, self._parser, self._headers, decoded)
        head = self._headers.split(frame["line"], frame["received"].to_numpy())
        frame = pl.concat([frame.drop("line"), head], how="horizontal")
        _drop(decoded, "malformed", int((~frame["known"]).sum()))
        frame = frame.filter("known")
        service = frame["tag"].str.extract(self._parser.program or "^(.*)$", 1)
        _drop(decoded, "foreign", int(service.is_null().sum()))
        frame = frame.with_columns(service.alias("service")).filter(service.is_not_null())
        undated = frame["time"].is_null()
        yearless = int(frame["yearless"].sum())
        _drop(decoded, "no_year", yearless)
        _drop(decoded, "malformed", int(undated.sum()) - yearless)
        if yearless:
            decoded.problems.append(f"{self._source}: lines without a year; give the reference time of the log")
        return self._matched(frame.filter(~undated), decoded)

    def _matched(self, frame: pl.DataFrame, decoded: Decoded) -> pl.DataFrame:
        """The rows a pattern knows, in line order, each with the first one's role and fields."""
        rest = frame.with_row_index("n")
        found = [rest.clear().with_columns(self._empty_fields())]
        for pattern in self._parser.patterns:
            if rest.is_empty():
                break
            hit = rest["msg"].str.contains(pattern.match)
            if pattern.programs:
                hit = hit & rest["service"].is_in(list(pattern.programs))
            if not hit.any():
                continue
            self.matched.add(pattern.name)
            rows, rest = rest.filter(hit), rest.filter(~hit)
            if pattern.role == "ignore":
                _drop(decoded, "ignored", len(rows))
                continue
            groups = rows["msg"].str.extract_groups(pattern.match).struct.unnest()
            fields = {name: groups[name] for name in groups.columns if name in self._fields}
            rows = rows.with_columns(self._empty_fields(pattern)).with_columns(**fields)
            found.append(rows)
        _drop(decoded, "unparsed", len(rest))
        return pl.concat(found).sort("n").drop("n", "known", "yearless", "tag", "pid", "msg", "service")

    def _empty_fields(self, pattern: Pattern | None = None) -> list[pl.Expr]:
        role, name = (pattern.role, pattern.name) if pattern else ("", "")
        return [
            pl.lit(role).alias("role"),
            pl.lit(name).alias("pattern"),
            *(pl.lit(None, pl.String).alias(name) for name in self._fields),
        ]

    def _constants(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The values that patterns set; they are the parser's own words, so nothing scrubs or classifies them."""
        for pattern in self._parser.patterns:
            if pattern.values:
                here = pl.col("pattern") == pattern.name
                frame = frame.with_columns(
                    pl.when(here).then(pl.lit(value).cast(self._fields[name])).otherwise(pl.col(name)).alias(name)
                    for name, value in pattern.values
                )
        return frame


def _with_sender(frame: pl.DataFrame, data: Lines) -> pl.DataFrame:
    """Who sent each line: `origin`, the address a syslog message came from; `host`, the name in the line, else what is
    known of the sender."""
    if data.origin is None:
        sender = pl.Series("origin", [], pl.String).extend_constant(None, len(frame))
        return frame.with_columns(sender, pl.col("host").fill_null(pl.lit(data.host, pl.String)))
    place = np.searchsorted(data.position, frame["position"].to_numpy())
    sender = pl.Series("origin", data.hosts, pl.String).gather(data.origin[place].astype(np.uint32))
    return frame.with_columns(sender, pl.col("host").fill_null(sender))


def _drop(decoded: Decoded, reason: str, count: int) -> None:
    if count:
        decoded.dropped[reason] = decoded.dropped.get(reason, 0) + count
