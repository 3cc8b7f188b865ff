"""Notifications by mail: plain text over SMTP (RFC 5321, RFC 5322), with a Message-ID that shows a repeat."""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime

from csirt.clock import SECOND
from csirt.notify.endpoints import ADDRESS
from csirt.notify.outcome import Outcome
from csirt.safety import terminal

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_LOOPBACK = ("127.", "::1", "localhost")


def compose(
    *, sender: str, recipient: str, subject: str, body: str, id: str, case: str, level: int, at: int
) -> EmailMessage:
    """The mail. Header text is made one visible line before it gets there, so no value can add a header.

    The Message-ID depends on the notification's id alone; all mails of a case refer to the same thread. Raises
    ValueError for a sender or recipient that is not a plain address.
    """
    for address in (sender, recipient):
        if not ADDRESS.fullmatch(address):
            raise ValueError("not a plain mail address")
    domain = sender.rpartition("@")[2]
    mail = EmailMessage(policy=policy.SMTP.clone(max_line_length=78))
    mail["From"] = sender
    mail["To"] = recipient
    mail["Subject"] = terminal(subject).replace("=?", "= ?")  # else taken for an encoded word
    mail["Date"] = format_datetime(datetime.fromtimestamp(at // SECOND, UTC))
    mail["Message-ID"] = f"<{_atom(id)}@{domain}>"
    mail["References"] = f"<case-{_atom(case)}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation replies
    mail["X-Csirt-Level"] = str(level)
    lines = (terminal(line) for line in body.split("\n"))
    mail.set_content("\n".join(lines), charset="utf-8", cte="quoted-printable")
    return mail


def send(
    mail: EmailMessage,
    *,
    smtp: str,
    timeout: float,
    connect: Callable[..., smtplib.SMTP] = smtplib.SMTP,
) -> Outcome:
    """One try. `smtp`: host:port; `timeout`: seconds for every step of the dialogue.

    STARTTLS is used where it is offered, with the certificate verified unless the relay is on this machine.
    """
    host, _, port = smtp.rpartition(":")
    host = host.strip("[]")
    domain = str(mail["From"]).rpartition("@")[2]
    try:
        session = connect(host, int(port), local_hostname=domain or "localhost", timeout=timeout)
        try:
            session.ehlo_or_helo_if_needed()
            if session.has_extn("starttls"):
                session.starttls(context=_context(host))
                session.ehlo()
            session.send_message(mail)
            with contextlib.suppress(OSError, smtplib.SMTPException):
                session.quit()  # the relay has the mail: a bad farewell does not make it unsent
        finally:
            session.close()
    except smtplib.SMTPRecipientsRefused as error:
        code = min((reply[0] for reply in error.recipients.values()), default=450)
        return _refused(code, "recipient")
    except smtplib.SMTPSenderRefused as error:
        return _refused(error.smtp_code, "sender")
    except smtplib.SMTPConnectError as error:
        return Outcome("retry", f"the relay does not take connections now ({error.smtp_code})", endpoint_down=True)
    except smtplib.SMTPResponseException as error:
        return _refused(error.smtp_code, "message")
    except smtplib.SMTPServerDisconnected:
        return Outcome("retry", "the relay closed the connection", endpoint_down=True)
    except smtplib.SMTPException as error:
        return Outcome("retry", f"SMTP: {type(error).__name__}")
    except ssl.SSLError as error:
        return Outcome("retry", f"TLS to the relay fails ({type(error).__name__})", endpoint_down=True)
    except (OSError, ValueError) as error:
        return Outcome("retry", f"the relay cannot be reached ({type(error).__name__})", endpoint_down=True)
    return Outcome("sent")


def _atom(text: str) -> str:
    """Text as a part of a message id."""
    return _UNSAFE.sub("_", text) or "_"


def _refused(code: int, what: str) -> Outcome:
    return Outcome("failed" if 500 <= code < 600 else "retry", f"the relay refuses the {what} ({code})")


def _context(host: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if host.startswith(_LOOPBACK):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
