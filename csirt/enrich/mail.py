"""Mail rows: whose domains and EDI addresses they name, foreign recipients, test and production in one message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.enrich.agreed import times
from csirt.enrich.columns import Classes, boolean
from csirt.enrich.register import Register
from csirt.model.batch import Array

_FOREVER = 1 << 62
_USES = ("production", "test", "member", "allowed")
_UNKNOWN = -1


class Domains:
    """Answers about mail domains and addresses, worked out once per distinct text of a batch."""

    def __init__(self, register: Register, classes: Classes) -> None:
        self.register = register
        self.classes = classes

    def owner(self, address: str) -> int:
        """The class of the one member behind an address, by EDI address, then by domain; 0 when there is not one."""
        edi = self.register.edi_address(address)
        if edi is not None:
            return self.classes.of_member(edi.members[0]) if len(edi.members) == 1 and not edi.shared else 0
        return self.owner_of_domain(address.rpartition("@")[2])

    def owner_of_domain(self, text: str) -> int:
        """The class of the one member a domain belongs to; 0 when there is not one."""
        domain = self.register.domain(text)
        if domain is None or domain.shared or len(domain.members) != 1:
            return 0
        return self.classes.of_member(domain.members[0])

    def use(self, text: str) -> tuple[int, int]:
        """(position in `_USES` or -1, the time in us until which the domain is allowed)."""
        domain = self.register.domain(text)
        if domain is None:
            return _UNKNOWN, 0
        return _USES.index(domain.use), domain.until or _FOREVER


def ends(
    domains: Domains, table: pa.Table, source: Array, destination: Array
) -> tuple[Array, Array, dict[str, pa.Array]]:
    """Ends and mail columns. The source is the client's address, or the sender's mail address when there is none; the
    destination is the one member all recipients belong to."""
    rows = table.num_rows
    sender = _common(table, "email.from.address", domains.owner)
    sender = np.where(sender > 0, sender, _common(table, "csirt.mail.from.domain", domains.owner_of_domain))
    source = np.where(source == 0, sender, source).astype(np.int32)
    recipient = _common(table, "email.to.address", domains.owner)
    recipient = np.where(recipient > 0, recipient, _common(table, "csirt.mail.to.domain", domains.owner_of_domain))
    destination = np.where(destination == 0, np.maximum(recipient, 0), destination).astype(np.int32)

    texts, offsets = _lists(table, "csirt.mail.to.domain")
    uses, until = _uses(domains, texts)
    moment = np.repeat(times(table), np.diff(offsets))
    some = np.diff(offsets) > 0
    foreign = _any((uses == _UNKNOWN) | (moment >= until), offsets)
    to_test, to_production = _any(uses == 1, offsets), _any(uses == 0, offsets)
    from_texts, from_offsets = _lists(table, "csirt.mail.from.domain")
    from_uses, _ = _uses(domains, from_texts)
    known = some & (np.diff(from_offsets) > 0)
    from_test, from_production = _any(from_uses == 1, from_offsets), _any(from_uses == 0, from_offsets)
    crossing = (from_test & to_production) | (from_production & to_test)
    nothing = np.full(rows, -1, np.int8)
    columns = {
        "csirt.mail.foreign": boolean(np.where(some, foreign.astype(np.int8), nothing)),
        "csirt.mail.test_crossover": boolean(np.where(known, crossing.astype(np.int8), nothing)),
    }
    return source, destination, columns


def _uses(domains: Domains, texts: pa.Array) -> tuple[Array, Array]:
    encoded = texts.dictionary_encode()
    found = [domains.use(text.as_py()) for text in encoded.dictionary]
    picks = np.asarray(encoded.indices.to_numpy())
    uses = np.array([use for use, _ in found], np.int64)
    until = np.array([until for _, until in found], np.int64)
    return uses[picks], until[picks]


def _lists(table: pa.Table, name: str) -> tuple[pa.Array, Array]:
    """All texts of a list or text column without nulls, and where each row's begin (rows + 1 offsets)."""
    if name not in table.column_names:
        return pa.array([], pa.string()), np.zeros(table.num_rows + 1, np.int64)
    column: Any = table.column(name).combine_chunks()
    if pa.types.is_list(column.type):
        lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy())
        owner = np.repeat(np.arange(len(column)), lengths)
        texts = column.flatten()
    else:
        texts = pc.cast(column, pa.string())
        owner = np.arange(len(column))
    valid = np.asarray(texts.is_valid().to_numpy(zero_copy_only=False))
    counts = np.bincount(owner[valid], minlength=table.num_rows)
    return texts.drop_null(), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _any(flags: Array, offsets: Array) -> Array:
    """Whether any of a row's flags is set."""
    total = np.concatenate([[0], np.cumsum(flags)])
    return np.asarray(total[offsets[1:]] > total[offsets[:-1]])


def _owners(texts: pa.Array, owner: Any) -> Array:
    encoded = texts.dictionary_encode()
    found = np.array([owner(text.as_py()) for text in encoded.dictionary], np.int64)
    return np.asarray(found[np.asarray(encoded.indices.to_numpy())]) if len(found) else np.empty(0, np.int64)


def _common(table: pa.Table, name: str, owner: Any) -> Array:
    """The class all of a row's texts have in common; 0 when there is none, or one text has no owner."""
    texts, offsets = _lists(table, name)
    found = _owners(texts, owner)
    result = np.zeros(table.num_rows, np.int64)
    rows = np.flatnonzero(np.diff(offsets))
    if rows.size:
        least = np.minimum.reduceat(found, offsets[rows])
        greatest = np.maximum.reduceat(found, offsets[rows])
        result[rows] = np.where(least == greatest, least, 0)
    return result
