"""The page that moves a batch: what a decoder, a rule engine or a store does wrong costs nothing but what it must."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csirt import replay
from csirt.app import App
from csirt.decode.packets.decoder import PacketDecoder
from csirt.decode.textlog import LogDecoder
from csirt.model.batch import Decoded
from csirt.model.chunk import Chunk, Lines, Packets
from tests.hostile.bench import balanced, configured, run
from tests.privacy import sources

LINE = (
    "Nov 24 16:00:{:02d} relay postfix/smtp[1]: A{:08d}: to=<post@x.example>, relay=mx[10.1.1.1]:25, delay=1, "
    "delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)"
)


def lines(folder: Path, bad: int | None) -> Path:
    """40 lines of a relay, one of which is the one that must not be."""
    out = [LINE.format(number, number) for number in range(40)]
    if bad is not None:
        out[bad] += " EXPLODE kari.hemmelig"
    path = folder / f"relay{bad}.log"
    path.write_text("\n".join(out) + "\n")
    return path


def exploding(real: Callable[[Any, Chunk], Decoded]) -> Callable[[Any, Chunk], Decoded]:
    """A decoder with a defect, whose exception quotes what it choked on."""

    def decode(self: Any, chunk: Chunk) -> Decoded:
        if isinstance(chunk.data, Lines) and b"EXPLODE" in _covered(chunk.data):
            raise ValueError(f"cannot read {_covered(chunk.data)!r}")
        return real(self, chunk)

    return decode


def _covered(data: Lines) -> bytes:
    ends = zip(data.offset.tolist(), data.length.tolist(), strict=True)
    return b"\n".join(data.buffer[at : at + size].tobytes() for at, size in ends)


def test_a_decoder_that_fails_on_one_line_loses_that_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It closes in on the one unit, counts it as internal_error, decodes all others; the log says where in the program,
    and nothing of the line."""
    expected = run(configured(tmp_path), tmp_path / "plain", lines(tmp_path, None), parser="postfix")
    monkeypatch.setattr(LogDecoder, "decode", exploding(LogDecoder.decode))
    with caplog.at_level(logging.ERROR):
        outcome = run(configured(tmp_path), tmp_path / "store", lines(tmp_path, 17), parser="postfix")
    assert outcome.dropped("decode") == {"internal_error": 1}
    assert outcome.stage("decode")["in"] == 40
    assert len(outcome.events) == len(expected.events) - 1 == 39
    assert "ValueError" in caplog.text and "test_pipeline.py" in caplog.text
    assert "EXPLODE" not in caplog.text and "hemmelig" not in caplog.text


def test_packets_that_a_failing_decoder_held_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the decoder fails on a packet, the packets of flows still open go with it: counted, not silently gone."""
    path = tmp_path / "trace.pcap"
    sources.capture(path)
    config = configured(tmp_path, "[decode]\ndissect = []\n")
    whole = run(config, tmp_path / "plain", path).stage("sources")["out"]
    real = PacketDecoder.decode

    def decode(self: PacketDecoder, chunk: Chunk) -> Decoded:
        if isinstance(chunk.data, Packets) and 5 in chunk.data.frame:
            raise RuntimeError("defect")
        return real(self, chunk)

    monkeypatch.setattr(PacketDecoder, "decode", decode)
    outcome = run(config, tmp_path / "store", path)
    assert outcome.stage("decode")["in"] == whole
    assert outcome.dropped("decode") == {"internal_error": 6}


def test_a_failure_behind_the_decoder_is_tried_again_without_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule engine fails once: nothing is committed, the same chunk is read again, rows and counters are there
    once."""
    path = lines(tmp_path, None)
    expected = run(configured(tmp_path), tmp_path / "plain", path, parser="postfix")
    failures = [True]
    real = App._match

    def match(self: App, batch: Any) -> Any:
        if failures:
            failures.pop()
            raise RuntimeError("defect")
        return real(self, batch)

    monkeypatch.setattr(App, "_match", match)
    app = App(configured(tmp_path), store_directory=tmp_path / "store")
    seen: dict[str, Any] = {}
    pipeline_of = app.pipeline

    def pipeline(*args: Any, **named: Any) -> Any:
        seen["pipeline"] = made = pipeline_of(*args, **named)
        return made

    monkeypatch.setattr(app, "pipeline", pipeline)
    try:
        with pytest.raises(RuntimeError, match="defect"):
            replay.run(app, [path], kind="auto", parser="postfix", configured=True)
        seen["pipeline"].drain()  # as the daemon's next turn does, with the same decoder
        counts = app.store.counts()
    finally:
        app.close()
    assert counts["events.mail"] == len(expected.events) == 40
    assert counts["decode.in.log-postfix"] == 40
    again = run(configured(tmp_path), tmp_path / "store", path, parser="postfix")
    assert again.contents() == expected.contents()
    balanced(again.status)
