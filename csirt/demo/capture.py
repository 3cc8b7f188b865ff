"""Makes the demo's capture file with scapy. Runs as its own process (`python -m csirt.demo.capture`), because scapy
is GPL-2.0-only and is imported by no part of the daemon."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Read {path, start_us, client, resolver, web, names} from stdin, write the capture, then give it its name."""
    from scapy.all import DNS, DNSQR, DNSRR, IP, TCP, UDP, Ether, Raw, wrpcap

    order = json.load(sys.stdin)
    client, resolver, web = order["client"], order["resolver"], order["web"]
    moment = order["start_us"] / 1e6
    packets = []

    def add(packet: object, after: float) -> None:
        nonlocal moment
        moment += after
        packet.time = moment  # type: ignore[attr-defined]
        packets.append(packet)

    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    for number, name in enumerate(order["names"]):
        question = DNSQR(qname=name)
        port = 50_000 + number
        add(link / IP(src=client, dst=resolver) / UDP(sport=port, dport=53) / DNS(id=number, rd=1, qd=question), 0.4)
        answer = DNSRR(rrname=name, ttl=60, rdata=web)
        reply = DNS(id=number, qr=1, rd=1, ra=1, qd=question, an=answer)
        add(link / IP(src=resolver, dst=client) / UDP(sport=53, dport=port) / reply, 0.01)
        forth = {"sport": 51_000 + number, "dport": 80}
        back = {"sport": 80, "dport": 51_000 + number}
        request = f"GET /beacon/{number} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: updater/1.0\r\n\r\n".encode()
        response = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
        add(link / IP(src=client, dst=web) / TCP(flags="S", seq=1, **forth), 0.01)
        add(link / IP(src=web, dst=client) / TCP(flags="SA", seq=1, ack=2, **back), 0.01)
        add(link / IP(src=client, dst=web) / TCP(flags="A", seq=2, ack=2, **forth), 0.01)
        add(link / IP(src=client, dst=web) / TCP(flags="PA", seq=2, ack=2, **forth) / Raw(request), 0.01)
        add(link / IP(src=web, dst=client) / TCP(flags="PA", seq=2, ack=2 + len(request), **back) / Raw(response), 0.02)
        add(
            link / IP(src=client, dst=web) / TCP(flags="FA", seq=2 + len(request), ack=2 + len(response), **forth), 0.01
        )
    path = Path(order["path"])
    unfinished = path.with_name("." + path.name + ".part")
    wrpcap(str(unfinished), packets)
    unfinished.rename(path)
    sys.stdout.write(f"{len(packets)}\n")


if __name__ == "__main__":
    main()
