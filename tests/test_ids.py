"""Identity comes from content."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from csirt import ids


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_different_parts_never_join_to_the_same_id(a: list[str], b: list[str]) -> None:
    """("ab", "c") and ("a", "bc") are different things."""
    assert (ids.digest(*a) == ids.digest(*b)) == (a == b)


def test_event_ids_sort_by_segment_and_ordinal() -> None:
    """The order of ids is the order of records."""
    segment = ids.segment("edge", "f")
    assert ids.event(segment, 9) < ids.event(segment, 10) < ids.event(segment, 1 << 40)
    assert len(ids.event(segment, 0)) == 32


def test_ids_do_not_change_between_releases() -> None:
    """Stored ids stay valid: these values are fixed for ever."""
    assert ids.segment("edge", "f") == ids.segment("edge", "f") != ids.segment("edge2", "f")
    assert ids.alert("r", "{}", "e") != ids.incident("r")
