"""Plans: those of templates with the same fields in another order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from csirt.decode.netflow.elements import shipped
from csirt.decode.netflow.plan import compile_plan
from csirt.decode.netflow.plans import Plans
from csirt.decode.netflow.templates import Signature

# Counters, addresses of both families, ports, times of every kind, text, padding, a private and an unknown element.
FIELDS = [(0, n, size) for n, size in (
    (1, 4), (2, 8), (8, 4), (12, 4), (27, 16), (28, 16), (7, 2), (11, 2), (4, 1), (21, 4), (22, 4), (150, 4), (151, 4),
    (152, 8), (153, 8), (156, 8), (160, 8), (56, 6), (82, 65_535), (210, 3), (371, 20), (31_000, 4), (1, 8), (8, 16),
)] + [(9, 12_232, 65_535), (29_305, 1, 8)]  # fmt: skip


@given(
    st.lists(st.sampled_from(FIELDS), min_size=1, max_size=12), st.randoms(), st.sampled_from((9, 10)), st.booleans()
)
def test_a_plan_made_from_another_is_the_one_compiled(
    fields: list[tuple[int, int, int]], random: object, version: int, options: bool
) -> None:
    """Whatever the fields and their order, a plan is what compiling its own signature gives."""
    plans = Plans(shipped())
    shuffled = list(fields)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for order in (fields, shuffled, fields[::-1]):
        signature = Signature(version, options, 0, tuple(order))
        made, fresh = plans[plans.number(signature)], compile_plan(signature, shipped())
        assert made.shape == fresh.shape and made.size == fresh.size and made.least == fresh.least
        for mine, other in ((made.ops, fresh.ops), (made.starts, fresh.starts), (made.sizes, fresh.sizes)):
            assert np.array_equal(mine, other)
        assert plans.shapes[plans.tables(np.array([plans.number(signature)])).shape[-1]] == fresh.shape


def test_templates_that_only_order_their_fields_differently_share_a_shape() -> None:
    """So they are decoded into one batch."""
    plans = Plans(shipped())
    fields = [field for field in FIELDS[:10] if field[0] == 0]
    numbers = [plans.number(Signature(10, False, 0, tuple(fields[n:] + fields[:n]))) for n in range(len(fields))]
    tables = plans.tables(np.array(numbers))
    assert len(set(tables.shape[tables.slot[numbers]].tolist())) == 1
    assert [int(plans.widths[number]) for number in numbers] == [len(fields)] * len(numbers)
