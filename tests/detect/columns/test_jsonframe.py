"""Much NDJSON read by one compiled pass is NDJSON read line by line, or is left to that."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.columns import jsonframe
from csirt.detect.columns.raw import RawFrame, from_events
from tests.detect.columns.test_jsonlines import EVENTS, SAME, seen


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is read by it as well."""
    monkeypatch.setattr(jsonframe, "FEW_BYTES", 0)


def frame(raw: bytes) -> RawFrame | None:
    """What the pass makes of the lines."""
    found = jsonframe.columns(raw)
    return None if found is None else RawFrame(found.rows, found.makers, found.text)


def plainly(raw: bytes) -> RawFrame:
    """The same read line by line."""
    return from_events([orjson.loads(line) for line in raw.split(b"\n") if line.strip()])


@settings(max_examples=150, deadline=None)
@given(st.one_of(EVENTS, SAME), st.sampled_from([b"\n", b"\n\n", b"\r\n", b" \n\t"]))
def test_columns_are_what_single_lines_are(events: list[dict[str, Any]], end: bytes) -> None:
    """Mixed types, nulls, nested and empty values, numbers of every size, escapes."""
    for dump in (orjson.dumps, lambda event: json.dumps(event).encode()):
        try:
            raw = end.join(map(dump, events)) + end
        except TypeError:  # beyond 64 bits
            continue
        found = frame(raw)
        if found is not None:
            assert seen(found) == seen(plainly(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"x\\u00e9\\ud83d\\ude00\\n\\"\\\\\\/"}\n{"a":"x"}',
        b'{"a":[1,2.5],"b":[],"c":{}}\n{"a":[],"b":["x","y","x"],"c":{"d":null}}',
        b'{"a":0.1,"b":1e3,"c":-0.0,"d":123456789012345678}\n{"a":0.12345678901234567891,"b":7,"c":1,"d":-1}',
        b' { "a" : [ true , false ] , "b" : { "c" : { "d" : "x" } } } \n\n{"a":[true]}',
        b'{"e f":1,"g":2}\n{"e f":1,"h":2}\n{"e f":3,"g\\u0041":4}\n{"e f":3,"gg":4}',
        b'{"a":null}\n{"b":"","c":true}\n{"c":null,"b":null}',
    ],
)
def test_what_it_takes_is_read_exactly(raw: bytes) -> None:
    """Escapes, lists, nested and empty objects, spaces, fractions to their last digit, null and absent kept apart."""
    found = frame(raw)
    assert found is not None
    assert seen(found) == seen(plainly(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":[null]}',
        b'{"a":1}\n{"a":"1"}',
        b'{"a":[1]}\n{"a":1}',
        b'{"a":[1,"x"]}',
        b'{"a":[{"b":1}]}',
        b'{"a":[[1]]}',
        b'{"a":1,"a":2}',
        b'{"a.b":1,"a":{"b":2}}',
        b'{"a":9007199254740993}\n{"a":0.5}',
        b'{"a":99999999999999999999}',
        b'{"a":1e999}',
        b'{"a":1} {"a":2}',
        b'{"a":\n1}',
        b'{"a":NaN}',
        b'{"a":01}',
        b'{"a":1.}',
        b'{"a":+1}',
        b'{"a":1,}',
        b'{"a":[1,]}',
        b'{"a":tru}',
        b'{"a":1',
        b'{"a":"x',
        b'{"a":"\\x"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\u12"}',
        b'{"a":"\t"}',
        b'{"a":"\xff"}',
        b"[1]",
        b'{"a":1}\0',
        b'{"a":' * 70 + b"1" + b"}" * 70,
    ],
)
def test_what_is_odd_or_broken_is_left_to_single_lines(raw: bytes) -> None:
    """Mixed types, objects in lists, names twice, numbers that would be rounded, and what is no NDJSON at all."""
    assert frame(raw) is None


def test_more_texts_and_values_than_there_was_room_for() -> None:
    """The tables grow until all of it has its place."""
    raw = b"\n".join(b'{"a":"%x","b":[%s]}' % (number, b"1," * 40 + b"1") for number in range(3000))
    found = frame(raw)
    assert found is not None
    assert seen(found) == seen(plainly(raw))
