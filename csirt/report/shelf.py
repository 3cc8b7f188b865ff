"""Finished pages as files: readable by the daemon's user alone, named by case and member, never overwritten."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from csirt.errors import CsirtError, NotFound
from csirt.messages import text
from csirt.safety import file_name


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a finished page. `released`: ids of the members it names, by an analyst's decision."""

    id: str
    case: str
    member: str
    lang: str
    tlp: str
    recipient: str
    released: tuple[str, ...]
    by: str
    issued: int
    sha256: str


class Shelf:
    """The folder of reports."""

    def __init__(self, folder: Path, lang: str) -> None:
        self.folder = folder
        self._lang = lang

    def path(self, id: str) -> Path:
        """The page's file."""
        return self.folder / f"{file_name(id)}.html"

    def put(self, page: str, about: dict[str, Any]) -> tuple[Entry, bool]:
        """Keep a page under the next free name of its case and member; (entry, whether it is new). The same page again
        is the one that is there."""
        raw = page.encode()
        digest = hashlib.sha256(raw).hexdigest()
        stem = file_name(f"{about['case']}-{about['member']}-{about['lang']}")
        with self._told():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            number = 1
            while True:
                id = stem if number == 1 else f"{stem}-{number}"
                known = self._entry(id)
                if known is not None and known.sha256 == digest and self.path(id).exists():
                    return known, False
                if known is None:
                    entry = Entry(id=id, sha256=digest, **about)
                    self._write(self.path(id), raw)
                    self._write(self._about(id), json.dumps(asdict(entry), sort_keys=True).encode())
                    return entry, True
                number += 1

    def entries(self) -> list[Entry]:
        """All pages, the newest first."""
        if not self.folder.is_dir():
            return []
        found = [self._entry(path.stem) for path in sorted(self.folder.glob("*.json"))]
        return sorted((entry for entry in found if entry is not None), key=lambda entry: (-entry.issued, entry.id))

    def get(self, id: str) -> tuple[Entry, str]:
        """A page by its id. Raises NotFound."""
        entry = self._entry(file_name(id))
        if entry is None or not self.path(entry.id).is_file():
            raise NotFound(text("report.not_found", self._lang, id=id))
        with self._told():
            return entry, self.path(entry.id).read_text("utf-8")

    def expire(self, before: int) -> list[str]:
        """Delete pages issued before that moment (us), for retention; the ids of those deleted, by id."""
        old = sorted(entry.id for entry in self.entries() if entry.issued < before)
        with self._told():
            for id in old:
                self.path(id).unlink(missing_ok=True)
                self._about(id).unlink(missing_ok=True)
        return old

    def _about(self, id: str) -> Path:
        return self.folder / f"{file_name(id)}.json"

    def _entry(self, id: str) -> Entry | None:
        try:
            raw = json.loads(self._about(id).read_text("utf-8"))
            return Entry(**{**raw, "released": tuple(raw["released"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CsirtError(f"{self._about(id)}: cannot be read ({error}); move it away") from error

    def _write(self, path: Path, raw: bytes) -> None:
        """Whole or not at all, mode 0600. A page whose description is missing is written again."""
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(raw)
            handle.flush()
            os.fsync(handle.fileno())
        fresh.replace(path)

    @contextlib.contextmanager
    def _told(self) -> Any:
        try:
            yield
        except OSError as error:
            message = text("report.cannot_write", self._lang, path=self.folder, reason=error.strerror)
            raise CsirtError(message) from error
