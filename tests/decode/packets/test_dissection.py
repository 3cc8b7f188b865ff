"""Rows of tshark's lines: from captures through tshark itself, and from lines made here."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.decode.packets.decoder import PacketDecoder
from csirt.model import ecs, tshark
from csirt.model.batch import Decoded
from csirt.model.chunk import Dissection
from tests.decode.packets import frames as f

PROTOCOLS = ["dns", "tls", "http"]
FIELDS = tshark.load()
needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def decoder() -> PacketDecoder:
    """A decoder of all protocols."""
    return PacketDecoder("cap", idle_timeout_us=1, dissect=PROTOCOLS)


def dissect(path: Path) -> Decoded:
    """A capture's rows, through the one pass of tshark."""
    done = subprocess.run(
        tshark.tshark_arguments(FIELDS, path, PROTOCOLS),
        env=tshark.environment(dict(os.environ)),
        capture_output=True,
        check=True,
    )
    return decoder().decode(f.chunk(Dissection(done.stdout)))


def line(frame: int, *, turned: bool = False, **values: str) -> bytes:
    """A line as tshark would print it, between client 10.0.0.1:4000 and server 10.0.0.2:80; `_` stands for a dot."""
    ends = ("10.0.0.2", "10.0.0.1", "80", "4000") if turned else ("10.0.0.1", "10.0.0.2", "4000", "80")
    known = {
        "frame.number": str(frame),
        "frame.time_epoch": f"{1_000_000 + frame}.000001999",
        "frame.protocols": "eth:ethertype:ip:tcp:x",
        **dict(zip(("ip.src", "ip.dst", "tcp.srcport", "tcp.dstport"), ends, strict=True)),
        **{name.replace("__", ".").replace(".handshake.sni", ".handshake.extensions_server_name"): value
           for name, value in values.items()},
    }  # fmt: skip
    columns = FIELDS.columns(PROTOCOLS)
    assert set(known) <= set(columns), set(known) - set(columns)
    return "\t".join(known.get(name, "") for name in columns).encode() + b"\n"


def rows_of(dataset: str, *lines: bytes) -> list[dict[str, Any]]:
    """The rows of these lines in one chunk."""
    return f.rows(decoder().decode(f.chunk(Dissection(b"".join(lines)))), dataset)


@needs_tshark
@pytest.mark.skipif(not f.DATA.is_dir(), reason="the shared captures are not here")
def test_http_of_a_real_capture() -> None:
    """A request and its response are one row, client to server; the frame number names it."""
    (row,) = f.rows(dissect(f.DATA / "zeek" / "http-vlan-0.pcap"), "http")
    assert row["source.ip"] == "141.142.228.5" and row["source.port"] == 59856
    assert row["destination.ip"] == "192.150.187.43" and row["destination.port"] == 80
    assert row["http.request.method"] == "GET" and row["url.domain"] == "bro.org"
    assert row["url.path"] == "/download/CHANGES.bro-aux.txt"
    assert row["user_agent.original"] == "Wget/1.14 (darwin12.2.0)"
    assert row["http.response.status_code"] == 200 and row["http.response.mime_type"] == "text/plain"
    assert row["csirt.ordinal"] == 1 << 63 | 3 << 8 | 144


@needs_tshark
@pytest.mark.skipif(not f.DATA.is_dir(), reason="the shared captures are not here")
def test_dns_of_a_real_capture() -> None:
    """A query and its answer are two rows with the client as source, the answer's addresses in the second."""
    query, answer = f.rows(dissect(f.DATA / "zeek" / "dns_dns-corrupt.pcap"), "dns")
    for row in (query, answer):
        assert (row["source.ip"], row["destination.ip"], row["destination.port"]) == ("192.168.0.109", "8.8.8.8", 53)
        assert (row["dns.question.name"], row["dns.question.type"], row["dns.id"]) == ("zeek.org", "A", 0xB823)
        assert row["network.transport"] == "udp"
    assert (query["dns.type"], query["dns.response_code"], query["dns.answers.data"]) == ("query", None, None)
    assert (answer["dns.type"], answer["dns.response_code"]) == ("answer", "NOERROR")
    assert answer["dns.answers.data"] == ["192.0.78.212", "192.0.78.150"]
    assert query["@timestamp"] == 1777450586006844


@needs_tshark
@pytest.mark.skipif(not f.DATA.is_dir(), reason="the shared captures are not here")
def test_a_thousand_transactions_with_a_lost_response() -> None:
    """Every request is a row; every response found its request, but for the one that the capture lacks."""
    result = dissect(f.DATA / "zeek" / "http_1000-requests-one-dropped-response.pcap")
    rows = f.rows(result, "http")
    assert len(rows) == 1000
    assert sum(row["http.response.status_code"] == 200 for row in rows) == 999
    assert result.entered == result.left + sum(result.dropped.values())


@needs_tshark
def test_tls_and_tunnels_through_tshark(tmp_path: Path) -> None:
    """SNI and negotiated version of a handshake inside GRE, with the inner ends as the transaction's."""
    from scapy.layers.inet import IP, TCP
    from scapy.layers.l2 import GRE, Ether
    from scapy.packet import Raw
    from scapy.utils import wrpcap

    name = b"relay.example.org"
    sni = b"\x00\x00" + (len(name) + 5).to_bytes(2, "big") + (len(name) + 3).to_bytes(2, "big")
    sni += b"\x00" + len(name).to_bytes(2, "big") + name
    offer = b"\x00\x2b\x00\x03\x02\x03\x03"
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x2f" + b"\x01\x00"
    body += (len(sni) + len(offer)).to_bytes(2, "big") + sni + offer
    chosen = b"\x03\x02" + bytes(32) + b"\x00" + b"\xc0\x2f" + b"\x00"

    def record(kind: int, inner: bytes) -> bytes:
        handshake = bytes([kind]) + len(inner).to_bytes(3, "big") + inner
        return b"\x16\x03\x01" + len(handshake).to_bytes(2, "big") + handshake

    outer = Ether() / IP(src="172.16.0.1", dst="172.16.0.2") / GRE()
    hello, answer = record(1, body), record(2, chosen)
    packets = [
        outer / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=4000, dport=443, flags="PA", seq=1) / Raw(hello),
        outer
        / IP(src="10.0.0.2", dst="10.0.0.1")
        / TCP(sport=443, dport=4000, flags="PA", seq=1, ack=1 + len(hello))
        / Raw(answer),
    ]
    wrpcap(str(tmp_path / "tls.pcap"), packets)
    (row,) = f.rows(dissect(tmp_path / "tls.pcap"), "tls")
    assert (row["source.ip"], row["destination.ip"], row["destination.port"]) == ("10.0.0.1", "10.0.0.2", 443)
    assert (row["tls.client.server_name"], row["tls.version"]) == ("relay.example.org", "1.1")
    assert len(row["tls.client.ja3"]) == 32


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/a/b?patient=1", "/a/b"),
        ("/a;jsessionid=7", "/a"),
        ("/a#b", "/a"),
        ("http://user:secret@ex.org/x?y", "/x"),
        ("*", None),
        ("ex.org:443", None),
    ],
)
def test_queries_and_credentials_end_here(uri: str, path: str | None) -> None:
    """Only the path of a request is kept: no query, session, fragment or authority."""
    (row,) = rows_of("http", line(1, http__request__method="GET", http__request__uri=uri))
    assert row["url.path"] == path
    assert "secret" not in str(row) and "patient" not in str(row)


def test_identity_numbers_and_mailboxes_never_leave() -> None:
    """Identity numbers in paths, agents and names are removed, mailbox names masked, whatever the field."""
    lines = [
        line(1, http__request__method="GET", http__request__uri="/p/01010100050/ola.nordmann@ex.org/x"),
        line(2, http__request__method="GET", http__request__uri="/u/kari%40ex.org", http__user_agent="x 010101-00050"),
        line(3, dns__id="0x1", dns__qry__name="01010100050.Example.ORG", dns__qry__type="1"),
    ]
    result = decoder().decode(f.chunk(Dissection(b"".join(lines))))
    text = str(f.rows(result, "http")) + str(f.rows(result, "dns"))
    for word in ("01010100050", "010101-00050", "nordmann", "kari"):
        assert word not in text
    assert "ex.org/x" in text and ".example.org" in text


def test_several_messages_in_a_frame() -> None:
    """DNS over TCP with several messages gives a row each; what cannot be told apart is null, never guessed."""
    rows = rows_of(
        "dns",
        line(
            9,
            dns__id="0x0001\x1f0x0002",
            dns__flags__response="0\x1f0",
            dns__qry__name="A.b\x1fc.d",
            dns__qry__type="1\x1f99999",
            dns__a="1.2.3.4",
        ),
        line(
            10, dns__id="0x0001\x1f0x0002", dns__flags__response="1\x1f0", dns__qry__name="a.b", dns__flags__rcode="3"
        ),
    )
    assert [row["csirt.ordinal"] & 0xFFFF for row in rows] == [8 << 8, 8 << 8 | 1, 9 << 8, 9 << 8 | 1]
    assert [row["dns.question.name"] for row in rows] == ["a.b", "c.d", None, None]
    assert [row["dns.question.type"] for row in rows] == ["A", "TYPE99999", None, None]
    assert [row["dns.type"] for row in rows] == ["query", "query", "answer", "query"]
    assert all(row["dns.answers.data"] is None for row in rows)


def test_pipelined_requests_are_not_paired_by_guess() -> None:
    """Two requests in a frame and two responses in another give four rows, none with the other's status."""
    rows = rows_of(
        "http",
        line(3, http__request__method="GET\x1fPOST", http__request__uri="/a\x1f/b", http__host="h"),
        line(4, turned=True, http__response__code="200\x1f500", http__request_in="3"),
    )
    assert [(row["http.request.method"], row["http.response.status_code"]) for row in rows] == [
        ("GET", None),
        ("POST", None),
        (None, 200),
        (None, 500),
    ]
    assert {row["source.ip"] for row in rows} == {"10.0.0.1"}
    assert [row["url.domain"] for row in rows] == [None] * 4


def test_interim_responses_do_not_answer() -> None:
    """100 Continue is no answer: the status is that of the final response."""
    (row,) = rows_of(
        "http",
        line(1, http__request__method="POST", http__request__uri="/", http__host="[fd00::1]:8080"),
        line(2, turned=True, http__response__code="100", http__request_in="1"),
        line(3, turned=True, http__response__code="201", http__request_in="1", http__content_type="Text/HTML; x=y"),
    )
    assert (row["http.response.status_code"], row["http.response.mime_type"]) == (201, "text/html")
    assert row["url.domain"] == "fd00::1"


def test_a_response_without_its_request_is_a_row() -> None:
    """A capture that starts in the middle of a transaction shows the status, client still the source."""
    (row,) = rows_of("http", line(5, turned=True, http__response__code="403"))
    assert (row["http.response.status_code"], row["source.ip"], row["source.port"]) == (403, "10.0.0.1", 4000)


def test_a_frame_that_answers_and_asks() -> None:
    """A frame number stays unique when one frame holds a response and a request."""
    rows = rows_of("http", line(5, http__response__code="403", http__request__method="GET", http__request__uri="/"))
    assert len({row["csirt.ordinal"] for row in rows}) == len(rows) == 2


def test_malformed_lines_are_counted() -> None:
    """A line of the wrong shape is one drop; the lines around it are rows; in = out + dropped."""
    good = line(1, dns__id="0x1")
    wrong = [b"x\ty\n", good.replace(b"1000001.", b"soon."), b"0" + good[1:], good[:-1] + b"\tmore\n"]
    result = decoder().decode(f.chunk(Dissection(b"".join([good, *wrong, b"\n", line(2, dns__id="\xff")]))))
    assert (result.entered, result.left, result.dropped) == (6, 2, {"dissection_malformed": 4})
    assert len(f.rows(result, "dns")) == 2


def test_more_messages_than_a_frame_can_number() -> None:
    """The 129th DNS message of a frame is dropped and counted, not given another's id."""
    result = decoder().decode(f.chunk(Dissection(line(1, dns__id="\x1f".join(["0x1"] * 130)))))
    assert len(f.rows(result, "dns")) == 128
    assert result.dropped == {"dissection_overflow": 2}
    assert result.entered == result.left + 2


def test_types_are_the_schemas() -> None:
    """Every column of every dissected batch has the schema's type."""
    lines = [
        line(1, dns__id="0x1", dns__flags__response="1", dns__a="1.2.3.4"),
        line(2, tls__handshake__type="1", tls__handshake__sni="a", tcp__stream="1"),
        line(3, http__request__method="GET"),
    ]
    physical = {part for name in ecs.ADDRESSES for part in ecs.physical(name)}
    batches = decoder().decode(f.chunk(Dissection(b"".join(lines)))).batches
    assert sorted(batch.dataset for batch in batches) == sorted(PROTOCOLS)
    for batch in batches:
        for field in batch.table.schema:
            assert field.name in physical or field.type == ecs.DATASETS[batch.dataset][field.name], field


def test_an_answer_beyond_the_window_is_not_matched() -> None:
    """A request waits for ten thousand frames, whatever the chunks: a later answer is a row of its own."""
    late = [
        line(1, http__request__method="GET"),
        line(20_000, turned=True, http__response__code="200", http__request_in="1"),
    ]
    assert len(rows_of("http", *late)) == 2
    near = [late[0], line(10_001, turned=True, http__response__code="200", http__request_in="1")]
    assert len(rows_of("http", *near)) == 1


@st.composite
def streams(draw: Any) -> list[bytes]:
    """Lines of a capture in frame order: hellos, answers, requests and responses that may or may not belong."""
    frame, made = 0, []
    for _ in range(draw(st.integers(1, 25))):
        frame += draw(st.sampled_from([1, 1, 1, 2, 4000, 10_000]))
        stream = draw(st.sampled_from(["0", "1", ""]))
        kind = draw(st.sampled_from(["hello", "server", "ask", "give", "dns"]))
        if kind == "hello":
            made.append(line(frame, tls__handshake__type="1", tcp__stream=stream, tls__handshake__sni=f"n{frame}"))
        elif kind == "server":
            version = draw(st.sampled_from(["0x0303", "0x0304"]))
            made.append(
                line(
                    frame,
                    turned=True,
                    tls__handshake__type="2\x1f11",
                    tcp__stream=stream,
                    tls__handshake__version=version,
                )
            )
        elif kind == "ask":
            made.append(line(frame, http__request__method="GET", http__request__uri=f"/{frame}"))
        elif kind == "give":
            asked = draw(st.integers(1, max(frame, 2)))
            made.append(line(frame, turned=True, http__response__code="200", http__request_in=str(asked)))
        else:
            made.append(line(frame, dns__id="0x7"))
    return made


@settings(max_examples=60, deadline=None)
@given(streams(), st.data())
def test_any_chunking_gives_the_same_rows(lines: list[bytes], data: Any) -> None:
    """The text may be cut anywhere, inside a line too: same rows, same ids, and the counts balance."""
    text = b"".join(lines)
    whole = decoder().decode(f.chunk(Dissection(text)))
    borders = [0, *sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=4))), len(text)]
    small = decoder()
    parts = [
        small.decode(f.chunk(Dissection(text[begin:end]), last=end == len(text))) for begin, end in pairwise(borders)
    ]
    for dataset in PROTOCOLS:
        assert f.rows(parts, dataset) == f.rows(whole, dataset)
    assert sum(part.entered for part in parts) == len(lines)
    assert sum(part.left for part in parts) == len(lines)
    before = 0
    for part in parts:
        assert part.entered == part.left + sum(part.dropped.values()) + part.held - before
        assert part.held >= 0
        before = part.held
    assert before == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="\t\n\x1f0x1.:iptcd%@é\x00", max_size=60), max_size=6), st.integers(0, 40))
def test_garbage_never_crashes(noise: list[str], at: int) -> None:
    """Any text instead of a line, or inside one of its fields, is read or counted, never raised."""
    columns = FIELDS.columns(PROTOCOLS)
    lines = [item.encode() for item in noise]
    for item in noise:
        fields = line(3, dns__id="0x1", http__request__method="GET", tls__handshake__type="1")[:-1].split(b"\t")
        fields[at % len(columns)] = item.encode()
        lines.append(b"\t".join(fields))
    result = decoder().decode(f.chunk(Dissection(b"\n".join(lines))))
    assert result.entered == result.left + sum(result.dropped.values())
