"""What can go wrong between the command line and the agent, and the exit status of each.

PathmeshError
├── ApiError             the agent refused; carries the problem's code, and the single problems of a refused edit
├── ConflictError        as the library raises it
└── AgentUnreachable     no agent answers at the socket
"""

import json
from typing import Any

from store.errors import ConflictError, PathmeshError, UnavailableError

FAILED = 1
USAGE = 2
UNREACHABLE = 3
CONFLICT = 4

CONFLICT_CODES = frozenset(("conflict", "conflict-open", "stale-digest"))


class AgentUnreachable(UnavailableError):
    """No agent answers at the socket."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, code="agent-unreachable", hint=hint)

    @classmethod
    def from_connect(cls, path: str, error: OSError | ValueError) -> "AgentUnreachable":
        """The error of a failed connect, with what to do about it."""
        if isinstance(error, FileNotFoundError):
            hint = "start it with `systemctl start pathmesh`, or name its socket with --socket"
            return cls(f"no agent: the socket {path} does not exist", hint=hint)
        if isinstance(error, ConnectionRefusedError):
            return cls(f"no agent listens at {path}", hint="it has stopped; `systemctl status pathmesh` says why")
        if isinstance(error, PermissionError):
            hint = "become a member of the group pathmesh (reading) or pathmesh-admin (writing), or root"
            return cls(f"no permission to use the socket {path}", hint=hint)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return cls(f"cannot reach the agent at {path}: {reason}")


class ApiError(PathmeshError):
    """The agent answered with an error status. `problems` are the single faults of a refused edit, each as the API gives it."""

    def __init__(self, status: int, message: str, *, code: str, hint: str = "", problems: list[dict[str, Any]]) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = status
        self.problems = problems

    @classmethod
    def from_response(cls, status: int, content_type: str, body: bytes) -> "ApiError":
        """Read a problem document (RFC 9457); any other body is quoted by its first line."""
        document: Any = None
        if "json" in content_type:
            try:
                document = json.loads(body)
            except ValueError:
                document = None
        if not isinstance(document, dict):
            first = body.decode(errors="replace").strip().partition("\n")[0][:200]
            code = "conflict" if status in (409, 412) else "failed"
            return cls(status, f"HTTP {status}{': ' + first if first else ''}", code=code, problems=[])
        problems = document.get("problems")
        return cls(
            status,
            str(document.get("detail") or document.get("title") or f"HTTP {status}"),
            code=str(document.get("code") or "failed"),
            hint=str(document.get("hint") or ""),
            problems=[p for p in problems if isinstance(p, dict)] if isinstance(problems, list) else [],
        )


def exit_status(error: PathmeshError) -> int:
    """The exit status that an error ends the command with."""
    if isinstance(error, AgentUnreachable):
        return UNREACHABLE
    if isinstance(error, ConflictError) or error.code in CONFLICT_CODES:
        return CONFLICT
    return FAILED


def default_hint(error: PathmeshError) -> str:
    """What to do when the agent gave no hint itself."""
    if error.hint:
        return error.hint
    if error.code == "stale-digest":
        return "somebody else changed it meanwhile: look with `pathmesh config show`, then repeat the command"
    if error.code == "conflict-open":
        return "see `pathmesh conflicts`, then settle it with `pathmesh resolve`"
    if error.code == "forbidden":
        return "writing needs root or membership of the group pathmesh-admin"
    if isinstance(error, ApiError) and error.status == 500:
        return "this is a fault of the agent; its log says more: journalctl -u pathmesh"
    return ""
