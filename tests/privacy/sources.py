"""Every source with planted texts in it: exports, a capture, logs; the list of what was planted is in `planted`."""

from __future__ import annotations

import struct
from pathlib import Path
from urllib.parse import quote

from tests.decode.netflow.datagrams import block, ipfix, ipfix_options, template, v9, word
from tests.decode.sflow import datagrams as sflow
from tests.privacy.planted import DOTTED, FREE_TEXT, NUMBERS, PEOPLE, SPACED, SUBJECTS, USERS

# A day of the planted logs: 2026-03-10T08:12:31Z.
DAY_S = 1_773_130_351
CLIENT, SERVER = "10.37.0.25", "10.21.0.25"
ENDS = word(0x0A250019, 0x0A150019)


def text(*values: str) -> bytes:
    """Variable-length fields (RFC 7011, section 7)."""
    out = b""
    for value in values:
        raw = value.encode()
        out += (bytes([len(raw)]) if len(raw) < 255 else b"\xff" + struct.pack(">H", len(raw))) + raw
    return out


def frame_with_payload() -> bytes:
    """An Ethernet frame with a mail in its TCP segment, as elements of packet sections carry it."""
    payload = f"Subject: {SUBJECTS[0]}\r\nTo: {PEOPLE[1]}\r\n\r\n{NUMBERS[0]}".encode()
    tcp = struct.pack(">HHIIBBHHH", 40_000, 25, 1, 1, 0x50, 0x18, 1000, 0, 0)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0) + ENDS
    return bytes(12) + b"\x08\x00" + ip + tcp + payload


def netflow() -> list[bytes]:
    """IPFIX, v9 and sFlow datagrams: texts, octets and packet sections in flows and in options data; the last one's
    template never comes."""
    url = f"/journal/{NUMBERS[0]}/vis?tema={quote(SUBJECTS[0])}&navn=Kari+Hemmelig&bruker={USERS[1]}"
    frame = frame_with_payload()
    strings = (96, 83, 82, 460, 461, 468, 371, 7777)
    flow = ((8, 4), (12, 4), *((number, 65535) for number in strings), (314, 6), (315, len(frame)))
    values = text(
        f"app {NUMBERS[1]}", f"linje til {PEOPLE[0]}", f"if {SPACED}", f"{NUMBERS[2]}.legekontor.example", url,
        f"Agent {PEOPLE[1]} {DOTTED}", USERS[0], f"ukjent {NUMBERS[3]} {PEOPLE[2]}",
    )  # fmt: skip
    options = ipfix_options(301, 1, (10, 4), (83, 65535), (371, 65535), (96, 65535))
    described = word(7) + text(f"kabel {NUMBERS[4]}", USERS[1], f"tjeneste {PEOPLE[2]}")
    user = USERS[0].encode().ljust(65, b"\0")
    held = block(900, ENDS + text(*SUBJECTS, *FREE_TEXT, *PEOPLE, *NUMBERS), pad=False)
    return [
        ipfix(block(2, template(300, *flow)), block(300, ENDS + values + b"Hemmlg" + frame, pad=False), seconds=DAY_S),
        ipfix(block(3, options), block(301, described, pad=False), seconds=DAY_S, sequence=1),
        v9(block(0, template(300, (8, 4), (12, 4), (40000, 65), (82, 20))),
           block(300, ENDS + user + NUMBERS[0].encode().ljust(20, b"\0")), seconds=DAY_S),
        sampled(frame, url),
        ipfix(held, seconds=DAY_S, sequence=2),
    ]  # fmt: skip


def sampled(frame: bytes, url: str) -> bytes:
    """An sFlow datagram with a packet, who its ends are and what they asked for (extended user and URL data)."""
    names = [word(106, len(name)) + name.encode() + bytes(-len(name) % 4) for name in USERS[:2]]
    asked = word(1, len(url)) + url.encode() + bytes(-len(url) % 4) + word(0)
    records = [sflow.header(frame), sflow.block(1004, b"".join(names)), sflow.block(1005, asked)]
    return sflow.sflow(sflow.flow(*records), sflow.block(0x7777, NUMBERS[0].encode()))


def client_hello(name: str) -> bytes:
    """A TLS record with a ClientHello for a server name (RFC 8446, 4.1.2; RFC 6066, 3)."""
    host = name.encode()
    entry = b"\0" + struct.pack(">H", len(host)) + host
    sni = struct.pack(">HHH", 0, len(entry) + 2, len(entry)) + entry
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + struct.pack(">H", len(sni)) + sni
    handshake = b"\x01" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack(">H", len(handshake)) + handshake


def capture(path: Path) -> None:
    """DNS, HTTP, TLS and SMTP between two members, with texts in every place a protocol has for them."""
    from scapy.all import DNS, DNSQR, DNSRR, IP, TCP, UDP, Ether, Raw, wrpcap

    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    there, back = IP(src=CLIENT, dst=SERVER), IP(src=SERVER, dst=CLIENT)
    host = f"pc-{NUMBERS[0]}.legekontor.example"
    packets = [
        link / there / UDP(sport=5_000, dport=53) / DNS(id=7, rd=1, qd=DNSQR(qname=host)),
        link / back / UDP(sport=53, dport=5_000) / DNS(
            id=7, qr=1, qd=DNSQR(qname=host),
            an=DNSRR(rrname=host, type="CNAME", rdata=f"{NUMBERS[1]}.journal.example")
            / DNSRR(rrname=host, type="TXT", rdata=FREE_TEXT[0])
        ),
    ]  # fmt: skip
    request = (
        f"POST /pasient/{NUMBERS[2]}/{PEOPLE[0]}?sok={quote(FREE_TEXT[0])}&tema=Kari+Hemmelig HTTP/1.1\r\n"
        f"Host: {NUMBERS[3]}.journal.example\r\nUser-Agent: Klient {PEOPLE[1]} {SPACED}\r\n"
        f"Cookie: bruker={USERS[0]}\r\nAuthorization: Basic {USERS[1]}\r\nReferer: http://x/?q={quote(SUBJECTS[1])}\r\n"
        f"Content-Length: {len(SUBJECTS[0])}\r\n\r\n{SUBJECTS[0]}"
    )
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(FREE_TEXT[1])}\r\n\r\n{FREE_TEXT[1]}"
    body = f"Subject: {SUBJECTS[1]}\r\n\r\n{NUMBERS[4]}\r\n.\r\n"
    mail = f"MAIL FROM:<{PEOPLE[0]}>\r\nRCPT TO:<{PEOPLE[1]}>\r\nDATA\r\n{body}"
    talks = (
        (40_001, 80, request.encode(), answer.encode()),
        (40_002, 443, client_hello(f"{NUMBERS[4]}.portal.example"), b""),
        (40_003, 25, mail.encode(), f"550 {FREE_TEXT[1]}\r\n".encode()),
    )
    for port, service, asked, answered in talks:
        forth, reply = {"sport": port, "dport": service}, {"sport": service, "dport": port}
        packets += [
            link / there / TCP(flags="S", seq=1, **forth),
            link / back / TCP(flags="SA", seq=1, ack=2, **reply),
            link / there / TCP(flags="PA", seq=2, ack=2, **forth) / Raw(asked),
        ]
        if answered:
            packets.append(link / back / TCP(flags="PA", seq=2, ack=2 + len(asked), **reply) / Raw(answered))
    for number, packet in enumerate(packets):
        packet.time = DAY_S + number / 10
    wrpcap(str(path), packets)
