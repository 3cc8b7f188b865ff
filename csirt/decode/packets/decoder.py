"""Chunks of capture files become batches."""

from __future__ import annotations

import secrets

import numpy as np

from csirt.decode.packets.capture import Capture
from csirt.model.batch import Decoded
from csirt.model.chunk import Chunk, Dissection, Packets
from csirt.model.tshark import Fields
from csirt.model.tshark import load as load_fields


class PacketDecoder:
    """Meters packets into flows and reads tshark's lines, for one source.

    Chunks of several captures may take turns (one waits for tshark while the next is read): each has its own state.
    `idle_timeout_us`: a flow without a packet for longer than this ends. `dissect`: protocols of tshark's fields file.
    `observer`: the capture point's name. `fields`: the fields file tshark ran from; the shipped one by default.
    """

    def __init__(
        self,
        source_id: str,
        *,
        idle_timeout_us: int,
        dissect: list[str],
        observer: str = "",
        fields: Fields | None = None,
    ) -> None:
        self._source = source_id
        self._idle = idle_timeout_us
        self._dissect = dissect
        self._observer = observer or None
        self._fields = fields
        self._seed = np.uint64(secrets.randbits(64))
        self._captures: dict[str, Capture] = {}

    def load(self, state: bytes | None) -> None:
        """Start afresh: no state survives a commit; what was open is read again from its committed position."""
        self._captures.clear()

    def decode(self, chunk: Chunk) -> Decoded:
        """Rows of the capture once nothing of it is open. Counts packets; of a dissection, lines.

        `held`: packets and lines of this chunk's capture that entered and have not left; a position may be committed
        when it is 0.
        """
        result = Decoded()
        capture = self._captures.get(chunk.segment)
        if capture is None:
            capture = Capture(chunk.segment, idle=self._idle, observer=self._observer, seed=self._seed)
            self._captures[chunk.segment] = capture
        last = chunk.end_of_input
        if isinstance(chunk.data, Packets):
            capture.packets(chunk.data, result, last=last)
        elif isinstance(chunk.data, Dissection):
            capture.lines(chunk.data.text, self._tshark(), self._dissect, result, last=last)
        if last:
            capture.finish(self._fields, self._dissect, result)
        capture.release(result)
        result.held = capture.held
        if last or not result.held:
            del self._captures[chunk.segment]
        return result

    def finish(self) -> Decoded:
        """End every flow and give every row that waits, of every capture."""
        result = Decoded()
        for capture in self._captures.values():
            capture.finish(self._fields, self._dissect, result)
            capture.release(result)
        self._captures.clear()
        return result

    def _tshark(self) -> Fields:
        if self._fields is None:
            self._fields = load_fields()
        return self._fields
