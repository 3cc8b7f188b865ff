"""Which nodes there are, and which of them are heard of: each renews a document of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from csirt.clock import Clock
from csirt.errors import Conflict
from csirt.stores.elastic.shared.log import Documents

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


class Nodes:
    """One node's view. `turn` is called every few seconds by one thread. `patience`: seconds after which a node that is
    not heard of is absent."""

    def __init__(self, documents: Documents, node: str, clock: Clock, patience: float) -> None:
        self._documents, self._node, self._clock, self._patience = documents, node, clock, patience
        self._life = os.urandom(8).hex()
        self.rules = ""  # which rules this node runs, as a digest; empty: not known yet
        self._at: tuple[int, int] | None = None
        self._known: dict[str, tuple[dict[str, Any], float]] = {}  # what each says, and when that changed
        self._met: set[str] = set()

    def turn(self, names: set[str], applied: int, reach: int | None = None) -> None:
        """Say that this node is there, up to which event time (`reach`) the cluster has its events, and hear of the
        others. Raises Unreachable, Conflict when another daemon has
        this node's name."""
        try:
            self._say(applied, reach)
            others = sorted((names | self._met) - {self._node})
            heard = self._documents.several([_name(name) for name in others]) if others else []
        except BaseException:
            # While the cluster does not answer nobody can be heard of.
            now = self._clock.monotonic()
            self._known = {name: (said, now) for name, (said, _) in self._known.items()}
            raise
        now = self._clock.monotonic()
        for name, said in zip(others, heard, strict=True):
            said = said or {}
            if name not in self._known or self._known[name][0] != said:
                self._known[name] = said, now

    def _say(self, applied: int, reach: int | None) -> None:
        now = self._clock.now()
        body = {"node": self._node, "life": self._life, "applied": applied, "time": now, "reach": reach}
        body["rules"] = self.rules
        name = _name(self._node)
        if self._at is None:  # who begins later is the one
            found = self._documents.get(name)
            self._at = self._documents.put(name, body, found[1] if found is not None else None)
            return
        at = self._documents.put(name, body, self._at)
        if at is None:
            found = self._documents.get(name)
            if found is not None and found[0]["life"] != self._life:
                raise Conflict(
                    f"another daemon calls itself {self._node} too; give each a [stores.elasticsearch] node of its own "
                    "and restart this one"
                )
            at = found[1] if found is not None else None
        self._at = at

    def absent(self, name: str) -> bool:
        """Whether a node has not been heard of for too long."""
        if name == self._node or name not in self._known:
            return False
        return self._clock.monotonic() - self._known[name][1] >= self._patience

    def meet(self, client: Elasticsearch, index: str) -> None:
        """Hear also of the nodes that have said nothing in the log yet. Raises what the client raises."""
        client.indices.refresh(index=index)
        self._met |= {str(one["node"]) for one in others(client, index, self._node, 0)}

    def waited(self, forget: int) -> dict[str, int]:
        """By node that the log is kept for, the entry up to which it has it: all that were heard of within `forget`
        microseconds. What a node said last is also judged by the time it said, so that a new leader need not wait for
        all of that; a clock that is wrong costs at most a `csirt store recover`."""
        found = dict.fromkeys(self._met - self._known.keys() - {self._node}, 0)
        for name, (said, _) in self._known.items():
            if not (self.absent(name) and self._documents.now() - int(said.get("time", 0)) >= forget):
                found[name] = int(said.get("applied", 0))
        return found

    def reach(self, name: str) -> int | None:
        """The event time up to which the cluster has the events of another node, as far as that said."""
        said = self._known.get(name, ({}, 0.0))[0].get("reach")
        return None if said is None else int(said)

    def listed(self) -> list[dict[str, Any]]:
        """The other nodes: `{node, applied, heard_s, rules}`."""
        now = self._clock.monotonic()
        return [
            {
                "node": name,
                "applied": int(said.get("applied", 0)),
                "heard_s": round(now - since, 1),
                "rules": str(said.get("rules", "")),
            }
            for name, (said, since) in sorted(self._known.items())
        ]


def announce(documents: Documents, node: str, applied: int) -> None:
    """Say of a node that is not there yet that it needs the log from this entry on. Raises Unreachable."""
    found = documents.get(_name(node))
    body = {"node": node, "life": "", "applied": applied, "time": documents.now(), "reach": None, "rules": ""}
    documents.put(_name(node), body, found[1] if found is not None else None)


def others(client: Elasticsearch, index: str, node: str, since: int) -> list[dict[str, Any]]:
    """What the other nodes said last, by name, of those that were there at that time or later. Raises what the client
    raises."""
    hits = client.search(index=index, size=1_000)["hits"]["hits"]
    found = [hit["_source"] for hit in hits if hit["_id"].startswith(_name("")) and hit["_id"] != _name(node)]
    return sorted((one for one in found if one["time"] >= since), key=lambda one: str(one["node"]))


def _name(node: str) -> str:
    return f"node:{node}"
