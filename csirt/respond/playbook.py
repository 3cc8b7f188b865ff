"""Playbooks: OASIS CACAO 2.0 objects written as YAML, with a step extension of ours, read safely.

Understood: `start`, `end`, `action`, `parallel` and `if-condition` steps (CACAO 2.0, section 4), commands of type
`manual`. Step ids keep the type in front (`action--block`); the part behind `--` may be a word instead of a UUID.
The extension `csirt` of a step (section 4.1, step_extensions) says what our plan does with it:

    kind         note | notify | report | manual | acl
    text         what to do, in `nb` and `en`
    precondition, effect, undo   the same two languages; required for acl
    expiry       how long containment holds, such as 4h; required for acl
    tell         notify: who (csirt, member, network_ops, supplier, edi, national)
    hosts        acl: `actors`, or addresses; the guard decides what may be named
    protocol, ports   acl: what to stop; `ports: facts` takes the destination ports the alerts saw
The condition of an `if-condition` is the filter grammar over the facts of the case. Playbooks never load code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

EXTENSION = "csirt"

Text = dict[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """One workflow step; `next` holds the steps after it in the order they are walked."""

    id: str
    type: str
    name: str = ""
    next: tuple[str, ...] = ()  # of start and action: one; of parallel: the branches
    then: str = ""  # after a parallel or condition; of a condition also on_true / on_false
    condition: str = ""
    on_true: str = ""
    on_false: str = ""
    kind: str = "manual"
    text: Text = field(default_factory=dict)
    precondition: Text = field(default_factory=dict)
    effect: Text = field(default_factory=dict)
    undo: Text = field(default_factory=dict)
    expiry_us: int = 0
    tell: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ("actors",)
    protocol: str = "tcp"
    ports: tuple[int, ...] = ()
    ports_from_facts: bool = False


@dataclass(frozen=True, slots=True)
class Playbook:
    """A workflow with a name people say (`PB-WORM`)."""

    id: str
    name: str
    title: Text
    description: str
    start: str
    steps: dict[str, Step]
    file: str = ""
    line: int = 1


Playbooks = dict[str, Playbook]
