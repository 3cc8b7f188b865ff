"""The audit chain finds every tampering and names the first bad sequence number."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import apsw
import orjson
import pytest

from csirt.clock import Frozen
from csirt.errors import Usage
from csirt.stores.embedded import open_embedded
from csirt.stores.embedded.catalogue import chain
from tests.stores import build

ENTRIES = 60


@pytest.fixture
def audited(tmp_path: Path) -> tuple[apsw.Connection, chain.Head]:
    """A memory copy of a catalogue with a chain, and its sealed head."""
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        for n in range(ENTRIES):
            store.append_audit([build.entry(f"action-{n % 7}", time=build.START + n, detail={"n": n, "who": "å"})])
        head = store.seal_audit()
        assert store.verify_audit([str(head)]).first_bad is None
        copy = apsw.Connection(":memory:")
        with copy.backup("main", store.database.writer, "main") as work:
            work.step(-1)
    return copy, head


def _edit(connection: apsw.Connection, rng: random.Random) -> int:
    """Change one character, column or field of one entry."""
    seq = rng.randint(1, ENTRIES)
    column = rng.choice(["doc", "doc", "doc", "time", "actor", "category", "action", "subject", "hash"])
    value = connection.execute(f"SELECT {column} FROM audit WHERE seq = ?", (seq,)).get
    if isinstance(value, int):
        changed: object = value + rng.randint(1, 9)
    else:
        at = rng.randrange(len(value))
        changed = value[:at] + ("#" if value[at] != "#" else "+") + value[at + 1 :]
    connection.execute(f"UPDATE audit SET {column} = ? WHERE seq = ?", (changed, seq))
    return seq


def _delete(connection: apsw.Connection, rng: random.Random) -> int:
    seq = rng.randint(1, ENTRIES)
    connection.execute("DELETE FROM audit WHERE seq = ?", (seq,))
    return seq


def _shift(connection: apsw.Connection, rng: random.Random) -> int:
    """Delete an entry and close the gap."""
    seq = rng.randint(1, ENTRIES - 1)
    connection.execute("DELETE FROM audit WHERE seq = ?", (seq,))
    connection.execute("UPDATE audit SET seq = -seq WHERE seq > ?", (seq,))
    connection.execute("UPDATE audit SET seq = -seq - 1 WHERE seq < 0")
    return seq


def _insert(connection: apsw.Connection, rng: random.Random) -> int:
    """Put a well-formed entry in between, with a hash of its own."""
    seq = rng.randint(1, ENTRIES - 1)
    connection.execute("UPDATE audit SET seq = -seq WHERE seq >= ?", (seq,))
    connection.execute("UPDATE audit SET seq = -seq + 1 WHERE seq < 0")
    previous = connection.execute("SELECT hash FROM audit WHERE seq = ?", (seq - 1,)).get if seq > 1 else ""
    forged = asdict(build.entry("forged"))
    del forged["hash"]
    raw = chain.canonical({**forged, "seq": seq, "previous": previous})
    connection.execute(
        "INSERT INTO audit VALUES (?, ?, 'system', 'change', 'forged', 'x', ?, ?)",
        (seq, build.START, chain.hash_of(raw), raw.decode()),
    )
    return seq + 1


def _swap(connection: apsw.Connection, rng: random.Random) -> int:
    one, two = sorted(rng.sample(range(1, ENTRIES + 1), 2))
    connection.execute("UPDATE audit SET seq = -1 WHERE seq = ?", (one,))
    connection.execute("UPDATE audit SET seq = ? WHERE seq = ?", (one, two))
    connection.execute("UPDATE audit SET seq = ? WHERE seq = -1", (two,))
    return one


def _cut(connection: apsw.Connection, rng: random.Random) -> int:
    """Cut the tail off and remove every trace of it inside the store."""
    seq = rng.randint(1, ENTRIES)
    connection.execute("DELETE FROM audit WHERE seq >= ?", (seq,))
    connection.execute("DELETE FROM audit_seal")
    connection.execute("DELETE FROM meta WHERE key = 'audit_head'")
    return seq


def _anew(connection: apsw.Connection, rng: random.Random) -> int:
    """Change an entry and compute every later hash anew, with all traces inside the store adapted."""
    seq = rng.randint(1, ENTRIES)
    rows = connection.execute("SELECT seq, doc FROM audit WHERE seq >= ? ORDER BY seq", (seq,)).fetchall()
    previous = connection.execute("SELECT hash FROM audit WHERE seq = ?", (seq - 1,)).get if seq > 1 else ""
    for number, text in rows:
        document = {**orjson.loads(text), "previous": previous}
        if number == seq:
            document["detail"] = {"n": "forged"}
        raw = chain.canonical(document)
        previous = chain.hash_of(raw)
        connection.execute("UPDATE audit SET doc = ?, hash = ? WHERE seq = ?", (raw.decode(), previous, number))
    connection.execute("DELETE FROM audit_seal")
    connection.execute("DELETE FROM meta WHERE key = 'audit_head'")
    return ENTRIES  # without a copy of the old chain only the sealed link shows it


def _behead(connection: apsw.Connection, rng: random.Random) -> int:
    """Cut the beginning off and pretend that retention did it."""
    seq = rng.randint(1, ENTRIES - 1)
    digest = connection.execute("SELECT hash FROM audit WHERE seq = ?", (seq,)).get
    connection.execute("DELETE FROM audit WHERE seq <= ?", (seq,))
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('audit_base', ?)", (f"{seq}:{digest}",))
    return seq + 1


@pytest.mark.parametrize("tamper", [_edit, _delete, _shift, _insert, _swap, _cut, _anew, _behead])
def test_tampering_is_found(
    audited: tuple[apsw.Connection, chain.Head], tamper: Callable[[apsw.Connection, random.Random], int]
) -> None:
    """1,000 random tamperings over all cases: each is found, and the first bad sequence number is named."""
    connection, head = audited
    rng = random.Random(tamper.__name__)
    for _ in range(125):
        connection.execute("SAVEPOINT whole")
        bad = tamper(connection, rng)
        verdict = chain.verify(connection, [head])
        assert verdict.first_bad == bad, (tamper.__name__, verdict)
        assert verdict.reason
        connection.execute("ROLLBACK TO whole")
        connection.execute("RELEASE whole")
    assert chain.verify(connection, [head]).first_bad is None


def test_a_cut_tail_is_seen_without_a_sealed_head(audited: tuple[apsw.Connection, chain.Head]) -> None:
    """Who only deletes the newest entries is found by what the store itself remembers."""
    connection, _ = audited
    connection.execute("DELETE FROM audit WHERE seq > 50")
    assert chain.verify(connection).first_bad == 51


def test_heads_are_read_strictly() -> None:
    """A sealed head that is none is refused with the form it has."""
    head = chain.Head(7, "a" * 64)
    assert chain.parse_head(f" {head}\n") == head
    for text in ("", "7", "7:abc", "x:" + "a" * 64, "7:" + "A" * 64):
        with pytest.raises(Usage, match="SEQUENCE:HASH"):
            chain.parse_head(text)


def test_ids_name_content_not_time() -> None:
    """The same change at another time has the same id; another change has another."""
    one = build.entry("a", detail={"x": 1, "y": 2})
    same = build.entry("a", time=1, detail={"y": 2, "x": 1})
    assert chain.content_id(one) == chain.content_id(same)
    assert chain.content_id(one) != chain.content_id(build.entry("a", detail={"x": 2, "y": 2}))
