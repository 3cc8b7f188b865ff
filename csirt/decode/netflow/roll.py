"""Which exporters are remembered: room of its own for every listed address, one bounded room for all others.

Where a room is full, who was heard least recently is forgotten; so is who was not heard for long. Both are decided
datagram by datagram and by receive time, so that chunks and restarts change nothing.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from csirt.decode.netflow.state import Exporter, State
from csirt.model.batch import Array

NEVER = 2**63 - 1
UNLISTED = -1  # the number of an exporter that is not believed
MAX_OTHERS = 4_096  # (address, version, domain) that are not listed
MAX_DOMAINS = 256  # versions and domains of one listed address
MAX_NAMED = 1_024  # exporters that are not listed and yet have counters of their own; the others share one row

Key = tuple[int, int, int, int, int]
Address = tuple[int, int, int]
Room = Address | None  # a listed address, or all others
Gone = list[tuple[int, int, str]]


class Roll:
    """The exporters of a state by key. `listed`: configured addresses. `expiry`: microseconds, 0 never."""

    def __init__(self, state: State, listed: frozenset[Address], accept_unknown: bool, expiry: int) -> None:
        self.state = state
        self._listed, self._accept, self._expiry = listed, accept_unknown, expiry
        self.rebuild()

    def rebuild(self) -> None:
        """Number the exporters anew; in every room the least recently heard is the first."""
        self._index: dict[Key, int] = {}
        self._rooms: dict[Room, dict[int, None]] = {}
        for number, item in sorted(enumerate(self.state.exporters), key=lambda pair: pair[1].turn):
            item.listed = item.key[:3] in self._listed
            self._index[item.key] = number
            self._rooms.setdefault(self._room(item.key), {})[number] = None

    def number(self, keys: list[Key], group: Array, clock: Array) -> tuple[Array, Array, Gone]:
        """The exporters of messages, whose keys are `keys[group]`.

        Returns a group for every message, the exporter's number by group (UNLISTED: refused), and who was forgotten as
        (before message, number, reason).
        """
        believed = [self._accept or key[:3] in self._listed for key in keys]
        if not keys:
            return group, np.empty(0, np.int64), []
        gone: Gone = []
        if self._fits(keys, believed, clock):
            numbers = self._at_once(keys, believed, group, clock)
        else:
            group, numbers, gone = self._one_by_one(keys, believed, group.tolist(), clock.tolist())
        self.state.messages += len(group)
        return group, numbers, gone

    def drop(self, numbers: set[int]) -> dict[int, int]:
        """Forget exporters for good; the new number of each that stays."""
        order = [n for n in range(len(self.state.exporters)) if n not in numbers]
        self.state.exporters = [self.state.exporters[n] for n in order]
        self.rebuild()
        return {old: new for new, old in enumerate(order)}

    def _room(self, key: Key) -> Room:
        return key[:3] if key[:3] in self._listed else None

    def _limit(self, room: Room) -> int:
        return MAX_OTHERS if room is None else MAX_DOMAINS

    def _fits(self, keys: list[Key], believed: list[bool], clock: Array) -> bool:
        """Whether nobody has to be forgotten for these messages."""
        new = [key for key, good in zip(keys, believed, strict=True) if good and key not in self._index]
        fresh = Counter(map(self._room, new)) if new else {}
        if self._expiry and int(clock[-1]) - min(self._eldest(), int(clock[0])) > self._expiry:
            return False
        return all(len(self._rooms.get(room, ())) + more <= self._limit(room) for room, more in fresh.items())

    def _eldest(self) -> int:
        """When the exporter that was silent for longest was heard."""
        first = [next(iter(members)) for members in self._rooms.values() if members]
        return min((self.state.exporters[number].heard for number in first), default=NEVER)

    def _expired(self, clock: int) -> list[int]:
        """Forget who was not heard for too long by then."""
        gone: list[int] = []
        for members in self._rooms.values():
            while members and clock - self.state.exporters[number := next(iter(members))].heard > self._expiry:
                gone.append(self._forget(number))
        return gone

    def _at_once(self, keys: list[Key], believed: list[bool], group: Array, clock: Array) -> Array:
        first, last = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
        steps = np.arange(len(group))
        last[group] = steps
        first[group[::-1]] = steps[::-1]
        numbers = np.full(len(keys), UNLISTED, np.int64)
        for place, key in enumerate(keys):
            if believed[place]:
                known = self._index.get(key)
                numbers[place] = self._add(key, int(clock[first[place]])) if known is None else known
        for place in np.argsort(last, kind="stable").tolist():
            if numbers[place] >= 0:
                self._hear(int(numbers[place]), int(clock[last[place]]), int(last[place]))
        return numbers

    def _one_by_one(
        self, keys: list[Key], believed: list[bool], group: list[int], clock: list[int]
    ) -> tuple[Array, Array, Gone]:
        gone: Gone = []
        place: dict[int, int] = {}
        out = np.empty(len(group), np.int64)
        due = self._eldest() + self._expiry if self._expiry else NEVER
        for m, g in enumerate(group):
            number: int | None = UNLISTED
            if clock[m] > due:
                gone += [(m, silent, "exporter_expired") for silent in self._expired(clock[m])]
                due = self._eldest() + self._expiry
            if believed[g]:
                number = self._index.get(keys[g])
                if number is None:
                    room = self._room(keys[g])
                    members = self._rooms.get(room, {})
                    if len(members) >= self._limit(room):
                        gone.append((m, self._forget(next(iter(members))), "exporter_evicted"))
                    number = self._add(keys[g], clock[m])
                    due = min(due, clock[m] + self._expiry) if self._expiry else NEVER
                self._hear(number, clock[m], m)
            out[m] = place.setdefault(number, len(place))  # type: ignore[arg-type]
        return out, np.array(list(place), np.int64), gone

    def _add(self, key: Key, clock: int) -> int:
        state = self.state
        number = self._index[key] = len(state.exporters)
        item = Exporter(*key, listed=key[:3] in self._listed, first=clock)
        item.own = item.listed or state.named < MAX_NAMED
        state.named += not item.listed and item.own
        state.exporters.append(item)
        self._rooms.setdefault(self._room(key), {})[number] = None
        return number

    def _hear(self, number: int, clock: int, message: int) -> None:
        item = self.state.exporters[number]
        item.heard, item.turn = clock, self.state.messages + message
        item.mark()
        members = self._rooms[self._room(item.key)]
        del members[number]
        members[number] = None

    def _forget(self, number: int) -> int:
        key = self.state.exporters[number].key
        del self._index[key]
        del self._rooms[self._room(key)][number]
        return number
