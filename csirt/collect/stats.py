"""What a receiver counts, and the file in which other processes read it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from csirt.model.spool import lane_name

SCHEMA = "csirt.collect-stats/1"


@dataclass
class Stats:
    """Counters of one receiver. They go on over restarts (`since` is the first start), so that no loss is forgotten.

    `received`: datagrams or messages taken from the kernel; received = spooled + the sum of `spool_dropped` at rest.
    `kernel_dropped`: what the kernel threw away because the socket's buffer was full: the greater of `rxq_ovfl`
    (SO_RXQ_OVFL, arrives with the next datagram) and `table` (the drops column of /proc/net/udp{,6}).
    `spool_dropped`: units not written, by reason: `spool_full`, `disk_full`, `oldest` (deleted to make room before
    they were committed). `cut`: messages longer than 64 KiB, kept to that length. `partial`: messages whose connection
    ended inside them, kept. `refused`: connections over the limits. `closed`: connections that were ended for
    cause, by reason: `handshake`, `idle`, `stalled`, `not_ipfix`. `truncated`: datagrams larger than a slot.
    `receive_buffer`: bytes asked for and granted, the least of any socket. `sockets`: by inode, what each was granted
    and what the kernel last said it dropped.
    """

    source: str
    kind: str
    lane: str = ""
    listen: list[str] = field(default_factory=list)
    since: int = 0
    started: int = 0
    updated: int = 0
    pid: int = 0
    received: int = 0
    spooled: int = 0
    bytes: int = 0
    rxq_ovfl: int = 0
    table: int = 0
    truncated: int = 0
    cut: int = 0
    partial: int = 0
    refused: int = 0
    connections: int = 0
    closed: dict[str, int] = field(default_factory=dict)
    segments: int = 0
    spool_bytes: int = 0
    spool_dropped: dict[str, int] = field(default_factory=dict)
    receive_buffer: dict[str, int] = field(default_factory=lambda: {"asked": 0, "granted": 0})
    sockets: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: str = ""
    # The newest segment's name, and `spooled` when it was begun: what SIGKILL took from these counters is counted again
    # from the segments at the next start.
    opened: list[Any] = field(default_factory=list)

    @property
    def kernel_dropped(self) -> int:
        """Datagrams the kernel received for the socket and threw away."""
        return max(self.rxq_ovfl, self.table)

    @property
    def folder(self) -> str:
        """The source's folder, or its lane's: what tells the receivers of a source apart."""
        return lane_name(self.source, self.lane)

    def close(self, reason: str) -> None:
        """Count a connection that was ended for cause."""
        self.closed[reason] = self.closed.get(reason, 0) + 1

    def drop(self, reason: str, units: int) -> None:
        """Count units that were received and not kept."""
        self.spool_dropped[reason] = self.spool_dropped.get(reason, 0) + units

    def document(self) -> dict[str, Any]:
        """As `stats.json` holds it."""
        return {"schema": SCHEMA, **asdict(self), "kernel_dropped": self.kernel_dropped}


_CARRIED = ("received", "spooled", "bytes", "rxq_ovfl", "table", "truncated", "cut", "partial", "refused", "segments")


def carry_over(stats: Stats, path: Path) -> None:
    """Take the counters of the last run from `stats.json`; a missing or damaged file starts them at zero."""
    try:
        before = json.loads(path.read_bytes())
        if before["schema"] != SCHEMA or before["source"] != stats.source or before["kind"] != stats.kind:
            return
        numbers = {name: int(before[name]) for name in _CARRIED}
        dropped = {str(reason): int(number) for reason, number in before["spool_dropped"].items()}
        closed = {str(reason): int(number) for reason, number in before.get("closed", {}).items()}
        sockets = {str(name): {k: int(v) for k, v in item.items()} for name, item in before["sockets"].items()}
        since = int(before["since"])
        opened = [str(before["opened"][0]), int(before["opened"][1])] if before.get("opened") else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    for name, number in numbers.items():
        setattr(stats, name, number)
    stats.closed = closed
    stats.spool_dropped, stats.sockets, stats.since, stats.opened = dropped, sockets, since, opened


def together(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """The documents of a listener's lanes as one: sums, and each under `lanes`."""
    if len(documents) == 1:
        return documents[0]
    whole = dict(documents[0])
    for name in (*_CARRIED, "kernel_dropped", "connections"):
        whole[name] = sum(item[name] for item in documents)
    for name in ("spool_dropped", "closed"):
        reasons = sorted({reason for item in documents for reason in item[name]})
        whole[name] = {reason: sum(item[name].get(reason, 0) for item in documents) for reason in reasons}
    whole["sockets"] = {number: item for each in documents for number, item in each["sockets"].items()}
    whole["failed"] = next((item["failed"] for item in documents if item["failed"]), "")
    return {**whole, "lanes": documents}


def write(stats: Stats, path: Path) -> None:
    """Replace `stats.json` in one step (not synced: it is written again every second). Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, json.dumps(stats.document(), sort_keys=True).encode() + b"\n")
    finally:
        os.close(handle)
    temporary.replace(path)


def read_all(spool: Path) -> list[dict[str, Any]]:
    """The `stats.json` documents of every receiver that ever wrote below a spool folder, by source."""
    documents: list[dict[str, Any]] = []
    for path in sorted(spool.glob("*/stats*.json")):
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(document, dict) and document.get("schema") == SCHEMA:
            documents.append(document)
    return documents
