"""tshark's lines become columns: one row per DNS message, TLS handshake and HTTP transaction.

In every row `source` is the client, the end that asked, whichever way the message went. Where a packet carries several
IP headers (a tunnel), the innermost are the ends of the transaction. A TLS row's version is the negotiated one of the
ServerHello that answers; an HTTP row has the status of its response. A request waits for its answer at most WINDOW
frames or until the end of the capture, so rows do not depend on how the lines are cut into chunks.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from csirt.decode import identity
from csirt.model.batch import Array
from csirt.model.tshark import AGGREGATOR, SEPARATOR, Fields

WINDOW = 10_000  # frames a request waits for its answer
# Each dataset has its own part of the 256 ordinals of a frame: (first, how many).
SHARE = {"dns": (0, 128), "tls": (128, 16), "http": (144, 112)}
GREATEST_TIME = 253_402_300_800_000_000

# What may hold an identity number or a mailbox; `identity` decides on the former.
_SUSPECT = rf"{identity.CANDIDATE}|@|%40"
_MAILBOX = re.compile(r"[^/\s<>,;=@]+(?:@|%40)", re.IGNORECASE)


@dataclass(slots=True)
class Rows:
    """What one piece of text gave: a frame per dataset, and lines counted: read, of the wrong shape, too many rows."""

    frames: dict[str, pl.DataFrame] = field(default_factory=dict)
    lines: int = 0
    malformed: int = 0
    overflow: int = 0
    redacted: dict[str, int] = field(default_factory=dict)


def scrubbed(texts: pl.Series) -> tuple[pl.Series, int]:
    """Text without identity numbers and without what stands before an `@`, worked out once per distinct value; how
    many values held a number."""
    old = texts.filter(texts.str.contains(_SUSPECT).fill_null(False)).unique(maintain_order=True)
    if old.is_empty():
        return texts, 0
    pairs = [identity.remove(text) for text in old.to_list()]
    new = pl.Series([_MAILBOX.sub("*@", text) for text, _ in pairs], dtype=pl.String)
    held = old.filter(pl.Series([removed > 0 for _, removed in pairs]))
    return texts.replace(old, new), int(texts.is_in(held.implode()).sum())


def addresses(texts: pl.Series) -> tuple[Array, Array, Array]:
    """(family, hi, lo) of a column of addresses as text; 0 where there is none. Parsed once per distinct text."""
    encoded = texts.to_arrow().cast(pa.string()).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    codes = np.asarray(encoded.indices.fill_null(len(names)).to_numpy())
    family, high, low = (np.zeros(len(names) + 1, kind) for kind in (np.uint8, np.uint64, np.uint64))
    for index, name in enumerate(names):
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            continue
        number = int(address)
        family[index], high[index], low[index] = address.version, number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF
    return family[codes], high[codes], low[codes]


class Dissector:
    """Feeds on tshark's text of one capture; keeps requests that wait for their answers."""

    def __init__(self, fields: Fields, dissect: list[str]) -> None:
        self._fields = fields
        self._dissect = [name for name in fields.protocols if name in dissect and name in SHARE]
        self._columns = fields.columns(self._dissect)
        self._rest = b""
        self._waiting: dict[str, pl.DataFrame] = {}

    @property
    def waiting(self) -> int:
        """Requests that wait for an answer."""
        return sum(frame.height for frame in self._waiting.values())

    @property
    def partial(self) -> int:
        """1 while a line is cut in two."""
        return int(bool(self._rest))

    def feed(self, text: bytes, *, end: bool) -> Rows:
        """Rows of the lines in `text`; with `end`, of all that waits too."""
        text = self._rest + text
        cut = len(text) if end else text.rfind(b"\n") + 1
        text, self._rest = text[:cut], text[cut:]
        rows = Rows()
        base = self._lines(text, rows)
        latest = int(base["frame"].max() or 0) if base.height else 0  # type: ignore[arg-type]
        for name in self._dissect:
            made = {"dns": self._dns, "tls": self._tls, "http": self._http}[name](base, latest, end)
            first, most = SHARE[name]
            rows.overflow += made.filter(pl.col("index") >= most).height
            made = made.filter(pl.col("index") < most).with_columns(pl.col("index") + first)
            made = self._scrubbed(name, made, rows)
            if made.height:
                rows.frames[name] = made.sort("frame", "index")
        return rows

    def _scrubbed(self, name: str, made: pl.DataFrame, rows: Rows) -> pl.DataFrame:
        """A dataset's rows without what must not leave decode (decision 15)."""
        for column in _TEXTS[name]:
            clean, removed = scrubbed(made[column])
            made = made.with_columns(clean.alias(column))
            if removed:
                rows.redacted[column] = removed
        if name == "dns":
            column = "dns.answers.data"
            lists = made.select("frame", "index", column).explode(column)
            flat = lists[column]
            clean, removed = scrubbed(flat)
            if clean is not flat:
                again = lists.with_columns(clean.alias(column)).group_by("frame", "index", maintain_order=True)
                kept = pl.when(pl.col(column).list.len() > 0).then(pl.col("clean")).otherwise(pl.col(column))
                made = made.with_columns(again.agg(pl.col(column))[column].alias("clean")).with_columns(
                    kept.alias(column)
                )
                made = made.drop("clean")
            if removed:
                rows.redacted[column] = removed
        return made

    def _lines(self, text: bytes, rows: Rows) -> pl.DataFrame:
        """One row per good line: frame (from 0), time (us), client-neutral ends, and every asked field as a list."""
        lines = pl.Series("line", text.decode("utf-8", "replace").split("\n"), dtype=pl.String)
        lines = lines.filter(lines.str.len_bytes() > 0)
        rows.lines = len(lines)
        good = lines.filter(lines.str.count_matches(SEPARATOR, literal=True) == len(self._columns) - 1)
        parts = good.str.split_exact(SEPARATOR, len(self._columns) - 1).struct.rename_fields(self._columns)
        frame = parts.struct.unnest() if len(good) else pl.DataFrame(schema=dict.fromkeys(self._columns, pl.String))
        seconds = pl.col("frame.time_epoch").str.extract(r"^(\d{1,12})(?:\.|$)", 1).cast(pl.Int64)
        fraction = pl.col("frame.time_epoch").str.extract(r"\.(\d{1,6})", 1).str.pad_end(6, "0").cast(pl.Int64)
        frame = frame.with_columns(
            (pl.col("frame.number").cast(pl.Int64, strict=False) - 1).alias("frame"),
            (seconds * 1_000_000 + fraction.fill_null(0)).alias("time"),
        )
        frame = frame.filter((pl.col("frame") >= 0) & (pl.col("frame") < 1 << 48) & (pl.col("time") < GREATEST_TIME))
        rows.malformed = rows.lines - frame.height
        return frame.with_columns(*_ends())

    def _values(self, name: str, column: pl.Expr, other: pl.Expr) -> pl.Expr:
        """The names of a column of numbers; `other` where there is none."""
        names = self._fields.values.get(name, {})
        named = column.replace_strict(names, default=None, return_dtype=pl.String) if names else pl.lit(None, pl.String)
        return pl.coalesce(named, other)

    def _dns(self, base: pl.DataFrame, latest: int, end: bool) -> pl.DataFrame:
        """One row per DNS message (RFC 1035); answers are the names and addresses of all sections, not text."""
        data = ("dns.cname", "dns.ptr.domain_name", "dns.mx.mail_exchange", "dns.srv.target", "dns.a", "dns.aaaa")
        kind = _number(pl.col("dns.qry.type"))
        code = _number(pl.col("dns.flags.rcode"))
        messages = _exploded(base, "dns.id", ["dns.flags.response", "dns.qry.name", "dns.qry.type", "dns.flags.rcode"])
        answers = pl.concat_list([_many(name).fill_null(pl.lit([], pl.List(pl.String))) for name in data])
        answers = answers.list.eval(pl.element().str.to_lowercase())
        answer = pl.col("dns.flags.response").is_in(["1", "True"])
        return _client(messages, answer).with_columns(
            pl.col("dns.id").str.strip_prefix("0x").str.to_integer(base=16, strict=False).alias("dns.id"),
            pl.when(answer).then(pl.lit("answer")).otherwise(pl.lit("query")).alias("dns.type"),
            pl.col("dns.qry.name").str.to_lowercase().alias("dns.question.name"),
            self._values("dns.qry.type", kind, pl.format("TYPE{}", kind)).alias("dns.question.type"),
            pl.when(answer)
            .then(self._values("dns.flags.rcode", code, code.cast(pl.String)))
            .alias("dns.response_code"),
            pl.when(answer & (pl.col("many") == 1)).then(answers).alias("dns.answers.data"),
        )

    def _tls(self, base: pl.DataFrame, latest: int, end: bool) -> pl.DataFrame:
        """One row per ClientHello, with the version of the ServerHello that answers it on the same TCP stream."""
        types = _many("tls.handshake.type")
        stream = pl.col("tcp.stream").cast(pl.Int64, strict=False)
        offered = _many("tls.handshake.extensions_server_name").list.first()
        hellos = base.filter(types.list.contains("1")).with_columns(
            stream.alias("stream"),
            pl.lit(0, pl.Int64).alias("index"),
            offered.str.to_lowercase().alias("tls.client.server_name"),
            _many("tls.handshake.ja3").list.first().alias("tls.client.ja3"),
            pl.lit(None, pl.String).alias("tls.version"),
        )
        chosen = pl.coalesce(
            _many("tls.handshake.extensions.supported_version").list.first(),
            _many("tls.handshake.version").list.first(),
        )
        number = _number(chosen)
        answers = base.filter(types.list.contains("2") & ~types.list.contains("1")).select(
            stream.alias("stream"),
            pl.col("frame").alias("answered"),
            self._values("tls.handshake.version", number, chosen).alias("answer"),
        )
        hellos = _client(hellos, pl.lit(False)).select(*_KEPT, "stream", *_TLS)
        hellos = self._known("tls", hellos)
        joined = hellos.sort("frame").join_asof(
            answers.drop_nulls("stream").sort("answered"),
            left_on="frame", right_on="answered", by="stream", strategy="forward", tolerance=WINDOW,
            check_sortedness=False,
        )  # fmt: skip
        joined = joined.with_columns(pl.col("answer").alias("tls.version"))
        return self._answered("tls", hellos, joined, latest, end)

    def _http(self, base: pl.DataFrame, latest: int, end: bool) -> pl.DataFrame:
        """One row per request with its response, one per request without, one per response without its request.

        Interim responses (1xx) make no row. Several requests in one frame (pipelining) and their responses make rows
        of their own: tshark does not say which belongs to which.
        """
        uri = pl.col("http.request.uri").str.replace(r"(?i)^[a-z][a-z0-9+.-]*://[^/?#]*", "")
        path = uri.str.extract(r"^(/[^?#;]*)", 1)
        host = pl.col("http.host").str.to_lowercase()
        domain = pl.coalesce(host.str.extract(r"^\[([0-9a-f:.]+)\]"), host.str.extract(r"^([^:]+)"))
        asked = _exploded(base, "http.request.method", ["http.request.uri", "http.host", "http.user_agent"])
        requests = _client(asked, pl.lit(False)).select(
            *_KEPT,
            pl.col("many"),
            pl.col("http.request.method"),
            domain.alias("url.domain"),
            path.alias("url.path"),
            pl.col("http.user_agent").alias("user_agent.original"),
        )
        code = pl.col("http.response.code").cast(pl.UInt16, strict=False)
        given = _exploded(base, "http.response.code", ["http.content_type", "http.request_in"])
        media = pl.col("http.content_type").str.to_lowercase().str.extract(r"^\s*([a-z0-9.+-]+/[a-z0-9.+-]+)")
        responses = _client(given.filter(code >= 200), pl.lit(True)).select(
            *_KEPT,
            pl.col("many"),
            (pl.col("http.request_in").cast(pl.Int64, strict=False) - 1).alias("request"),
            code.alias("http.response.status_code"),
            media.alias("http.response.mime_type"),
        )
        return self._paired(self._known("http", requests), responses, latest, end)

    def _paired(self, requests: pl.DataFrame, responses: pl.DataFrame, latest: int, end: bool) -> pl.DataFrame:
        near = (pl.col("frame") - pl.col("request") <= WINDOW) & (pl.col("frame") >= pl.col("request"))
        first = responses.filter((pl.col("many") == 1) & near).sort("frame").unique("request", keep="first")
        answers = first.select(
            pl.col("request"), pl.col("frame").alias("answered"), "http.response.status_code", "http.response.mime_type"
        )
        single = requests.with_columns(pl.when(pl.col("many") == 1).then(pl.col("frame")).alias("key"))
        joined = single.join(answers, left_on="key", right_on="request", how="left")
        taken = joined.filter(pl.col("answered").is_not_null()).select("answered", pl.lit(0, pl.Int64).alias("index"))
        alone = responses.join(taken, left_on=["frame", "index"], right_on=["answered", "index"], how="anti")
        done = self._answered("http", requests, joined.drop("key"), latest, end)
        shift = SHARE["http"][1] // 2  # a frame may end one response and ask the next question
        alone = alone.drop("request", "many").with_columns(pl.col("index") + shift)
        return pl.concat([done.drop("many"), alone], how="diagonal")

    def _known(self, name: str, fresh: pl.DataFrame) -> pl.DataFrame:
        """The requests of this text behind those that still wait."""
        waiting = self._waiting.pop(name, None)
        return fresh if waiting is None else pl.concat([waiting, fresh])

    def _answered(
        self, name: str, requests: pl.DataFrame, joined: pl.DataFrame, latest: int, end: bool
    ) -> pl.DataFrame:
        """The rows that are settled; the others go back to waiting."""
        settled = pl.col("answered").is_not_null() | (pl.col("frame") + WINDOW < latest) | pl.lit(end)
        keys = joined.filter(~settled).select("frame", "index")
        if keys.height:
            self._waiting[name] = requests.join(keys, on=["frame", "index"], how="semi")
        return joined.filter(settled).drop("answered")


_TEXTS = {
    "dns": ("dns.question.name",),
    "tls": ("tls.client.server_name",),
    "http": ("url.domain", "url.path", "user_agent.original"),
}
_KEPT = ("frame", "index", "time", "protocol", "source", "destination", "source.port", "destination.port")
_TLS = ("tls.client.server_name", "tls.version", "tls.client.ja3")


def _many(name: str) -> pl.Expr:
    """All values of a field in a frame; null when there is none."""
    column = pl.col(name)
    return pl.when(column != "").then(column.str.split(AGGREGATOR))


def _number(column: pl.Expr) -> pl.Expr:
    """A number as tshark prints it: decimal or 0x and hexadecimal."""
    hexadecimal = column.str.extract(r"^0x([0-9a-f]{1,8})$", 1).str.to_integer(base=16, strict=False)
    return pl.coalesce(hexadecimal, column.cast(pl.Int64, strict=False))


def _ends() -> list[pl.Expr]:
    """Innermost addresses and ports as the packet has them."""
    six = pl.col("frame.protocols").str.extract(r"(?:^|.*:)(ipv6|ip):", 1) == "ipv6"
    udp = pl.col("frame.protocols").str.extract(r"(?:^|.*:)(tcp|udp)(?::|$)", 1) == "udp"
    columns: list[pl.Expr] = [pl.when(udp).then(pl.lit("udp")).otherwise(pl.lit("tcp")).alias("protocol")]
    for end, word in (("src", "from"), ("dst", "to")):
        four, other = (_many(f"{family}.{end}").list.last() for family in ("ip", "ipv6"))
        columns.append(pl.when(six).then(other).otherwise(four).alias(f"{word}.ip"))
        tcp, datagram = (_many(f"{transport}.{end}port").list.last() for transport in ("tcp", "udp"))
        port = pl.when(udp).then(datagram).otherwise(tcp).cast(pl.UInt16, strict=False)
        columns.append(port.alias(f"{word}.port"))
    return columns


def _client(frame: pl.DataFrame, answer: pl.Expr) -> pl.DataFrame:
    """Source and destination so that the client is the source; `answer`: the packet came from the server."""
    return frame.with_columns(
        pl.when(answer).then(pl.col(f"{there}.{part}")).otherwise(pl.col(f"{here}.{part}")).alias(name)
        for here, there, end in (("from", "to", "source"), ("to", "from", "destination"))
        for part, name in (("ip", end), ("port", f"{end}.port"))
    )


def _exploded(base: pl.DataFrame, key: str, names: list[str]) -> pl.DataFrame:
    """One row per value of `key`, numbered `index` of `many`; other fields where their count agrees, else null.

    With one value of `key`, the first of each other field is its own.
    """
    frame = base.filter(pl.col(key) != "").with_columns(_many(key).list.len().cast(pl.Int64).alias("many"))
    frame = frame.with_columns(pl.int_ranges(0, pl.col("many")).alias("index")).explode("index")

    def own(name: str) -> pl.Expr:
        values = _many(name)
        same = values.list.len().cast(pl.Int64) == pl.col("many")
        each = pl.when(same).then(values.list.get(pl.col("index"), null_on_oob=True))
        return pl.when(pl.col("many") == 1).then(values.list.first()).otherwise(each).alias(name)

    return frame.with_columns(own(name) for name in [key, *names])
