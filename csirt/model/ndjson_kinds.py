"""What a step of `ndjson_program` writes."""

from __future__ import annotations

CONSTANT, CLOSE, OPEN, LITERAL, TEXT, IDENTITY, UINT, INT, TIME, ADDRESS, RELATED = range(11)
