"""The memory of what sets of templates said."""

from __future__ import annotations

import pytest

from csirt.decode.netflow import parsed
from csirt.decode.netflow.templates import parse
from tests.decode.netflow.datagrams import template


def test_equal_octets_are_parsed_once_and_equal_signatures_are_one() -> None:
    """A refresh costs a look-up; the same template in another set is the same object."""
    memory = parsed.Parsed()
    body = template(256, (8, 4), (12, 4))
    first = memory.read(10, 2, body)
    assert memory.read(10, 2, bytes(bytearray(body))) is first
    other, _ = memory.read(10, 2, template(300, (8, 4), (12, 4)))
    assert other[0].template == 300 and other[0].signature is first[0][0].signature
    assert memory.read(9, 0, body)[0][0].signature != first[0][0].signature


def test_it_is_bounded_and_keeps_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of other sets costs no more room than the bound, and what is asked for in between stays."""
    monkeypatch.setattr(parsed, "OCTETS", 1_000)
    memory = parsed.Parsed()
    hot = template(256, (8, 4))
    first = memory.read(9, 0, hot)
    for number in range(257, 500):
        body = template(number, (8, 4))
        assert memory.read(9, 0, body) == parse(9, 0, body)
        if number % 4 == 0:
            assert memory.read(9, 0, hot) is first
        assert len(memory._young) + len(memory._old) <= 2 * 1_000 // parsed.ENTRY
