"""What every decoder is: pure, without I/O and clock; the same bytes in any chunking give the same rows."""

from __future__ import annotations

from typing import Protocol

from csirt.model.batch import Decoded
from csirt.model.chunk import Chunk


class Decoder(Protocol):
    """Turns one source's chunks, in order, into batches."""

    def decode(self, chunk: Chunk) -> Decoded:
        """The rows of one chunk and what became of every unit in it; never raises for the content of the bytes."""

    def finish(self) -> Decoded:
        """End of input of the whole source: flush what waits for more, count what expires."""

    def load(self, state: bytes | None) -> None:
        """Resume from a committed state, or start afresh."""
