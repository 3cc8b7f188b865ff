"""National identity numbers in text."""

from __future__ import annotations

import pytest

from csirt.decode import identity
from tests.privacy.planted import NUMBERS, identity_number


@pytest.mark.parametrize("number", NUMBERS)
def test_every_kind_of_number_is_valid(number: str) -> None:
    """Ordinary, D-, H- and both synthetic forms have their check digits in the same places."""
    assert identity.valid(number)


def test_each_wrong_digit_is_noticed() -> None:
    """Changing the last check digit, or any one digit before it, makes it no number (but for forms of 2032)."""
    number = NUMBERS[0]
    assert not any(identity.valid(number[:-1] + str(digit)) for digit in range(10) if str(digit) != number[-1])


def test_help_numbers_have_no_date() -> None:
    """An FH-number begins with 8 or 9; both check digits alone make it one."""
    assert identity.valid(identity_number("899999"))


def test_numbers_of_2032_are_known() -> None:
    """A first check digit that leaves 1, 2 or 3 counts when there is a date, and not without one."""

    def loose(date: str, extra: int) -> str:
        first, second = (3, 7, 6, 1, 8, 9, 4, 5, 2), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
        for individual in range(100, 1000):
            digits = [int(sign) for sign in f"{date}{individual}"]
            one = (-sum(a * b for a, b in zip(first, digits, strict=True)) + extra) % 11
            two = -sum(a * b for a, b in zip(second, [*digits, one], strict=True)) % 11
            if one < 10 and two < 10:
                return "".join(map(str, [*digits, one, two]))
        raise AssertionError

    assert all(identity.valid(loose("010132", extra)) for extra in (1, 2, 3))
    assert not identity.valid(loose("999932", 1))


@pytest.mark.parametrize("gap", [" ", ".", "-", "/", "%20", "\u00a0", "–"])
def test_written_forms_are_found(gap: str) -> None:
    """ddmmyy nnnnn, with any usual separator, also between the parts of the date."""
    n = NUMBERS[0]
    for text in (n[:6] + gap + n[6:], gap.join([n[:2], n[2:4], n[4:6], n[6:]]), n[:6] + gap + n[6:9] + gap + n[9:]):
        assert identity.remove(f"fnr {text}, takk") == ("fnr [id removed], takk", 1)


def test_what_is_no_number_stays() -> None:
    """Runs of other lengths, dates and ids are left alone."""
    n = NUMBERS[0]
    for text in (n + "1", "1" + n, "12345678901", "00000000000", "20250124-114229-355", "2026-03-10 08:12:31.123"):
        assert identity.remove(text) == (text, 0)


def test_numbers_beside_each_other_are_all_removed() -> None:
    """Letters and signs around a number do not hide it; several are all removed."""
    a, b = NUMBERS[0], NUMBERS[1]
    assert identity.remove(f"x{a}y-{b}@{a}") == ("x[id removed]y-[id removed]@[id removed]", 3)


def test_foreign_digits_are_digits() -> None:
    """Full-width digits say the same number."""
    wide = "".join(chr(0xFF10 + int(digit)) for digit in NUMBERS[0])
    assert identity.remove(wide) == ("[id removed]", 1)
