"""All indicators: one file in the state folder, read whole, written whole."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import orjson

from csirt.enrich.indicators.values import Indicator
from csirt.errors import CsirtError, Usage
from csirt.model.indicators import NOTHING, PREFIX

MAX_ITEMS = 300_000
MAX_BYTES = 256 * 1024 * 1024
_WRITING = threading.Lock()


class Book:
    """The indicators of all lists, by list and value. Not changed after it is made."""

    def __init__(self, items: Iterable[Indicator] = ()) -> None:
        self.items = {item.key: item for item in items}

    @staticmethod
    def load(path: Path) -> Book:
        """The book in a file; empty where there is none. Raises Usage for one that cannot be read."""
        try:
            with path.open("rb") as handle:
                raw = handle.read(MAX_BYTES + 1)
            document = orjson.loads(raw)
            return Book(Indicator(*row) for row in document["items"])
        except FileNotFoundError:
            return Book()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Usage(f"{path}: not a book of indicators ({type(error).__name__}); restore or delete it") from error

    def merged(self, fresh: Iterable[Indicator]) -> tuple[Book, dict[str, int]]:
        """With these, newest word last; how many are `added`, `updated`, and left out because the book is `full`."""
        items = dict(self.items)
        counts = {"added": 0, "updated": 0, "full": 0}
        for item in fresh:
            known = item.key in items
            if not known and len(items) >= MAX_ITEMS:
                counts["full"] += 1
                continue
            items[item.key] = item
            counts["updated" if known else "added"] += 1
        return Book(items.values()), counts

    def without(self, over: Callable[[Indicator], bool]) -> tuple[Book, list[Indicator]]:
        """Without those, and those."""
        gone = [item for item in self.items.values() if over(item)]
        keys = {item.key for item in gone}
        return Book(item for key, item in self.items.items() if key not in keys), gone

    def placeholders(self) -> dict[str, list[str]]:
        """Values for `|expand`: `indicators_LIST_ips` and `indicators_LIST_domains`."""
        found: dict[str, list[str]] = defaultdict(list)
        for item in self.items.values():
            for kind in ("ip", "domain"):
                values = found[f"{PREFIX}{item.list}_{kind}s"]
                if item.kind == kind:
                    values.append(item.value)
        return {name: sorted(values) or [NOTHING] for name, values in sorted(found.items())}


def change(path: Path, work: Callable[[Book], tuple[Book, Any]], *, dry_run: bool = False) -> Any:
    """Read, change and write the book; a crash leaves the old one or the new one. What `work` says beside the book."""
    with _WRITING:
        before = Book.load(path)
        book, said = work(before)
        if not dry_run and book.items != before.items:
            _write(path, book)
        return said


def _write(path: Path, book: Book) -> None:
    rows = sorted(astuple(item) for item in book.items.values())
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
            handle.write(orjson.dumps({"schema": "csirt.indicators-book/1", "items": rows}))
            handle.flush()
            os.fsync(handle.fileno())
        fresh.replace(path)
    except OSError as error:
        raise CsirtError(f"{path}: cannot be written ({error.strerror})") from error
