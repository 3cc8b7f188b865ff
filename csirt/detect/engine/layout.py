"""Which columns of a frame a program reads, found once for all frames that have the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from csirt.detect.engine.program import Compiled, Frame
from csirt.model.batch import Array

# What a frame has of a field: nothing; text that was read, one to a row or lists of it; something else.
ABSENT, READ, LISTS, OTHER = 0, 1, 2, 3
# Frames that come one after the other have the same columns, or one of a few sets.
MOST = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """`chosen`: the places of columns in the frame's table of text that are a rule's or `read`; `places`: the field of
    each by number, or behind the last. `others`: (name, number of the field, whether its text is read) of what is not
    in that table. `searched`: where keywords are looked for."""

    chosen: Array
    places: Array
    read: Array
    others: tuple[tuple[str, int, bool], ...]
    searched: frozenset[str]

    @classmethod
    def of(cls, program: Compiled, frame: Frame) -> Layout:
        """The layout for a frame; those of other frames are kept with the program."""
        known, alike = frame.physical(), frame.alike()
        texts = known.names if known is not None else ()
        key: tuple[object, ...] = (alike, known is None)
        if alike is None:
            key = (texts, tuple(frame.names()), frozenset(frame.written()))
        found: Layout | None = program.layouts.get(key)
        if found is None:
            while len(program.layouts) >= MOST:
                del program.layouts[next(iter(program.layouts))]
            found = program.layouts[key] = _made(program, texts, frame)
        return found


def _made(program: Compiled, names: tuple[str, ...], frame: Frame) -> Layout:
    numbered = program.numbered
    last = len(numbered.fields)
    everywhere = frozenset(frame.names() if program.keywords else ())
    no_text = frame.written()

    def wanted(name: str) -> bool:
        place = numbered.places.get(name)
        return name in everywhere or (place is not None and bool(numbered.texts[place]))

    chosen = [place for place, name in enumerate(names) if name in numbered.places or name in everywhere]
    read = np.array([wanted(names[place]) for place in chosen], bool)
    places = [numbered.places.get(names[place], last) for place in chosen]
    given = frozenset(names)
    others = [
        (name, numbered.places.get(name, last), wanted(name))
        for name in dict.fromkeys([*numbered.fields, *(name for name in everywhere if name not in no_text)])
        if name not in given and frame.could_have(name)
    ]
    return Layout(np.array(chosen, np.int64), np.array(places, np.int64), read, tuple(others), everywhere)
