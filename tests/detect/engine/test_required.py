"""Literals that every match of an expression holds: right, or none."""

from __future__ import annotations

from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.atoms import Atom
from csirt.detect.engine import text
from csirt.detect.engine.required import beginning, literals, neighbours
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


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("^[ab]{2}\\.", [b"ab", b"ab", b"."]),
        ("(?i)^aK", [b"Aa"]),
        ("^\\d{1,}x", [b"0123456789"]),
        ("^a*b", []),
        ("^[^a]b", []),
        ("(?m)^abc", []),
        ("abc", []),
        ("^abc|d", []),
        ("^é", []),
        ("^[a-é]", []),
        ("[[:alpha:]]", []),
        ("(", []),
    ],
)
def test_the_bytes_of_a_texts_beginning(pattern: str, wanted: list[bytes]) -> None:
    """What the first places have to be, or nothing where that cannot be said."""
    assert [bytes(sorted(place)) for place in beginning(pattern)] == wanted


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("[a-z]+\\.[ \"']{1}", (b".", b" \"'")),
        ("\\s-c\\s", (b"-", b"c")),
        ("a{2,}", (b"a", b"a")),
        ("(?i)a-", (b"Aa", b"-")),
        ("a?-", None),
        ("a(b)c", None),
        ("ab|c", None),
        ("(?i)kk", None),
        ("éé", None),
        ("a$b", None),
        ("[[:alpha:]]a", None),
        ("[a-z][a-z0-9][A-Z]", (b"abcdefghijklmnopqrstuvwxyz", b"0123456789abcdefghijklmnopqrstuvwxyz")),
        ("[a-zA-Z0-9][a-zA-Z0-9]", None),
        ("(", None),
    ],
)
def test_two_neighbours_of_every_match(pattern: str, wanted: tuple[bytes, bytes] | None) -> None:
    """The rarest there are, or none where that cannot be said."""
    found = neighbours(pattern)
    assert (found and tuple(bytes(sorted(place)) for place in found)) == wanted


STARTS = st.lists(
    st.sampled_from(
        ["\\s", "a", "[ab]", "[a-c]{2}", "\\d", "[Kk]{1,}", "s", "[^a]", ".", "é", "b?", "(?:a|b)", "\\.", "x{0}"]
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(
    STARTS,
    st.sampled_from(["^", "(?i)^", "(?m)^", "(?s)^", ""]),
    st.lists(st.text(alphabet="abcKſksé1.x\n\v ", max_size=6), min_size=1, max_size=30),
    st.booleans(),
)
def test_looking_at_bytes_first_loses_no_match(pieces: list[str], head: str, texts: list[str], few: bool) -> None:
    """In few values and many, in a slice of a column."""
    atom = Atom("f", "re", head + "".join(pieces))
    values = pa.array(["abc", *texts], pa.string()).slice(1)
    with patch.object(text, "FEW_BEGINNINGS", -1), patch.object(text, "FEW_VALUES", 1 << 40 if few else -(1 << 40)):
        found = Scanner({"f": [atom]}).look(atom, values)
    assert found.tolist() == pc.indices_nonzero(pc.match_substring_regex(values, atom.argument)).to_pylist()
