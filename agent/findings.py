"""One thing that a check has found."""

from typing import Any, NamedTuple

SEVERITIES = ("error", "warning", "info")
"""Worst first."""


class Finding(NamedTuple):
    """One thing that is wrong, or worth knowing, and what to do about it."""

    code: str
    severity: str
    message: str
    hint: str = ""

    def json(self) -> dict[str, str]:
        """As the doctor tells it."""
        return self._asdict()

    def problem(self) -> dict[str, Any]:
        """As the status tells it."""
        return {"code": self.code, "key": "", "option": "", "message": self.message, "hint": self.hint, "severity": self.severity}
