"""Norwegian national identity numbers in text.

Eleven digits: date (ddmmyy), three individual digits, two check digits modulo 11 (Folkeregisterforskriften § 2-2-1).
D-numbers add 40 to the day, H-numbers 40 to the month; synthetic ones add 80 (Skatteetaten) or 65 (Norsk helsenett) to
the month. From 2032 the first check digit may leave a remainder of 0 to 3. Common help numbers (FH) start with 8 or 9
and carry no date, but both check digits.
"""

from __future__ import annotations

import re

REMOVED = "[id removed]"

_GAP = r"(?:[ .\-/_:+\u00a0\u2009\u202f\u2010-\u2014]|%20)?"
_BODY = rf"\d{{2}}{_GAP}\d{{2}}{_GAP}\d{{2}}{_GAP}\d{{3}}{_GAP}\d{{2}}"

# What can be one, for a linear-time engine that knows no look-around; `find` then decides.
CANDIDATE = _BODY
_NO_DIGIT = re.compile(r"%20|\D")
_CANDIDATE = re.compile(rf"(?<!\d)(?=({_BODY})(?!\d))")


def valid(digits: str) -> bool:
    """Whether eleven decimal digits are an identity number: both check digits right, or a date and the second right
    with a first check digit as it may be from 2032."""
    numbers = tuple(map(int, digits))
    if len(numbers) != 11 or not any(numbers):
        return False
    a, b, c, d, e, f, g, h, i, j, k = numbers  # written out: this runs for every number-like text of the network
    if (5 * a + 4 * b + 3 * c + 2 * d + 7 * e + 6 * f + 5 * g + 4 * h + 3 * i + 2 * j + k) % 11:
        return False
    rest = (3 * a + 7 * b + 6 * c + d + 8 * e + 9 * f + 4 * g + 5 * h + 2 * i + j) % 11
    return rest == 0 or (rest <= 3 and _dated(numbers))


def _dated(numbers: tuple[int, ...]) -> bool:
    day = numbers[0] * 10 + numbers[1]
    month = numbers[2] * 10 + numbers[3]
    day -= 40 if day > 40 else 0
    for shift in (80, 65, 40):
        if month > shift:
            month -= shift
            break
    return 1 <= day <= 31 and 1 <= month <= 12


def find(text: str) -> list[tuple[int, int]]:
    """Spans (start, end) of the identity numbers in a text, written plainly or with separators; none overlap."""
    spans: list[tuple[int, int]] = []
    for match in _CANDIDATE.finditer(text):
        start, end = match.span(1)
        found = match.group(1)
        digits = found if len(found) == 11 else _NO_DIGIT.sub("", found)
        if valid(digits) and (not spans or start >= spans[-1][1]):
            spans.append((start, end))
    return spans


def remove(text: str) -> tuple[str, int]:
    """The text with every identity number replaced by `[id removed]`, and how many there were."""
    spans = find(text)
    if not spans:
        return text, 0
    starts, ends = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(text)]
    return REMOVED.join(text[start:end] for start, end in zip(starts, ends, strict=True)), len(spans)
