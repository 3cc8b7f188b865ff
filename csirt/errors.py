"""What can go wrong, as few classes as the exit codes need, each with a sentence that says what to do next."""

from __future__ import annotations

EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "failed, or a check found something",
    2: "usage or ambiguous",
    3: "not found",
    4: "not allowed",
    5: "conflict (stale write, or the store has another owner)",
    6: "back end unreachable, a retry is sensible",
    7: "partly done",
    130: "interrupted",
}


class CsirtError(Exception):
    """Base of every expected failure.

    `exit_code` is what the command line returns; `details` travels to JSON output unchanged.
    """

    exit_code = 1
    code = "failed"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Usage(CsirtError):
    """The call cannot be understood, or names more than one thing."""

    exit_code = 2
    code = "usage"


class NotFound(CsirtError):
    """Nothing has that name, or nothing the caller may see."""

    exit_code = 3
    code = "not_found"


class NotAllowed(CsirtError):
    """The caller's role does not permit this."""

    exit_code = 4
    code = "not_allowed"


class Conflict(CsirtError):
    """Somebody else was first: a stale write, a second owner of a store, a refused hand-over."""

    exit_code = 5
    code = "conflict"


class Unreachable(CsirtError):
    """A back end does not answer; the same call may succeed later."""

    exit_code = 6
    code = "unreachable"


class PartlyDone(CsirtError):
    """Some of it was done; `details` says what was not."""

    exit_code = 7
    code = "partly_done"


class Problem:
    """One thing wrong in a file: collected, never raised, so that one broken file stops no other."""

    __slots__ = ("advice", "check", "column", "file", "level", "line", "message")

    def __init__(
        self,
        file: str,
        line: int,
        message: str,
        *,
        column: int = 1,
        advice: str = "",
        check: str = "",
        level: str = "error",
    ) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.message = message
        self.advice = advice
        self.check = check
        self.level = level

    def __str__(self) -> str:
        tail = f" ({self.advice})" if self.advice else ""
        name = f"[{self.check}] " if self.check else ""
        return f"{self.file}:{self.line}:{self.column}: {self.level}: {name}{self.message}{tail}"

    def as_dict(self) -> dict[str, object]:
        """The problem as JSON fields: file, line, column, level, check, message, advice."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}
