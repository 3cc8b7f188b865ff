"""Errors travel over the socket as what they were."""

from __future__ import annotations

import pytest

from csirt import errors
from csirt.control.protocol import failure, raise_failure


@pytest.mark.parametrize(
    "kind",
    [errors.Usage, errors.NotFound, errors.NotAllowed, errors.Conflict, errors.Unreachable, errors.PartlyDone],
)
def test_an_expected_failure_keeps_kind_sentence_and_details(kind: type[errors.CsirtError]) -> None:
    """The command line exits as the daemon meant it."""
    with pytest.raises(kind) as caught:
        raise_failure(failure(kind("a sentence", version=3)))
    assert caught.value.message == "a sentence" and caught.value.details == {"version": 3}


def test_an_unexpected_failure_says_nothing_of_its_content() -> None:
    """Text of an internal error may hold data; it stays in the daemon's log."""
    answer = failure(ValueError("11223312345"))
    assert "11223312345" not in str(answer) and answer["exit_code"] == 1
