"""JSON lines of a message handler to edi rows."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.decode.ndjson_log import parse
from tests.decode.logs import balanced, chunk, decoder, rows, run

BASE = {
    "ts": "2026-03-10T08:12:31.3Z",
    "relay": "edi-relay01",
    "event": "MESSAGE_RECEIVED_VIA_SMTP",
    "message_id": "7104acf8-21e9-4ee7-b894-d413a00a8881",
    "ref_to_message_id": None,
    "from_her": 910170,
    "to_her": 910011,
    "service": "Henvisning",
    "action": "Henvisning",
    "size": 30111,
    "parts": ["text/xml", "application/pkcs7-mime"],
    "queue_id": "7EE668039",
}


def text(**changes: Any) -> str:
    """One line."""
    return json.dumps(BASE | changes)


def test_one_event_is_one_row() -> None:
    """Every declared key has its column; absent and null are null."""
    (row,) = run([text()], "msh")
    assert row["event.action"] == "received" and row["csirt.edi.event"] == "MESSAGE_RECEIVED_VIA_SMTP"
    assert row["csirt.edi.message_id"] == BASE["message_id"] and "csirt.edi.ref_to_id" not in row
    assert (row["csirt.edi.her_from"], row["csirt.edi.her_to"]) == ("910170", "910011")
    assert row["csirt.edi.size"] == 30111 and row["csirt.edi.parts"] == BASE["parts"]
    assert row["csirt.mail.queue_id"] == "7EE668039" and row["observer.name"] == "edi-relay01"
    assert row["@timestamp"].isoformat() == "2026-03-10T08:12:31.300000+00:00"


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({}, "received"),
        ({"event": "MESSAGE_SENT_VIA_SMTP"}, "sent"),
        ({"action": "Acknowledgment"}, "acknowledged"),
        ({"event": "MESSAGE_SENT_VIA_HTTP", "action": "Acknowledgment"}, "acknowledged"),
        ({"action": "AppRec", "apprec_status": 2, "error_code": "E35"}, "application_receipt"),
        ({"action": "MessageError", "error_code": "TimeToLiveExpired"}, "error"),
        ({"event": "SIGNATURE_CHECK_FAILED"}, "error"),
        ({"event": "RETRY_TRIGGED"}, "retry"),
        ({"event": "MESSAGE_GIVEN_UP"}, "given_up"),
        ({"event": "MESSAGEFLOW_COMPLETED"}, "processed"),
        ({"event": "MESSAGE_FOUND_ON_THE_MOON"}, None),
    ],
)
def test_event_names_become_steps_of_a_messages_life(changes: dict[str, Any], action: str | None) -> None:
    """What a receipt is counts more than which way it went; an unknown event keeps its ids and has no action."""
    (row,) = run([text(**changes)], "msh")
    assert row.get("event.action") == action


def test_only_codes_of_a_receipt_are_kept() -> None:
    """Status 1 to 3 and codes of the code lists; a sentence in their place is not."""
    (row,) = run([text(action="AppRec", apprec_status=2, error_code="E35", apprec_text="Kari er ukjent")], "msh")
    assert (row["csirt.edi.status"], row["csirt.edi.error_code"]) == ("2", "E35") and "Kari" not in repr(row)
    (row,) = run([text(action="AppRec", apprec_status="nei", error_code="E35 Kari er ukjent")], "msh")
    assert "csirt.edi.status" not in row and "csirt.edi.error_code" not in row


def test_broken_lines_are_counted_and_the_others_kept() -> None:
    """Not JSON, not an object, two objects on a line, no time, a key of another type: malformed, each by itself."""
    bad = ['{"ts":', "[1]", "5", "null", f"{text()},{text()}", text(ts="yesterday"), text(ts=None), text(size={"a": 1}),
           f'{text()}}},{{"i":1,"o":{text()}']  # fmt: skip
    good = [text(queue_id=f"AAAA{index}") for index in range(len(bad))]
    mixed = [line for pair in zip(bad, good, strict=True) for line in pair]
    decoded = decoder("msh").decode(chunk(mixed))
    assert decoded.dropped == {"malformed": len(bad)} and balanced(decoded)
    assert [row["csirt.mail.queue_id"] for row in rows(decoded)] == [f"AAAA{index}" for index in range(len(bad))]


def test_a_line_without_an_event_name_is_unparsed() -> None:
    """A handler that changes its vocabulary is seen in the counters."""
    decoded = decoder("msh").decode(chunk([text(event=None), text(event="hello"), text(event="")]))
    assert decoded.dropped == {"unparsed": 3} and balanced(decoded)


def test_values_that_look_wrong_are_null() -> None:
    """A HER-id is digits, a part is a MIME type, an action is one word."""
    (row,) = run([text(from_her="x1", parts=["text/xml", "Kari Nordmann"], action="hei på deg", size=-1)], "msh")
    assert "csirt.edi.her_from" not in row and "csirt.edi.action" not in row and "csirt.edi.size" not in row
    assert row["csirt.edi.parts"] == ["text/xml"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=12), st.just('{"a":"1"}'), st.just('{"a":2},{"a":3}'), st.just('{"a":[]}'))))
def test_a_line_is_judged_alone(lines: list[str]) -> None:
    """What stands beside a line never changes whether it is good, nor its value."""
    kind = pl.Struct({"a": pl.String})
    values, good = parse(pl.Series(lines, dtype=pl.String), kind)
    single = [parse(pl.Series([line]), kind) for line in lines]
    assert good.to_list() == [one[1][0] for one in single]
    assert values.to_list() == [one[0][0] for one in single if one[1][0]]
