"""Untrusted text."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csirt import safety

PAYLOADS = ["\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "a\rb", "a\nb", "\u202eabc", "\u200b", "\x08\x08", "\x7f"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_terminal_text_cannot_move_the_cursor_or_forge_a_line(payload: str) -> None:
    """Escapes, controls, bidirectional overrides and invisible characters become visible."""
    clean = safety.terminal("x" + payload + "y")
    assert all(char.isprintable() for char in clean)
    assert clean.startswith("x") and clean.endswith("y")


@given(st.text())
def test_every_text_becomes_one_printable_line(text: str) -> None:
    """No text at all yields a control character or a second line."""
    clean = safety.terminal(text)
    assert "\n" not in clean and "\x1b" not in clean and "\r" not in clean


@pytest.mark.parametrize("payload", ["=1+1", " =1+1", "\t=1", "＝1", "@x", "+1+1", "-1+1", "|calc"])
def test_no_csv_cell_starts_a_formula(payload: str) -> None:
    """Not even behind blanks or as full-width signs."""
    row = next(csv.reader(io.StringIO(safety.csv_line([payload]))))
    assert row[0].startswith("'") or row[0].startswith("\\")


@given(st.lists(st.text(alphabet=st.characters(blacklist_categories=["Cs"])), min_size=1))
def test_csv_lines_read_back_as_one_record(cells: list[str]) -> None:
    """Quotes and separators in cells never make another cell or record."""
    rows = list(csv.reader(io.StringIO(safety.csv_line(list(cells)))))
    assert len(rows) == 1 and len(rows[0]) == len(cells)


def test_numbers_stay_numbers_in_csv() -> None:
    """A negative number is no formula."""
    assert safety.csv_cell(-12.5) == "-12.5"


@given(st.text())
def test_file_names_from_data_are_single_harmless_components(text: str) -> None:
    """No separator, no leading dot, never empty."""
    name = safety.file_name(text)
    assert name and "/" not in name and not name.startswith(".") and len(name) <= 80


def test_log_lines_are_cut() -> None:
    """A log line has a bounded length."""
    assert len(safety.log("x" * 10_000)) == 500
