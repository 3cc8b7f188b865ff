"""`csirt status`: what of the receivers people and pipes see."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from csirt.cli import main
from csirt.cli.common import Settings, guarded


def _receiver(lane: str, **more: Any) -> dict[str, Any]:
    buffer = {"asked": 32 << 20, "granted": 32 << 20}
    item = {"source": "edge", "lane": lane, "listen": ["udp [::]:2055"], "received": 10, "spooled": 9}
    return {**item, "kernel_dropped": 0, "spool_dropped": {"spool_full": 1}, "receive_buffer": buffer, **more}


DOCUMENT = {
    "schema": "csirt.status/1", "live": True, "store": "/s", "watermark": None, "stages": [], "exporters": [],
    "events": {}, "redacted": {}, "backlog": {"edge": 4}, "warnings": [],
    "sector": {
        "every_s": 60, "until": "2026-11-24T15:24:57Z", "late": 0, "lost": 0,
        "rules": [{"id": "rule-b", "title": "B", "until": None, "behind_s": 7, "failure": ""}],
        "refused": [],
    },
    "windows": {"dropped": {"groups": 1_200}, "learning": {"rule-a": 7}},
    "receivers": [
        _receiver(""),
        _receiver("1", receive_buffer={"asked": 32 << 20, "granted": 212_992}),
        _receiver("tls", receive_buffer={"asked": 0, "granted": 0}, closed={"handshake": 1_234, "not_ipfix": 2}),
    ],
}  # fmt: skip


class Daemon:
    """Answers with the document."""

    def call(self, verb: str) -> dict[str, Any]:
        """`status.show`."""
        assert verb == "status.show"
        return DOCUMENT


@pytest.fixture(autouse=True)
def daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon with three receivers of one source."""
    monkeypatch.setattr(Settings, "client", lambda _: Daemon())


def test_pipes_get_a_record_for_each_lane(capsys: pytest.CaptureFixture[str]) -> None:
    """Lanes by the names of their folders; what waits once for the source; the buffer of each that has one, and ended
    connections by reason; and one for each rule that is looked for in the cluster."""
    assert guarded(main, ["status"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    counts = ["udp [::]:2055", "10", "9", "0", "1"]
    assert [line[1:] for line in lines if line[0] == "receiver"] == [
        ["edge", *counts, "4"], ["edge@1", *counts, "0"], ["edge@tls", *counts, "0"],
    ]  # fmt: skip
    assert [line[1:] for line in lines if line[0] == "sector"] == [["rule-b", "B", "", "7", ""]]
    assert [line[1:] for line in lines if line[0] == "buffer"] == [
        ["edge", "33554432", "33554432"], ["edge@1", "33554432", "212992"],
    ]  # fmt: skip
    assert [line[1:] for line in lines if line[0] == "closed"] == [
        ["edge@tls", "handshake", "1234"], ["edge@tls", "not_ipfix", "2"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lang", "buffer", "closed"),
    [
        (
            "en",
            "edge@1: the kernel granted 208 of 32,768 KiB receive buffer",
            "edge@tls ended 1,234 connections: handshake",
        ),
        (
            "nb",
            "edge@1: kjernen ga 208 av 32 768 KiB mottaksbuffer",
            "edge@tls avsluttet 1 234 forbindelser: handshake",
        ),
    ],
)
def test_people_see_what_is_not_as_it_should_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lang: str, buffer: str, closed: str
) -> None:
    """A buffer that is smaller than asked for, and ended connections; nothing of a receiver that is well."""
    monkeypatch.setattr(importlib.import_module("csirt.cli.status"), "is_terminal", lambda: True)
    assert guarded(main, ["status", "--lang", lang]) == 0
    out = capsys.readouterr().out
    assert buffer in out and closed in out
    assert ("1,200: groups" if lang == "en" else "1 200: groups") in out and "rule-a" in out
    assert ("Rules of the sector: 1" if lang == "en" else "Regler for sektoren: 1") in out
    assert out.count("KiB") == 1 and max(map(len, out.splitlines())) <= 80
