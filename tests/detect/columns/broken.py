"""Parquet files with bytes changed anywhere."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from csirt.detect.columns import files
from csirt.errors import CsirtError


def harmless(whole: bytes, path: Path, chance: random.Random) -> None:
    """400 times a byte or three are changed: what is read then is of the right length, or the file is refused by
    name, as some are."""
    refused = 0
    for _ in range(400):
        raw = bytearray(whole)
        for _ in range(chance.choice([1, 3])):
            raw[chance.randrange(4, len(raw) * 2 // 3)] = chance.randrange(256)
        path.write_bytes(raw)
        try:
            for frame in files.read(path):
                for name in frame.names():
                    column = frame.column(name)
                    assert column is None or len(column.texts(np.arange(frame.rows))) == frame.rows
        except CsirtError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused
