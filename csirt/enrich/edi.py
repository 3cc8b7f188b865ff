"""EDI rows: HER-ids name the members at both ends; does the message come from where its sender lives?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.enrich.columns import Classes, boolean
from csirt.enrich.prefixes import OUTSIDE
from csirt.enrich.register import Register
from csirt.model.batch import Array, codes
from csirt.model.hours import ALWAYS, written

# Who waits for a message there waits at night too.
NEVER_CLOSED = ("hospital", "laboratory", "amk", "legevakt")


def ends(
    register: Register, classes: Classes, table: pa.Table, source: Array, destination: Array
) -> tuple[Array, Array, dict[str, pa.Array]]:
    """Ends from the HER-ids, the receiver's open hours, and `csirt.edi.sender_mismatch`.

    An end whose HER-id and address belong to the same member keeps what the address says (site, role, zone).

    The sender does not match when its HER-id is not registered or not active, or when the client's address belongs to
    another member or to nobody. Exempt are the sender's operator and supplier, relays and message handlers of the
    common services, and, when several members share the sender's EDI address, every registered address. Null when
    there is no sender, or its HER-id is in order and no client address was seen.
    """
    sender, state = _parties(register, classes, table, "csirt.edi.her_from")
    receiver, _ = _parties(register, classes, table, "csirt.edi.her_to")
    mismatch = _mismatch(register, classes, sender, state, source)
    columns = {
        "csirt.edi.sender_mismatch": boolean(mismatch),
        "csirt.destination.open_hours": codes(classes.member[receiver] + 1, _hours(register)),
    }
    return _end(classes, sender, source), _end(classes, receiver, destination), columns


def _hours(register: Register) -> list[str | None]:
    """The open hours of nobody, then of every member; None where the register does not say."""
    found: list[str | None] = [None]
    for member in register.members():
        always = member.kind in NEVER_CLOSED
        found.append(ALWAYS if always else written(member.open_hours) if member.open_hours else None)
    return found


# What is known of a sender's HER-id.
_ABSENT, _UNKNOWN, _OWN, _SHARED = 0, 1, 2, 3


def _parties(register: Register, classes: Classes, table: pa.Table, name: str) -> tuple[Array, Array]:
    """(class of the party's member or 0, state of its HER-id) per row; the register is asked once per distinct id."""
    rows = table.num_rows
    if name not in table.column_names:
        return np.zeros(rows, np.int32), np.zeros(rows, np.int8)
    encoded = pc.dictionary_encode(pc.cast(table.column(name), pa.string())).combine_chunks()
    found = np.zeros(len(encoded.dictionary) + 1, np.int32)
    state = np.full(len(encoded.dictionary) + 1, _UNKNOWN, np.int8)
    state[-1] = _ABSENT
    for number, text in enumerate(encoded.dictionary.to_pylist()):
        her = register.her(text)
        if her is None:
            continue
        found[number] = classes.of_member(her.member)
        address = register.edi_address(her.edi) if her.edi else None
        if her.active:
            state[number] = _SHARED if address is not None and address.shared else _OWN
    picks = pc.fill_null(pc.cast(encoded.indices, pa.int64()), len(found) - 1).to_numpy()
    return found[picks], state[picks]


def _mismatch(register: Register, classes: Classes, sender: Array, state: Array, client: Array) -> Array:
    """int8: 1 mismatch, 0 in order, -1 cannot be said."""
    result = np.where(client == 0, -1, 0).astype(np.int8)
    member = classes.member
    strange = (client > 0) & (member[client] != member[sender]) & ~_carries(register, classes)[client]
    strange &= ~((state == _SHARED) & (client > OUTSIDE))
    strange &= ~_on_behalf(register, classes, sender, client, strange & (client > OUTSIDE) & (sender > 0))
    result[strange] = 1
    result[state == _UNKNOWN] = 1
    result[state == _ABSENT] = -1
    return result


def _carries(register: Register, classes: Classes) -> Array:
    """Classes of hosts that hand on other members' messages: relays, and message handlers in the common zone."""
    flags = np.zeros(classes.total, np.bool_)
    for number, host in enumerate(register.hosts, 2):
        flags[number] = host.role == "relay" or (host.role == "msh" and host.zone == "common")
    return flags


def _on_behalf(register: Register, classes: Classes, sender: Array, client: Array, rows: Array) -> Array:
    """Among `rows`, those whose client is the operator or supplier of the sender; asked once per distinct pair."""
    result = np.zeros(rows.size, np.bool_)
    picked = np.flatnonzero(rows)
    pairs = classes.member[sender[picked]].astype(np.int64) << 32 | classes.member[client[picked]]
    distinct, inverse = np.unique(pairs, return_inverse=True)
    names = classes.members
    lawful = [names[pair & 0xFFFF_FFFF] in register.operated_by(names[pair >> 32]) for pair in distinct.tolist()]
    result[picked] = np.array(lawful, np.bool_)[inverse]
    return result


def _end(classes: Classes, party: Array, address: Array) -> Array:
    """The address's class where it is the party's own member's or there is no party, the party's otherwise."""
    same = classes.member[party] == classes.member[address]
    return np.where((party == 0) | (same & (address > OUTSIDE)), address, party).astype(np.int32)
