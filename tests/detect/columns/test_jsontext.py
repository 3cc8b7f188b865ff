"""Texts of JSON, as the loop takes them in: where they end, and each of them once for its owner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.columns import jsonframe, jsontext
from csirt.detect.columns.physical import address
from csirt.model.batch import Array

TEXTS = st.one_of(st.binary(max_size=20), st.sampled_from([b"", b"12345678", b"123456789", b"\xff" * 16, b"a" * 60]))


class Known:
    """The loop's table of texts."""

    def __init__(self, slots: int = 256) -> None:
        self.arena = np.zeros(8192, np.uint8)
        self.slots, self.starts = np.full(slots, -1, np.int32), np.zeros(slots + 2, np.int32)
        self.owners, self.state = np.empty(slots + 2, np.int32), np.zeros(3, np.int64)

    def take(self, text: bytes, owner: int) -> int:
        """The number of a text."""
        data = np.frombuffer(text + bytes(8), np.uint8)
        tables = self.arena, self.slots, self.starts, self.owners, self.state
        return int(jsontext.taken(address(data), len(text), owner, 5, 7, *tables))

    def text(self, number: int) -> bytes:
        """The text of a number."""
        return self.arena[self.starts[number] : self.starts[number + 1]].tobytes()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.integers(-3, 3)), max_size=60))
def test_each_text_of_an_owner_has_one_number(texts: list[tuple[bytes, int]]) -> None:
    """In the order they came, whatever else is known; another owner's is another."""
    known, numbers = Known(), dict[tuple[bytes, int], int]()
    for text, owner in texts:
        expected = numbers.setdefault((text, owner), len(numbers))
        assert known.take(text, owner) == expected
        assert known.text(expected) == text


def test_a_table_says_when_it_is_full() -> None:
    """At half of its places: nothing is written beyond its room."""
    known = Known(8)
    assert [known.take(bytes([97 + number]), 0) for number in range(5)] == [0, 1, 2, 3, jsontext.NO_ROOM]
    assert known.take(b"c", 0) == 2


def test_crowded_places_are_given_up() -> None:
    """Texts somebody made to fall on one another are left to a reader that does not mind."""
    known = Known(8192)
    known.slots[:] = 0
    known.take(b"", 0)
    known.owners[0] = 9
    assert known.take(b"x", 0) == jsontext.ODD


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 10))
def test_the_first_byte_that_ends_plain_text(data: bytes, at: int) -> None:
    """A quote, a backslash or a control character; letters beyond ASCII are none."""
    whole = np.frombuffer(data + bytes(8 + 8), np.uint8)
    at = min(at, len(data))
    expected = next(place for place, byte in enumerate(whole.tolist()) if place >= at and (byte < 32 or byte in b'"\\'))
    assert marked(whole, at) == expected


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_two_texts_are_the_same(first: bytes, second: bytes) -> None:
    """By eight bytes and by what is left; what stands behind them does not matter."""
    left, right = (np.frombuffer(text + tail, np.uint8) for text, tail in ((first, bytes(8)), (second, b"\xee" * 8)))
    size = min(len(first), len(second))
    assert bool(alike(left, right, size)) == (first[:size] == second[:size])


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80"])
def test_text_that_is_no_utf8_is_left_to_others(bad: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a value or in a name."""
    monkeypatch.setattr(jsonframe, "FEW_BYTES", 0)
    assert jsonframe.columns(b'{"a":"x' + bad + b'","b":"\xc3\xa6"}') is None
    assert jsonframe.columns(b'{"a' + bad + b'":"x"}') is None
    assert jsonframe.columns('{"æ":"ø"}'.encode()) is not None


def marked(data: Array, at: int) -> int:
    """The loop's `marker`."""
    return int(jsontext.marker(address(data), at))


def alike(first: Array, second: Array, size: int) -> bool:
    """The loop's `same`."""
    return bool(jsontext.same(address(first), address(second), size))
