"""What a caller asked for, as the audit may keep it: the question, without identity numbers and persons' mailboxes.

Nobody but the caller typed them, but the audit is kept for years and read by others (decision 15).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csirt.config import Config

_LEFT_OUT = ("text", "message", "body")  # what analysts write: kept where it belongs, not here
_QUESTIONS = ("events.sql",)  # verbs whose text is the question
# Enough digits for an identity number, however written, or a mailbox; everything else costs no import.
_SUSPECT = re.compile(r"(?:\d\D{0,3}){11}|@|%40")
_ID = re.compile("[0-9a-f]{32}")  # of a case, an alert, an event: digests, however many of their digits are decimal


def shown(config: Config, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a verb for its audit entry."""
    kept = arguments if verb in _QUESTIONS else {k: v for k, v in arguments.items() if k not in _LEFT_OUT}
    return {key: _clean(config, value) for key, value in kept.items()}


def _clean(config: Config, value: Any) -> Any:
    if isinstance(value, str):
        return _text(config, value) if _SUSPECT.search(value) and not _ID.fullmatch(value) else value
    if isinstance(value, dict):
        return {key: _clean(config, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(config, item) for item in value]
    return value


def _text(config: Config, text: str) -> str:
    import secrets

    from csirt.decode.privacy import Privacy
    from csirt.errors import CsirtError
    from csirt.secrets import key_file

    decode = config.decode
    try:
        key = key_file(config.path("pseudonym.key"))
    except CsirtError:  # a store without its key, such as a copy: nobody can join these pseudonyms with any others
        key = secrets.token_bytes(32)
    return Privacy(key, decode.organisation_domains, decode.organisation_mailboxes).text(text)
