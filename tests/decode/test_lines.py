"""Raw bytes to one column of valid text."""

from __future__ import annotations

import numpy as np

from csirt.decode.lines import text
from csirt.model.chunk import Lines
from tests.decode.logs import lines


def test_bytes_of_two_lines_never_form_a_character() -> None:
    """A cut character at a line's end stays broken, whatever the next line begins with."""
    assert text(lines([b"a\xc3", b"\xa5b", "å"])).to_list() == ["a?", "?b", "å"]


def test_carriage_returns_and_empty_lines() -> None:
    """A trailing CR goes, one inside stays; empty lines are lines."""
    assert text(lines([b"a\r", b"", b"\r", b"b\rc", b"\x00"])).to_list() == ["a", "", "", "b\rc", "\x00"]


def test_lines_may_lie_anywhere_in_the_buffer() -> None:
    """Framed records have bytes between lines; order and gaps do not matter."""
    buffer = np.frombuffer(b"\xffabc\xffde\xff", np.uint8)
    for order in ([0, 1], [1, 0]):
        offset, length = np.array([1, 5])[order], np.array([3, 2])[order]
        given = Lines(buffer, offset, length, offset, np.zeros(2, np.int64))
        assert text(given).to_list() == [["abc", "de"][index] for index in order]


def test_no_lines() -> None:
    """Nothing gives nothing."""
    assert text(lines([])).to_list() == []
