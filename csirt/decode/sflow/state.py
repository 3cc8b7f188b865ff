"""What is remembered of agents between two commits: which there are, the sequence number each sends next, and when each
was heard last, so that who is silent for long is forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from csirt.model.address import to_text

MAX_AGENTS = 16_384  # of senders the configuration does not name, in all
MAX_AGENTS_LISTED = 1_024  # of each sender that it names
Key = tuple[int, int, int, int, int, int, int]


@dataclass(slots=True)
class Agent:
    """One (sender, agent, sub-agent): family, high and low of both addresses, and a number. `expected`: the sequence
    number of its next datagram, or -1. `listed`: whether its sender was configured when it was first seen. `heard`: the
    receive clock of its latest datagram."""

    key: Key
    expected: int = -1
    listed: bool = False
    heard: int = 0

    @property
    def sender(self) -> str:
        """The address its datagrams come from, as text; empty when there is none."""
        return to_text(*self.key[:3]) if self.key[0] else ""

    @property
    def address(self) -> str:
        """The agent's own address, as text."""
        return to_text(*self.key[3:6])

    @property
    def domain(self) -> int:
        """The sub-agent."""
        return self.key[6]


@dataclass(slots=True)
class State:
    """Agents in order of first sight, and where each is. `clock`: the latest receive time so far, in microseconds."""

    clock: int = 0
    agents: list[Agent] = field(default_factory=list)
    index: dict[Key, int] = field(default_factory=dict)
    _unlisted: int = 0
    _listed: dict[tuple[int, ...], int] = field(default_factory=dict)  # by sender

    def number(self, key: Key, *, listed: bool) -> int | None:
        """The agent's number, given to it now where it is new; None when there is no room for it."""
        found = self.index.get(key)
        if found is None and self._room(key, listed):
            found = self._add(Agent(key, listed=listed))
        return found

    def eldest(self, otherwise: int) -> int:
        """When the agent that was silent for longest was heard, or `otherwise` where there is none."""
        return min((agent.heard for agent in self.agents), default=otherwise)

    def expire(self, before: int) -> int:
        """Forget who was last heard before then, and number the others anew; how many are forgotten."""
        kept = [agent for agent in self.agents if agent.heard >= before]
        gone = len(self.agents) - len(kept)
        if gone:
            self.agents, self.index, self._unlisted, self._listed = [], {}, 0, {}
            for agent in kept:
                self._add(agent)
        return gone

    def _room(self, key: Key, listed: bool) -> bool:
        if listed:
            return self._listed.get(key[:3], 0) < MAX_AGENTS_LISTED
        return self._unlisted < MAX_AGENTS

    def _add(self, agent: Agent) -> int:
        if agent.listed:
            self._listed[agent.key[:3]] = self._listed.get(agent.key[:3], 0) + 1
        else:
            self._unlisted += 1
        self.index[agent.key] = len(self.agents)
        self.agents.append(agent)
        return len(self.agents) - 1

    def dump(self) -> bytes:
        """The state as bytes; nothing for nobody; equal states give equal bytes."""
        agents = [[*agent.key, agent.expected, agent.listed, agent.heard] for agent in self.agents]
        return orjson.dumps({"clock": self.clock, "agents": agents}) if agents or self.clock else b""

    @staticmethod
    def load(raw: bytes) -> State:
        """The state of `dump`. Raises ValueError for anything else."""
        read: Any = orjson.loads(raw) if raw else []
        if isinstance(read, list):  # nobody; or of an earlier version, which knew no last time: all are met anew
            return State()
        state = State(read["clock"])
        for *key, expected, listed, heard in read["agents"]:
            state._add(Agent(tuple(key), expected, listed, heard))
        return state
