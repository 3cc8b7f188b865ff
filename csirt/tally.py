"""What one commit counts: in the store, so that it survives restarts, and, once it is committed, in the metrics.

Names in the store: `sources.in.<source>`, `sources.out.<source>`, `sources.dropped.<source>.<reason>`, the same for
`decode`, `enrich.rows`, `detect.rows`, `redacted.<source>|<field>`, `forgotten.<source>.<reason>`,
`exporter.<address>|<version>|<domain>.<counter>` and `events.<dataset>`.
"""

from __future__ import annotations

from csirt.metrics import Metrics
from csirt.model.batch import Batch, Decoded
from csirt.model.chunk import Chunk, Dissection
from csirt.watermark import Due


def size(chunk: Chunk) -> int:
    """Units of a chunk as its decoder counts them; at least one, so that nothing is dropped without a count."""
    if isinstance(chunk.data, Dissection):
        return max(chunk.data.text.count(b"\n"), 1)
    return max(chunk.units, 1)


class Tally:
    """Counters of one input since its last commit."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.counts: dict[str, int] = {}
        self.hits = 0
        self.late = 0
        self.greatest: int | None = None  # event time, for the watermark once it is committed
        self.due: Due | None = None  # the same of flows that wait to be settled

    def read(self, chunk: Chunk) -> None:
        """Count what a source gave, and what it could not read."""
        self._stage("sources", chunk.units + sum(chunk.lost.values()), chunk.units, chunk.lost)

    def decoded(self, decoded: Decoded) -> None:
        """Count what a decoder made of it."""
        self._stage("decode", decoded.entered, decoded.left, decoded.dropped)
        for field, number in decoded.redacted.items():
            self._add(f"redacted.{self.source}|{field}", number)
        for reason, number in decoded.forgotten.items():
            self._add(f"forgotten.{self.source}.{reason}", number)
        for exporter in decoded.exporters:
            where = f"{exporter.get('address')}|{exporter.get('version')}|{exporter.get('domain')}"
            for key, value in exporter.items():
                if key not in ("address", "version", "domain"):
                    self._add(f"exporter.{where}.{key}", int(value))
            # The rows are in the same commit as this count.
            self._add(f"exporter.{where}.stored", int(exporter.get("decoded") or 0))

    def rows(self, batches: list[Batch], fresh: list[Batch]) -> None:
        """Count the rows of a commit; those that wait to be settled are matched then."""
        for batch in [*batches, *fresh]:
            self._add(f"events.{batch.dataset}", batch.rows)
            self._add("enrich.rows", batch.rows)
        for batch in batches:
            self._add("detect.rows", batch.rows)

    @property
    def held(self) -> int:
        """Units that entered the decoder and have neither left nor been dropped."""
        dropped = sum(self._reasons("decode").values())
        return (
            self.counts.get(f"decode.in.{self.source}", 0) - self.counts.get(f"decode.out.{self.source}", 0) - dropped
        )

    def publish(self, metrics: Metrics) -> None:
        """Put it into the metrics; only after the commit, so that what is tried again is counted once."""
        for stage in ("sources", "decode"):
            entered = self.counts.get(f"{stage}.in.{self.source}", 0)
            metrics.stage(stage, entered, self.counts.get(f"{stage}.out.{self.source}", 0), self._reasons(stage))
        rows, matched = self.counts.get("enrich.rows", 0), self.counts.get("detect.rows", 0)
        for stage, number in (("enrich", rows), ("detect", matched), ("stores", rows)):
            metrics.stage(stage, number, number)
        forgotten = f"forgotten.{self.source}."
        prefix = f"redacted.{self.source}|"
        for name, number in self.counts.items():
            if name.startswith(prefix):
                metrics.count("csirt_redacted_total", number, field=name.removeprefix(prefix))
            elif name.startswith(forgotten):
                metrics.count("csirt_forgotten_total", number, reason=name.removeprefix(forgotten))
        metrics.count("csirt_hits_total", self.hits)
        metrics.count("csirt_late_hits_total", self.late)

    def _stage(self, stage: str, entered: int, left: int, dropped: dict[str, int]) -> None:
        self._add(f"{stage}.in.{self.source}", entered)
        self._add(f"{stage}.out.{self.source}", left)
        for reason, number in dropped.items():
            self._add(f"{stage}.dropped.{self.source}.{reason}", number)

    def _reasons(self, stage: str) -> dict[str, int]:
        prefix = f"{stage}.dropped.{self.source}."
        return {name.removeprefix(prefix): n for name, n in self.counts.items() if name.startswith(prefix)}

    def _add(self, name: str, number: int) -> None:
        if number:
            self.counts[name] = self.counts.get(name, 0) + number
