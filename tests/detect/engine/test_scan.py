"""The literal scan's work is bound by the texts' bytes times the literals that share a window, whatever the texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from csirt.detect.atoms import Atom
from csirt.detect.engine import literals as indices
from csirt.detect.engine import scan
from csirt.detect.engine.text import Scanner
from csirt.model.batch import Array

BLOCK = "".join(f"{number:03}" for number in range(100))
# Literals that share what texts are full of, beside a text that nearly holds each of them again and again, and how many
# bytes of each literal may be read for a byte of text.
HOSTILE = {
    "a run with another end": (["zq" * 300 + "e"], "zq" * 2000, 8),
    "a run with another beginning": (["e" + "zq" * 300], "zq" * 2000, 8),
    "a run with a break": (["a" * 300 + "b" + "a" * 300], ("a" * 299 + "b") * 14, 8),
    "many ends of one run": (["a" * 60 + f"b{number}" for number in range(40)], "a" * 59 + ("b" + "a" * 60) * 60, 8),
    "a text of near misses": ([BLOCK + "x"], BLOCK * 14, 8),
    "a short run": (["a" * 64], ("a" * 63 + "b") * 60, indices.LONG),
}


class Counted:
    """Bytes of literals, each reading of one counted."""

    def __init__(self, data: Array) -> None:
        self.data = data
        self.read = 0

    def __getitem__(self, at: int) -> int:
        self.read += 1
        return int(self.data[at])


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[Counted]:
    """The loops as plain Python, and the bytes of literals that they read."""
    found: list[Counted] = []
    plain, compare = scan.literals.py_func, scan.same.py_func  # type: ignore[attr-defined]

    def counting(*given: Any) -> int:
        *before, pool, last, out = given
        found.append(Counted(pool))
        with np.errstate(over="ignore"):
            return int(plain(*before, found[-1], last, out))

    monkeypatch.setattr(scan, "literals", counting)
    monkeypatch.setattr(scan, "same", compare)
    monkeypatch.setattr(indices, "FEW", 0)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_costs_its_bytes_per_literal_of_a_window(name: str, pools: list[Counted]) -> None:
    """Not its bytes times the literals' length: what two near misses have in common is not compared over and over."""
    wanted, text, factor = HOSTILE[name]
    search = indices.Literals([("f", item.encode(), False, False) for item in wanted])
    data = np.frombuffer(text.encode(), np.uint8)
    for _ in search.find(["f"], np.array([0, 1]), data, np.array([0, len(data)], np.int32)):
        pass
    assert sum(pool.read for pool in pools) <= factor * len(data) * len(wanted)


def test_a_long_literal_that_only_repeats_is_left_to_another_search(pools: list[Counted]) -> None:
    """No window of it comes by once: it is found all the same, and hostile text costs the scan nothing."""
    atoms = [Atom("f", "contains", "a" * 1000), Atom("f", "wild", ("(?s)^(?:.*" + "a" * 1000 + ".*b)$", "a" * 1000))]
    texts = pa.array([("a" * 999 + "b") * 4, "x" + "a" * 1000 + "b"])
    scanner = Scanner({"f": [*atoms, Atom("f", "contains", "needle")]})
    (hits,) = scanner.scan([("f", texts)])
    assert {atom: where.tolist() for atom, where in hits.items()} == {atom: [1] for atom in atoms}
    assert sum(pool.read for pool in pools) == 0
