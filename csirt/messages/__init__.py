"""The message catalogue: every sentence people read, in bokmål and English.

One JSON file per noun beside this module: {"key": {"nb": "…", "en": "…"}}; a key is `noun.name`. Sentences take
`str.format` fields. A missing translation is an error that the tests find, never a silent fallback.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _catalogue(noun: str) -> dict[str, dict[str, str]]:
    loaded: dict[str, dict[str, str]] = json.loads(files(__package__).joinpath(f"{noun}.json").read_text("utf-8"))
    return loaded


@cache
def sentence(key: str, lang: str) -> str:
    """The sentence of that key in that language with its fields as they stand. Raises KeyError as `text`."""
    return _catalogue(key.partition(".")[0])[key][lang]


def text(key: str, lang: str, **fields: Any) -> str:
    """The sentence of that key in that language. Raises KeyError for a key or language that does not exist."""
    return sentence(key, lang).format(**fields)


def known(key: str) -> bool:
    """Whether the catalogue has that key: for values that come from data and may be any."""
    try:
        return key in _catalogue(key.partition(".")[0])
    except FileNotFoundError:
        return False
