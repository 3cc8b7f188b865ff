"""One datagram may cost 50 ms of CPU and a bounded amount of memory, whatever is in it."""

from __future__ import annotations

import pytest

from csirt.clock import SYSTEM
from csirt.decode.netflow import keeping
from csirt.decode.netflow.decoder import NetflowDecoder
from tests.decode.netflow.datagrams import block, chunk, ipfix, template, v5, v5_record, word
from tests.fuzz.cost import budget
from tests.fuzz.worst import TOP, cases

CASES = cases()
MEMORY = 32 << 20


def cost(before: list[bytes], load: bytes) -> tuple[float, float, int]:
    """(CPU seconds of the datagram, of an ordinary one behind it, octets of all columns it gave), at best of seven:
    what else runs on the machine makes a run slower, never faster."""
    spent, after, size = [], [], 0
    for _ in range(7):
        decoder = NetflowDecoder("edge")
        decoder.decode(chunk([*before, v5([v5_record()])]))
        begin = SYSTEM.cpu()
        result = decoder.decode(chunk([load], first=len(before) + 1))
        spent.append(SYSTEM.cpu() - begin)
        assert result.entered == 1
        size = sum(batch.table.nbytes for batch in result.batches)
        begin = SYSTEM.cpu()
        ordinary = decoder.decode(chunk([v5([v5_record()])], first=len(before) + 2))
        after.append(SYSTEM.cpu() - begin)
        assert ordinary.left == 1
    return min(spent), min(after), size


@pytest.mark.parametrize("name", CASES)
def test_no_datagram_costs_more_than_50_ms(name: str) -> None:
    """At most 50 ms of CPU, also for the datagram behind it, and 32 MiB of columns."""
    before, load = CASES[name]
    assert TOP - 2_000 <= len(load) <= TOP
    spent, after, size = cost(before, load)
    limit = budget()
    assert spent <= limit and after <= limit, f"{spent * 1000:.0f} ms, then {after * 1000:.0f} ms"
    assert size <= MEMORY


def test_many_dear_datagrams_in_one_chunk_cost_no_more_than_one_by_one() -> None:
    """Nothing grows with the square of what a chunk holds."""
    loads = [load for _, load in CASES.values()] * 3
    senders = [f"198.51.100.{number % 250}" for number in range(len(loads))]
    NetflowDecoder("edge").decode(chunk(loads[:5]))
    begin = SYSTEM.cpu()
    result = NetflowDecoder("edge").decode(chunk(loads, exporters=senders))
    assert SYSTEM.cpu() - begin <= budget() * len(loads)
    assert result.entered == result.left + sum(result.dropped.values()) + result.held


def test_what_is_beyond_the_limits_is_counted_and_the_rest_is_kept() -> None:
    """Of 300 different templates with data in one datagram 128 give their records; the others count as malformed."""
    known = ipfix(block(2, b"".join(template(300 + n, (1, 4), (5000 + n, 4)) for n in range(300))))
    data = ipfix(*(block(300 + n, word(n, n)) for n in range(300)))
    result = NetflowDecoder("edge").decode(chunk([known, data]))
    assert sum(batch.rows for batch in result.batches) == 128
    assert sum(row["malformed"] for row in result.exporters) == 172


def test_a_template_that_is_refused_takes_the_old_one_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data is never read with a definition its exporter has replaced, also where the new one has no room."""
    decoder = NetflowDecoder("edge")
    flood = [template(256 + n, (1, 4)) for n in range(513)]
    first = decoder.decode(chunk([ipfix(block(2, b"".join(flood)))]))
    assert first.exporters[0]["malformed"] == 1 and decoder.templates == 512
    monkeypatch.setattr(keeping, "MAX_FIELDS", 1)
    data = ipfix(block(2, template(256, (2, 2), (1, 2))), block(256, word(7)))
    result = decoder.decode(chunk([data], first=1))
    assert not result.batches and result.held == 1 and result.exporters[0]["malformed"] == 1
