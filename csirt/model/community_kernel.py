"""Compiled: what identifies each flow, its SHA-1 (FIPS 180-4), and that in base64 behind `1:`.

The digest names flows as the specification wants it; nothing relies on its strength.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

Number = Any  # inside compiled code: whatever width numba infers

ICMP, TCP, UDP, ICMP6, SCTP = 1, 6, 17, 58, 132
SEED = 0
LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
ROUND = np.array([0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6], np.uint64)
BEGIN = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0], np.uint64)
WORD = np.uint64(0xFFFFFFFF)
FULL = np.uint64(32)


@inlined
def _turned(value: Number, by: Number) -> Number:
    return (value << np.uint64(by) | value >> (FULL - np.uint64(by))) & WORD


@inlined
def _digest(block: Array, words: Array, digest: Array) -> None:
    """SHA-1 of the one padded block."""
    for n in range(16):
        word = np.uint64(0)
        for octet in range(4):
            word = word << np.uint64(8) | np.uint64(block[4 * n + octet])
        words[n] = word
    for n in range(16, 80):
        words[n] = _turned(words[n - 3] ^ words[n - 8] ^ words[n - 14] ^ words[n - 16], 1)
    a, b, c, d, e = BEGIN[0], BEGIN[1], BEGIN[2], BEGIN[3], BEGIN[4]
    for n in range(80):
        if n < 20:
            mixed = d ^ (b & (c ^ d))
        elif 40 <= n < 60:
            mixed = (b & c) | (d & (b | c))
        else:
            mixed = b ^ c ^ d
        e, d, c, b, a = d, c, _turned(b, 30), a, (_turned(a, 5) + mixed + e + ROUND[n // 20] + words[n]) & WORD
    digest[0], digest[1], digest[2] = (a + BEGIN[0]) & WORD, (b + BEGIN[1]) & WORD, (c + BEGIN[2]) & WORD
    digest[3], digest[4] = (d + BEGIN[3]) & WORD, (e + BEGIN[4]) & WORD


@inlined
def _big(block: Array, at: Number, value: Number, size: Number) -> Number:
    """The low octets of a number, big-endian."""
    for n in range(size):
        block[at + n] = value >> np.uint64(8 * (size - 1 - n)) & np.uint64(255)
    return at + size


@inlined
def _address(block: Array, at: Number, family: Number, high: Number, low: Number) -> Number:
    if family == 4:
        return _big(block, at, low, 4)
    return _big(block, _big(block, at, high, 8), low, 8)


@inlined
def _text(digest: Array, text: Array) -> None:
    """`1:` and 20 octets in base64."""
    text[0], text[1] = 49, 58
    for n in range(27):
        bit = 6 * n
        word, inside = bit >> 5, bit & 31
        both = digest[word] << FULL
        if word < 4:
            both |= digest[word + 1]
        text[2 + n] = LETTERS[np.int64(both >> np.uint64(58 - inside)) & 63]
    text[29] = 61


@kernel
def identify(numbers: Array, answers: Array, texts: Array, missing: Array) -> None:
    """Fill `texts`, and `missing` for rows that have no id. `numbers`: family, high, low of both ends, protocol, ports,
    ICMP type and code; -1 where a row has none."""
    block, words, digest = np.zeros(64, np.uint8), np.empty(80, np.uint64), np.empty(5, np.uint64)
    for row in range(len(missing)):
        proto, family = numbers[6, row], numbers[0, row]
        first, second, one_way = numbers[7, row], numbers[8, row], False
        if proto in (ICMP, ICMP6):
            first = numbers[9, row]
            second = answers[1 if proto == ICMP6 else 0, first]  # -1, unknown, is the last
            one_way = second < 0
            if one_way:
                second = numbers[10, row]
        ports = proto in (ICMP, TCP, UDP, ICMP6, SCTP)
        if family != numbers[3, row] or family == 0 or proto < 0 or (ports and (first < 0 or second < 0)):
            missing[row] = True
            continue
        a_high, a_low = np.uint64(numbers[1, row]), np.uint64(numbers[2, row])
        b_high, b_low = np.uint64(numbers[4, row]), np.uint64(numbers[5, row])
        same = a_high == b_high and a_low == b_low
        later = a_high > b_high or (a_high == b_high and a_low > b_low) or (same and ports and first > second)
        if later and not one_way:
            a_high, a_low, b_high, b_low, first, second = b_high, b_low, a_high, a_low, second, first
        block[:] = 0
        at = _address(block, _big(block, 0, np.uint64(SEED), 2), family, a_high, a_low)
        at = _address(block, at, family, b_high, b_low)
        at = _big(block, at, np.uint64(proto), 1) + 1
        if ports:
            at = _big(block, _big(block, at, np.uint64(first), 2), np.uint64(second), 2)
        block[at] = 128
        block[63] = 8 * at & 255
        block[62] = 8 * at >> 8
        _digest(block, words, digest)
        _text(digest, texts[row])
