"""A cluster that stops under load, comes back busy, half broken, and too late to say that it has written: nothing is
lost or written twice, people are told meanwhile, and memory does not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.elastic import desk, outage, proxy
from tests.elastic.test_bad_days import counted
from tests.live import until
from tests.notify import fakes

SECONDS = float(os.environ.get("CSIRT_OUTAGE", "60"))  # `make chaos` asks for a quarter of an hour
pytestmark = pytest.mark.timeout(int(SECONDS) + 600)
MORE_MIB = 100


class Process:
    """The load, step by step."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, word: str) -> dict[str, Any]:
        """One answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the load ended"
        found: dict[str, Any] = json.loads(answer)
        return found


@contextmanager
def load(folder: Path, url: str, prefix: str, hook: str) -> Iterator[Process]:
    """The process of `outage.py`."""
    words = [sys.executable, "-m", "tests.elastic.outage", str(folder), url, prefix, hook]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Process(process)
        assert process.stdin is not None
        process.stdin.close()


def keys(server: Any) -> list[str]:
    """The idempotency keys of all messages that arrived."""
    return [headers["Idempotency-Key"] for _, headers, _ in server.posts]


def test_a_cluster_stopped_under_load(elasticsearch: str, prefix: str, tmp_path: Path) -> None:
    """Stopped for a minute, then 429, then partial errors, then writing without an answer in time: the dump from the
    cluster is an undisturbed run's, each document is there once, each notification was sent once and while the cluster
    was away, none comes late in a flood, and the process needed no more memory."""
    with fakes.running(fakes.WebServer()) as calm, fakes.running(fakes.WebServer()) as told:
        desk.install(elasticsearch, f"calm-{prefix}")
        with load(tmp_path / "calm", elasticsearch, f"calm-{prefix}", calm.url) as process:
            for _ in range(outage.STEPS):
                process.ask("step")
            wanted = process.ask("end")
        desk.install(elasticsearch, prefix)
        with proxy.before(elasticsearch) as bad, load(tmp_path / "store", bad.url, prefix, told.url) as process:
            for mode, steps, seconds in (
                ("well", 4, 0.0),
                ("away", 6, SECONDS),
                ("busy", 2, 2.0),
                ("partly", 2, 2.0),
                ("late", 2, 5.0),
            ):
                before, asked, bad.mode = len(told.posts), bad.asked, mode
                for _ in range(steps):
                    state = process.ask("step")
                    time.sleep(seconds / steps)
                assert len(told.posts) > before, f"nobody was told: {mode}"
                assert mode != "away" or (state["trouble"] and state["waiting"] > outage.ALERTS * 4)
                print(f"{mode}: {state['waiting']} documents wait")
                until(lambda asked=asked: bad.asked > asked, 30)  # type: ignore[misc]
            bad.mode = "well"
            before = len(told.posts)
            found = process.ask("end")
            assert len(told.posts) == before
        assert sorted(keys(told)) == sorted(keys(calm)) and len(set(keys(told))) == len(told.posts)
    print(f"{found['documents']} documents, {wanted['rss_mib']} MiB undisturbed, {found['rss_mib']} MiB disturbed")
    assert (found["digest"], found["documents"]) == (wanted["digest"], wanted["documents"])
    assert counted(elasticsearch, prefix) == counted(elasticsearch, f"calm-{prefix}")
    assert found["rss_mib"] <= wanted["rss_mib"] + MORE_MIB
