"""Untrusted text becomes terminal output, CSV, a log line or a file name here and nowhere else (decision 17).

HTML is escaped by Jinja2's autoescape, switched on in `report/`; everything else goes through this module.
"""

from __future__ import annotations

import re
import unicodedata

# Controls, bidirectional overrides, zero-width characters, line separators: anything that moves a cursor or hides text.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _visible(match: re.Match[str]) -> str:
    char = match.group()
    if char in _NAMES:
        return _NAMES[char]
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def terminal(text: object) -> str:
    """One line of text that can neither move the cursor, set a title, reverse direction nor forge a line."""
    shown = str(text)
    return shown if shown.isascii() and shown.isprintable() else _HIDDEN.sub(_visible, shown)


def log(text: object, limit: int = 500) -> str:
    """As `terminal`, cut at `limit` characters, for log lines."""
    clean = terminal(text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


_FORMULA = "=+-@|\t\r\n"


def csv_cell(value: object) -> str:
    """A CSV cell no spreadsheet takes for a formula; full-width signs and leading blanks count too. Not yet quoted."""
    text = terminal(value)
    first = unicodedata.normalize("NFKC", text.lstrip())[:1]
    if first and first in _FORMULA and not re.fullmatch(r"-?\d+(\.\d+)?", text):
        return "'" + text
    return text


def csv_line(values: list[object]) -> str:
    """One CSV record (RFC 4180), every cell quoted, without the line end."""
    return ",".join('"' + csv_cell(value).replace('"', '""') + '"' for value in values)


def file_name(text: str, limit: int = 80) -> str:
    """A name from data that is safe as one path component."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._") or "unnamed"
    return clean[:limit]
