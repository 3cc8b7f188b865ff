"""How many templates are kept: a share for every exporter, and one for all exporters together that are not listed.

Where a share is full, the template that was refreshed least recently goes; so does, where that is configured, one that
was not refreshed for long. Nothing depends on how datagrams are cut into chunks.
"""

from __future__ import annotations

from itertools import takewhile

from csirt.decode.netflow.state import Exporter, State
from csirt.decode.netflow.templates import Definition, Signature

MAX_TEMPLATES = 4_096  # of one exporter, version and domain
MAX_FIELDS = 65_536  # of them together
MAX_WEIGHT = 400_000  # of all exporters that are not listed
TEMPLATE = 4  # what a template weighs beside its fields


class Keeping:
    """The templates of a state. `expiry`: microseconds without a refresh after which one is forgotten, 0 never."""

    def __init__(self, state: State, expiry: int) -> None:
        self.state = state
        self.expiry = expiry
        self.rebuild()

    def rebuild(self) -> None:
        """Weigh the templates anew, after exporters were numbered anew."""
        self._fields: dict[int, int] = {}
        self._others: dict[tuple[int, int], int] = {}  # of exporters that are not listed: what they weigh
        self._order: dict[tuple[int, int], int] = {}  # of all, where they expire: when they were refreshed
        self._weight = 0
        order: list[tuple[int, int, int]] = []
        for number, item in enumerate(self.state.exporters):
            order += [(item.refreshed[ident][1], number, ident) for ident in item.templates]
        for _, number, ident in sorted(order):
            self._note(number, ident)

    def put(self, number: int, ident: int, signature: Signature, clock: int) -> list[tuple[int, int]] | None:
        """Keep one, or refresh it. Returns what had to go for it, as (exporter number, template); None where it can
        never fit."""
        if signature.count > MAX_FIELDS:
            return None
        exporter = self.state.exporters[number]
        old = exporter.templates.get(ident)
        if old is not None:
            if (old is signature or old == signature) and self._roomy(number, exporter):
                self._refresh(number, ident, exporter, clock)
                return []
            self.remove(number, ident)
        gone: list[tuple[int, int]] = []
        fields = signature.count
        while len(exporter.templates) >= MAX_TEMPLATES or self._fields.get(number, 0) + fields > MAX_FIELDS:
            gone.append((number, next(iter(exporter.templates))))
            self.remove(*gone[-1])
        if not exporter.listed:
            while self._others and self._weight + fields + TEMPLATE > MAX_WEIGHT:
                gone.append(next(iter(self._others)))
                self.remove(*gone[-1])
        self.state.definitions += 1
        exporter.templates[ident] = signature
        exporter.refreshed[ident] = (clock, self.state.definitions)
        exporter.change_templates()
        self._note(number, ident)
        return gone

    def learn(self, number: int, definitions: list[Definition], clock: int) -> bool:
        """Keep what one set of templates says where all of it is new and there is room; False where it is not."""
        exporter = self.state.exporters[number]
        sizes = {item.template: item.signature.count for item in definitions if item.signature is not None}
        more = sum(sizes.values())
        weight = 0 if exporter.listed else more + TEMPLATE * len(sizes)
        if len(sizes) < len(definitions) or not exporter.templates.keys().isdisjoint(sizes):
            return False
        fields = self._fields.get(number, 0) + more
        if len(exporter.templates) + len(sizes) > MAX_TEMPLATES or fields > MAX_FIELDS:
            return False
        if weight and self._weight + weight > MAX_WEIGHT:
            return False
        said = self.state.definitions
        for item in definitions:
            assert item.signature is not None
            said += 1
            exporter.templates[item.template] = item.signature
            exporter.refreshed[item.template] = (clock, said)
            if self.expiry:
                self._order[number, item.template] = clock
        if weight:
            self._others |= {(number, ident): size + TEMPLATE for ident, size in sizes.items()}
        self.state.definitions, self._weight, self._fields[number] = said, self._weight + weight, fields
        exporter.mark_templates()
        return True

    def refresh(self, number: int, definitions: list[Definition], clock: int) -> int:
        """Refresh what one set of templates says again; how many of its first ones were known as they are."""
        exporter = self.state.exporters[number]
        templates, refreshed, said = exporter.templates, exporter.refreshed, self.state.definitions
        if not templates or not self._roomy(number, exporter):
            return 0
        done, order, expiry, others = 0, self._order, self.expiry, None if exporter.listed else self._others
        for item in definitions:
            ident, signature = item.template, item.signature
            if signature is None or templates.get(ident) is not signature:
                break
            done += 1
            del templates[ident]
            templates[ident] = signature
            refreshed[ident] = (clock, said + done)
            if expiry:
                key = (number, ident)
                del order[key]
                order[key] = clock
            if others is not None:
                key = (number, ident)
                others[key] = others.pop(key)
        if done:
            self.state.definitions += done
            exporter.mark_templates()
        return done

    def _roomy(self, number: int, exporter: Exporter) -> bool:
        """Whether nothing is beyond its share, as it may be after the configuration changed."""
        within = len(exporter.templates) <= MAX_TEMPLATES and self._fields[number] <= MAX_FIELDS
        return within and (exporter.listed or self._weight <= MAX_WEIGHT)

    def _refresh(self, number: int, ident: int, exporter: Exporter, clock: int) -> None:
        """The same again: it becomes the last to go."""
        self.state.definitions += 1
        exporter.templates[ident] = exporter.templates.pop(ident)
        exporter.refreshed[ident] = (clock, self.state.definitions)
        exporter.mark_templates()
        key = (number, ident)
        if self.expiry:
            del self._order[key]
            self._order[key] = clock
        if not exporter.listed:
            self._others[key] = self._others.pop(key)

    def remove(self, number: int, ident: int) -> None:
        """Forget one."""
        exporter = self.state.exporters[number]
        signature = exporter.templates.pop(ident)
        del exporter.refreshed[ident]
        if self.expiry:
            del self._order[number, ident]
        exporter.change_templates()
        self._fields[number] -= signature.count
        if not exporter.listed:
            self._weight -= self._others.pop((number, ident))

    def aged(self, clock: int) -> list[tuple[int, int]]:
        """Every template that was not refreshed for too long, the oldest first."""
        if not self.expiry:
            return []
        return [where for where, _ in takewhile(lambda item: clock - item[1] > self.expiry, self._order.items())]

    def _note(self, number: int, ident: int) -> None:
        exporter = self.state.exporters[number]
        fields = exporter.templates[ident].count
        if self.expiry:
            self._order[number, ident] = exporter.refreshed[ident][0]
        self._fields[number] = self._fields.get(number, 0) + fields
        if not exporter.listed:
            weight = self._others[number, ident] = fields + TEMPLATE
            self._weight += weight
