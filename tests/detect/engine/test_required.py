"""Literals that every match of an expression holds: right, or none."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.atoms import Atom
from csirt.detect.engine.required import literals
from csirt.detect.engine.text import Scanner
from csirt.detect.engine.views import fold
from tests.detect.loops import compiled


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("foobar", ("foobar",)),
        ("fo+bar.*x", ("bar",)),
        ("(?:abc|defg)[0-9]+", ("abc", "defg")),
        ("(abc)?long", ("long",)),
        ("(abcdef){2,}x", ("abcdef",)),
        ("^https?://", ("http",)),
        ("(?i)powershell", ("power",)),
        ("[Pp]rogram[dD]ata[0-9]", ("programdata",)),
        ("[ab]xyz[^c]", ("xyz",)),
        ("(?i)[Kk]eep[Ee]r", ("eeper",)),
        ("[Éé]abc", ("abc",)),
        ("(?i)ssks", ()),
        ("[[:alpha:]]foo", ()),
        ("a{,5}foo", ()),
        ("ab", ()),
        ("x*|abc", ()),
        ("(?:abc|d)", ()),
        ("\\x41BCD", ("ABCD",)),
        ("(", ()),
    ],
)
def test_the_longest_sure_literals_are_found(pattern: str, wanted: tuple[str, ...]) -> None:
    """One text, alternatives of which one must stand there, or nothing when that cannot be said."""
    assert literals(pattern) == wanted


PIECES = st.sampled_from(
    ["abc", "ABC", "skK", "ſkK", "é", "É", "x", "\\d", ".", "[a-c]", "[Aa]", "[kK]", "[bc]", "[^a]", "\n"]
)
PATTERNS = st.recursive(
    PIECES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from("?*+")).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "(?i)", "(?s)"]), PATTERNS).map("".join), min_size=4, max_size=6),
    st.lists(st.text(alphabet="abcABCskKſKéÉx1\n", max_size=12), min_size=1, max_size=20),
    st.sampled_from(["auto", "compiled"]),
)
def test_scanning_first_finds_what_the_expression_finds(patterns: list[str], texts: list[str], engine: str) -> None:
    """Case without regard, letters with odd upper cases, alternatives: no match is lost to the scan."""
    values = pa.array(texts, pa.string())
    atoms = [Atom("f", "re", pattern) for pattern in patterns]
    extra = [Atom("f", "contains", fold(text)) for text in ("abcd", "abce", "abcf", "abcg")]
    with compiled(engine == "compiled"):
        found = Scanner({"f": [*atoms, *extra]}).scan([("f", values)])[0]
    for atom in atoms:
        expected = pc.indices_nonzero(pc.match_substring_regex(values, atom.argument)).to_pylist()
        assert list(found.get(atom, [])) == expected
