"""The compiled loop that writes IPv4 addresses as text."""

from __future__ import annotations

from csirt.model.batch import Array
from csirt.model.jit import kernel


@kernel
def measure(values: Array, around: int, ends: Array) -> None:
    """Where the text of each address ends, with so many bytes around it."""
    end = 0
    ends[0] = 0
    for row in range(len(values)):
        value = values[row]
        end += around + 7
        for shift in range(0, 32, 8):
            part = (value >> shift) & 255
            end += (part > 9) + (part > 99)
        ends[row + 1] = end


@kernel
def put(values: Array, before: Array, after: Array, data: Array) -> None:
    """The text of each address between two others."""
    at = 0
    for row in range(len(values)):
        value = values[row]
        for byte in before:
            data[at] = byte
            at += 1
        for index in range(4):
            part = (value >> (24 - 8 * index)) & 255
            if part > 99:
                data[at] = 48 + part // 100
                at += 1
            if part > 9:
                data[at] = 48 + part // 10 % 10
                at += 1
            data[at] = 48 + part % 10
            at += 1
            if index < 3:
                data[at] = 46
                at += 1
        for byte in after:
            data[at] = byte
            at += 1
