"""The order of the files."""

from __future__ import annotations

import pytest

# What takes a minute begins at once: begun last, it would keep one worker busy while the others have nothing left.
LONG = ("test_kill.py", "test_outage.py", "test_workers.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, the others as they come."""
    items.sort(key=lambda item: item.path.name not in LONG)
