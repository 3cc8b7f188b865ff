"""Batches, as the tests of detection make them."""

from __future__ import annotations

from tests.detect.conftest import batch  # noqa: F401
