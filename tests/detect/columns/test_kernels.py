"""The compiled loops read what the plain functions read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.columns import kernels, values

PARTS = st.sampled_from(["0", "1", "10", "255", "256", "01", "ffff", "FFFF", "abcde", "g", "", ".", ":", "::", "%eth0"])
TEXTS = st.one_of(
    st.lists(PARTS, max_size=9).map("".join),
    st.lists(PARTS, max_size=9).map(":".join),
    st.lists(PARTS, max_size=5).map(".".join),
    st.ip_addresses().map(str),
    st.ip_addresses(v=4).map("::ffff:{}".format),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.text(max_size=6),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_addresses_are_read_as_the_c_library_reads_them(texts: list[str]) -> None:
    """Anything at all, whole or in slices of a column."""
    column = pa.array(["::1", *texts], pa.string()).slice(1)
    data, offsets = values.text_buffers(column)
    family, high, low = (np.empty(len(texts), kind) for kind in (np.uint8, np.uint64, np.uint64))
    kernels.addresses(data, offsets, np.zeros(8, np.uint64), family, high, low)
    expected = [values.parse_address(text) if "\0" not in text else None for text in texts]
    found = [(int(f), (int(h) << 64) | int(x)) if f else None for f, h, x in zip(family, high, low, strict=True)]
    assert found == expected
