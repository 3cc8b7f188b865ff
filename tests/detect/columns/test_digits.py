"""Words are found in numbers as in the text that writes them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.columns import digits, values

WORDS = st.lists(st.text("0123456789.-e", min_size=1, max_size=4), min_size=1, max_size=8)
PLACES = st.integers(0, 6)
FRACTIONS = st.one_of(
    st.floats(width=64),
    st.tuples(st.integers(-(10**16), 10**16), PLACES).map(lambda pair: pair[0] / 10 ** pair[1]),
    st.sampled_from([0.0, -0.0, 1e-3, 9.99e-4, 2.0**51, 2.0**53, 1750000000.123456, 0.1, 1e16, 1e22]),
)


def _pool(words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    raw = [word.encode() for word in words]
    return np.frombuffer(b"".join(raw), np.uint8), np.cumsum([0, *map(len, raw)])


def _masks(texts: list[str | None], words: list[str]) -> list[int]:
    return [sum(1 << at for at, word in enumerate(words) if text is not None and word in text) for text in texts]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.booleans()), min_size=1, max_size=40), WORDS, st.booleans()
)
def test_whole_numbers_hold_what_their_text_holds(pairs: list[tuple[int, bool]], words: list[str], all_: bool) -> None:
    """Of either sign, up to the ends of 64 bits; where there is no value nothing is found."""
    numbers = np.array([number for number, _ in pairs], np.int64)
    valid = np.zeros(0, bool) if all_ else np.array([there for _, there in pairs], bool)
    masks = np.zeros(len(numbers), np.uint64)
    digits.in_whole(numbers, valid, *_pool(words), masks)
    texts = [values.number_text(number) if there or all_ else None for number, there in pairs]
    assert masks.tolist() == _masks(texts, words)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(FRACTIONS, st.booleans()), min_size=1, max_size=40), WORDS)
def test_fractions_hold_what_their_text_holds(pairs: list[tuple[float, bool]], words: list[str]) -> None:
    """The shortest text that means the number; what is left over has a form of its own and is found in nothing."""
    numbers = np.array([number for number, _ in pairs])
    valid = np.array([there for _, there in pairs], bool)
    masks, left = np.zeros(len(numbers), np.uint64), np.empty(len(numbers), np.int64)
    over = set(left[: digits.in_fractions(numbers, valid, *_pool(words), masks, left)].tolist())
    texts = [
        values.number_text(number) if there and at not in over else None for at, (number, there) in enumerate(pairs)
    ]
    assert masks.tolist() == _masks(texts, words)
    common = [at for at, (number, _) in enumerate(pairs) if number in (0.0, 1e-3, 0.1, 1750000000.123456)]
    assert over.isdisjoint(common) and all(valid[at] for at in over)
