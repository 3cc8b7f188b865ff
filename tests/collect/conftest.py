"""Receivers and writers on temporary spools, and a plain reading of what they wrote."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from csirt import config
from csirt.clock import SYSTEM, Clock
from csirt.collect.receiver import Receiver
from csirt.metrics import Metrics


def blocks(raw: bytes) -> list[bytes]:
    """The captured bytes of every enhanced packet block, read the slow and obvious way."""
    found, at = [], 0
    while at + 12 <= len(raw):
        kind, length = struct.unpack_from("<II", raw, at)
        assert length % 4 == 0 and raw[at + length - 4 : at + length] == struct.pack("<I", length)
        if kind == 6:
            captured = struct.unpack_from("<I", raw, at + 20)[0]
            found.append(raw[at + 28 : at + 28 + captured])
        at += length
    assert at == len(raw)
    return found


@pytest.fixture
def read_blocks() -> Callable[[bytes], list[bytes]]:
    """`blocks` as a fixture."""
    return blocks


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    """Make and start a receiver on `tmp_path/spool`; stopped at the end."""
    made: list[Receiver] = []

    def make(
        kind: str = "netflow",
        listen: str = "127.0.0.1:0",
        *,
        transport: str = "udp",
        clock: Clock = SYSTEM,
        **spool: Any,
    ) -> Receiver:
        listener = config.Listener(source="s", kind=kind, listen=listen, transport=transport)  # type: ignore[arg-type]
        result = Receiver(listener, config.Spool(**spool), tmp_path / "spool", Metrics(), clock)
        result.start()
        made.append(result)
        return result

    yield make
    for item in made:
        item.stop()
