"""One source on its way to the store: what it was read up to since the last commit, and what that counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from csirt.decode.base import Decoder
from csirt.model.batch import Batch
from csirt.model.chunk import Position
from csirt.sources.base import Source
from csirt.stores.base import Commit
from csirt.tally import Tally


@dataclass
class Feed:
    """One source with its decoder, and how many of its units make a full batch. One thread works on a feed."""

    source: Source
    decoder: Decoder
    vrf: str = ""
    limit: int = 4_096
    lane: str = ""  # of a source that is read in several lanes: which of them; each has its own decoder and time
    # Rows, counts and positions of packets whose flows are still open: committed together at the next cut.
    batches: list[Batch] = field(default_factory=list)
    reading: dict[str, Position] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    # Input and end of a chunk the decoder failed on: until it is passed, no more is asked for at a time.
    failed: tuple[str, int] | None = None
    moving: bool = False  # the last look found something: there may be more
    looked: bool = False  # every input had its turn since the start

    @property
    def key(self) -> str:
        """What its decoder's state and its event time are kept under."""
        return self.lane or self.source.id

    def tally(self, fingerprint: str) -> Tally:
        """The counters of an input since its last commit."""
        return self.tallies.setdefault(fingerprint, Tally(self.source.id))

    def forget(self) -> None:
        """Nothing of what was read since the last commit counts: it is read again."""
        self.batches = []
        self.reading.clear()
        self.tallies.clear()


@dataclass(slots=True)
class HandOver:
    """One step of a feed, prepared: the coordinator commits it, or refuses it when it does not begin where the feed's
    last commit ended."""

    feed: Feed
    change: Commit
    tally: Tally
