"""What windows know between steps, and how it is written and read: piece by piece, and only what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.rule import Correlation, Rule
from csirt.detect.windows import learned, legacy
from csirt.detect.windows.baseline import Baseline
from csirt.detect.windows.counting import Counting
from csirt.detect.windows.divided import Divisors
from csirt.detect.windows.opened import Opened
from csirt.detect.windows.overdue import Overdue
from csirt.detect.windows.payload import Payload, decode, encode
from csirt.detect.windows.rare import Rare
from csirt.errors import CsirtError

VERSION = 3
KEY = "windows"  # the header of the state, and what the keys of its pieces begin with
MAX_GROUPS = 100_000
MAX_HELD = 2_000_000
DIVIDED = 8  # as many events as hits are held are divided by: they take a tenth of the room


def seen(raw: bytes | None) -> dict[str, dict[str, int]]:
    """What a committed state (its header) says for people: what was `dropped`, by reason, and in how many groups each
    baseline is `learning`."""
    header = orjson.loads(raw) if raw is not None and raw.startswith(b"{") else {}
    return {name: dict(header.get(name) or {}) for name in ("dropped", "learning")}


class State:
    """The open alerts, what each correlation has counted, what waits, and what baselines have learned; `until` is
    closed. `dropped`: see `Windows`."""

    def __init__(
        self,
        rules: Mapping[str, Rule],
        correlations: Mapping[str, Correlation],
        *,
        max_groups: int,
        max_held: int,
    ) -> None:
        self._rules, self._correlations = rules, correlations
        self.max_groups, self.max_held = max_groups, max_held
        self.open = Opened(max_groups)
        self.counting: dict[str, Counting] = {}
        self.overdue: dict[str, Overdue] = {}
        self.baselines: dict[str, Baseline] = {}
        self.rare: dict[str, Rare] = {}
        self.divisors = Divisors(correlations.values(), DIVIDED * max_held)
        self.until: int | None = None
        self.dropped: dict[str, int] = {"groups": 0, "hits": 0, "late": 0, "gone": 0, "closed": 0}
        self._written: set[str] = set()
        self._unwritten: dict[str, bytes] = {}

    def written(self) -> dict[str, bytes | None]:
        """What a restart needs, by key, as far as it changed since this was asked last; None for what is gone."""
        result: dict[str, bytes | None] = dict(self._unwritten)
        self._unwritten = {}
        self.settle()
        for number, data in self.open.changes().items():
            result[f"{KEY}:open:{number}"] = data
        now: dict[str, bytes | None] = {}
        payloads = self._payloads()
        for kind, known in payloads.items():
            for name, payload in known.items():
                result |= {f"{KEY}:{kind}:{name}:{number}": data for number, data in payload.changes().items()}
                now |= {f"{KEY}:{kind}:{name}:{number}": None for number, *_ in payload.listed()}
        for name, state in self.overdue.items():
            result[f"{KEY}:overdue:{name}"] = encode(state.waiting)
            now[f"{KEY}:overdue:{name}"] = None
        for name, baseline in self.baselines.items():
            result |= {f"{KEY}:baseline:{name}:{part}": data for part, data in learned.changes(baseline).items()}
            now |= dict.fromkeys(f"{KEY}:baseline:{name}:{part}" for part in ("", *baseline.written))
        result |= dict.fromkeys(sorted(self._written - now.keys()))
        self._written = set(now)
        header = {
            "version": VERSION,
            # Without anything open, when the last step was says nothing: an idle daemon's state does not change.
            "until": self.until if len(self.open) or any(payloads.values()) or self.overdue or self.baselines else None,
            "dropped": dict(sorted(self.dropped.items())),
            "open": self.open.listed(),
            **{
                kind: {name: payload.listed() for name, payload in sorted(known.items())}
                for kind, known in payloads.items()
            },
            "overdue": sorted(self.overdue),
            "baseline": sorted(self.baselines),
            "seen": {name: rare.seen for name, rare in sorted(self.rare.items())},
            "learning": self.learning(),  # for status; a restart finds it out again
        }
        result[KEY] = orjson.dumps(header)
        return result

    def _payloads(self) -> dict[str, dict[str, Payload]]:
        """The hits that correlations hold, the events that they divide by, and who speaks with whom."""
        held = {name: item.held.payload for name, item in self.counting.items()}
        rare = {name: item.payload for name, item in self.rare.items()}
        return {"held": held, "divisor": self.divisors.payloads(), "rare": rare}

    def settle(self) -> None:
        """Tell the open alerts what they have yet to hear."""
        for counting in self.counting.values():
            counting.owed.settle()

    def restore(self, read: Callable[[str], bytes | None]) -> None:
        raw = read(KEY)
        if raw is None:
            return
        try:
            if not raw.startswith(b"{"):
                old = legacy.convert(raw, self._rules, self._correlations)
                raw = old.pop("")
                self._unwritten = {f"{KEY}:{name}": data for name, data in old.items()}
                read = self._unwritten.get
            header: dict[str, Any] = orjson.loads(raw)
            if header["version"] != VERSION:
                message = f"the state of the windows is of version {header['version']}, this program's is {VERSION}"
                raise CsirtError(message)
            self._read(header, lambda key: _needed(key, read(key)))
        except (orjson.JSONDecodeError, pa.ArrowException, OSError, KeyError, TypeError) as error:
            raise CsirtError(f"the state of the windows cannot be read ({error}); restore the store") from error

    def _read(self, header: dict[str, Any], read: Callable[[str], bytes]) -> None:
        self.until = header["until"]
        self.dropped.update(header["dropped"])
        for number in header["open"]:
            known = self._rules.keys() | self._correlations.keys()
            self.open.restore(number, read(f"{KEY}:open:{number}"), known.__contains__)
        self._read_rare(header, read)
        for name, pieces in header["held"].items():
            keys = [f"{KEY}:held:{name}:{number}" for number, *_ in pieces]
            self._written.update(keys)
            item = self._correlations.get(name)
            if item is None or item.type == "absence":
                self.dropped["gone"] += sum(decode(read(key)).num_rows for key in keys)
                continue
            counting = self.counting[name] = self.counted(item)
            for key, (number, base, level) in zip(keys, pieces, strict=True):
                counting.held.payload.restore(number, base, level, read(key))
            counting.restored(self.until)
        self._read_divisors(header.get("divisor"), read)
        if self.until is not None:
            self.open.close(self.until)
        for name in header["overdue"]:
            key = f"{KEY}:overdue:{name}"
            self._written.add(key)
            waiting = decode(read(key))
            item = self._correlations.get(name)
            if item is None or item.type != "absence":
                self.dropped["gone"] += waiting.num_rows
                continue
            self.overdue[name] = Overdue(item, self.max_held)
            self.overdue[name].waiting = waiting
        for name in header.get("baseline", []):
            item = self._correlations.get(name)
            self._written.add(f"{KEY}:baseline:{name}:")
            if item is not None and item.baseline is not None:
                self.baselines[name] = Baseline(item, self.max_groups)
                learned.restore(self.baselines[name], lambda part, name=name: read(f"{KEY}:baseline:{name}:{part}"))  # type: ignore[misc]
                self._written |= {f"{KEY}:baseline:{name}:{part}" for part in self.baselines[name].written}

    def _read_rare(self, header: dict[str, Any], read: Callable[[str], bytes]) -> None:
        """Who speaks with whom; a program before this one did not ask."""
        for name, pieces in header.get("rare", {}).items():
            keys = [f"{KEY}:rare:{name}:{number}" for number, *_ in pieces]
            self._written.update(keys)
            item = self._correlations.get(name)
            if item is None or item.beacon is None or item.beacon.members is None:
                continue
            rare = self.rare[name] = Rare(item.beacon, self.max_groups)
            rare.seen = header["seen"][name] and tuple(header["seen"][name])
            for key, (number, base, level) in zip(keys, pieces, strict=True):
                rare.payload.restore(number, base, level, read(key))
            rare.restored()

    def _read_divisors(self, listed: dict[str, list[list[int]]] | None, read: Callable[[str], bytes]) -> None:
        """What ratios divide by; None: a program before held it among a ratio's own hits."""
        for name, pieces in (listed or {}).items():
            for number, base, level in pieces:
                key = f"{KEY}:divisor:{name}:{number}"
                self._written.add(key)
                if name in self.divisors:
                    self.divisors[name].payload.restore(number, base, level, read(key))
        if listed is not None:
            return
        by_stream: dict[str, pa.Table] = {}
        for name, counting in self.counting.items():
            item = self._correlations[name]
            for rule in item.rules[1:] if counting.held.payload.pieces and item.type == "ratio" else ():
                rows = pa.Table.from_batches([piece.batch for piece in counting.held.payload.pieces])
                by_stream[item.stream(rule)] = rows.filter(pc.equal(rows.column("rule"), rule))
        self.divide(by_stream)

    def close(self, until: int) -> None:
        """Let go of what nothing after `until` needs."""
        self.open.close(until)
        self.dropped["groups"] += self.open.dropped
        self.open.dropped = 0
        self.divisors.close(until)
        for name, counting in list(self.counting.items()):
            if counting.expire(until):
                del self.counting[name]
        for name, rare in list(self.rare.items()):
            empty = rare.expire(until)
            self.dropped["groups"] += rare.dropped
            rare.dropped = 0
            if empty and name not in self.counting:
                del self.rare[name]

    def divide(self, by_stream: dict[str, pa.Table]) -> None:
        """Take in, and take away, what ratios divide by."""
        self.dropped["hits"] += self.divisors.take(by_stream, self.until)

    def counted(self, item: Correlation) -> Counting:
        """What a correlation has counted so far."""
        known = self.counting.get(item.id)
        if known is not None:
            return known
        divisor, rare = self.divisors.of(item), self.rare.get(item.id)
        if rare is None and item.beacon is not None and item.beacon.members is not None:
            rare = self.rare[item.id] = Rare(item.beacon, self.max_groups)
        bounds = {"max_groups": self.max_groups, "max_rows": self.max_held}
        return Counting(item, self._correlations, **bounds, divisor=divisor, rare=rare)

    def learning(self) -> dict[str, int]:
        """Baselines that know some groups too short a time to judge them, and how many."""
        found = {name: state.learning() for name, state in sorted(self.baselines.items())}
        return {name: number for name, number in found.items() if number}


def _needed(key: str, data: bytes | None) -> bytes:
    if data is None:
        raise CsirtError(f"the state of the windows lacks {key}; restore the store")
    return data
