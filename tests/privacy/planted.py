"""Log lines with everything that must never leave decode planted in them, and the list of what was planted.

For end-to-end tests: write the lines as sources, run the pipeline, then look for `found(bytes)` in every file outside
the spool.
"""

from __future__ import annotations

import json
from pathlib import Path

_FIRST = (3, 7, 6, 1, 8, 9, 4, 5, 2)
_SECOND = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)


def identity_number(date: str, start: int = 100) -> str:
    """A number with both check digits right for a ddmmyy (D-, H- and synthetic forms are given shifted)."""
    for individual in range(start, 1000):
        digits = [int(sign) for sign in f"{date}{individual:03d}"]
        first = -sum(a * b for a, b in zip(_FIRST, digits, strict=True)) % 11
        second = -sum(a * b for a, b in zip(_SECOND, [*digits, first], strict=True)) % 11
        if first < 10 and second < 10:
            return "".join(map(str, [*digits, first, second]))
    raise AssertionError("no such number")


# ordinary, D-number, H-number, synthetic +80 and +65
NUMBERS = tuple(identity_number(date) for date in ("010190", "410190", "014190", "018190", "016690"))
SPACED = f"{NUMBERS[0][:6]} {NUMBERS[0][6:]}"
DOTTED = f"{NUMBERS[1][:2]}.{NUMBERS[1][2:4]}.{NUMBERS[1][4:6]}-{NUMBERS[1][6:]}"
SUBJECTS = ("Henvisning hofteplager Kari Hemmelig", "Epikrise psykiatri Per Taushet")
FREE_TEXT = ("pasienten Annlaug Skjult er ukjent hos mottaker", "mailbox of Nils Gjemt is closed")
PEOPLE = ("kari.hemmelig@legekontor.example", "per.taushet@sykehus.example", "nils.gjemt@kommune.example")
USERS = ("anne.skjult", "nhemmelig")

POSTFIX_DAY = "Mar 10 "
_STAMP = POSTFIX_DAY + "09:12:{:02d} edi-relay01 postfix/{}[4312]: "


def postfix() -> list[str]:
    """RFC 3164 lines of a relay: header_checks warnings with subjects, people in every address, numbers in every id."""
    number, other = NUMBERS[0], NUMBERS[2]
    bodies = [
        ("smtpd", f"connect from pc-{number}.legekontor.example[10.37.0.25]"),
        ("smtpd", f"7EE668039: client=pc-{other}.legekontor.example[10.37.0.25], sasl_username={USERS[0]}"),
        ("cleanup", f"7EE668039: message-id=<{PEOPLE[0].replace('@', '=')}.{number}@relay.example>"),
        ("cleanup", f"7EE668039: warning: header Subject: {SUBJECTS[0]} {SPACED} from pc[10.37.0.25]; "
         f"from=<{PEOPLE[0]}> to=<{PEOPLE[1]}> proto=ESMTP helo=<{USERS[1]}.example>"),
        ("qmgr", f"7EE668039: from=<{PEOPLE[0]}>, size=30111, nrcpt=2 (queue active)"),
        ("smtp", f"7EE668039: to=<{PEOPLE[1]}>, orig_to=<{PEOPLE[2]}>, relay=mx.sykehus.example[10.21.0.25]:25, "
         f"delay=0.9, delays=0/0/0/0.9, dsn=5.1.1, status=bounced (host mx said: 550 {FREE_TEXT[1]} {DOTTED})"),
        ("smtp", f"7EE668039: to=<{other}@sykehus.example>, relay=mx.sykehus.example[10.21.0.25]:25, delay=1, "
         f"delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok {PEOPLE[2]})"),
        ("qmgr", "7EE668039: removed"),
        ("cleanup", f"8FF668040: reject: header Subject: {SUBJECTS[1]} {number} from pc[10.37.0.25]; "
         f"from=<{PEOPLE[1]}> to=<{PEOPLE[2]}> proto=ESMTP helo=<{USERS[1]}>: 5.7.1 {FREE_TEXT[0]}"),
        ("smtpd", f"NOQUEUE: reject: RCPT from unknown[10.9.9.9]: 554 5.7.1 <{PEOPLE[1]}>: Relay access denied; "
         f"from=<{PEOPLE[0]}> to=<{PEOPLE[1]}> proto=ESMTP helo=<{number}.{USERS[1]}>"),
        ("smtpd", f"warning: unknown[10.9.9.9]: SASL LOGIN authentication failed: x, sasl_username={USERS[0]}"),
        ("smtpd", f"9AA668041: client=unknown[10.9.9.8], sasl_username={USERS[0]}"),
        ("cleanup", f"9AA668041: message-id=<{PEOPLE[2]}>"),
        ("smtp", f"some line nobody knows with {PEOPLE[0]} and {NUMBERS[1]} and {SUBJECTS[0]}"),
    ]  # fmt: skip
    return [_STAMP.format(index, program) + body for index, (program, body) in enumerate(bodies)]


def msh() -> list[str]:
    """NDJSON of a message handler: subjects and receipts' free text in extra keys, numbers in every declared one."""
    number = NUMBERS[3]
    base = {
        "ts": "2026-03-10T08:12:31.3Z",
        "relay": "edi-relay01",
        "event": "MESSAGE_RECEIVED_VIA_SMTP",
        "message_id": f"{NUMBERS[4]}-4ee7",
        "conversation_id": PEOPLE[0],
        "mime_message_id": f"<{PEOPLE[1]}>",
        "from_her": 910170,
        "to_her": 910011,
        "service": "Henvisning",
        "action": "Henvisning",
        "size": 30111,
    }
    extra = {"subject": SUBJECTS[0], "description": FREE_TEXT[0], "patient": number, "user": USERS[0]}
    hostile = {
        "event": "MESSAGE_SENT_VIA_SMTP", "action": FREE_TEXT[0], "service": f"{SPACED}", "from_role": PEOPLE[2],
        "cpa_id": number, "from_her": number, "queue_id": number, "error_code": FREE_TEXT[1], "relay": number,
        "parts": [SUBJECTS[1], f"application/{number}", "text/xml"], "ref_to_message_id": f"{DOTTED}",
    }  # fmt: skip
    receipt = {"action": "AppRec", "apprec_status": 2, "error_code": "E35", "apprec_text": FREE_TEXT[0]}
    lines = [json.dumps(item, ensure_ascii=False) for item in (base | extra, base | hostile, base | receipt | extra)]
    return [*lines, '{"ts":"2026-03-10T08:12:31Z","event":"MESSAGE_SENT_VIA_SMTP","subject":"' + SUBJECTS[1]]


def forbidden() -> list[str]:
    """Every planted text; none may be found outside the spool."""
    local = [person.partition("@")[0] for person in PEOPLE]
    names = [name for text in (*SUBJECTS, *FREE_TEXT) for name in text.split() if name[0].isupper() and name != "Nils"]
    words = ["hofteplager", "psykiatri", "Kari", "Hemmelig", "Taushet", "Skjult", "Gjemt"]
    keep = {"Henvisning", "Epikrise", "Per"}
    return sorted({*NUMBERS, SPACED, DOTTED, *local, *USERS, *words, *(name for name in names if name not in keep)})


def found(data: bytes) -> list[str]:
    """What of the planted texts a file holds, in UTF-8 or UTF-16, in any case."""
    low = data.lower()
    return [
        text for text in forbidden()
        if text.lower().encode() in low or text.lower().encode("utf-16-le") in low
    ]  # fmt: skip


def write(folder: Path) -> dict[str, Path]:
    """The lines as log files: `postfix` and `msh`."""
    paths = {}
    for name, lines in (("postfix", postfix()), ("msh", msh())):
        paths[name] = folder / f"{name}.log"
        paths[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths
