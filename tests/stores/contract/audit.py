"""The audit: a chain of entries, each bound to the one before."""

from __future__ import annotations

from csirt.stores.base import Commit
from tests.stores import build
from tests.stores.contract.reading import Reopen


class Audit:
    """Every entry has its place, whatever it holds."""

    def test_the_audit_is_a_chain(self, reopen: Reopen) -> None:
        """Entries of commits and others get consecutive numbers, each bound to the one before."""
        store = reopen()
        store.commit(Commit(audit=[build.entry("one"), build.entry("two")]))
        store.append_audit([build.entry("three", category="access", actor="kari")])
        store = reopen()
        store.append_audit([build.entry("four")])
        chain = list(store.audit())
        assert [item.seq for item in chain] == [1, 2, 3, 4]
        assert [item.action for item in chain] == ["one", "two", "three", "four"]
        assert [item.previous for item in chain] == ["", *(item.hash for item in chain[:-1])]
        assert [item.seq for item in store.audit(since_seq=1, limit=2)] == [2, 3]

    def test_audit_of_hostile_text(self, reopen: Reopen) -> None:
        """What JSON cannot hold does not stop an access from being recorded."""
        store = reopen()
        store.append_audit([build.entry("x", detail={"where": "a\ud800b", "n": 1 << 80, "list": [{"t": (1, 2)}]})])
        (found,) = list(store.audit())
        assert found.detail["list"] == [{"t": [1, 2]}]
