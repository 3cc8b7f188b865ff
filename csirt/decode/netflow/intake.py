"""One chunk on its way to rows: exporters, templates in force, held sets, and what became of every datagram."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from csirt.decode.netflow import follow, limits, numbering, periods, scan
from csirt.decode.netflow.counts import Deltas
from csirt.decode.netflow.current import plan_numbers
from csirt.decode.netflow.holding import Entries, Outcome, keep, settle
from csirt.decode.netflow.keeping import Keeping
from csirt.decode.netflow.parsed import Parsed
from csirt.decode.netflow.plans import Plans
from csirt.decode.netflow.roll import UNLISTED, Roll
from csirt.decode.netflow.rows import Sets
from csirt.decode.netflow.state import Exporter
from csirt.decode.netflow.templates import Definition
from csirt.model.batch import Array, Batch, Decoded
from csirt.model.chunk import Datagrams

REJECTED = 1_000
# What became of a datagram.
OUTCOMES = ("left", "held", "expired", "malformed", "unknown_version", "unlisted_exporter")
LEFT, HELD, EXPIRED, MALFORMED, UNKNOWN, STRANGER = range(len(OUTCOMES))


class Intake:
    """The bookkeeping of one chunk. Call `read_templates`, `resolve`, `account` in this order."""

    def __init__(self, roll: Roll, keeping: Keeping, data: Datagrams, plans: Plans) -> None:
        self.state = roll.state
        self._roll, self._keeping = roll, keeping
        self.buffer = _read_only(data.buffer)
        self._plans = plans
        self._data = data
        self._frame = np.ascontiguousarray(data.frame, np.int64)
        self._time = np.ascontiguousarray(data.time, np.int64)
        self._clock = np.maximum(np.maximum.accumulate(self._time), self.state.clock)
        self._scan(np.ascontiguousarray(data.offset, np.int64), np.ascontiguousarray(data.length, np.int64))
        self._find_exporters()
        self.bad = np.zeros(len(self.s_id), np.int64)
        self.good = np.zeros(len(self.s_id), bool)
        self._changes: list[tuple[int, int, int]] = []  # before set, slot, plan
        self._used: dict[int, int] = {}  # by exporter: definitions for which this chunk has data
        self.forgotten: dict[str, int] = {}

    def _scan(self, offset: Array, length: Array) -> None:
        count = len(offset)
        self.status = np.zeros(count, np.int64)
        first_m, first_s = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
        empty = np.empty((0, scan.M_WIDTH), np.int64), np.empty((0, scan.S_WIDTH), np.int64)
        scan.scan(self.buffer, offset, length, self.status, first_m, first_s, False, *empty)
        first_m, first_s = np.cumsum(first_m), np.cumsum(first_s)
        messages = np.empty((int(first_m[-1]), scan.M_WIDTH), np.int64)
        sets = np.empty((int(first_s[-1]), scan.S_WIDTH), np.int64)
        scan.scan(self.buffer, offset, length, self.status, first_m, first_s, True, messages, sets)
        columns = np.ascontiguousarray(messages.T)
        self.m_datagram, self.m_version, self.m_export, self.m_uptime = columns[:4]
        self.m_sequence, self.m_domain, self.m_sampling, self.m_bad = columns[4:]
        self.m_behind = self.m_bad // scan.BEHIND  # whole messages with octets behind them that are not theirs
        self.m_bad = self.m_bad % scan.BEHIND + self.m_behind
        self.s_message, self.s_id, self.s_offset, self.s_length = np.ascontiguousarray(sets.T)
        self.s_datagram = self.m_datagram[self.s_message]
        self.s_version = self.m_version[self.s_message]
        self._first_m = first_m

    def _find_exporters(self) -> None:
        """Number every message's exporter; negative numbers are nobody's."""
        data, datagram = self._data, self.m_datagram
        family = np.asarray(data.family)[datagram].astype(np.int64)
        high = np.asarray(data.high).astype(np.uint64, copy=False)[datagram]
        low = np.asarray(data.low).astype(np.uint64, copy=False)[datagram]
        kind = (family << 48) | (self.m_version << 32) | self.m_domain
        group, first = np.empty(len(datagram), np.int64), np.empty(len(datagram), np.int64)
        zero = np.zeros(len(datagram), np.int64)
        count = numbering.number_keys(kind, high.view(np.int64), low.view(np.int64), zero, group, first)
        parts = (family, high, low, self.m_version, self.m_domain)
        keys = list(zip(*(part[first[:count]].tolist() for part in parts), strict=True))
        self.m_clock = self._clock[datagram]
        self.m_group, self.groups, gone = self._roll.number(keys, group, self.m_clock)
        self.m_exporter = self.groups[self.m_group] if count else np.empty(0, np.int64)
        self.s_exporter = self.m_exporter[self.s_message]
        self._gone = [(int(np.searchsorted(self.s_message, m)), m, number, reason) for m, number, reason in gone]

    def read_templates(self, parsed: Parsed) -> None:
        """Apply every template record in order; remember when it changed what is in force for a set here or held."""
        templated = (self.s_version >= 9) & (self.s_exporter >= 0)
        data = templated & (self.s_id >= 256)
        held = self.state.held.rows
        exporter = np.concatenate([held["exporter"], self.s_exporter[data]])
        template = np.concatenate([held["template"], self.s_id[data]])
        number, first = np.empty(len(exporter), np.int64), np.empty(len(exporter), np.int64)
        zero = np.zeros(len(exporter), np.int64)
        slots = numbering.number_keys(exporter, template, zero, zero, number, first)
        first = first[:slots]
        self._keys = exporter[first], template[first]  # by slot
        self._slots: dict[int, dict[int, int]] = {}
        self.held_slot = number[: len(held["exporter"])]
        self.s_slot = np.full(len(self.s_id), -1, np.int64)
        self.s_slot[data] = number[len(held["exporter"]) :]
        self._current = plan_numbers(self.state.exporters, *self._keys, self._plans)
        first_kind = np.where(self.s_version == 9, 0, 2)
        is_template = templated & ((self.s_id == first_kind) | (self.s_id == first_kind + 1))
        self.bad[(self.s_version >= 9) & (self.s_id < 256) & ~is_template & (self.s_exporter >= 0)] += 1
        self._owned: dict[int, list[int]] = {}
        for slot, owner in enumerate(self._keys[0].tolist() if self._gone else ()):
            self._owned.setdefault(owner, []).append(slot)
        gone = iter([*self._gone, (len(self.s_id) + 1, -1, -1, "")])
        leaving = next(gone)
        current, room, now = -1, 0, -1
        sets = np.flatnonzero(is_template)
        kinds = (self.s_message, self.s_version, self.s_id, self.s_offset, self.s_length, self.s_exporter)
        columns = [column[sets].tolist() for column in (*kinds, self._clock[self.s_datagram])]
        octets = self.buffer.data
        for s, message, version, kind, at, size, owner, clock in zip(sets.tolist(), *columns, strict=True):
            while leaving[0] <= s:
                self._leave(*leaving)
                leaving = next(gone)
            if clock != now:
                now = clock
                self._age(now)
            if message != current:
                current, room = message, limits.DEFINITIONS
            body = bytes(octets[at : at + size]) if room else b""
            definitions, broken = parsed.read(version, kind, body)
            if broken or len(definitions) > room or not room:
                self.bad[s] += max(broken, 1)
            definitions = definitions[:room]
            room -= len(definitions)
            self.good[s] = not broken or bool(definitions)
            definitions = definitions[self._keeping.refresh(owner, definitions, now) :]
            if definitions and not self._learn(s, owner, definitions, now):
                for definition in definitions:
                    self._define(s, owner, definition, now)
        while leaving[2] >= 0:
            self._leave(*leaving)
            leaving = next(gone)
        self._age(int(self._clock[-1]))
        self._changes.sort(key=lambda change: change[0])

    def _learn(self, s: int, number: int, definitions: list[Definition], clock: int) -> bool:
        """Put template records into force after set `s` that are all of templates not known before, and for which
        there is room; False, and nothing is done, where they are not."""
        used = self._used.get(number, 0)
        if used + len(definitions) > limits.CHANGES or not self._keeping.learn(number, definitions, clock):
            return False
        slots = self._slots_of(number)
        plans = self._plans.numbers([item.signature for item in definitions], scan.NO_TEMPLATE) if slots else []
        changes = [
            (s, slot, plan)
            for item, plan in zip(definitions, plans, strict=False)
            if (slot := slots.get(item.template)) is not None
        ]
        self._changes += changes
        self._used[number] = used + len(changes)
        return True

    def _define(self, s: int, number: int, definition: Definition, clock: int) -> None:
        """Put one template record into force after set `s`."""
        exporter, ident = self.state.exporters[number], definition.template
        signature = definition.signature
        if signature is None:
            for gone in [ident] if ident else list(exporter.templates):
                old = exporter.templates.get(gone)
                if old is not None and old.options == definition.options:
                    self._withdraw(s, number, gone)
            return
        old = exporter.templates.get(ident)
        slot = self._slot(number, ident) if old is not signature and old != signature else None
        used = self._used.get(number, 0) + (slot is not None)
        evicted = self._keeping.put(number, ident, signature, clock) if used <= limits.CHANGES else None
        if evicted is None:
            self.bad[s] += 1
            if old is not None:  # data that follows is not what the old definition says
                self._withdraw(s, number, definition.template)
            return
        for other, gone in evicted:
            self._change(s, other, gone, scan.NO_TEMPLATE)
            self._forget("template_evicted")
        if slot is not None:
            self._used[number] = used
            self._changes.append((s, slot, self._plans.number(signature)))

    def _age(self, clock: int) -> None:
        """Templates that were not refreshed for too long by then are not in force from the end of their time on."""
        for number, ident in self._keeping.aged(clock):
            refreshed = self.state.exporters[number].refreshed[ident][0]
            datagram = np.searchsorted(self._clock, refreshed + self._keeping.expiry, side="right")
            self._keeping.remove(number, ident)
            self._change(int(np.searchsorted(self.s_datagram, datagram)), number, ident, scan.NO_TEMPLATE)
            self._forget("template_expired")

    def _leave(self, s: int, message: int, number: int, reason: str) -> None:
        """An exporter is forgotten before set `s`, and what it has here."""
        self._age(int(self.m_clock[message]))
        for ident in list(self.state.exporters[number].templates):
            self._keeping.remove(number, ident)
        self._changes += [(s, slot, scan.GONE) for slot in self._owned.get(number, ())]
        self._forget(reason)

    def _forget(self, reason: str) -> None:
        self.forgotten[reason] = self.forgotten.get(reason, 0) + 1

    def _change(self, s: int, exporter: int, template: int, plan: int) -> None:
        slot = self._slot(exporter, template)
        if slot is not None:
            self._changes.append((s, slot, plan))

    def _slot(self, number: int, ident: int) -> int | None:
        """The slot of a template that a set here or a held one waits for."""
        return self._slots_of(number).get(ident)

    def _slots_of(self, number: int) -> dict[int, int]:
        """An exporter's slots by template."""
        if not self._slots:  # a chunk that only refreshes templates needs none
            for slot, (owner, template) in enumerate(zip(*(key.tolist() for key in self._keys), strict=True)):
                self._slots.setdefault(owner, {})[template] = slot
        return self._slots.get(number, {})

    def _withdraw(self, s: int, number: int, template: int) -> None:
        self._keeping.remove(number, template)
        self._change(s, number, template, scan.NO_TEMPLATE)

    def resolve(self, segment: str, limit: int, age: int) -> Sets:
        """The sets that can be decoded now, older held ones first, in the order their rows shall have."""
        plans = self._plans
        changes = np.array(self._changes, np.int64).reshape(-1, 3)
        plan = np.full(len(self.s_id), scan.NONE, np.int64)
        at, slots, to = (np.ascontiguousarray(changes[:, i]) for i in range(3))
        scan.in_force(self.s_slot, self._current, at, slots, to, plan)
        for version in (5, 7):
            mine = (self.s_version == version) & (self.s_exporter >= 0)
            if mine.any():
                plan[mine] = self._plan_of_fixed(version, plans)
        limits.refuse(plan, self.s_datagram, plans, self.bad)
        records = count(self.buffer, self.s_offset, self.s_length, plan, plans, self.bad)
        waiting = plan == scan.NO_TEMPLATE
        weight = np.where(waiting, self.s_length, records)
        before = np.cumsum(weight) - weight
        start = np.searchsorted(self.s_datagram, np.arange(len(self.status)))
        base = before - before[np.minimum(start, max(len(before) - 1, 0))][self.s_datagram] if len(before) else before
        self._follow_sequence(records, waiting)
        which = np.flatnonzero(waiting)
        new = Entries(
            slot=self.s_slot[which],
            rows={
                "exporter": self.s_exporter[which],
                "template": self.s_id[which],
                "length": self.s_length[which],
                "frame": self._frame[self.s_datagram[which]],
                "base": base[which],
                "time": self._time[self.s_datagram[which]],
                "export": self.m_export[self.s_message[which]],
                "uptime": self.m_uptime[self.s_message[which]],
                "segment": np.full(len(which), len(self.state.segments), np.int64),
                "datagram": self.s_datagram[which] + self.state.held.datagrams,
                "clock": self._clock[self.s_datagram[which]],
            },
            at=which,
            offset=self.s_offset[which],
        )
        self.segments = [*self.state.segments, segment]
        release = (to >= 0) | (to == scan.GONE)
        at, slots, to = at[release], slots[release], to[release]
        when = np.append(self.s_datagram, len(self.status) - 1)[np.minimum(at, len(self.s_datagram))]
        listed = np.array([item.listed for item in self.state.exporters], bool)
        fate = settle(
            self.state.held, self.held_slot, new, at, slots, self._clock[when], limit, age, int(self._clock[-1]), listed
        )
        released = np.flatnonzero(fate >= 0)
        fate[released[to[fate[released]] == scan.GONE]] = -2
        held = self.state.held.rows
        came = np.full(len(fate), len(self.status), np.int64)
        came[fate >= 0] = when[fate[fate >= 0]]
        self._waiting = periods.Waiting(
            np.concatenate([held["exporter"], new.rows["exporter"]]),
            np.concatenate([held["clock"], new.rows["clock"]]),
            fate == -2,
            came,
        )
        self._bad_at_once = self.bad.copy()
        return self._outcome(fate, new, plan, records, base, to, when, plans)

    def _plan_of_fixed(self, version: int, plans: Plans) -> int:
        return next(i for i, signature in enumerate(plans.signatures) if signature.version == version)

    def _outcome(
        self,
        fate: Array,
        new: Entries,
        plan: Array,
        records: Array,
        base: Array,
        to: Array,
        when: Array,
        plans: Plans,
    ) -> Sets:
        """Join what is decoded at once with what a template released."""
        older = self.state.held.sets
        old_fate, new_fate = fate[:older], fate[older:]
        released = new.at[new_fate >= 0]
        at = self.s_datagram.copy()
        plan[released] = to[new_fate[new_fate >= 0]]
        at[released] = when[new_fate[new_fate >= 0]]
        limits.refuse(plan, self.s_datagram, plans, self.bad)
        records[plan == scan.NONE] = 0
        later = np.full(len(plan), scan.NONE, np.int64)
        later[released] = plan[released]
        records = records + count(self.buffer, self.s_offset, self.s_length, later, plans, self.bad)
        self.good |= records > 0
        here = np.flatnonzero(records > 0)
        message, datagram = self.s_message[here], self.s_datagram[here]
        sets = Sets(
            offset=self.s_offset[here], length=self.s_length[here], plan=plan[here], records=records[here],
            export=self.m_export[message], uptime=self.m_uptime[message], time=self._time[datagram],
            frame=self._frame[datagram], base=base[here],
            segment=np.full(len(here), len(self.state.segments), np.int64), exporter=self.s_exporter[here],
            sampling=self.m_sampling[message], at=at[here],
        )  # fmt: skip
        self._outcomes = Outcome(old_fate, new_fate, np.zeros(older, bool))
        which = np.flatnonzero(old_fate >= 0)
        if len(which):
            sets = Sets.join(self._older(which, to[old_fate[which]], when[old_fate[which]], plans), sets)
        self._new = new
        return sets

    def _older(self, which: Array, plan: Array, at: Array, plans: Plans) -> Sets:
        """Sets held from earlier chunks, appended to this chunk's buffer."""
        held = self.state.held
        rows = {name: values[which] for name, values in held.rows.items()}
        offset = (np.cumsum(held.rows["length"]) - held.rows["length"])[which] + len(self.buffer)
        self.buffer = _read_only(np.concatenate([self.buffer, held.data]))
        bad = np.zeros(len(which), np.int64)
        limits.refuse(plan, rows["datagram"], plans, bad)
        records = count(self.buffer, offset, rows["length"], plan, plans, bad)
        self._outcomes.decoded[which] = records > 0
        sets = Sets(
            offset=offset, length=rows["length"], plan=plan, records=records, export=rows["export"],
            uptime=rows["uptime"], time=rows["time"], frame=rows["frame"], base=rows["base"], segment=rows["segment"],
            exporter=rows["exporter"], sampling=np.zeros(len(which), np.int64), at=at,
        )  # fmt: skip
        return sets.take(np.flatnonzero(records > 0))

    def _follow_sequence(self, records: Array, waiting: Array) -> None:
        """What was lost, late, double; what a message with an unknown number of records advances is unknown."""
        units = np.bincount(self.s_message, records, len(self.m_datagram)).astype(np.int64)
        unclear = np.bincount(self.s_message, waiting, len(self.m_datagram)) > 0
        broken = self.m_bad + np.bincount(self.s_message, self.bad, len(self.m_datagram)) > 0
        units[self.m_version == 9] = 1
        units[(unclear | broken) & (self.m_version == 10)] = -1
        units[broken & (self.m_version < 9)] = -1
        exporters = [self.state.exporters[e] if e >= 0 else None for e in self.groups.tolist()]
        rows, gaps = follow.load(exporters)
        group = np.where(self.m_exporter >= 0, self.m_group, -1)
        self.m_lost, self.m_late, self.m_twice, self.m_anew = (np.zeros(len(group), np.int64) for _ in range(4))
        follow.sequence(
            group, self.m_version, self.m_sequence, units, self.m_export, self.m_uptime, self.m_clock, rows, gaps,
            self.m_lost, self.m_late, self.m_twice, self.m_anew,
        )  # fmt: skip
        self.m_units = np.maximum(units, 0)
        follow.save(exporters, rows, gaps)

    def account(self, result: Decoded, offsets: Callable[[Exporter], int]) -> None:
        """Say what became of every datagram, in all and per exporter, and carry over what is still held. `offsets`: how
        far an exporter's clock is known to be off."""
        count_d = len(self.status)
        sets = self.s_datagram

        def per_datagram(values: Array) -> Array:
            return np.bincount(sets, values, count_d)

        fate = np.full(len(self.s_id), 0, np.int64)
        fate[self._new.at] = self._outcomes.new
        pending = per_datagram(fate == -1) > 0
        good = per_datagram(self.good) > 0
        expired = per_datagram(fate == -2) > 0
        broken = (per_datagram(self.bad) > 0) | (np.bincount(self.m_datagram, self.m_bad, count_d) > 0)
        owner = np.full(count_d, UNLISTED, np.int64)
        has = self._first_m[1:] > self._first_m[:-1]
        owner[has] = self.m_exporter[self._first_m[:-1][has]]
        ok = (self.status == scan.OK) & (owner >= 0)
        outcome = np.full(count_d, LEFT)
        for which, what in (
            (broken, MALFORMED), (expired, EXPIRED), (good, LEFT), (pending, HELD), (owner == UNLISTED, STRANGER),
            (self.status == scan.UNKNOWN_VERSION, UNKNOWN), (self.status == scan.MALFORMED, MALFORMED),
        ):  # fmt: skip
            outcome[which] = what  # the last one that is true counts
        self._outcome_of = outcome
        numbers = np.bincount(outcome, minlength=len(OUTCOMES)).tolist()
        tally = {name: number for name, number in zip(OUTCOMES, numbers, strict=True) if number}
        deltas = Deltas(self.state)
        deltas.add("received", owner[ok])
        for name, one in (("decoded", LEFT), ("expired", EXPIRED), ("held", HELD), ("dropped", MALFORMED)):
            if numbers[one]:
                deltas.add(name, owner[ok & (outcome == one)])
        deltas.add("malformed", self.m_exporter, self.m_bad)
        deltas.add("malformed", self.s_exporter, self.bad)
        for name, values in (
            ("sequence_lost", self.m_lost),
            ("sequence_late", self.m_late),
            ("sequence_duplicates", self.m_twice),
            ("sequence_resets", self.m_anew),
        ):
            deltas.add(name, self.m_exporter, values)
        done, gone = keep(self.state, self.buffer, self._new, self._outcomes, self.segments, good, deltas)
        self.events = self._observe(offsets)
        self.state.clock = int(self._clock[-1])
        result.left = tally.pop("left", 0) + done
        tally.pop("held", 0)
        if gone:
            tally["expired"] = tally.get("expired", 0) + gone
        result.dropped = tally
        result.held = self.state.held.datagrams
        result.exporters = deltas.rows()
        result.forgotten = self.forgotten
        self._say(result)

    def _observe(self, offsets: Callable[[Exporter], int]) -> list[periods.Event]:
        exporters = self.state.exporters
        broken = self.m_bad + np.bincount(self.s_message, self._bad_at_once, len(self.m_datagram)).astype(np.int64)
        time = self._time[self.m_datagram]
        messages = periods.Messages(
            self.m_exporter, self.m_clock, time, self.m_export, self.m_lost, self.m_units, broken
        )
        gone = {number: int(self.m_clock[message]) for _, message, number, _ in self._gone}
        known = [offsets(item) for item in exporters]
        return periods.observe(exporters, messages, self._waiting, self._clock, self.state.clock, gone, known)

    def self_events(self, segment: str, observers: Callable[[Exporter], str | None]) -> list[Batch]:
        """What the exporters' closed minutes said, as rows."""
        exporters = self.state.exporters
        if not self.events:
            return []
        names = [observers(item) for item in exporters]
        return [periods.batch(self.events, exporters, names, segment, self._frame, self._clock)]

    def drop_gone(self) -> None:
        """Exporters that are forgotten leave the state for good."""
        leaving = {number for _, _, number, _ in self._gone}
        if not leaving:
            return
        renumbered = self._roll.drop(leaving)
        self._keeping.rebuild()
        held = self.state.held.rows
        held["exporter"] = np.array([renumbered[n] for n in held["exporter"].tolist()], np.int64)

    def rejected(self, segment: str) -> list[tuple[str, int, int, str]]:
        """(segment, frame, octets into the datagram, reason) of what was refused, at most REJECTED of them."""
        refused = np.flatnonzero((self._outcome_of != LEFT) & (self._outcome_of != HELD))[:REJECTED].tolist()
        found = [(int(self._frame[i]), 0, OUTCOMES[self._outcome_of[i]]) for i in refused]
        for m in np.flatnonzero(self.m_bad)[:REJECTED].tolist():
            whole = self.m_bad[m] == self.m_behind[m]
            found.append((int(self._frame[self.m_datagram[m]]), 0, "trailing_octets" if whole else "malformed_set"))
        start = np.asarray(self._data.offset)
        for s in np.flatnonzero(self.bad)[:REJECTED].tolist():
            datagram = int(self.s_datagram[s])
            found.append((int(self._frame[datagram]), int(self.s_offset[s] - 4 - start[datagram]), "malformed_set"))
        return [(segment, *item) for item in sorted(set(found))[:REJECTED]]

    def _say(self, result: Decoded) -> None:
        """A sentence for each thing somebody should look at."""
        for reason, number in sorted(result.dropped.items()):
            result.problems.append(f"{number} datagrams dropped: {reason}")
        behind = int(self.m_behind.sum())
        broken = int(self.bad.sum() + self.m_bad.sum()) - behind
        if broken:
            result.problems.append(f"{broken} sets or messages were malformed")
        if behind:
            result.problems.append(f"{behind} datagrams had octets behind their message, which were not read")


def count(buffer: Array, offset: Array, length: Array, plan: Array, plans: Plans, bad: Array) -> Array:
    """Complete records of every set (0 without a plan); sets that hold none, or end inside one, count in `bad`."""
    records = np.zeros(len(plan), np.int64)
    known = np.flatnonzero(plan >= 0)
    tables = plans.tables(plan[known])
    size = tables.size[tables.slot[plan[known]]]
    records[known] = length[known] // np.maximum(size, 1)
    varies = known[size == 0]
    varies = varies[np.argsort(plan[varies], kind="stable")]
    for which in np.split(varies, np.flatnonzero(np.diff(plan[varies])) + 1) if len(varies) else []:
        item = plans[int(plan[which[0]])]
        scan.count_variable(buffer, offset, length, which, item.sizes, item.least, records, bad)
    bad[known[(records[known] == 0) & (length[known] >= 4) & (bad[known] == 0)]] += 1
    return records


def _read_only(values: Array) -> Array:
    """The same memory, always of one type for the compiled code."""
    view = np.ascontiguousarray(values, np.uint8).view()
    view.flags.writeable = False
    return view
