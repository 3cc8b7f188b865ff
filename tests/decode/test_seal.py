"""Sealed bytes: unreadable without their key, equal for equal bytes, proven when opened."""

from __future__ import annotations

import pytest

from csirt.decode.seal import seal, unseal

KEY, OTHER = bytes(range(32)), bytes(32)


@pytest.mark.parametrize("data", [b"", b"x", b"01010750160 ola@example.no" * 1_000])
def test_what_is_sealed_comes_back(data: bytes) -> None:
    """Any length, the empty one too."""
    assert unseal(KEY, seal(KEY, data)) == data


def test_nothing_of_the_data_is_in_the_seal() -> None:
    """Not even a few octets of it; equal data gives equal seals, other data another stream."""
    data = b"ola.nordmann@example.no" * 10
    sealed = seal(KEY, data)
    assert not any(data[at : at + 4] in sealed for at in range(len(data) - 4))
    assert sealed == seal(KEY, data)
    other = seal(KEY, data[:-1] + b"x")
    assert sealed[:64] != other[:64]


def test_another_key_or_a_changed_octet_opens_nothing() -> None:
    """None, never wrong data."""
    sealed = seal(KEY, b"a" * 100)
    assert unseal(OTHER, sealed) is None
    for at in (0, 15, 16, 60, len(sealed) - 1):
        assert unseal(KEY, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) is None
