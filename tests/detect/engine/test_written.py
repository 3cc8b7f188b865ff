"""Keywords in numbers and other values that are no text, and those no scan finds, as the text of a row has them."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.atoms import And, Atom, Leaf, Node, Not
from csirt.detect.columns.tables import from_table
from csirt.detect.columns.values import number_text
from csirt.detect.engine import sweep, written
from csirt.detect.engine.engine import Program
from tests.detect.loops import compiled

WORDS = st.sampled_from(["0", "4", "44", "445", ".5", "-1", "e+", "tr", "@", ":", "x@", "aaa", "a", "1.", "true"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "port": st.sampled_from([0, 4, 44, 445, 65535]),
            "size": st.integers(-(2**63), 2**63 - 1),
            "huge": st.integers(2**63, 2**64 - 1),
            "share": st.sampled_from([0.0, -0.0, 1.5, -1.0, 44.0, 1e300, 4e-9, 0.445]),
            "flag": st.booleans(),
            "text": st.sampled_from(["x@y", "aaaa", "http://a", "445", ""]),
            "list": st.lists(st.sampled_from(["@", "a:b", "no"]), max_size=2),
        },
    ),
    min_size=1,
    max_size=12,
)
KINDS = {
    "port": pa.uint16(),
    "size": pa.int64(),
    "huge": pa.uint64(),
    "share": pa.float64(),
    "flag": pa.bool_(),
    "text": pa.dictionary(pa.int32(), pa.string()),
    "list": pa.list_(pa.string()),
}


def _texts(value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, bool):
        return [str(value).lower()]
    return [value if isinstance(value, str) else number_text(value)]  # type: ignore[arg-type]


def _holds(word: str, row: dict[str, object]) -> bool:
    return any(word in text for value in row.values() for text in _texts(value))


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=5), ROWS, st.booleans(), st.booleans(), st.booleans())
def test_a_keyword_stands_where_a_values_text_holds_it(
    words: list[str], rows: list[dict[str, object]], loops: bool, many: bool, few: bool
) -> None:
    """In columns of any kind, as what wakes a rule and as what is asked of a few rows; digit by digit and as text."""
    table = pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in KINDS.items()})
    nodes: list[Node] = [Leaf(Atom(None, "contains", word)) for word in words]
    pairs = list(zip(words, [*words[1:], words[0]], strict=True))
    nodes += [And((Leaf(Atom(None, "contains", a)), Not(Leaf(Atom(None, "contains", b))))) for a, b in pairs]
    expected = [[at for at, row in enumerate(rows) if _holds(word, row)] for word in words]
    expected += [[at for at, row in enumerate(rows) if _holds(a, row) and not _holds(b, row)] for a, b in pairs]
    share = 0 if few else 1 << 40
    with (
        compiled(loops),
        patch.object(written, "FEW_NUMBERS", 0 if many else 1 << 40),
        patch.object(sweep, "FEW_SHARE", share),
    ):
        found = Program(nodes).run(from_table(table))
    assert [np.asarray(found.get(index, [])).tolist() for index in range(len(nodes))] == expected
