"""A thousand random tamperings with the audit of a store that the whole way has made: every one is found."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import orjson
import pytest

from csirt.app import App
from csirt.configfile import load
from csirt.control.verbs import Context, call
from csirt.model.principal import Principal
from csirt.stores.embedded.catalogue import chain
from tests.corpus import Inputs, make

SEED = int(os.environ.get("CSIRT_SEED", "20261123"))
TRIES = 1_000
COLUMNS = ("seq", "time", "actor", "category", "action", "subject", "hash", "doc")
UPDATE = "UPDATE audit SET doc = ?, hash = ?, time = ?, actor = ?, category = ?, action = ?, subject = ? WHERE seq = ?"
Tamper = Callable[[apsw.Connection, random.Random, int], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inputs, Path, str]:
    """A store with plans, changes, accesses and refusals in its audit; and its sealed head."""
    inputs = make(tmp_path_factory.mktemp("inputs"), flows=200)
    store = tmp_path_factory.mktemp("store") / "store"
    words = [sys.executable, "-m", "csirt", "replay", *map(str, inputs.files)]
    subprocess.run([*words, "--config", str(inputs.config), "--store", str(store)], check=True, capture_output=True)
    app = App(load(inputs.config), store_directory=store)
    try:
        who = Context(app.store, app.config, Principal("kari", 1001, "lead"), app.clock, app.part)
        cases = [case["id"] for case in call(who, "cases.list", {})["items"]]
        for turn in range(30):
            call(who, "cases.note", {"cases": cases[:1], "text": f"note {turn}"})
            call(who, "alerts.list", {})
        head = call(who, "audit.seal", {})["head"]
    finally:
        app.close()
    return inputs, store, str(head)


@pytest.fixture
def connection(made: tuple[Inputs, Path, str], tmp_path: Path) -> Iterator[apsw.Connection]:
    """A copy of the store's catalogue, opened as somebody with the file would open it."""
    target = tmp_path / "store"
    shutil.copytree(made[1], target)
    opened = apsw.Connection(str(target / "catalogue.sqlite"))
    yield opened
    opened.close()


def forged(document: bytes | str, rng: random.Random) -> bytes:
    """An entry with one field changed."""
    entry = orjson.loads(document)
    field = rng.choice(("actor", "action", "subject", "category", "time", "detail", "uid"))
    new = {"time": entry["time"] + rng.randrange(1, 10**9), "detail": {"n": rng.random()}, "uid": entry["uid"] + 1}
    entry[field] = new.get(field, f"{entry[field]}{rng.randrange(10)}")
    return chain.canonical(entry)


def edit(connection: apsw.Connection, rng: random.Random, last: int) -> None:
    """Change a column, a byte of the document, or an entry with a hash that fits it."""
    seq = rng.randint(1, last)
    kind = rng.choice(("column", "byte", "entry", "hash"))
    document = str(connection.execute("SELECT doc FROM audit WHERE seq = ?", (seq,)).get)
    if kind == "column":
        column = rng.choice(("actor", "category", "action", "subject"))
        connection.execute(f"UPDATE audit SET {column} = {column} || 'x' WHERE seq = ?", (seq,))
    elif kind == "byte":
        at = rng.randrange(len(document))
        sign = rng.choice([c for c in "abcXYZ019 {}" if c != document[at]])
        connection.execute("UPDATE audit SET doc = ? WHERE seq = ?", (document[:at] + sign + document[at + 1 :], seq))
    elif kind == "hash":
        connection.execute("UPDATE audit SET hash = ? WHERE seq = ?", (rng.randbytes(32).hex(), seq))
    else:
        raw = forged(document, rng)
        entry = orjson.loads(raw)
        connection.execute(
            UPDATE,
            (raw.decode(), chain.hash_of(raw), *(entry[name] for name in COLUMNS[1:6]), seq),
        )


def delete(connection: apsw.Connection, rng: random.Random, last: int) -> None:
    """Take one entry or a run of them out; half the time the gap is closed."""
    first = rng.randint(1, last - 1)
    count = rng.randint(1, min(5, last - first))
    connection.execute("DELETE FROM audit WHERE seq BETWEEN ? AND ?", (first, first + count - 1))
    if rng.random() < 0.5:
        connection.execute("UPDATE audit SET seq = -(seq - ?) WHERE seq > ?", (count, first))
        connection.execute("UPDATE audit SET seq = -seq WHERE seq < 0")


def insert(connection: apsw.Connection, rng: random.Random, last: int) -> None:
    """Put a copy of an entry, changed, before another or at the end, with the right link backwards."""
    seq = rng.randint(1, last + 1)
    connection.execute("UPDATE audit SET seq = -(seq + 1) WHERE seq >= ?", (seq,))
    connection.execute("UPDATE audit SET seq = -seq WHERE seq < 0")
    source = connection.execute("SELECT doc FROM audit WHERE seq != ? LIMIT 1 OFFSET ?", (seq, rng.randrange(last))).get
    before = connection.execute("SELECT hash FROM audit WHERE seq = ?", (seq - 1,)).get if seq > 1 else ""
    raw = chain.canonical({**orjson.loads(forged(source, rng)), "seq": seq, "previous": before})
    entry = orjson.loads(raw)
    row = (*(entry[name] for name in COLUMNS[:6]), chain.hash_of(raw), raw.decode())
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def swap(connection: apsw.Connection, rng: random.Random, last: int) -> None:
    """Let two entries change places."""
    one, other = rng.sample(range(1, last + 1), 2)
    for old, new in ((one, -1), (other, one), (-1, other)):
        connection.execute("UPDATE audit SET seq = ? WHERE seq = ?", (new, old))


def cut(connection: apsw.Connection, rng: random.Random, last: int) -> None:
    """Cut the tail off, and with it every trace inside the store."""
    connection.execute("DELETE FROM audit WHERE seq >= ?", (rng.randint(1, last),))
    forget(connection)


def rewrite(connection: apsw.Connection, rng: random.Random, last: int) -> None:
    """Change an entry and compute the whole rest of the chain anew."""
    seq = rng.randint(1, last)
    rows = connection.execute("SELECT seq, doc FROM audit WHERE seq >= ? ORDER BY seq", (seq,)).fetchall()
    before = connection.execute("SELECT hash FROM audit WHERE seq = ?", (seq - 1,)).get if seq > 1 else ""
    for number, document in rows:
        raw = forged(document, rng) if number == seq else document.encode()
        raw = chain.canonical({**orjson.loads(raw), "previous": before})
        entry, before = orjson.loads(raw), chain.hash_of(raw)
        connection.execute(
            UPDATE,
            (raw.decode(), before, *(entry[name] for name in COLUMNS[1:6]), number),
        )
    forget(connection)


def forget(connection: apsw.Connection) -> None:
    """Remove what the store remembers of its chain's end."""
    connection.execute("DELETE FROM audit_seal")
    connection.execute("DELETE FROM meta WHERE key = 'audit_head'")


KINDS: tuple[Tamper, ...] = (edit, delete, insert, swap, cut, rewrite)


def test_a_thousand_random_tamperings_are_found(made: tuple[Inputs, Path, str], connection: apsw.Connection) -> None:
    """Edits, deletions, insertions, swaps, cut tails and rewritten chains, at random: the sealed head and the chain
    show every one; within a minute. A chain nobody touched is whole before and after."""
    head = chain.parse_head(made[2])
    assert chain.verify(connection, [head]).first_bad is None
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    tried: dict[str, int] = {}
    begin = time.monotonic()
    for number in range(TRIES):
        tamper = rng.choice(KINDS)
        connection.execute("SAVEPOINT whole")
        tamper(connection, rng, head.seq)
        verdict = chain.verify(connection, [head])
        connection.execute("ROLLBACK TO whole")
        connection.execute("RELEASE whole")
        assert verdict.first_bad is not None and verdict.reason, (SEED, number, tamper.__name__)
        tried[tamper.__name__] = tried.get(tamper.__name__, 0) + 1
    assert time.monotonic() - begin < 60
    assert set(tried) == {kind.__name__ for kind in KINDS} and head.seq > 60
    assert chain.verify(connection, [head]).first_bad is None


@pytest.mark.parametrize("tamper", KINDS, ids=lambda kind: str(kind.__name__))
def test_the_command_says_so(
    tamper: Tamper, made: tuple[Inputs, Path, str], connection: apsw.Connection, tmp_path: Path
) -> None:
    """`csirt audit verify --head` exits 1 and names the first bad entry; without tampering it exits 0."""
    inputs, _, head = made
    words = [sys.executable, "-m", "csirt", "audit", "verify", "--head", head, "--json"]
    words += ["--config", str(inputs.config), "--store", str(tmp_path / "store")]
    if tamper is edit:
        connection.close()
        assert subprocess.run(words, capture_output=True, check=False).returncode == 0
        connection = apsw.Connection(str(tmp_path / "store" / "catalogue.sqlite"))
    tamper(connection, random.Random(tamper.__name__), chain.parse_head(head).seq)
    connection.close()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["whole"] is False and document["first_bad"] >= 1 and document["reason"]
