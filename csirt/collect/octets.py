"""Syslog messages out of a TCP byte stream: octet counting and LF framing (RFC 6587, 3.4.1 and 3.4.2).

Which of the two a sender uses is seen frame by frame: a frame that begins with a length and a space is counted, any
other ends at LF.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from csirt.model.spool import MAX_MESSAGE

_COUNT = re.compile(rb"([1-9][0-9]{0,6}) ")
_UNDECIDED = re.compile(rb"[1-9][0-9]{0,6}\Z")


@dataclass(frozen=True, slots=True)
class Message:
    """One message without its framing. `cut`: longer than MAX_MESSAGE, the rest is dropped. `partial`: the connection
    ended inside it."""

    data: bytes
    cut: bool = False
    partial: bool = False

    @classmethod
    def of(cls, data: bytes, *, cut: bool = False, partial: bool = False) -> Message:
        """Without the line end or NUL some senders add, and within the limit."""
        clean = data.rstrip(b"\r\n\0")
        long = len(clean) > MAX_MESSAGE
        return cls(clean[:MAX_MESSAGE] if long else clean, cut or long, partial)


class Framer:
    """One connection's state. Holds at most MAX_MESSAGE bytes and one read."""

    broken = False  # a line is a line, whatever it says
    begun = False  # half a message is worth something: it is kept when the connection ends

    def __init__(self) -> None:
        self._held = b""
        self._skip = 0  # bytes of a counted message still to be thrown away
        self._skip_line = False  # throw away up to LF

    def feed(self, data: bytes) -> list[Message]:
        """The messages these bytes complete. The same stream gives the same messages however it is split."""
        held = self._held + data if self._held else data
        messages: list[Message] = []
        at = 0
        while at < len(held):
            step = self._step(held, at, messages)
            if step < 0:
                break
            at = step
        self._held = held[at:]
        return messages

    def finish(self) -> list[Message]:
        """The end of the connection: what was begun, marked as partial."""
        held, self._held = self._held, b""
        if self._skip or self._skip_line or not held:
            return []
        count = _COUNT.match(held)
        message = Message.of(held[count.end() :] if count else held, partial=True)
        return [message] if message.data else []

    def _step(self, held: bytes, at: int, messages: list[Message]) -> int:
        """Take one frame or a part of one from `at`; where the next begins, or -1 when more bytes are needed."""
        if self._skip:
            taken = min(self._skip, len(held) - at)
            self._skip -= taken
            return at + taken
        if self._skip_line:
            end = held.find(b"\n", at)
            self._skip_line = end < 0
            return end + 1 if end >= 0 else len(held)
        count = _COUNT.match(held, at)
        if count is not None:
            return self._counted(held, count.end(), int(count[1]), messages)
        if _UNDECIDED.match(held, at):
            return -1
        return self._line(held, at, messages)

    def _counted(self, held: bytes, start: int, length: int, messages: list[Message]) -> int:
        if length <= MAX_MESSAGE:
            if len(held) - start < length:
                return -1
            messages.append(Message.of(held[start : start + length]))
            return start + length
        if len(held) - start < MAX_MESSAGE:
            return -1
        messages.append(Message.of(held[start : start + MAX_MESSAGE], cut=True))
        self._skip = length - MAX_MESSAGE
        return start + MAX_MESSAGE

    def _line(self, held: bytes, at: int, messages: list[Message]) -> int:
        end = held.find(b"\n", at, at + MAX_MESSAGE + 2)  # a full line may end in CR LF
        if end >= 0:
            messages.append(Message.of(held[at:end]))
            return end + 1
        if len(held) - at < MAX_MESSAGE + 2:
            return -1
        messages.append(Message.of(held[at : at + MAX_MESSAGE], cut=True))
        self._skip_line = True
        return at + MAX_MESSAGE
