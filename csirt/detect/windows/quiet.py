"""Hits of long stretches of time at once, where nothing comes of them.

What a correlation finds does not depend on how the time axis is cut, and its groups do not depend on each other: hits
of groups in which its condition holds nowhere need not be taken in step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.windows.counting import Counting


def taken(counting: Counting, inputs: Sequence[pa.Table], until: int | None) -> tuple[Counting, list[pa.Table]] | None:
    """The counting with the hits of the groups in which nothing fires, and the hits of the others, by rule; None when
    that cannot be told, for its bounds would cost something. The counting given is left as it was."""
    trial = counting.copy()
    fires = trial.advance(inputs, until)
    if any(trial.dropped.values()):
        return None
    if fires is None:
        return trial, [part.slice(0, 0) for part in inputs]
    loud = pa.array(sorted(set(fires.names)), pa.string())
    masks = [pc.is_in(part.column("group"), value_set=loud) for part in inputs]
    silent = [part.filter(pc.invert(mask)) for part, mask in zip(inputs, masks, strict=True)]
    trial = counting.copy()
    if not any(part.num_rows for part in silent) or trial.advance(silent, until) is not None:
        return None
    return trial, [part.filter(mask) for part, mask in zip(inputs, masks, strict=True)]
