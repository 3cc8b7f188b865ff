"""Notifications by webhook: one JSON POST with an idempotency key, no redirects, no proxies, bounded answers."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from csirt.notify.outcome import Outcome

_AGAIN = frozenset({408, 425, 429})
_ANSWER = 64 * 1024


def send(url: str, document: dict[str, Any], *, key: str, timeout: float) -> Outcome:
    """One try. `key`: the same for every try of a notification, so that the far end can tell a repeat.

    2xx is sent; 408, 425, 429 and 5xx may succeed later; everything else, redirects included, never will.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return Outcome("failed", "not an http or https URL")
    raw = json.dumps(document, sort_keys=True, ensure_ascii=False).encode("utf-8", "backslashreplace")
    headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": key, "User-Agent": "csirt"}
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: http.client.HTTPConnection
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
        try:
            connection.request("POST", target, raw, headers)
            answer = connection.getresponse()
            answer.read(_ANSWER)
            status = answer.status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Outcome("retry", f"no answer ({type(error).__name__})", endpoint_down=True)
    if 200 <= status < 300:
        return Outcome("sent")
    if status in _AGAIN or status >= 500:
        return Outcome("retry", f"answered {status}")
    return Outcome("failed", f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else ""))
