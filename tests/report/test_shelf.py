"""The folder of finished pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from csirt.errors import CsirtError, NotFound
from csirt.report.shelf import Shelf


def about(issued: int = 5, member: str = "m1", case: str = "C-2026-0001") -> dict[str, Any]:
    return {
        "case": case,
        "member": member,
        "lang": "nb",
        "tlp": "AMBER",
        "recipient": "",
        "released": ("m2",),
        "by": "kari",
        "issued": issued,
    }


def test_pages_are_never_overwritten(tmp_path: Path) -> None:
    """Another page of the same case and member gets the next name; the same page is found again."""
    shelf = Shelf(tmp_path / "reports", "en")
    first, new = shelf.put("one", about())
    assert new and first.id == "C-2026-0001-m1-nb" and shelf.get(first.id) == (first, "one")
    second, new = shelf.put("two", about())
    assert new and second.id == "C-2026-0001-m1-nb-2"
    assert shelf.put("one", about()) == (first, False) and shelf.put("two", about()) == (second, False)
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == [
        "C-2026-0001-m1-nb-2.html",
        "C-2026-0001-m1-nb-2.json",
        "C-2026-0001-m1-nb.html",
        "C-2026-0001-m1-nb.json",
    ]


def test_names_stay_inside_the_folder(tmp_path: Path) -> None:
    """A hostile case number or member id is a plain file name, and a path is no report."""
    shelf = Shelf(tmp_path / "reports", "en")
    entry, _ = shelf.put("page", about(member="../../m1", case="../C"))
    assert shelf.path(entry.id).parent == tmp_path / "reports"
    assert [path.parent.name for path in tmp_path.rglob("*.html")] == ["reports"]
    for id in ("../reports/C", "/etc/passwd", "", "."):
        with pytest.raises(NotFound):
            shelf.get(id)


def test_a_crash_between_page_and_description_loses_nothing(tmp_path: Path) -> None:
    """A page without its description is not a report, and its name is used again."""
    shelf = Shelf(tmp_path, "en")
    (tmp_path / "C-2026-0001-m1-nb.html").write_text("half")
    (tmp_path / ".C-2026-0001-m1-nb.html.new").write_text("ha")
    entry, new = shelf.put("whole", about())
    assert new and shelf.get(entry.id)[1] == "whole" and len(shelf.entries()) == 1


def test_expired_pages_are_deleted(tmp_path: Path) -> None:
    """Retention deletes what was issued before a moment, page and description, and says which."""
    shelf = Shelf(tmp_path, "en")
    old, _ = shelf.put("old", about(issued=5))
    young, _ = shelf.put("young", about(issued=9))
    assert shelf.expire(9) == [old.id] and shelf.entries() == [young]
    assert not shelf.path(old.id).exists() and shelf.expire(9) == []
    assert Shelf(tmp_path / "none", "en").expire(9) == []


def test_a_broken_description_is_named(tmp_path: Path) -> None:
    """A description that cannot be read is an error with its path, never a report that vanishes."""
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(CsirtError, match=r"x\.json"):
        Shelf(tmp_path, "en").entries()
