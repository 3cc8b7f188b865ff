"""Rates looked up once for a whole set are those looked up for each record."""

from __future__ import annotations

import struct
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.decode.netflow import sampling
from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.model import ndjson
from tests.decode.netflow.datagrams import block, chunk, ipfix, ipfix_options, template

FLOWS = block(2, template(300, (1, 4), (302, 8)))
TABLE = block(3, ipfix_options(301, 1, (302, 8), (305, 4), (306, 4)))


class Known:
    """A configured exporter."""

    address, name, sampling_rate = "192.0.2.3", "", 7


def lines(*chunks: tuple[list[bytes], list[str]]) -> list[bytes]:
    """The flows of some chunks."""
    decoder = NetflowDecoder("s", exporters=[Known()])
    found: list[bytes] = []
    for payloads, exporters in chunks:
        result = decoder.decode(chunk(payloads, exporters=exporters))
        found += [line for batch in result.batches if batch.dataset == "flow" for line in ndjson.render(batch)]
    return found


@settings(max_examples=60, deadline=None)
@given(
    tables=st.lists(st.dictionaries(st.integers(0, 3), st.sampled_from([9, 99]), max_size=3), min_size=3, max_size=3),
    flows=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)), min_size=1, max_size=8),
)
def test_rates_of_sets_are_those_of_their_records(tables: list[dict[int, int]], flows: list[tuple[int, int]]) -> None:
    """Whether an exporter has no sampler, one, several that agree or differ, or a rate in the configuration."""
    addresses = [f"192.0.2.{number}" for number in (1, 2, 3)]
    said = [
        ipfix(FLOWS, TABLE, *(block(301, struct.pack(">QII", ident, 1, rest)) for ident, rest in table.items()))
        for table in tables
    ]
    data = [ipfix(block(300, struct.pack(">IQ", 5, ident) * 2)) for _, ident in flows]
    chunks = (said, addresses), (data, [f"192.0.2.{number}" for number, _ in flows])
    found = lines(*chunks)
    with patch.object(sampling, "of_sets", return_value=None):
        assert lines(*chunks) == found
    assert len(found) == 2 * len(flows)
