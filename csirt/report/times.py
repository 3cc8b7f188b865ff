"""Times, amounts and services as people read them, in bokmål and English, in local time with its zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

_MONTHS = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "nb": (
        "januar",
        "februar",
        "mars",
        "april",
        "mai",
        "juni",
        "juli",
        "august",
        "september",
        "oktober",
        "november",
        "desember",
    ),
}
_SERVICES = {
    (6, 21): "FTP",
    (6, 22): "SSH",
    (6, 23): "Telnet",
    (6, 25): "SMTP",
    (6, 53): "DNS",
    (17, 53): "DNS",
    (6, 80): "HTTP",
    (6, 135): "RPC",
    (6, 139): "SMB",
    (6, 443): "HTTPS",
    (6, 445): "SMB",
    (6, 853): "DNS over TLS",
    (6, 3389): "RDP",
    (6, 5900): "VNC",
    (6, 5985): "WinRM",
    (6, 5986): "WinRM",
}
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


def moment(us: int, lang: str, zone: str, *, seconds: bool = True) -> str:
    """`10. mars 2026 kl. 09:12:31 CET`, `10 Mar 2026 09:12:31 CET`."""
    local = datetime.fromtimestamp(us // 1_000_000, ZoneInfo(zone))
    clock = local.strftime("%H:%M:%S" if seconds else "%H:%M")
    month = _MONTHS[lang][local.month - 1]
    if lang == "nb":
        return f"{local.day}. {month} {local.year} kl. {clock} {local.tzname()}"
    return f"{local.day} {month} {local.year} {clock} {local.tzname()}"


def span(first: int, last: int, lang: str, zone: str) -> str:
    """Two moments to the minute, what they have in common said once: `10 Mar 2026 09:12–09:13 CET`."""
    one, two = (moment(us, lang, zone, seconds=False) for us in (first, last))
    if one == two:
        return one
    day, clock, name = one.rsplit(" ", 2)
    other, until, last_name = two.rsplit(" ", 2)
    return f"{day} {clock}–{until} {name}" if (day, name) == (other, last_name) else f"{one} – {two}"


def octets(number: int, lang: str) -> str:
    """Bytes in decimal units: `1,2 MB` in bokmål, `1.2 MB` in English."""
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    text = f"{value:.1f}" if unit != "B" else str(number)
    return f"{text.replace('.', ',') if lang == 'nb' else text} {unit}"


def service(protocol: int, port: int) -> str:
    """`SMB (tcp 445)`, `udp 5000`, `icmp`."""
    name = _PROTOCOLS.get(protocol, f"IP {protocol}" if protocol else "")
    text = f"{name} {port}".strip() if port and protocol not in (1, 58) else name
    known = _SERVICES.get((protocol, port))
    return f"{known} ({text})" if known else text
