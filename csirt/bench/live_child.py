"""The product's receiver, spool and decoder live: `python -m csirt.bench.live_child PORT IDLE WARM FOLDER`.

Datagrams are received and spooled as `csirt collect netflow` does it; another thread reads the synced spool, decodes,
and writes an uncompressed Arrow file, a new one for every segment; like nfcapd's it is not synced, the spool is.
So that the disk is not filled, segments that were read are deleted, and files that are whole by another process, as
nfexpire does with nfcapd's. Ends when nothing came for IDLE seconds; prints JSON. CPU seconds count from the moment it
is ready.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from csirt import config
from csirt.bench.flow_child import decode
from csirt.cli.decode_arrow import Streamed
from csirt.cli.decode_output import raw_sums
from csirt.clock import SYSTEM
from csirt.collect.receiver import Receiver
from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.heap import prepare
from csirt.metrics import Metrics
from csirt.model import spool as form
from csirt.model.chunk import Position
from csirt.sources.base import Input
from csirt.sources.spool import SpoolSource, datagram_input

ROWS = 5_000_000  # of one file
DATAGRAMS = 12_000  # at a time
WAIT = 0.45  # for more: what a piece costs whatever is in it is shared by more datagrams


class Files:
    """Arrow files one after the other in a folder; sums of what went into them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self.records = self.octets = self.packets = self._rows = 0
        self._out: Streamed | None = None
        self._remover = subprocess.Popen(["xargs", "-d", "\\n", "-n", "1", "rm"], stdin=subprocess.PIPE)

    def write(self, table: Any) -> None:
        """Append the rows."""
        if self._out is None:
            self._path = self._folder / f"flows-{self._number}.arrow"
            self._handle = self._path.open("w+b")
            self._out = Streamed(self._handle, rewritable=True)
        self._out.write(table)
        self._rows += table.num_rows
        self.records += table.num_rows
        octets, packets = raw_sums(table)
        self.octets += octets
        self.packets += packets
        if self._rows >= ROWS:
            self.close()

    def close(self) -> None:
        """Finish the file and let it be deleted."""
        if self._out is None:
            return
        self._out.close()
        self._handle.close()
        assert self._remover.stdin is not None
        self._remover.stdin.write(f"{self._path}\n".encode())
        self._remover.stdin.flush()
        self._out, self._rows, self._number = None, 0, self._number + 1

    def end(self) -> None:
        """Wait until all are deleted."""
        self._remover.communicate()


class Reading:
    """The spool, read to its synced end again and again."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._source = SpoolSource("live", "netflow", str(folder))
        self._decoder = NetflowDecoder("live")
        self._positions: dict[str, Position] = {}
        self._files = files
        self.datagrams = 0

    def step(self) -> int:
        """Decode the next piece, of the oldest segment that has one; how many datagrams that were, 0 only if nothing
        was there."""
        return next(filter(None, map(self._read, self._source.inputs())), 0)

    def _read(self, item: Input) -> int:
        position = self._positions.get(item.fingerprint)
        chunk = item.read(position, DATAGRAMS)
        if chunk is None:
            return 0
        self._positions[item.fingerprint] = Position(
            "live", item.fingerprint, chunk.end, chunk.end_of_input, dict(chunk.extra)
        )
        if chunk.data is not None:
            self.datagrams += chunk.units
            for batch in self._decoder.decode(chunk).batches:
                if batch.dataset == "flow":
                    self._files.write(batch.table)
        if chunk.end_of_input:
            self._files.close()  # a file names its segments: one of two is written twice
            item.path.unlink(missing_ok=True)
        return max(chunk.units, 1)


def main() -> None:
    """Receive until it is quiet, decode the rest, say what happened."""
    prepare()
    port, idle, warm, folder = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    decode("arrow", warm, str(folder / "warm.arrow"))
    empty = folder / "warm.pcapng"
    empty.write_bytes(form.pcapng_header(bytes(16)))
    datagram_input("warm", empty, "warm").read(None, 1)  # so that the spool's kernels are loaded too
    spool = config.Spool.parse({"limit": "16GiB"})
    listener = config.Listener.parse({"source": "live", "kind": "netflow", "listen": f"127.0.0.1:{port}"})
    receiver = Receiver(listener, spool, folder / "spool", Metrics(), SYSTEM)
    files = Files(folder)
    receiver.start()
    reading = Reading(folder / "spool" / "live", files)
    sys.stderr.write("ready\n")
    sys.stderr.flush()
    spent, first, last, seen = SYSTEM.cpu(), 0.0, SYSTEM.monotonic() + 60, 0
    while SYSTEM.monotonic() - last < idle:
        now = int(receiver.stats()["received"])
        if now > seen:
            first = first or SYSTEM.monotonic()
            seen, last = now, SYSTEM.monotonic()
        if reading.step() < DATAGRAMS:
            SYSTEM.sleep(WAIT)
    received = last
    receiver.stop()
    while reading.step():
        pass
    files.close()
    cpu = SYSTEM.cpu() - spent
    files.end()
    stats = receiver.stats()
    document = {
        "cpu_s": cpu,
        "wall_s": received - first,
        "behind_s": max(0.0, SYSTEM.monotonic() - received - idle),
        "received": stats["received"],
        "spooled": stats["spooled"],
        "kernel_dropped": stats["kernel_dropped"],
        "spool_dropped": sum(stats["spool_dropped"].values()),
        "decoded": reading.datagrams,
        "work": {"records": files.records, "octets": files.octets, "packets": files.packets},
    }
    sys.stdout.write(json.dumps(document))


if __name__ == "__main__":
    main()
