"""Findings about a document: what is wrong, where, how bad, and what to do."""

import enum
from dataclasses import dataclass


class Severity(enum.Enum):
    """How bad a problem is."""

    ERROR = "error"
    """An edit that makes it is refused; where it is found anyway (edits that met), the option is left out."""
    WARNING = "warning"
    """It works, but probably not as meant."""
    INFO = "info"
    """Good to know."""


@dataclass(frozen=True)
class Problem:
    """One finding. `key` is the section it is about, `option` the option there; `code` is stable.

    In a text it is at a `line` and `column`, from 1, and `message` begins with them; elsewhere both are 0.
    """

    code: str
    key: str
    message: str
    option: str = ""
    hint: str = ""
    severity: Severity = Severity.ERROR
    line: int = 0
    column: int = 0
