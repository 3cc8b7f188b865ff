"""What of strings and octets in flow records may leave decode (decision 15): no identity numbers, no mailboxes, no
queries of URLs, no user names. Every rule works once per distinct value."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from csirt.decode import identity
from csirt.model.batch import Array
from csirt.model.jit import kernel

_MAILBOX = r"[^\s@/:;,<>\"]+(?:@|%40)[A-Za-z0-9.-]+\.[A-Za-z]{2,}"
_MAILBOX_RE = re.compile(_MAILBOX)
_MAILBOX_BYTES = re.compile(rb"[A-Za-z0-9._%+\-]+@[A-Za-z0-9.\-]+\.[A-Za-z]{2,}")
# What such octets look like as hexadecimal digits, loosely: eleven ASCII digits with at most one sign between two, or
# an @ between two printable octets.
_HEX_DIGITS = r"(?:3[0-9](?:[2-7][0-9a-f]|c2a0|e2[0-9a-f]{4})?){11}"
_HEX_MAILBOX = r"[2-7][0-9a-f]40[2-7][0-9a-f]"
_NOBODY = frozenset({"", "-", "none", "unknown"})


@dataclass(frozen=True, slots=True)
class Rule:
    """`suspect`: a linear-time expression without which a value is as it should be. `signs`: octets of which a suspect
    value has one, or else eleven digits. `clean`: a value as it may leave, and whether it held an identity number."""

    suspect: str
    signs: Array
    clean: Callable[[str], tuple[str, bool]]


def _text(value: str) -> tuple[str, bool]:
    kept, removed = identity.remove(value)
    if "@" in kept or "%40" in kept:
        kept = _MAILBOX_RE.sub("[mailbox removed]", kept)
    return kept, removed > 0


def _url(value: str) -> tuple[str, bool]:
    """A URL up to its query, fragment or parameters."""
    kept, removed = _text(re.split(r"[?#;]", value, maxsplit=1)[0])
    return kept, removed or bool(identity.find(value))


def _user(value: str) -> tuple[str, bool]:
    """No name; what stands for nobody stays."""
    return value if value.lower() in _NOBODY else "[user removed]", bool(identity.find(value))


def _octets(value: str) -> tuple[str, bool]:
    """Hexadecimal digits; octets of identity numbers and mailboxes become zero."""
    raw = bytearray.fromhex(value)
    text = raw.decode("latin-1")
    spans = identity.find(text)
    removed = bool(spans)
    spans += [match.span() for match in _MAILBOX_BYTES.finditer(bytes(raw))]
    for start, end in spans:
        raw[start:end] = bytes(end - start)
    return raw.hex(), removed


@kernel
def suspicious(data: Array, signs: Array) -> bool:
    """Whether octets of many values together have what a suspect value has (a look that costs less than `suspect`)."""
    digits = 0
    for i in range(data.size):
        octet = data[i]
        if signs[octet]:
            return True
        if 48 <= octet <= 57:
            digits += 1
            if digits == 11:
                return True
    return False


def _signs(octets: bytes) -> Array:
    table = np.zeros(256, np.bool_)
    table[list(octets)] = True
    return table


def _re2(pattern: str) -> str:
    """RE2 writes code points differently from Python."""
    return re.sub(r"\\u([0-9a-f]{4})", r"\\x{\1}", pattern)


_PLAIN = f"{_MAILBOX}|" + _re2(identity.CANDIDATE)
TEXT = {
    "text": Rule(_PLAIN, _signs(b"@%"), _text),
    "text:url": Rule(f"[?#;]|{_PLAIN}", _signs(b"@%?#;"), _url),
    "text:user": Rule(".", _signs(bytes(range(256))), _user),
}
HEX = Rule(f"{_HEX_DIGITS}|{_HEX_MAILBOX}", _signs(b"@"), _octets)
