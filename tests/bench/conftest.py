"""What holds in every test of this folder."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _modules_are_compiled_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here asks how fast a run is: measured processes take the compiled modules of all others, where they would
    compile a thousand for themselves."""
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "")
