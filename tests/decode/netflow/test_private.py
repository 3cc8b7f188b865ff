"""What of strings and octets in flow records may leave decode (decision 15)."""

from __future__ import annotations

from csirt.decode.netflow import private
from csirt.decode.netflow.decoder import NetflowDecoder
from tests.decode.netflow.datagrams import block, chunk, ipfix, ipfix_options, template, word
from tests.decode.netflow.test_decoder import decode, events

NUMBER = b"01010750160"
MAILBOX = b"ola.nordmann@example.no"
KEY = bytes(range(32))


def record(*values: bytes) -> bytes:
    """A record of variable-length fields (RFC 7011, section 7)."""
    return b"".join(bytes([len(value)]) + value for value in values)


def test_the_query_of_a_url_stays_behind() -> None:
    """Elements that hold URLs are cut at the query, in both directions; the path is kept."""
    fields = ((461, 65535), (460, 65535), (461 | 0x8000, 65535, 29305))
    url = b"/sok/pasient?navn=Ola&fnr=" + NUMBER
    raw = ipfix(block(2, template(300, *fields)), block(300, record(url, b"portal.example", url), pad=False))
    result = decode(raw)
    [event] = events(result)
    assert event["netflow"]["http_request_target"] == event["netflow"]["reverse_http_request_target"] == "/sok/pasient"
    assert event["netflow"]["http_request_host"] == "portal.example"
    assert result.redacted == {"netflow.http_request_target": 1, "netflow.reverse_http_request_target": 1}


def test_octets_of_unknown_elements_hold_no_number_and_no_mailbox() -> None:
    """The octets that spell one become zero, the others stay; random octets are untouched."""
    fields = ((7777, 65535), (7778, 65535), (7779, 65535))
    spaced = b"id 010107 50160;"
    raw = ipfix(
        block(2, template(300, *fields)),
        block(300, record(b"a" + NUMBER + b"z", b"<" + MAILBOX + b">", spaced), pad=False),
    )
    result = decode(raw)
    [event] = events(result)
    assert event["netflow"]["e0_7777"] == (b"a" + bytes(11) + b"z").hex()
    assert event["netflow"]["e0_7778"] == (b"<" + bytes(len(MAILBOX)) + b">").hex()
    assert event["netflow"]["e0_7779"] == (b"id " + bytes(12) + b";").hex()
    assert result.redacted == {"netflow.e0_7777": 1, "netflow.e0_7779": 1}
    plain = bytes(range(256)).hex()
    assert private.HEX.clean(plain) == (plain, False)


def test_options_data_is_scrubbed_like_flows() -> None:
    """Names of interfaces, applications and users in options data."""
    options = ipfix_options(256, 1, (10, 4), (83, 65535), (371, 65535), (96, 65535))
    body = word(7) + record(b"til " + MAILBOX, b"ola.nordmann", b"app " + NUMBER)
    result = decode(ipfix(block(3, options), block(256, body, pad=False)))
    [event] = events(result, "flow_options")
    assert event["netflow"]["interface_description"] == "til [mailbox removed]"
    assert event["netflow"]["user_name"] == "[user removed]"
    assert event["netflow"]["application_name"] == "app [id removed]"


def test_data_that_waits_for_its_template_is_sealed_in_the_state() -> None:
    """The state shows nothing of it; the same key opens it, and the rows are those of an undisturbed run."""
    data = ipfix(block(300, record(b"/x/" + NUMBER, MAILBOX), pad=False))
    later = ipfix(block(2, template(300, (461, 65535), (83, 65535))))
    first = NetflowDecoder("s", key=KEY)
    state = first.decode(chunk([data])).state
    assert state is not None and NUMBER not in state and MAILBOX not in state
    second = NetflowDecoder("s", key=KEY)
    second.load(state)
    assert events(second.decode(chunk([later], first=1))) == events(decode(data, later))


def test_data_sealed_with_another_key_is_counted_as_expired() -> None:
    """A changed key loses what waited, and says so; nothing else."""
    data = ipfix(block(300, record(b"/x", b"y"), pad=False))
    state = NetflowDecoder("s", key=KEY).decode(chunk([data])).state
    again = NetflowDecoder("s", key=bytes(32))
    again.load(state)
    result = again.decode(chunk([ipfix(block(2, template(300, (461, 65535), (83, 65535))))], first=1))
    assert result.dropped == {"expired": 1} and result.left == 1
    total = {name: sum(int(row[name]) for row in result.exporters) for name in ("held", "expired", "decoded")}
    assert total == {"held": -1, "expired": 1, "decoded": 1}
