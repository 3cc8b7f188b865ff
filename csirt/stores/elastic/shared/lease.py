"""Who leads: a document that its holder renews. Whoever has seen it unchanged for long enough takes it.

No clock of two machines is compared: a holder judges by its own clock when it renewed last, the others by theirs since
when they have seen no renewal. A holder stops well before the others may begin. While the cluster does not answer
nobody's time runs, so that after an outage of the cluster the holder goes on.
"""

from __future__ import annotations

from typing import Any

from csirt.clock import Clock
from csirt.stores.elastic.shared.log import Documents

NAME = "lease"
RENEW = 2.0  # seconds between two looks
VALID = 8.0  # seconds a holder acts after its last renewal began
EXPIRES = 18.0  # seconds without a renewal after which another takes over


class Lease:
    """One node's view of it. `turn` is called every RENEW seconds by one thread."""

    def __init__(self, documents: Documents, node: str, clock: Clock) -> None:
        self._documents, self._node, self._clock = documents, node, clock
        self.holder, self.term, self.sent = "", 0, 0
        self._at: tuple[int, int] | None = None
        self._held = False
        self._renewed = 0.0
        self._changed = 0.0

    @property
    def mine(self) -> bool:
        """Whether this node holds it, for certain."""
        return self._held and self._clock.monotonic() - self._renewed < VALID

    def turn(self, sent: int) -> None:
        """Renew it, or watch it and take it when it has expired. `sent`: up to which entry the cluster has all
        documents, told to the others. Raises Unreachable."""
        now = self._clock.monotonic()
        try:
            if self._held and self._write(self.term, max(sent, self.sent), now):
                return
            self._look(now)
        except BaseException:
            self._changed = self._clock.monotonic()  # nobody can renew what does not answer
            raise

    def _look(self, now: float) -> None:
        """Watch it."""
        self._held = False
        found = self._documents.get(NAME)
        if found is None:
            self._at = None
            self._write(self.term + 1, self.sent, now)
            return
        body, at = found
        self.holder, self.term, self.sent = str(body["holder"]), int(body["term"]), int(body["sent"])
        if at != self._at:
            self._at, self._changed = at, now
        # What we held ourselves before we were started anew, and what was given back, need not expire.
        if self.holder in ("", self._node) or now - self._changed >= EXPIRES:
            self._write(self.term + 1, self.sent, now)

    def _write(self, term: int, sent: int, now: float) -> bool:
        body: dict[str, Any] = {"holder": self._node, "term": term, "sent": sent, "renewed": self._clock.now()}
        at = self._documents.put(NAME, body, self._at)
        if at is None:
            return False
        self._at, self._held, self._renewed = at, True, now
        self.holder, self.term, self.sent = self._node, term, sent
        return True

    def release(self) -> None:
        """Give it back, so that another can take it at once. Raises Unreachable."""
        if self._held:
            self._held = False
            body = {"holder": "", "term": self.term, "sent": self.sent, "renewed": self._clock.now()}
            self._documents.put(NAME, body, self._at)
