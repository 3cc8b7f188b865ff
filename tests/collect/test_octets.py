"""Syslog framing over TCP (RFC 6587)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.collect.octets import Framer, Message
from csirt.model.spool import MAX_MESSAGE


def _feed(stream: bytes, cuts: list[int]) -> list[Message]:
    framer, messages, at = Framer(), [], 0
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        messages += framer.feed(stream[at:cut])
        at = max(at, cut)
    return messages + framer.finish()


_TEXT = st.binary(min_size=1, max_size=40).map(lambda raw: b"<13>" + raw.replace(b"\n", b" ").rstrip(b"\r\0 "))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_TEXT, st.booleans()), max_size=8), st.lists(st.integers(0, 400), max_size=12))
def test_splits_anywhere(items: list[tuple[bytes, bool]], cuts: list[int]) -> None:
    """Octet-counted and LF-framed messages, mixed, come out whole however the stream is split."""
    stream = b"".join(b"%d %s" % (len(text), text) if counted else text + b"\n" for text, counted in items)
    assert _feed(stream, cuts) == [Message(text) for text, _ in items]


@settings(max_examples=40, deadline=None)
@given(st.integers(MAX_MESSAGE - 2, MAX_MESSAGE + 3), st.booleans(), st.lists(st.integers(0, 70_000), max_size=6))
def test_long_messages_are_cut_and_marked(size: int, counted: bool, cuts: list[int]) -> None:
    """Beyond 64 KiB the rest of a message is thrown away, the message is marked, and the next one is whole."""
    text = b"<" + b"a" * (size - 1)
    stream = (b"%d %s" % (size, text) if counted else text + b"\r\n") + b"<14>next\n"
    first, second = _feed(stream, cuts)
    assert first == Message(text[:MAX_MESSAGE], cut=size > MAX_MESSAGE)
    assert second == Message(b"<14>next")


def test_a_number_too_large_to_be_a_length_is_text() -> None:
    """A line that begins with more than seven digits is a line."""
    assert _feed(b"20261123 x\n", []) == [Message(b"20261123 x")]


def test_what_a_connection_leaves_behind_is_kept_and_marked() -> None:
    """An unfinished message at the end of the connection is not lost."""
    assert _feed(b"<13>whole\n<13>half", []) == [Message(b"<13>whole"), Message(b"<13>half", partial=True)]
    assert _feed(b"20 <13>half", []) == [Message(b"<13>half", partial=True)]


def test_memory_is_bounded() -> None:
    """A stream without any line end holds no more than a message."""
    framer = Framer()
    for _ in range(100):
        framer.feed(b"x" * 10_000)
        assert len(framer._held) <= MAX_MESSAGE + 2
