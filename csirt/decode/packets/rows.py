"""Ended flows and tshark's rows as batches of the schema (`model/ecs.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from csirt.decode.packets import meter as m
from csirt.decode.packets.dissection import addresses
from csirt.model import ecs
from csirt.model.batch import Array, Batch, address_columns, assemble, constant
from csirt.model.batch import codes as coded

REASON_NAMES: list[str | None] = [None, "idle_timeout", "active_timeout", None, "forced_end"]
DISSECTED = 1 << 63


def flow_batch(rows: Array, segment: str, observer: str | None) -> Batch:
    """Ended flows as a `flow` batch. Bytes are lengths of IP headers' telling, forward in `network.*`."""
    key, marks = rows[:, m.KEY], rows[:, m.MARKS]
    swapped = (marks >> np.uint64(m.SWAPPED)) & np.uint64(1) != 0
    family = ((key >> np.uint64(40)) & np.uint64(0xFF)).astype(np.uint8)
    protocol = ((key >> np.uint64(32)) & np.uint64(0xFF)).astype(np.uint8)
    a_port = ((key >> np.uint64(16)) & np.uint64(0xFFFF)).astype(np.uint16)
    b_port = (key & np.uint64(0xFFFF)).astype(np.uint16)
    portless = (key >> np.uint64(48)) & np.uint64(1) == 0
    vlan = (rows[:, m.VLAN] & np.uint64(0xFFFF)).astype(np.uint16)
    no_icmp = (marks >> np.uint64(48)) & np.uint64(1) == 0

    def ends(one: Array, other: Array) -> tuple[Array, Array]:
        return np.where(swapped, other, one), np.where(swapped, one, other)

    source_hi, destination_hi = ends(rows[:, m.A_HI], rows[:, m.B_HI])
    source_lo, destination_lo = ends(rows[:, m.A_LO], rows[:, m.B_LO])
    source_port, destination_port = ends(a_port, b_port)
    columns: dict[str, Any] = {
        **_common(rows[:, m.LAST], rows[:, m.FRAME] << np.uint64(16), segment, observer),
        **address_columns("source.ip", family, source_hi, source_lo),
        **address_columns("destination.ip", family, destination_hi, destination_lo),
        "event.start": pa.array(rows[:, m.START].astype(np.int64)).cast(ecs.TIME),
        "source.port": _masked(source_port, portless),
        "destination.port": _masked(destination_port, portless),
        "network.iana_number": protocol,
        "network.bytes": rows[:, m.BYTES],
        "network.packets": rows[:, m.PACKETS],
        "csirt.flow.reverse.bytes": rows[:, m.R_BYTES],
        "csirt.flow.reverse.packets": rows[:, m.R_PACKETS],
        "flow.tcp_flags": _masked((marks & np.uint64(0x1FF)).astype(np.uint16), protocol != 6),
        "csirt.flow.end_reason": coded(rows[:, m.REASON].astype(np.int64), REASON_NAMES),
    }
    if vlan.any():
        columns["network.vlan.id"] = _masked(vlan, vlan == 0)
    if not no_icmp.all():
        columns["icmp.type"] = _masked(((marks >> np.uint64(40)) & np.uint64(0xFF)).astype(np.uint8), no_icmp)
        columns["icmp.code"] = _masked(((marks >> np.uint64(32)) & np.uint64(0xFF)).astype(np.uint8), no_icmp)
    return assemble("flow", columns)


def dissection_batch(dataset: str, frame: pl.DataFrame, segment: str, observer: str | None) -> Batch:
    """Rows of tshark's lines as a batch of their dataset."""
    number = frame["frame"].to_numpy().astype(np.uint64) << np.uint64(8)
    ordinal = np.uint64(DISSECTED) | number | frame["index"].to_numpy().astype(np.uint64)
    columns: dict[str, Any] = _common(frame["time"].to_numpy(), ordinal, segment, observer)
    for end in ("source", "destination"):
        columns.update(address_columns(f"{end}.ip", *addresses(frame[end])))
    for name, kind in ecs.DATASETS[dataset].items():
        if name in frame.columns and name not in columns:
            columns[name] = _arrow(frame[name], kind)
    if dataset == "dns":
        columns["network.transport"] = _arrow(frame["protocol"], ecs.TEXT)
    return assemble(dataset, columns)


def _common(time: Array, ordinal: Array, segment: str, observer: str | None) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "@timestamp": pa.array(time.astype(np.int64)).cast(ecs.TIME),
        "csirt.segment": constant(segment, len(time)),
        "csirt.ordinal": ordinal,
    }
    if observer is not None:
        columns["observer.name"] = constant(observer, len(time))
    return columns


def _masked(values: Array, missing: Array) -> pa.Array:
    return pa.array(values, mask=missing if missing.any() else None)


def _arrow(series: pl.Series, kind: pa.DataType) -> pa.Array:
    array = series.to_arrow()
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    array = array.cast(plain)
    return array.dictionary_encode() if pa.types.is_dictionary(kind) else array
