"""String atoms over distinct values: every scanner finds what plain comparison finds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.atoms import Atom
from csirt.detect.engine import text as engine
from csirt.detect.engine.text import Scanner
from csirt.detect.engine.views import fold
from tests.detect.loops import compiled

WORDS = st.text(alphabet="abAB\n\0éÉ*", max_size=9)
KINDS = ("eq", "contains", "startswith", "endswith")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), WORDS, st.booleans()), min_size=1, max_size=12),
    st.lists(WORDS, min_size=1, max_size=12),
    st.sampled_from(["auto", "compiled", "arrow"]),
)
def test_a_scan_finds_what_comparison_finds(
    wanted: list[tuple[str, str, bool]], values: list[str], engine: str
) -> None:
    """Neighbouring values, line ends, zero bytes, empty texts and case never mislead the joined scan."""
    atoms = [Atom("f", kind, text if cased else fold(text), cased) for kind, text, cased in wanted]
    with compiled(engine == "compiled"):
        hits = Scanner({"f": atoms}, engine=engine).scan([("f", pa.array(values, pa.string()))])[0]
    tests = {"eq": str.__eq__, "contains": str.__contains__, "startswith": str.startswith, "endswith": str.endswith}
    for atom in atoms:
        seen = values if atom.cased else [fold(value) for value in values]
        expected = [index for index, value in enumerate(seen) if tests[atom.kind](value, atom.argument)]
        assert hits.get(atom, np.array([])).tolist() == expected


def test_many_literals_over_many_values() -> None:
    """A dictionary as large as a day's DNS names is scanned once for all literals."""
    names = [f"host{number}.member{number % 97}.example" for number in range(20_000)]
    atoms = [Atom("f", "endswith", f"member{number}.example") for number in range(50)]
    hits = Scanner({"f": atoms}).scan([("f", pa.array(names))])[0]
    for number, atom in enumerate(atoms):
        assert hits[atom].tolist() == [i for i in range(20_000) if names[i].endswith(f"member{number}.example")]


@pytest.mark.parametrize(("text", "folded"), [("ABC", "abc"), ("ÆØÅ", "æøå"), ("ẞ", "ß"), ("İ", "i"), ("ς", "ς")])
def test_fold_is_simple_lower_case(text: str, folded: str) -> None:
    """One character stays one character."""
    assert fold(text) == folded


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("a $K\u212a\u00e9", max_size=4), max_size=20),
    st.sampled_from("a $k"),
    st.sampled_from(["startswith", "endswith"]),
)
def test_one_character_at_an_edge(texts: list[str], mark: str, kind: str) -> None:
    """A mark is looked for without folding, a letter with; in a slice of a column, among empty texts."""
    atom = Atom("f", kind, mark)
    column = pa.array(["x$", *texts], pa.string()).slice(1)
    expected = [at for at, text in enumerate(texts) if getattr(fold(text), kind)(mark)]
    assert Scanner({"f": [atom]}).look(atom, column).tolist() == expected


def test_a_huge_expression_is_compiled_with_the_rules_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """It is there before the first batch asks for it, it matches, and what RE2 thinks of its size stays its own."""
    atom = Atom("CommandLine", "wild", ("(?s)\\Aa.*" + "b.b.*" * 3_000 + "\\z", ""))
    before = engine._expression.cache_info().misses
    scanner = Scanner({"CommandLine": [atom]})
    assert engine._expression.cache_info().misses == before + 1
    values = pa.array(["a" + "bxb" * 3_000, "b"])
    assert list(scanner.scan([("CommandLine", values)])[0][atom]) == [0]
    assert engine._expression.cache_info().misses == before + 1 and capfd.readouterr() == ("", "")
