"""The columnar engine: every atom once per batch and distinct value, every rule only on the rows that could match it.

`Program` is a set of conditions compiled for one kind of frame; `evaluate.Run` is one of its runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from csirt.detect.atoms import Atom, Node, Plan, leaves
from csirt.detect.engine.evaluate import Run
from csirt.detect.engine.numbered import Witnesses
from csirt.detect.engine.program import Compiled, Frame
from csirt.model.batch import Array

if TYPE_CHECKING:
    from csirt.detect.engine.verdicts import Verdicts

# A frame of fewer rows is done before the compiled loops were loaded.
FEW_ROWS = 256
# So few conditions are looked for one after the other sooner than all that is there for many is set up.
FEW_CONDITIONS = 8
# A condition whose candidates are more than this share of a frame tries other witnesses, once in so many frames;
# results never depend on the choice.
HEAVY_ROWS = 500
HEAVY_SHARE = 100
LEARN_EVERY = 512


class Program(Compiled):
    """Compiled conditions that run; `run` gives the matching rows of each. Not thread-safe: it learns."""

    def __init__(self, conditions: Sequence[Node], *, engine: str = "auto", budget: float | None = None) -> None:
        super().__init__(conditions, engine=engine, budget=budget)
        self._frames = 0
        self._tried: dict[int, int] = {}

    def run(self, frame: Frame) -> dict[int, Array]:
        """Condition index -> sorted rows that match; conditions that match nowhere are left out."""
        self.budget.start()
        run = Run(self, frame)
        # Nobody that knows the frame is known by what it knows: a circle would keep frames until garbage is looked for.
        many = frame.rows >= max(FEW_ROWS, 1) and len(self.plans) > FEW_CONDITIONS
        looked = _verdicts(run) if many else run
        found = looked.results()
        self._frames += 1
        if self.budget.spent:
            self._switch_off()
            found = {index: where for index, where in found.items() if index not in self.overrun}
        self._learn(run, looked.counts)
        return found

    def _switch_off(self) -> None:
        """Conditions with an expression that overran never match again."""
        spent = self.budget.spent.keys()
        over = {index for index, choice in enumerate(self.choices) if spent & _all(choice[0])}
        if over - self.overrun:
            self.overrun |= over
            self.choose(self.plans)

    def _learn(self, run: Run, counts_of: Callable[[Mapping[str, Witnesses]], dict[Atom, int]]) -> None:
        """For conditions with many candidates choose the witnesses that hold on the fewest rows of this frame."""
        heavy = [
            index
            for index, count in run.candidates.items()
            if count > HEAVY_ROWS
            and count * HEAVY_SHARE > run.rows
            and len(self.choices[index]) > 1
            and self._frames >= self._tried.get(index, 0)
        ]
        if not heavy:
            return
        numbers = np.concatenate([self.numbered.of_plan(item) for index in heavy for item in self.choices[index]])
        counts = counts_of(self.numbered.by_field(np.unique(numbers)))
        chosen = list(self.plans)
        for index in heavy:
            self._tried[index] = self._frames + LEARN_EVERY
            chosen[index] = min(
                self.choices[index], key=lambda item: sum(counts.get(atom, 0) for atom in item.witnesses)
            )
        self.choose(chosen)


def _verdicts(run: Run) -> Verdicts:
    from csirt.detect.engine.verdicts import Verdicts  # with its compiled loops

    return Verdicts(run)


def _all(plan: Plan) -> set[Atom]:
    return {*plan.witnesses, *(leaves(plan.rest) if plan.rest is not None else ())}
