"""Mailboxes, message ids and texts: what leaves decode and what does not."""

from __future__ import annotations

import re

import polars as pl
import pytest

from csirt.decode.privacy import Privacy
from tests.decode import logs
from tests.privacy import planted

PRIVACY = Privacy(b"k" * 32, ["edi.helsenett.example"], ["resepsjon2", "sjef@lege.example"])
N = planted.NUMBERS[0]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("M001-HF@EDI.helsenett.example", "m001-hf@edi.helsenett.example"),
        ("x@sub.edi.helsenett.example", "x@sub.edi.helsenett.example"),
        ("postmottak@sykehus.example", "postmottak@sykehus.example"),
        ("Post+2026@lege.example", "post+2026@lege.example"),
        ("resepsjon2@lege.example", "resepsjon2@lege.example"),
        ("sjef@lege.example", "sjef@lege.example"),
        ("MAILER-DAEMON", "mailer-daemon"),
    ],
)
def test_organisations_stay_in_clear(given: str, kept: str) -> None:
    """Mailboxes of the message network, functional names, and those configured are no persons."""
    assert PRIVACY.mailbox(given) == kept


def test_a_person_becomes_a_keyed_pseudonym_at_the_same_domain() -> None:
    """Case does not matter, the key does; the domain stays, for the member is known by it."""
    one = PRIVACY.mailbox("Ola.Nordmann@lege.example")
    assert one and re.fullmatch(r"p-[0-9a-f]{16}@lege\.example", one)
    assert one == PRIVACY.mailbox("<ola.nordmann@LEGE.example>")
    assert one != Privacy(b"x" * 32).mailbox("ola.nordmann@lege.example")
    assert one != PRIVACY.mailbox("ola.nordmann@lege2.example")


@pytest.mark.parametrize(
    "odd", ["ola nordmann", '"ola nordmann"@x.example', "ola@x.example@edi", "ola@[10.0.0.1]", "ola@æ ø"]
)
def test_odd_addresses_show_nobody(odd: str) -> None:
    """No form of an address lets the name through."""
    found = PRIVACY.mailbox(odd)
    assert found and "ola" not in found and found.startswith("p-")


def test_an_empty_address_is_none() -> None:
    """The null sender is nobody."""
    assert PRIVACY.mailbox("<>") is None and PRIVACY.mailbox("  ") is None


def test_a_number_in_an_address_is_dropped_and_not_turned_into_a_pseudonym() -> None:
    """Numbers can be tried one by one by whoever holds the key: none is ever hashed."""
    assert PRIVACY.mailbox(f"ola{N}@lege.example") == "[id removed]@lege.example"
    assert PRIVACY.mailbox(f"{N}@edi.helsenett.example") == "[id removed]@edi.helsenett.example"
    assert PRIVACY.mailbox(f"post@{N}.example") is not None
    assert N not in str(PRIVACY.mailbox(f"post@{N}.example"))


@pytest.mark.parametrize(
    "made",
    [
        "7104acf8-21e9-4ee7-b894-d413a00a8881",
        "7104acf8-21e9@m017.helsenett.example",
        "20250124-114229-35564@qa.ebxml.nav.example",
        "msg-000123.ab@host.example",
        "5a0000.1773129600@edi.helsenett.example",
    ],
)
def test_ids_that_machines_made_are_kept(made: str) -> None:
    """An id that names nobody can be traced as it is."""
    assert PRIVACY.message_id(f"<{made}>") == made


@pytest.mark.parametrize(
    "personal",
    [
        "ola.nordmann@lege.example",
        "20260310.ola.nordmann@lege.example",
        "ola=lege.example@relay.example",
        "ola@lege.example.123@relay.example",
    ],
)
def test_ids_that_may_name_a_person_become_pseudonyms(personal: str) -> None:
    """The part before the @ goes; the same id gives the same pseudonym, so it can still be followed."""
    found = PRIVACY.message_id(personal)
    assert found and found.startswith("p-") and "ola" not in found
    assert found == PRIVACY.message_id(f"<{personal}>")


def test_texts_lose_numbers_and_people() -> None:
    """Any other value is searched for both."""
    assert PRIVACY.text(f"a {N} b ola@lege.example c") == PRIVACY.text("a [id removed] b ola@lege.example c")
    assert "ola" not in PRIVACY.text("x ola%40lege.example")


def test_columns_are_scrubbed_and_counted() -> None:
    """A column keeps its length and nulls; values that held a number are counted, not the numbers."""
    values = pl.Series([f"{N} {N}", None, "host.example", "host.example"])
    result, removed = PRIVACY.column(values, "host")
    assert result.to_list() == ["[id removed] [id removed]", None, "host.example", "host.example"]
    assert removed == 1


@pytest.mark.parametrize("name", ["postfix", "msh"])
def test_nothing_planted_leaves_decode(name: str) -> None:
    """Subjects, numbers, people and free text planted in every field are in no table, state, problem or counter."""
    decode = logs.decoder(name)
    lines = getattr(planted, name)()
    one = decode.decode(logs.chunk(lines))
    middle = logs.decoder(name).decode(logs.chunk(lines[: len(lines) // 2]))
    two = decode.finish()
    found = logs.rows(one, two)
    assert len(found) >= 3 and one.redacted
    everything = repr((found, one.problems, one.dropped, one.redacted)).encode()
    for result in (one, two, middle):
        everything += (result.state or b"") + b"".join(
            repr(batch.table.to_pydict()).encode() for batch in result.batches
        )
    assert planted.found(everything) == []


def test_the_planted_texts_can_be_found() -> None:
    """The search would see them: the lines themselves hold every one."""
    raw = "\n".join([*planted.postfix(), *planted.msh()]).encode()
    assert planted.found(raw) == planted.forbidden()


def test_a_short_key_is_refused() -> None:
    """A key that can be guessed is no key."""
    with pytest.raises(ValueError, match="16 bytes"):
        Privacy(b"short")
