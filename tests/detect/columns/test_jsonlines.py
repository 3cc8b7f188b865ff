"""NDJSON read at once is NDJSON read line by line, or is left to that."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from csirt.detect.columns import jsonlines
from csirt.detect.columns.coded import OTHER, TEXT
from csirt.detect.columns.raw import RawFrame, from_events
from csirt.detect.columns.tables import from_table

VALUES = st.recursive(
    st.one_of(
        st.sampled_from(["a", "", "7", "2026-01-01", "2026-01-01T00:00:00Z", "é", "a\nb"]),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from([1, 7.0, 7.5, -0.0]),
        st.booleans(),
        st.none(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["a", "b", "a.b", "c c"]), inner, max_size=2)
    ),
    max_leaves=4,
)
EVENTS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "a.b", "c c"]), VALUES, max_size=3), min_size=1, max_size=5
)
SAME = st.sampled_from(["text", "whole", "fraction", "truth", "list", "object"]).flatmap(
    lambda kind: st.lists(
        st.dictionaries(
            st.just("a"),
            {
                "text": st.sampled_from(["x", "", "2026-01-01"]),
                "whole": st.integers(-(2**62), 2**62),
                "fraction": st.floats(-1e12, 1e12),
                "truth": st.booleans(),
                "list": st.lists(st.sampled_from(["x", "y"]), max_size=2),
                "object": st.fixed_dictionaries({"b": st.integers(0, 9)}),
            }[kind],
            max_size=1,
        ),
        min_size=1,
        max_size=5,
    )
)


def seen(frame: RawFrame) -> dict[str, Any]:
    """Everything a rule could see of a frame: members with their kind, and where the field is there or null."""
    result = {}
    for name in sorted(frame.names()):
        column = frame.column(name)
        assert column is not None
        found = column.distinct()
        kinds = np.full(len(found.texts), TEXT) if found.kinds is None else found.kinds
        rows = np.arange(frame.rows) if found.parents is None else found.parents
        members = [
            (row, int(kinds[code]), found.texts[code].as_py())
            for row, code in zip(rows.tolist(), found.codes.tolist(), strict=True)
            if code >= 0 and kinds[code] != OTHER
        ]
        if column.present().any():
            result[name] = (members, column.present().tolist(), column.null().tolist())
    return result


@settings(max_examples=400, deadline=None)
@given(st.one_of(EVENTS, SAME), st.sampled_from([b"\n", b"\n\n", b"\r\n"]))
@example([{"a": {"b": {"b": None}}}, {"a.b": {"a": None}}], b"\n")  # two objects of one name
def test_columns_are_what_single_lines_are(events: list[dict[str, Any]], end: bytes) -> None:
    """Mixed types, nulls, nested and empty values, numbers of every size, texts that look like times."""
    try:
        raw = end.join(map(orjson.dumps, events)) + end
    except TypeError:  # beyond 64 bits
        import json

        raw = end.join(json.dumps(event).encode() for event in events) + end
    table = jsonlines.columns(raw)
    if table is not None:
        plain = from_events([orjson.loads(line) for line in raw.split(b"\n") if line.strip()])
        assert seen(from_table(*table)) == seen(plain)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":[null]}',
        b'{"a":1}\n{"a":"1"}',
        b'{"a":[{"b":1}]}',
        b'{"a":[]}',
        b'{"a":{}}',
        b'{"a":9007199254740993}\n{"a":0.5}',
        b'{"a":1} {"a":2}',
        b'{"a":\n1}',
        b'{"a":NaN}',
        b'{"a":1',
        b"[1]",
        b'{"a":"\xff"}',
        b"\n",
    ],
)
def test_what_columns_cannot_say_is_left_to_single_lines(raw: bytes) -> None:
    """Nulls, mixed types, objects in lists, rounded numbers, and what is not NDJSON at all."""
    assert jsonlines.columns(raw) is None


def test_plain_lines_are_columns() -> None:
    """The usual case is read at once; texts that look like times stay the texts they are."""
    found = jsonlines.columns(b'{"a":"2026-01-01","b":{"c":1}}\n\n{"d":["x"],"a.b":null}\n')
    assert found is not None
    table, nulls = found
    assert nulls == {"a.b": [1]}
    assert table.column("a").to_pylist() == ["2026-01-01", None]
    assert pa.types.is_string(table.schema.field("a").type)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_pieces_are_whole_lines(size: int) -> None:
    """However a file is cut, no line is torn and nothing is lost."""
    raw = b'{"a":1}\n\n{"a":22222222222}\n{"a":3}'
    pieces = list(jsonlines.pieces(io.BytesIO(raw), size))
    assert (
        b"".join(f"{piece.decode().strip()}\n".encode() for piece in pieces).replace(b"\n\n", b"\n").split()
        == raw.split()
    )
    assert all(piece.strip().startswith(b"{") for piece in pieces if piece.strip())
