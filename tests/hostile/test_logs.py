"""Broken lines between good ones: every good line becomes what it would have become alone, every bad one is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csirt.demo.scenario import EDI_DOMAIN, build
from tests.hostile.bench import configured, run

START = 1_764_000_000_000_000
BROKEN: tuple[bytes, ...] = (
    b"",
    b"\0\0\0\0",
    b"\xff\xfe\xfd not utf-8 \x80",
    b"x" * 100_000,
    b'{"ts":"2025-11-24T16:00:00Z","event":"MESSAGE_SENT_VIA_SMTP","from_her":',
    b"{" * 500,
    b"[" * 20_000,
    b'{"ts":12,"event":[]}',
    b'{"ts":"never","event":"MESSAGE_SENT_VIA_SMTP"}',
    b"null",
    b'"text"',
    b"Nov 31 99:99:99 host postfix/smtp[1]: A: to=<x@y>, status=sent",
    b"Nov 24 16:00:00 relay postfix/smtp[1]: \0\x1b[2J",
    b"<999999999999>1 - - - - - -",
    b"\r",
    b"a\rb\rc",
    "Nov 24 16:00:00 relay postfix/qmgr[1]: \u202e\ud7ff: removed".encode(),
)


def good(log: str) -> list[str]:
    """The demo's lines of one log."""
    return [text for _, name, text in build(START, seed=5, background=10).lines if name == log]


def config(folder: Path) -> str:
    """The demo's own domain belongs to organisations."""
    return f'[decode]\norganisation_domains = ["{EDI_DOMAIN}"]\n'


@pytest.mark.parametrize(("log", "parser"), [("mail.log", "postfix"), ("msh.ndjson", "msh")])
def test_good_lines_are_not_touched_by_broken_ones(log: str, parser: str, tmp_path: Path) -> None:
    """NUL, bytes that are no UTF-8, a line of 100 kB, half JSON, nests, impossible times, bare CR: the same events, and
    as many losses as broken lines."""
    lines = [line.encode() for line in good(log)]
    assert len(lines) >= 10
    clean, mixed = tmp_path / "clean.log", tmp_path / "mixed.log"
    clean.write_bytes(b"\n".join(lines) + b"\n")
    out = [lines[0]]
    for number, line in enumerate(lines[1:]):
        out += [BROKEN[number % len(BROKEN)], line]
    out += BROKEN
    mixed.write_bytes(b"\n".join(out) + b"\n")
    settings = configured(tmp_path, config(tmp_path))
    alone = run(settings, tmp_path / "alone", clean, parser=parser)
    both = run(settings, tmp_path / "both", mixed, parser=parser)
    assert both.contents() == alone.contents()
    assert both.stage("decode")["in"] == len(out)
    broken = len(out) - len(lines)
    lost = sum(both.dropped("decode").values()) - sum(alone.dropped("decode").values())
    assert lost == broken, (both.dropped("decode"), alone.dropped("decode"))
    assert both.dropped("sources")["line_cut"] == out.count(b"x" * 100_000)


def test_a_line_may_be_one_row_and_no_more(tmp_path: Path) -> None:
    """JSON that closes itself and opens another object is one broken line, not two events."""
    base = json.loads(good("msh.ndjson")[0])
    text = json.dumps(base)
    path = tmp_path / "msh.log"
    path.write_text(f'{text}\n{text},"o":{text}\n{text},{text}\n{text}}}{{{text}\n{text} {text}\n{text}\n')
    outcome = run(configured(tmp_path), tmp_path / "store", path, parser="msh")
    assert outcome.status["events"]["edi"] == 2
    assert outcome.dropped("decode") == {"malformed": 4}


def test_a_file_of_noise_is_told_not_read(tmp_path: Path) -> None:
    """Binary noise under a log's name: every line is counted, and nothing fails."""
    import random

    path = tmp_path / "noise.log"
    path.write_bytes(random.Random(2).randbytes(200_000))
    outcome = run(configured(tmp_path), tmp_path / "store", path, parser="postfix")
    assert not outcome.events
    assert sum(outcome.dropped("decode").values()) == outcome.stage("decode")["in"] > 500
