"""Postfix lines to mail rows: outcomes, interleaving, reuse, refusals, accounting, any chunking."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.clock import iso
from csirt.errors import CsirtError
from csirt.model.batch import Decoded
from csirt.model.chunk import Lines
from tests.decode.logs import SEGMENT, balanced, chunk, decoder, rows, run

FAIL2BAN = Path(__file__).parents[3] / "shared" / "data" / "relay-logs" / "fail2ban" / "postfix.log"


def line(second: float, program: str, body: str, host: str = "edi-relay01") -> str:
    """A line at 2026-03-10 08:00 UTC plus some seconds."""
    return f"{iso(1773129600_000000 + int(second * 1e6))} {host} postfix/{program}[4312]: {body}"


def message(start: float, queue: str, *, to: str = "m001@edi.helsenett.example", status: str = "sent") -> list[str]:
    """The lines of one plain transaction."""
    return [
        line(start, "smtpd", f"{queue}: client=msh.m017.example[10.37.0.25]"),
        line(start, "cleanup", f"{queue}: message-id=<{queue.lower()}-21e9@m017.example>"),
        line(start, "qmgr", f"{queue}: from=<m017@edi.helsenett.example>, size=30111, nrcpt=1 (queue active)"),
        line(start + 1, "smtp", delivery(queue, to, status)),
        line(start + 1, "qmgr", f"{queue}: removed"),
    ]


def delivery(queue: str, to: str, status: str = "sent", dsn: str = "2.0.0", text: str = "250 Ok") -> str:
    """A delivery line's body."""
    return (
        f"{queue}: to=<{to}>, relay=mx.example[10.21.0.25]:25, delay=0.9, delays=0/0/0/0.9, "
        f"dsn={dsn}, status={status} ({text})"
    )


def pick(found: list[dict[str, Any]], name: str) -> list[Any]:
    """One column."""
    return [row.get(name) for row in found]


def test_one_message_is_one_row_with_everything_its_lines_told() -> None:
    """Client, ids, addresses, size and outcome come together over the queue id; time and offset are the delivery's."""
    log = message(0, "7EE668039")
    (row,) = run(log)
    assert row["event.action"] == "delivered" and row["csirt.mail.status"] == "sent"
    assert (row["source.ip:f"], row["source.ip:lo"]) == (4, 0x0A250019)
    assert row["destination.ip:lo"] == 0x0A150019
    assert row["source.domain"] == "msh.m017.example"
    assert row["email.message_id"] == "7ee668039-21e9@m017.example"
    assert row["email.from.address"] == ["m017@edi.helsenett.example"]
    assert row["csirt.mail.to.domain"] == ["edi.helsenett.example"]
    assert (row["csirt.mail.size"], row["csirt.mail.delay"], row["csirt.mail.dsn"]) == (30111, 0.9, "2.0.0")
    assert row["@timestamp"].isoformat() == "2026-03-10T08:00:01+00:00"
    assert row["log.offset"] == sum(len(text) + 1 for text in log[:3])
    assert row["csirt.ordinal"] == row["log.offset"] << 8 and row["csirt.segment"] == SEGMENT


def test_interleaved_queue_ids_do_not_mix() -> None:
    """Lines of several messages may alternate in any way."""
    one, two = message(0, "AAAAAAAA1", to="a@edi.helsenett.example"), message(0, "BBBBBBBB2")
    mixed = [text for pair in zip(one, two, strict=True) for text in pair]
    found = run(mixed)
    assert pick(found, "csirt.mail.queue_id") == ["AAAAAAAA1", "BBBBBBBB2"]
    assert pick(found, "email.to.address") == [["a@edi.helsenett.example"], ["m001@edi.helsenett.example"]]


def test_the_same_queue_id_on_two_relays_is_two_messages() -> None:
    """The relay's name is part of the key."""
    first = message(0, "AAAAAAAA1")
    second = [text.replace("edi-relay01", "edi-relay02").replace("10.37.0.25", "10.38.0.25") for text in first]
    found = run([text for pair in zip(first, second, strict=True) for text in pair])
    assert sorted(pick(found, "source.ip:lo")) == [0x0A250019, 0x0A260019]


def test_a_queue_id_used_again_is_a_new_message() -> None:
    """After `removed`, and after a new `client=` when `removed` was lost, nothing of the old message is inherited."""
    again = [text.replace("10.37.0.25", "10.99.0.9") for text in message(60, "AAAAAAAA1")]
    found = run(message(0, "AAAAAAAA1") + again)
    assert pick(found, "source.ip:lo") == [0x0A250019, 0x0A630009]
    found = run(message(0, "AAAAAAAA1")[:-1] + again)
    assert pick(found, "source.ip:lo") == [0x0A250019, 0x0A630009]


def test_recipients_with_the_same_outcome_are_one_row() -> None:
    """One row per status, dsn and relay; each has its recipients in order."""
    log = message(0, "AAAAAAAA1")
    more = [
        line(1, "smtp", delivery("AAAAAAAA1", "m002@edi.helsenett.example")),
        line(1, "smtp", delivery("AAAAAAAA1", "m003@edi.helsenett.example", "bounced", "5.1.1", "550 User unknown")),
    ]
    found = run(log[:4] + more + log[4:])
    assert pick(found, "event.action") == ["delivered", "bounced"]
    assert found[0]["email.to.address"] == ["m001@edi.helsenett.example", "m002@edi.helsenett.example"]
    assert found[1]["csirt.mail.reason"] == "unknown_recipient" and found[1]["csirt.mail.dsn"] == "5.1.1"


def test_a_deferred_message_is_seen_at_each_attempt_and_keeps_what_it_told_first() -> None:
    """A retry an hour later is a second row, with the client and ids of the beginning."""
    log = message(0, "AAAAAAAA1", status="deferred")[:4]
    retry = [
        line(3600, "qmgr", "AAAAAAAA1: from=<m017@edi.helsenett.example>, size=30111, nrcpt=1 (queue active)"),
        line(3630, "smtp", delivery("AAAAAAAA1", "m001@edi.helsenett.example", "deferred", "4.4.1", "timed out")),
        line(7200, "smtp", delivery("AAAAAAAA1", "m001@edi.helsenett.example")),
        line(7200, "qmgr", "AAAAAAAA1: removed"),
    ]
    found = run(log + retry)
    assert pick(found, "event.action") == ["deferred", "deferred", "delivered"]
    assert set(pick(found, "source.ip:lo")) == {0x0A250019}
    assert found[1]["csirt.mail.reason"] == "timed_out"


def test_a_deferred_outcome_is_written_while_the_message_still_waits() -> None:
    """Two minutes of silence in the log settle an outcome; nobody has to wait five days for `removed`."""
    decode = decoder()
    first = decode.decode(chunk(message(0, "AAAAAAAA1", status="deferred")[:4]))
    assert rows(first) == []
    second = decode.decode(chunk([line(125, "anvil", "statistics: max cache size 1")], start=10_000))
    assert second.dropped == {"ignored": 1} and rows(second) == []
    third = decode.decode(chunk(message(130, "BBBBBBBB2"), start=20_000))
    assert pick(rows(third), "event.action") == ["deferred", "delivered"]


def test_an_expired_message_says_so() -> None:
    """The queue manager's own verdict is an outcome."""
    log = message(0, "AAAAAAAA1")[:3]
    log += [line(9, "qmgr", "AAAAAAAA1: from=<m017@edi.helsenett.example>, status=expired, returned to sender")]
    (row,) = run([*log, line(9, "qmgr", "AAAAAAAA1: removed")])
    assert row["event.action"] == "expired" and row["csirt.mail.reason"] == "expired"


def test_a_message_without_outcome_is_not_lost() -> None:
    """End of input writes what is known of it, as `incomplete`, at its first line."""
    (row,) = run(message(0, "AAAAAAAA1")[:3])
    assert row["event.action"] == "incomplete" and row["log.offset"] == 0
    assert row["email.message_id"] == "aaaaaaaa1-21e9@m017.example"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("554 5.7.1 <a@b.example>: Relay access denied", "relay_denied"),
        ("550 5.1.1 <a@b.example>: Recipient address rejected: User unknown in local recipient table",
         "unknown_recipient"),
        ("450 4.1.8 <c@d.example>: Sender address rejected: Domain not found", "unknown_sender_domain"),
        ("504 5.5.2 <User>: Helo command rejected: need fully-qualified hostname", "helo_rejected"),
        ("454 4.7.1 Service unavailable; Client host [10.9.9.9] blocked using rbl.example", "blocklisted"),
        ("552 5.3.4 Message size exceeds fixed limit", "too_large"),
        ("554 5.7.1 <Relay access denied@b.example>: something new", "other"),
    ],
)  # fmt: skip
def test_a_refused_command_is_a_row_with_a_class_and_never_the_text(text: str, reason: str) -> None:
    """The remote's or our own free text becomes one of the parser's classes; an address in it cannot forge one."""
    body = f"NOQUEUE: reject: RCPT from unknown[10.9.9.9]: {text}; from=<c@d.example> to=<a@b.example> proto=ESMTP"
    (row,) = run([line(0, "smtpd", body + " helo=<x>")])
    assert (row["event.action"], row["csirt.mail.status"], row["csirt.mail.reason"]) == ("rejected", "reject", reason)
    assert row["source.ip:lo"] == 0x0A090909 and "source.domain" not in row
    assert row["csirt.mail.to.domain"] == ["b.example"] and row["csirt.mail.from.domain"] == "d.example"
    assert "csirt.mail.queue_id" not in row


def test_an_empty_sender_is_absent() -> None:
    """The null sender of bounces is no address."""
    log = message(0, "AAAAAAAA1")
    log[2] = line(0, "qmgr", "AAAAAAAA1: from=<>, size=30111, nrcpt=1 (queue active)")
    (row,) = run(log)
    assert "email.from.address" not in row and "csirt.mail.from.domain" not in row


def test_every_line_is_accounted_for() -> None:
    """entered = left + dropped, with a reason for each line that made nothing."""
    log: list[str | bytes] = [
        *message(0, "AAAAAAAA1"),
        line(1, "smtpd", "connect from x[10.0.0.1]"),
        line(1, "smtpd", "a form nobody has seen"),
        "2026-03-10T08:00:00Z edi-relay01 dovecot: imap-login",
        "no header at all",
        "2026-02-30T08:00:00Z edi-relay01 postfix/smtpd[1]: connect from",
        "",
        b"\xff\xfe\x00",
    ]
    decoded = decoder().decode(chunk(log))
    assert decoded.dropped == {"ignored": 1, "unparsed": 1, "foreign": 1, "malformed": 3, "empty": 1}
    assert decoded.left == 5 and balanced(decoded)


@pytest.mark.parametrize(
    "hostile",
    [
        b"2026-03-10T08:00:00Z h postfix/smtpd[1]: AAAAAAAA1: client=\x00\x1b[2J[10.0.0.1]",
        b"2026-03-10T08:00:00Z h postfix/smtpd[1]: AAAAAAAA1: client=\xff\xfe[10.0.0.1]",
        b"2026-03-10T08:00:00Z h postfix/smtp[1]: AAAAAAAA1: to=<"
        + b"a" * 65_000
        + b">, relay=none, delay=1, dsn=5.0.0,"
        b" status=bounced (" + b"(" * 500 + b")",
        b"<22>1 2026-03-10T08:00:00Z " + b"h" * 60_000,
        b"2026-03-10T08:00:00Z h postfix/qmgr[1]: AAAAAAAA1: from=<>, size=99999999999999999999999, nrcpt=1",
        b"2026-03-10T08:00:00Z h postfix/smtpd[1]: AAAAAAAA1: client=x[999.999.0.1]",
    ],
)
def test_hostile_lines_cost_nothing_but_themselves(hostile: bytes) -> None:
    """NUL, bad UTF-8, 64 KiB and absurd numbers neither raise nor disturb the message beside them."""
    decode = decoder()
    decoded = decode.decode(chunk([hostile, *message(0, "BBBBBBBB2"), hostile]))
    assert balanced(decoded)
    found = [row for row in rows(decoded, decode.finish()) if row.get("csirt.mail.queue_id") == "BBBBBBBB2"]
    assert pick(found, "event.action") == ["delivered"]


def _script(seed: int) -> list[str]:
    """A log of a few queue ids, reused, interleaved, with losses, gaps of minutes to a week, and noise."""
    pick = random.Random(seed)
    now = 0.0
    log: list[str] = []
    for _ in range(pick.randint(1, 40)):
        now += pick.choice([0, 0, 0, 1, 30, 119, 120, 121, 700, -5, 600_000])
        queue = pick.choice(["AAAAAAAA1", "BBBBBBBB2", "CCCCCCCC3"])
        to = pick.choice(["m001@edi.helsenett.example", "ola@gp.example"])
        status = pick.choice(["sent", "deferred", "bounced"])
        bodies = [
            ("smtpd", f"{queue}: client=msh[10.0.0.{pick.randint(1, 3)}]"),
            ("cleanup", f"{queue}: message-id=<{pick.randint(0, 9)}@x.example>"),
            ("qmgr", f"{queue}: from=<a{pick.randint(0, 2)}@b.example>, size=1, nrcpt=1 (queue active)"),
            ("smtp", delivery(queue, to, status)),
            ("smtp", delivery(queue, to, status)),
            ("qmgr", f"{queue}: removed"),
            ("smtpd", "connect from x[10.0.0.1]"),
            ("smtpd", f"NOQUEUE: reject: RCPT from x[10.0.0.1]: 554 5.7.1 <{to}>: Relay access denied; proto=SMTP"),
        ]
        log.append(line(now, *pick.choice(bodies), host=pick.choice(["edi-relay01", "edi-relay02"])))
    return log


def pieces(log: list[str], cuts: list[int]) -> list[dict[str, Any]]:
    """Rows of a log cut into chunks, each decoded by a new decoder from the state the one before committed."""
    results: list[Decoded] = []
    state: bytes | None = None
    start = 0
    for first, last in itertools.pairwise([0, *cuts, len(log)]):
        decode = decoder()
        decode.load(state)
        results.append(decode.decode(chunk(list(log[first:last]), start=start)))
        assert balanced(results[-1])
        state = results[-1].state or state
        start += sum(len(text) + 1 for text in log[first:last])
    decode = decoder()
    decode.load(state)
    results.append(decode.finish())
    return rows(*results)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sets(st.integers(1, 39), max_size=4))
def test_any_chunking_and_a_restart_at_any_point_give_the_same_rows(seed: int, cuts: set[int]) -> None:
    """Cut anywhere, with a new decoder loaded from the committed state at each cut: same rows, same ids."""
    log = _script(seed)
    assert pieces(log, sorted(cut for cut in cuts if cut < len(log))) == run(list(log))


def test_the_number_of_waiting_messages_is_bounded_and_still_chunk_independent() -> None:
    """Beyond the limit the longest silent messages are written early, at places the log's bytes decide."""
    import dataclasses

    from csirt.decode import join

    log: list[str | bytes] = [
        line(index, "cleanup", f"{index:09X}: message-id=<{index}@x.example>") + " " * 200 for index in range(120)
    ]
    small = dataclasses.replace(decoder()._parser.join, limit=10)  # type: ignore[type-var]

    def decode(size: int) -> list[dict[str, Any]]:
        made = decoder()
        assert made._join is not None
        made._join._join = small
        results, start = [], 0
        for first in range(0, len(log), size):
            part = log[first : first + size]
            results.append(made.decode(chunk(part, start=start)))
            start += sum(len(text) + 1 for text in part)
        assert made._join.waiting < 120
        return rows(*results, made.finish())

    original = join.CHECKPOINT
    join.CHECKPOINT = 4096
    try:
        whole = decode(120)
        assert len(whole) == 120
        assert decode(1) == decode(7) == whole
    finally:
        join.CHECKPOINT = original


def test_a_state_of_another_parser_is_refused_with_advice() -> None:
    """A source whose parser was changed must not read the old parser's state."""
    with pytest.raises(CsirtError, match="new id"):
        decoder("msh").load(decoder().decode(chunk(message(0, "AAAAAAAA1"))).state)


def test_real_lines_are_all_known() -> None:
    """Of the public Postfix samples none is unparsed, and every refusal names its client."""
    if not FAIL2BAN.exists():
        pytest.skip("the shared fixtures are not here")
    log = [text for text in FAIL2BAN.read_bytes().split(b"\n") if text and not text.startswith(b"#")]
    decoded = decoder().decode(chunk(list(log)))
    assert set(decoded.dropped) == {"ignored"} and balanced(decoded)
    assert all("source.ip:f" in row for row in rows(decoded))


def test_a_line_of_the_network_keeps_who_sent_it() -> None:
    """Syslog: the sender's address is the observer's, through the join and in any chunking; also the name where the
    line has none (RFC 5424 nil), so that two nameless relays with the same queue id stay two messages."""
    named = [(text, "192.0.2.1") for text in message(0, "7EE668039")]
    nil = [
        (f"<22>1 {iso(1773129600_000000)} - postfix/{text.split('postfix/')[1].split('[')[0]} 7 - - {body}", sender)
        for sender in ("192.0.2.2", "2001:db8::3")
        for text in message(0, "ABC123DEF")
        for body in [text.split("]: ", 1)[1]]
    ]
    both = [pair for pairs in zip(named, nil[:5], nil[5:], strict=True) for pair in pairs]
    texts: list[str | bytes] = [text for text, _ in both]
    hosts = sorted({sender for _, sender in both})
    for size in (1, 4, len(texts)):
        decode, found, start = decoder(), [], 0
        for first in range(0, len(texts), size):
            piece = chunk(texts[first : first + size], start=start)
            assert isinstance(piece.data, Lines)
            start = piece.end
            piece.data.hosts = hosts
            piece.data.origin = np.array([hosts.index(sender) for _, sender in both[first : first + size]], np.int32)
            found.append(decode.decode(piece))
            decode.load(found[-1].state)
        result = rows(*found, decode.finish())
        assert {(row["observer.name"], row["observer.ip"]) for row in result} == {
            ("edi-relay01", "192.0.2.1"),
            ("192.0.2.2", "192.0.2.2"),
            ("2001:db8::3", "2001:db8::3"),
        }
        assert len(result) == 3 and {row["event.action"] for row in result} == {"delivered"}
