"""Lines on the socket. Kept free of heavy imports: the command line's fast path loads this.

Request: {"verb": "cases.list", "args": {...}, "as": "name or empty", "lang": "en"}
Answer:  {"ok": value}  or  {"error": {"code", "message", "exit_code", "details"}}
Stream:  {"item": value} … {"end": n}
"""

from __future__ import annotations

from typing import Any

MAX_REQUEST = 8 * 1024 * 1024


def failure(error: BaseException) -> dict[str, Any]:
    """An exception as the answer's `error`; unexpected ones keep their text out of it."""
    from csirt.errors import CsirtError

    if isinstance(error, CsirtError):
        return {
            "code": error.code,
            "message": error.message,
            "exit_code": error.exit_code,
            "details": error.details,
        }
    return {
        "code": "internal",
        "message": f"internal error ({type(error).__name__}); the daemon's log has the details",
        "exit_code": 1,
        "details": {},
    }


def raise_failure(error: dict[str, Any]) -> None:
    """The answer's `error` as the exception it was."""
    from csirt import errors

    kinds: dict[int, type[errors.CsirtError]] = {
        2: errors.Usage,
        3: errors.NotFound,
        4: errors.NotAllowed,
        5: errors.Conflict,
        6: errors.Unreachable,
        7: errors.PartlyDone,
    }
    kind = kinds.get(int(error.get("exit_code", 1)), errors.CsirtError)
    raise kind(str(error.get("message", "failed")), **dict(error.get("details") or {}))
