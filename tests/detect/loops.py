"""The compiled loops even where a handful of values would be done without them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest.mock import patch

from csirt.detect.columns import coded
from csirt.detect.engine import engine, literals, rows


@contextlib.contextmanager
def compiled(always: bool = True) -> Iterator[None]:
    """Within it no frame is too small for them, and no rules are too few."""
    with contextlib.ExitStack() as stack:
        if always:
            for module, name in (
                (engine, "FEW_ROWS"),
                (engine, "FEW_CONDITIONS"),
                (literals, "FEW"),
                (rows, "FEW"),
                (rows, "FEW_NUMBERS"),
                (coded, "FEW_BITS"),
            ):
                stack.enter_context(patch.object(module, name, -1))
        yield
