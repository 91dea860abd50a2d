"""POSIX extended regular expressions, as blacklists and device sections use them, compiled for Python's engine."""

import re
import warnings

_CLASSES = {
    "alpha": "A-Za-z", "digit": "0-9", "alnum": "A-Za-z0-9", "upper": "A-Z", "lower": "a-z", "space": r"\s", "blank": r" \t",
    "punct": r"!-/:-@\[-`{-~", "xdigit": "0-9A-Fa-f", "print": " -~", "graph": "!-~", "cntrl": r"\x00-\x1f\x7f",
}  # fmt: skip
_GNU_ESCAPES = {"w": r"\w", "W": r"\W", "s": r"\s", "S": r"\S", "b": r"\b", "B": r"\B", "<": r"\b", ">": r"\b", "`": r"\A", "'": r"\Z"}


class Rule:
    """One compiled expression; a leading `!` inverts it. It matches anywhere in the text, as regexec does."""

    def __init__(self, text: str, compiled: re.Pattern[str], inverted: bool) -> None:
        self.text = text
        self._compiled = compiled
        self._inverted = inverted

    def matches(self, subject: str) -> bool:
        return (self._compiled.search(subject) is not None) is not self._inverted


def compile_rule(text: str) -> Rule | None:
    """Compile an expression; nothing if it is not one. Source: regex(7)."""
    inverted = text.startswith("!")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Rule(text, re.compile(_translate(text[inverted:]), re.ASCII | re.DOTALL), inverted)
    except (re.error, ValueError, OverflowError, RecursionError):
        return None


def _translate(pattern: str) -> str:
    """Rewrite what the two dialects read differently: brackets, escapes, stacked repetitions and Python's `(?`."""
    out: list[str] = []
    at = 0
    repeatable = False
    while at < len(pattern):
        char = pattern[at]
        if char == "[":
            piece, at = _bracket(pattern, at)
            out.append(piece)
            repeatable = True
            continue
        if char == "\\":
            if at + 1 == len(pattern):
                raise ValueError("trailing backslash")
            escaped = pattern[at + 1]
            out.append(_GNU_ESCAPES.get(escaped) or (f"\\{escaped}" if escaped.isdigit() else re.escape(escaped)))
            at += 2
            repeatable = True
            continue
        if char in "*+?" and out:
            if repeatable:
                out.append(char)
            elif out[-1] in ("*", "+", "?"):
                out[-1] = char if char == out[-1] else "*"
            elif out[-1] in ("(", "|", "^"):
                out.append(re.escape(char))
            at += 1
            repeatable = False
            continue
        out.append(re.escape(char) if char in "*+?" else char)
        at += 1
        repeatable = char not in "(|^"
    return "".join(out)


def _bracket(pattern: str, start: int) -> tuple[str, int]:
    """A bracket expression and where it ends: a backslash is plain in it, `]` too when it comes first."""
    at = start + 1
    out = "["
    if pattern[at : at + 1] == "^":
        out += "^"
        at += 1
    first = True
    while at < len(pattern) and (first or pattern[at] != "]"):
        named = re.compile(r"\[:([a-z]+):\]").match(pattern, at)
        if named:
            if named[1] not in _CLASSES:
                raise ValueError("unknown character class")
            out += _CLASSES[named[1]]
            at = named.end()
        else:
            out += pattern[at] if pattern[at] == "-" and not first else re.escape(pattern[at])
            at += 1
        first = False
    if at == len(pattern):
        raise ValueError("unbalanced bracket")
    return out + "]", at + 1
