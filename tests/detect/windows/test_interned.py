"""Texts as numbers: the table in arrays gives what a dictionary gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.windows import interned, sliding
from csirt.detect.windows.interned import Interned
from csirt.detect.windows.keys import event_key, event_keys

TEXTS = st.lists(
    st.one_of(st.sampled_from(["", "a", "b\0", "same text of many octets"]), st.text(max_size=40)), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=4), st.integers(0, 5), st.lists(st.booleans(), min_size=240, max_size=240))
def test_codes_are_given_in_order_whatever_the_pieces(
    pieces: list[list[str]], compiled_at: int, kept: list[bool]
) -> None:
    """A dictionary that becomes a table at any piece numbers texts as they came, says them again, and forgets those
    that are not kept."""
    before, sliding.KERNELS._walked = sliding.KERNELS._walked, -(1 << 60)
    found, known = Interned(), dict[str, int]()
    try:
        for number, texts in enumerate(pieces):
            if number == compiled_at:
                sliding.KERNELS._walked = 1 << 40
            column = pa.chunked_array([pa.array(["x", *texts], pa.string()).slice(1)])
            wanted = [known.setdefault(text, len(known)) for text in texts]
            assert found.codes(column).tolist() == wanted
        assert len(found) == len(known) and found.names(np.arange(len(known))) == list(known)
        left = [code for code, keep in zip(range(len(known)), kept, strict=False) if keep]
        other = found.copy()
        other.keep(np.array(left, np.int64))
        names = [name for name, code in known.items() if code in left]
        assert other.names(np.arange(len(names))) == names
        again = pa.chunked_array([pa.array([*names, "a text that is new"], pa.string())])
        assert other.codes(again).tolist() == list(range(len(names) + 1))
        assert found.names(np.arange(len(known))) == list(known)
    finally:
        sliding.KERNELS._walked = before


def test_texts_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many texts in a table that grows, all with keys under which every text of a length has the same hash."""
    monkeypatch.setattr(interned, "_KEYS", np.zeros(2, np.int64))
    monkeypatch.setattr(sliding.KERNELS, "_walked", 1 << 40)
    texts = [f"{number % 700:05}" for number in range(2000)]
    found = Interned()
    for start in range(0, 2000, 100):
        column = pa.chunked_array([pa.array(texts[start : start + 100])])
        assert found.codes(column).tolist() == [number % 700 for number in range(start, start + 100)]


@pytest.mark.parametrize("odd", ["0" * 31 + "A", "0" * 30 + " 0", "é" * 16, "0" * 33, "z" * 32, ""])
def test_event_ids_as_numbers_are_those_of_each_alone(odd: str) -> None:
    """A column of ids is read at once where all are hex digits, and an id that is none is its digest."""
    for texts in ([f"{7:032x}", "f" * 32], [f"{7:032x}", odd]):
        high, low = event_keys(pa.chunked_array([pa.array(["x" * 5, *texts]).slice(1)]))
        assert list(zip(high.tolist(), low.tolist(), strict=True)) == [event_key(text) for text in texts]
