"""Mail over a real SMTP dialogue."""

from __future__ import annotations

import email
import socket
from collections.abc import Iterator
from email import policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csirt.notify import mail
from tests.notify.fakes import START, SmtpServer, running


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    """A relay."""
    with running(SmtpServer()) as smtp:
        yield smtp


def made(**changes: Any) -> Any:
    """A mail."""
    fields: dict[str, Any] = {
        "sender": "csirt@csirt.example",
        "recipient": "first@csirt.example",
        "subject": "P1 noe skjer på Ås",
        "body": "Hva: æøå\n.\nfrom here\n",
        "id": "abc123",
        "case": "ca5e",
        "level": 0,
        "at": START,
        **changes,
    }
    return mail.compose(**fields)


def test_arrives_whole(server: SmtpServer) -> None:
    """Subject and body arrive as written, dots and letters beyond ASCII included; the greeting asks no resolver."""
    assert mail.send(made(), smtp=server.address, timeout=5).state == "sent"
    (taken,) = server.mails
    got = email.message_from_bytes(taken["raw"], policy=policy.default)
    assert got["Subject"] == "P1 noe skjer på Ås"
    assert got["Message-ID"] == "<abc123@csirt.example>"
    assert got["Date"] == "Mon, 23 Nov 2026 02:13:20 +0000"
    assert got["Auto-Submitted"] == "auto-generated"
    assert got.get_content().replace("\r\n", "\n") == "Hva: æøå\n.\nfrom here\n"
    assert [line.lower() for line in taken["to"]] == ["rcpt to:<first@csirt.example>"]
    assert server.hello[0].lower() == "ehlo csirt.example"


def test_message_id_shows_a_repeat() -> None:
    """Two tries of one notification have the same Message-ID; two notifications of a case the same thread."""
    one, again, other = made(), made(at=START + 1), made(id="def")
    assert one["Message-ID"] == again["Message-ID"] != other["Message-ID"]
    assert one["References"] == other["References"]


@given(st.text(max_size=60), st.sampled_from(["subject", "id", "case"]))
def test_no_value_can_add_a_header(evil: str, field: str) -> None:
    """Whatever a value holds, the mail has the same headers, each once, and the body starts where it should."""
    for bait in (f"a\r\nBcc: x@example.org\n\nbody{evil}", evil, f"=?utf-8?q?a=0d=0aBcc:_x?={evil}"):
        got = email.message_from_bytes(made(**{field: bait}).as_bytes(), policy=policy.default)
        assert sorted(got.keys()) == sorted(made().keys())
        assert got.get_content().startswith("Hva")
        assert "\n" not in str(got["Subject"])


@given(st.text(max_size=60), st.sampled_from(["sender", "recipient"]))
def test_only_plain_addresses_enter_a_header(evil: str, field: str) -> None:
    """Anything but a plain ASCII address as sender or recipient is refused before a header is made."""
    for bait in (f"a@b\r\nBcc: x@y{evil}", f"{evil},a@b.example", f"{evil} <a@b.example>"):
        with pytest.raises(ValueError, match="plain"):
            made(**{field: bait})


@pytest.mark.parametrize(
    ("answers", "state", "down"),
    [
        ({"RCPT": "550 no such user"}, "failed", False),
        ({"RCPT": "451 greylisted"}, "retry", False),
        ({"MAIL": "553 no"}, "failed", False),
        ({"DATA": "452 full"}, "retry", False),
        ({"CONNECT": "421 busy"}, "retry", True),
        ({"MAIL": "close"}, "retry", True),
        ({"TAKEN": "close"}, "retry", True),
        ({"QUIT": "500 what"}, "sent", False),
        ({"QUIT": "close"}, "sent", False),
    ],
)
def test_answers_of_the_relay(server: SmtpServer, answers: dict[str, str], state: str, down: bool) -> None:
    """5xx is for good, 4xx and broken connections for later; a relay that has the mail has it, however it says bye."""
    server.answers = answers
    outcome = mail.send(made(), smtp=server.address, timeout=5)
    assert (outcome.state, outcome.endpoint_down) == (state, down)
    assert "no such user" not in outcome.detail and "grey" not in outcome.detail


def test_nobody_there_and_nobody_answering() -> None:
    """A closed port and a server that never says a word are for later, within the time-out."""
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        closed = mail.send(made(), smtp=f"127.0.0.1:{quiet.getsockname()[1]}", timeout=0.3)
        quiet.listen(1)
        silent = mail.send(made(), smtp=f"127.0.0.1:{quiet.getsockname()[1]}", timeout=0.3)
    for outcome in (closed, silent):
        assert (outcome.state, outcome.endpoint_down) == ("retry", True)
    assert mail.send(made(), smtp="nonsense", timeout=0.3).state == "retry"
