"""Following messages through handlers and relays: pure functions over stored `edi` and `mail` rows.

Rows are joined by ebMS message id, the id a receipt refers to, conversation id, MIME message id, and queue id together
with the relay's name within six hours (queue ids are used again).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from csirt.clock import HOUR, SECOND, iso
from csirt.model.batch import Batch

EDI = {
    "@timestamp": "time",
    "observer.name": "relay",
    "event.action": "step",
    "csirt.edi.event": "event",
    "csirt.edi.message_id": "message",
    "csirt.edi.ref_to_id": "ref",
    "csirt.edi.conversation_id": "conversation",
    "csirt.edi.mime_id": "mime",
    "csirt.mail.queue_id": "queue",
    "csirt.edi.service": "service",
    "csirt.edi.action": "action",
    "csirt.edi.her_from": "her_from",
    "csirt.edi.her_to": "her_to",
    "csirt.edi.status": "status",
    "csirt.edi.error_code": "code",
    "csirt.source.member.id": "member_from",
    "csirt.destination.member.id": "member_to",
}
MAIL = {
    "@timestamp": "time",
    "observer.name": "relay",
    "event.action": "step",
    "email.message_id": "mime",
    "csirt.mail.queue_id": "queue",
    "csirt.mail.status": "status",
    "csirt.mail.dsn": "code",
    "csirt.mail.reason": "reason",
    "csirt.mail.relay": "next_hop",
    "csirt.source.member.id": "member_from",
    "csirt.destination.member.id": "member_to",
}
# How far apart two rows with one queue id may be and still be one message.
QUEUE_WINDOW = 6 * HOUR
_BEGINNINGS = ("received", "sent")
_RECEIPTS = ("acknowledged", "application_receipt")
_ENOUGH = 3  # receipts that make a normal


def frame(batches: Iterable[Batch], names: dict[str, str]) -> pl.DataFrame:
    """Rows with short column names, all text but `time` (microseconds), with the event's place for a stable order."""
    parts = []
    for batch in batches:
        table = batch.table
        columns: dict[str, Any] = {
            short: pl.Series(pl.from_arrow(table.column(name).cast("int64" if short == "time" else "string")))
            if name in table.column_names
            else pl.repeat(None, table.num_rows, dtype=pl.String, eager=True)
            for name, short in names.items()
        }
        columns["place"] = pl.Series(pl.from_arrow(table.column("csirt.segment").cast("string")))
        columns["ordinal"] = pl.Series(pl.from_arrow(table.column("csirt.ordinal")))
        parts.append(pl.DataFrame(columns))
    kinds: dict[str, Any] = {short: pl.Int64 if short == "time" else pl.String for short in names.values()}
    empty = pl.DataFrame(schema={**kinds, "place": pl.String, "ordinal": pl.UInt64})
    return pl.concat([empty, *parts]).sort("time", "place", "ordinal")


def targeted(edi: pl.DataFrame) -> pl.DataFrame:
    """With `target`, the message a row is about: what a receipt refers to, otherwise the message itself (a reply
    refers to what it answers, and is a message of its own)."""
    receipt = pl.col("step").is_in(list(_RECEIPTS)) | (pl.col("action") == "MessageError")
    return edi.with_columns(
        pl.when(receipt.fill_null(False)).then(pl.coalesce("ref", "message")).otherwise("message").alias("target")
    )


def related(edi: pl.DataFrame, ids: set[str]) -> pl.DataFrame:
    """Handler rows of every message the ids name, whichever id it is, with all its receipts."""
    edi = targeted(edi)
    named = pl.any_horizontal(
        pl.col(name).is_in(list(ids)).fill_null(False)
        for name in ("message", "target", "conversation", "mime", "queue")
    )
    names = edi.filter(named)["target"].drop_nulls().unique().to_list()
    return edi.filter(pl.col("target").is_in(names).fill_null(False)).drop("target")


def messages(edi: pl.DataFrame) -> list[dict[str, Any]]:
    """One document per message (not per receipt), oldest first: parties, the times of each step, the state.

    A receipt belongs to the message it refers to. `state`: rejected, confirmed, given_up, failed, acknowledged, sent.
    """
    starts = edi.filter(pl.col("step").is_in(list(_BEGINNINGS)) & pl.col("message").is_not_null())
    first = starts.group_by("message", maintain_order=True).agg(
        pl.col("time").first().alias("first"),
        *(
            pl.col(name).drop_nulls().first()
            for name in ("conversation", "service", "action", "her_from", "her_to", "member_from", "member_to")
        ),
        *(pl.col("time").filter(pl.col("step") == step).first().alias(step) for step in _BEGINNINGS),
    )
    steps = (
        targeted(edi)
        .filter(~pl.col("step").is_in(list(_BEGINNINGS)).fill_null(True))
        .drop("message")
        .rename({"target": "message"})
        .group_by("message")
        .agg(
            *(
                pl.col("time").filter(pl.col("step") == step).first().alias(step)
                for step in ("acknowledged", "application_receipt", "error", "given_up")
            ),
            pl.col("status").filter(pl.col("step") == "application_receipt").last(),
            pl.col("code").drop_nulls().last(),
            (pl.col("step") == "retry").sum().alias("retries"),
        )
    )
    joined = first.join(steps, on="message", how="left", maintain_order="left").sort("first", "message")
    return [_document(row) for row in joined.iter_rows(named=True)]


def _document(row: dict[str, Any]) -> dict[str, Any]:
    times = {
        step: iso(row[step]) if row[step] is not None else None
        for step in ("received", "sent", "acknowledged", "application_receipt", "error", "given_up")
    }
    return {
        "message_id": row["message"],
        "conversation_id": row["conversation"],
        "service": row["service"],
        "action": row["action"],
        "from": {"her": row["her_from"], "member": row["member_from"]},
        "to": {"her": row["her_to"], "member": row["member_to"]},
        "first": iso(row["first"]),
        "times": times,
        "status": row["status"],
        "code": row["code"],
        "retries": int(row["retries"] or 0),
        "state": _state(row),
    }


def _state(row: dict[str, Any]) -> str:
    if row["application_receipt"] is not None:
        return "rejected" if row["status"] == "2" else "confirmed"
    if row["given_up"] is not None:
        return "given_up"
    if row["error"] is not None and (row["acknowledged"] is None or row["error"] > row["acknowledged"]):
        return "failed"
    return "acknowledged" if row["acknowledged"] is not None else "sent"


def normals(edi: pl.DataFrame) -> dict[str, int]:
    """The receiver's normal: the median time from message to application receipt by HER-id, in seconds, for receivers
    with at least three receipts in the rows."""
    receipts = (
        edi.filter((pl.col("step") == "application_receipt") & pl.col("ref").is_not_null())
        .group_by("ref")
        .agg(pl.col("time").min().alias("answered"))
    )
    found = (
        edi.filter(pl.col("step").is_in(list(_BEGINNINGS)) & pl.col("message").is_not_null())
        .group_by("message")
        .agg(pl.col("time").min(), pl.col("her_to").drop_nulls().first())
        .join(receipts, left_on="message", right_on="ref")
        .filter((pl.col("answered") >= pl.col("time")) & pl.col("her_to").is_not_null())
        .group_by("her_to")
        .agg(((pl.col("answered") - pl.col("time")).median() / SECOND).alias("normal"), pl.len().alias("count"))
        .filter(pl.col("count") >= _ENOUGH)
    )
    return {row["her_to"]: int(row["normal"]) for row in found.iter_rows(named=True)}


def hops(
    edi: pl.DataFrame, mail: pl.DataFrame, message: str, relayed: pl.DataFrame | None = None
) -> list[dict[str, Any]]:
    """Every row of one message in time order: relays and handlers, with the seconds since the step before. `relayed`:
    the relays' rows, when they are known already."""
    own = targeted(edi).filter(pl.col("target") == message)
    parts = [
        own.with_columns(
            pl.lit("handler").alias("at"), *(pl.lit(None, pl.String).alias(name) for name in ("reason", "next_hop"))
        ),
        (of_relay(mail, own) if relayed is None else relayed).with_columns(
            pl.lit("relay").alias("at"), *(pl.lit(None, pl.String).alias(name) for name in ("event", "action"))
        ),
    ]
    names = ["time", "at", "relay", "step", "event", "action", "status", "code", "reason", "queue", "next_hop"]
    names += ["place", "ordinal"]
    rows = pl.concat([part.select(names) for part in parts]).sort("time", "place", "ordinal")
    found: list[dict[str, Any]] = []
    before: int | None = None
    for row in rows.iter_rows(named=True):
        gap = None if before is None else (row["time"] - before) / SECOND
        before = row["time"]
        item = {name: row[name] for name in names[1:-2]}
        item["handler_event"] = item["event"]
        item["event"] = f"{row['place']}{row['ordinal']:016x}"
        found.append({**item, "time": iso(row["time"]), "gap_s": gap})
    return found


def of_relay(mail: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """Relay rows of a message: the same MIME id, or the same relay and queue id within the window."""
    mimes = own["mime"].drop_nulls().unique().to_list()
    by_mime = pl.col("mime").is_in(mimes).fill_null(False)
    queues = own.filter(pl.col("queue").is_not_null()).select("relay", "queue", pl.col("time").alias("near"))
    near = (
        mail.with_row_index("n")
        .join(queues, on=["relay", "queue"], nulls_equal=True)
        .filter((pl.col("time") - pl.col("near")).abs() <= QUEUE_WINDOW)
    )
    numbered = mail.with_row_index("n")
    chosen = numbered.filter(by_mime | pl.col("n").is_in(near["n"].implode()))
    # Once a queue id is known by its MIME id, all its outcomes belong to it.
    more = numbered.join(
        chosen.select("relay", "queue", pl.col("time").alias("near")).drop_nulls("queue").unique(),
        on=["relay", "queue"],
        nulls_equal=True,
    ).filter((pl.col("time") - pl.col("near")).abs() <= QUEUE_WINDOW)
    return numbered.filter(pl.col("n").is_in(pl.concat([chosen["n"], more["n"]]).unique().implode())).drop("n")


def relay_only(mail: pl.DataFrame, ids: set[str]) -> list[dict[str, Any]]:
    """Messages that relays saw and no handler did, by MIME id or queue id: the same document, its parties unknown."""
    wanted = pl.col("mime").is_in(list(ids)).fill_null(False) | pl.col("queue").is_in(list(ids)).fill_null(False)
    found = []
    for (mime, queue), rows in mail.filter(wanted).group_by("mime", "queue", maintain_order=True):
        steps = {"received": None, "sent": None, "acknowledged": None, "application_receipt": None, "error": None}
        row = rows.row(0, named=True) | steps | {"given_up": None, "message": mime or queue, "first": rows["time"][0]}
        row |= {"conversation": None, "service": None, "action": None, "her_from": None, "her_to": None}
        document = _document(row | {"status": None, "code": None, "retries": 0})
        found.append(document | {"state": "relayed", "hops": hops(_none(), rows, mime or queue, rows)})
    return found


def _none() -> pl.DataFrame:
    return frame([], EDI)
