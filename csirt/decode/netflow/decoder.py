"""The decoder of NetFlow and IPFIX datagrams: one chunk in, one batch of flows and one of options data out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from csirt.decode.netflow import names as options_names
from csirt.decode.netflow import normalise, sampling
from csirt.decode.netflow.counts import Deltas
from csirt.decode.netflow.elements import ElementTable, shipped
from csirt.decode.netflow.intake import Intake
from csirt.decode.netflow.keeping import Keeping
from csirt.decode.netflow.normalise import Names
from csirt.decode.netflow.parsed import Parsed
from csirt.decode.netflow.plans import Plans
from csirt.decode.netflow.roll import Roll
from csirt.decode.netflow.rows import Rows, Sets, build
from csirt.decode.netflow.state import Exporter, Held, State
from csirt.model import address
from csirt.model.batch import Array, Batch, Decoded, assemble, numbered
from csirt.model.chunk import Chunk, Datagrams

BATCH_BYTES = 512 << 20  # of raw columns: what is larger, or has more columns, becomes several batches
BATCH_COLUMNS = 2_000
BATCH_PLANS = 8_192
SPARSE_BYTES = 16 << 20  # templates with different columns go to different batches when, beyond this size,
SPARSE_FACTOR = 4  # only one cell in so many would be filled
MAX_PLANS = 8_192


class Configured(Protocol):
    """What the configuration says about an exporter (csirt.config.Exporter)."""

    address: str
    name: str
    sampling_rate: int


class NetflowDecoder:
    """Decodes one source's datagrams in order; pure. See `csirt.decode.base.Decoder`.

    `exporters`: those that are believed, with names and forced sampling rates. `accept_unknown`: whether others are
    decoded too. `hold_bytes`, `hold_age_us`: how much, and how long by receive time, data waits for its template.
    `exporter_expiry_us`, `template_expiry_us`: how long one that is not heard, or not refreshed, is remembered; 0 for
    ever. `clock_offsets`: by how many microseconds an exporter's clock is known to be ahead. `key` seals what is held
    in the state; without one the state must not be stored. `due`: whether flows say when they are due (`ecs.DUE`),
    which only who settles them wants to know.
    """

    def __init__(
        self,
        source_id: str,
        *,
        exporters: Sequence[Configured] = (),
        accept_unknown: bool = True,
        hold_bytes: int = 8 << 20,
        hold_age_us: int = 30 * 60 * 10**6,
        exporter_expiry_us: int = 7 * 86_400 * 10**6,
        template_expiry_us: int = 0,
        clock_offsets: Mapping[str, int] | None = None,
        elements: ElementTable | None = None,
        key: bytes = b"",
        due: bool = True,
    ) -> None:
        self.source = source_id
        self._due = due
        self._key = key
        self._table = elements or shipped()
        self._configured = {address.from_text(item.address): item for item in exporters}
        self._accept_unknown = accept_unknown
        self._hold = (hold_bytes, hold_age_us)
        offsets = clock_offsets or {}
        self._offsets = {address.from_text(text): offset for text, offset in offsets.items()}
        self._expiry = (exporter_expiry_us, template_expiry_us)
        self._plans = Plans(self._table)
        self._parsed = Parsed()
        self._turn = 0
        self.rejected: list[tuple[str, int, int, str]] = []  # of the last chunk: segment, frame, offset, reason
        self.load(None)

    def load(self, state: bytes | None) -> None:
        """Resume from a committed state, or start afresh. Raises ValueError for bytes that are no state."""
        self._turn += 1
        self._state = State.load(state, self._key)
        self._roll = Roll(self._state, frozenset(self._configured), self._accept_unknown, self._expiry[0])
        self._keeping = Keeping(self._state, self._expiry[1])
        self._plans = Plans(self._table)

    def finish(self) -> Decoded:
        """End of input: what is still held expires, and is counted."""
        result = Decoded()
        held = self._state.held
        if held.sets or self._state.unreadable.sets:
            self._expire(held, result)
            if held.sets:
                result.problems.append(f"{held.datagrams} datagrams waited for a template that never came")
            self._expire(self._state.unreadable, result)
            self._state.held, self._state.unreadable, self._state.segments = Held(), Held(), []
            self._turn += 1
            result.state_later(self.state_later())
        return result

    def _expire(self, held: Held, result: Decoded) -> None:
        """Count held datagrams as decoded, where another set of theirs was, or as expired."""
        if not held.sets:
            return
        decoded = int(held.decoded.sum())
        result.left += decoded
        if held.datagrams > decoded:
            result.dropped["expired"] = result.dropped.get("expired", 0) + held.datagrams - decoded
        owner = np.empty(held.datagrams, np.int64)
        owner[held.rows["datagram"]] = held.rows["exporter"]
        deltas = Deltas(self._state)
        deltas.add("held", owner, np.full(len(owner), -1, np.int64))
        deltas.add("decoded", owner[held.decoded])
        deltas.add("expired", owner[~held.decoded])
        result.exporters += deltas.rows()

    def decode(self, chunk: Chunk) -> Decoded:
        """The rows of one chunk and what became of every datagram in it."""
        data = chunk.data
        if not isinstance(data, Datagrams) or not len(data.offset):
            return Decoded(held=self._state.held.datagrams)
        self._turn += 1
        if len(self._plans) > MAX_PLANS:
            self._plans = Plans(self._table)
        intake = Intake(self._roll, self._keeping, data, self._plans)
        intake.read_templates(self._parsed)
        sets = intake.resolve(chunk.segment, *self._hold)
        result = Decoded(entered=len(data.offset))
        result.batches = self._batches(sets, intake, result.redacted)
        intake.account(result, self._offset)
        result.batches += intake.self_events(chunk.segment, self._observer)
        intake.drop_gone()
        if self._state.unreadable.sets:
            result.problems.append("datagrams that waited for a template were sealed with another key, and are lost")
            self._expire(self._state.unreadable, result)
            self._state.unreadable = Held()
        self.rejected = intake.rejected(chunk.segment)
        result.state_later(self.state_later())
        return result

    def state_later(self) -> Callable[[], bytes]:
        """What makes the state's bytes as it is now; RuntimeError once the decoder went on."""
        state, turn = self._state, self._turn

        def make() -> bytes:
            if turn != self._turn:
                raise RuntimeError("the decoder went on before its state was made")
            return state.dump(self._key)

        return make

    @property
    def templates(self) -> int:
        """How many templates are known, over all exporters and domains."""
        return sum(len(item.templates) for item in self._state.exporters)

    @property
    def held(self) -> int:
        """How many datagrams wait for a template."""
        return self._state.held.datagrams

    def _offset(self, item: Exporter) -> int:
        return self._offsets.get(item.key[:3], 0)

    def _observer(self, item: Exporter) -> str | None:
        known = self._configured.get(item.key[:3])
        return (known.name or None) if known else None

    def _batches(self, sets: Sets, intake: Intake, redacted: dict[str, int]) -> list[Batch]:
        """Options first, for what they say about samplers counts for the flows beside them."""
        options = self._plans.options[sets.plan]
        numbers = numbered(sets.exporter)[0].tolist()
        for number in numbers:
            self._state.exporters[number].mark()
        live = {number: self._state.exporters[number].samplers for number in numbers}
        before = {number: dict(table) for number, table in live.items() if table}
        boots = {n: [(-1, self._state.exporters[n].boot)] for n in numbers if self._state.exporters[n].boot}
        changes: list[sampling.Change] = []
        said: list[options_names.Said] = []
        batches: list[Batch] = []
        for rows in self._parts(sets.take(options), intake.buffer):
            changes += sampling.announced(rows, self._table.roles)
            for at, number, boot in normalise.announced_boots(rows, self._table.roles):
                if self._state.exporters[number].version == 10:  # v9 says its uptime in every header
                    boots.setdefault(number, []).append((at, boot))
                    self._state.exporters[number].boot = boot
            spoken = rows.sets.exporter
            names = self._localise(rows, intake)
            columns = normalise.options(rows, intake.buffer, names)
            batches.append(assemble("flow_options", columns))
            rows.sets.exporter = spoken
            said += options_names.announced(rows, columns, self._table.roles, intake.buffer)
            _add(redacted, rows.redacted)
        changes = sampling.follow(live, sorted(changes, key=lambda change: change[0]))
        renamed = options_names.follow(self._state.exporters, said)
        flows = sets.take(~options) if options.any() else sets
        normalise.apply_boots(flows, boots)
        done: list[Batch] = []
        for rows in self._parts(flows, intake.buffer):
            used = {number: local for local, number in enumerate(numbered(rows.sets.exporter)[0].tolist())}
            names = self._localise(rows, intake)
            mine = {used[e]: table for e, table in before.items() if e in used}
            later = [(at, used[e], i, rate) for at, e, i, rate in changes if e in used]
            columns = normalise.flows(rows, intake.buffer, names, self._table.roles, mine, later, due=self._due)
            tables = [self._state.exporters[number].names for number in used]
            here = [(at, used[e], kind, ident, old) for at, e, kind, ident, old in renamed if e in used]
            options_names.fill(rows, columns, self._table.roles, intake.buffer, tables, here)
            done.append(assemble("flow", columns))
            _add(redacted, rows.redacted)
        return done + batches

    def _parts(self, sets: Sets, buffer: Array) -> Iterator[Rows]:
        """The sets' rows, in as few parts as the bounds on a batch allow."""
        if not len(sets.plan):
            return
        tables = self._plans.tables(sets.plan)
        used, local = numbered(tables.shape[tables.slot[sets.plan]])
        shapes = [self._plans.shapes[number] for number in used.tolist()]
        widths = {name: max(width, 17) for shape in shapes for name, _, width in shape.columns}
        size = sum(widths.values()) * int(sets.records.sum())
        if len(used) > 1 and size > SPARSE_BYTES:
            wide = np.array([sum(max(width, 17) for _, _, width in shape.columns) for shape in shapes], np.int64)
            if size > SPARSE_FACTOR * int((wide[local] * sets.records).sum()):
                place = np.empty(len(used), np.int64)
                place[np.argsort(wide, kind="stable")] = np.arange(len(used))
                narrow = place[local] < len(used) // 2
                yield from self._parts(sets.take(narrow), buffer)
                yield from self._parts(sets.take(~narrow), buffer)
                return
        if len(local) > 1 and (len(widths) > BATCH_COLUMNS or len(used) > BATCH_PLANS or size > BATCH_BYTES):
            half = len(local) // 2
            yield from self._parts(sets.take(slice(half)), buffer)
            yield from self._parts(sets.take(slice(half, None)), buffer)
            return
        yield build(sets.take(slice(None)), self._plans, buffer)

    def _localise(self, rows: Rows, intake: Intake) -> Names:
        """Renumber the exporters and segments of these rows from 0; say what the numbers stand for."""
        numbers, rows.sets.exporter = numbered(rows.sets.exporter)
        segments, rows.sets.segment = numbered(rows.sets.segment)
        exporters = [self._state.exporters[number] for number in numbers.tolist()]
        known = [self._configured.get((item.family, item.high, item.low)) for item in exporters]
        return Names(
            segments=[intake.segments[number] for number in segments.tolist()],
            addresses=[item.address or None for item in exporters],
            observers=[(item.name or None) if item else None for item in known],
            versions=np.array([item.version for item in exporters], np.uint8),
            domains=np.array([item.domain for item in exporters], np.uint32),
            rates=np.array([item.sampling_rate if item else 0 for item in known], np.int64),
        )


def _add(totals: dict[str, int], more: dict[str, int]) -> None:
    for name, number in more.items():
        totals[name] = totals.get(name, 0) + number
