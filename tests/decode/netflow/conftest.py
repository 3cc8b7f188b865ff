"""What holds in every test of this folder."""

from __future__ import annotations

import pytest

from csirt.decode.netflow.state import State


@pytest.fixture(autouse=True)
def _dumps_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pieces of a state that are kept from one dump to the next are what writing them anew gives."""
    dump = State.dump

    def checked(self: State, key: bytes = b"") -> bytes:
        kept = dump(self)
        for item in self.exporters:
            item.mark_templates()
            item.renamed = True
        assert dump(self) == kept
        return dump(self, key) if key else kept

    monkeypatch.setattr(State, "dump", checked)
