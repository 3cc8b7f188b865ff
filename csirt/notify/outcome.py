"""What came of one try to tell somebody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Outcome:
    """`sent`: the far end took it. `retry`: it may later. `failed`: it never will. `endpoint_down`: nobody answers
    there, so the rest for the same endpoint need not be tried now. `detail`: a short sentence of our own, never the
    far end's text."""

    state: Literal["sent", "retry", "failed"]
    detail: str = ""
    endpoint_down: bool = False
