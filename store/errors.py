"""Errors that people see, and the one base class by which every face of the program recognises them.

PathmeshError            something a person can act on: one line, a stable code, a hint
├── UsageError           the request is malformed or refused (bad option, bad WWID, bad settings)
├── ConflictError        a stale digest or an open conflict; nothing was changed
└── UnavailableError     something this node needs cannot be reached or used now (socket, database, disk)
"""

from collections.abc import Sequence


def one_line(fault: object) -> str:
    """A foreign fault's text as part of one line: a decoder quotes what it was sent, line breaks and all."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(fault))


def listed(names: Sequence[str], most: int) -> str:
    """The first `most` names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class PathmeshError(Exception):
    """A fault that a person can act on.

    `message` is one line that names the place (file, line, field, peer); `code` is stable and machine readable;
    `hint` says what to do and may be empty.
    """

    def __init__(self, message: str, *, code: str = "failed", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


class UsageError(PathmeshError):
    """What was asked for is malformed or refused."""

    def __init__(self, message: str, *, code: str = "invalid", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)


class ConflictError(PathmeshError):
    """The write was made from an older state than the present one, or touches a key in conflict."""

    def __init__(self, message: str, *, code: str = "conflict", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)


class UnavailableError(PathmeshError):
    """Something that this node needs cannot be used now."""

    def __init__(self, message: str, *, code: str = "unavailable", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
