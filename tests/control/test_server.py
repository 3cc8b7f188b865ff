"""The command socket cannot be made: a sentence that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from csirt.config import Control
from csirt.control.server import Server
from csirt.errors import CsirtError


def test_a_socket_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    """A path that is too long, a folder that is a file, an unknown group."""
    (tmp_path / "file").touch()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"socket": str(tmp_path / ("x" * 120))}, "too long"),
        ({"socket": str(tmp_path / "file" / "s.sock")}, r"(?i)not a directory|file exists"),
        ({"socket": str(tmp_path / "s.sock"), "group": "no-such-group"}, "no group 'no-such-group'"),
    ]
    for values, said in cases:
        with pytest.raises(CsirtError, match=said):
            Server(Control(**values), lambda *_: None)  # type: ignore[arg-type, return-value]
