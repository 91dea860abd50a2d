"""The lines and words of multipath.conf, as multipathd cuts them; every reader of the format starts here.

Outside of double quotes blanks part words, bytes that are not ASCII count as blanks, braces are words of their own, and `#` or `!`
begins a comment. Inside them everything is text and `""` is a quote. A line ends at LF, at a CR, or after 1,023 bytes: what is longer
is read as several lines. (multipath.conf(5), and the behaviour of multipath-tools 0.9.4 and 0.14.)
"""

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple

LINE_BYTES = 1023
"""What multipathd reads at a time."""

_BLANKS = re.compile(r"[ \t\n\v\f\r\u0080-\U0010ffff]*")
_WORD = re.compile(r'[^ \t\n\v\f\r\u0080-\U0010ffff!#{}"]+')
_STRING = re.compile(r'(?:[^"]|"")*+')
_LINE = re.compile(r"\r*[^\r\0]*")


class TokenKind(enum.Enum):
    """What a piece of a line is."""

    WORD = "word"
    QUOTE = "quote"
    """A double quote that opens or closes a string; the string itself is a word."""
    BRACE = "brace"


class Token(NamedTuple):
    """One piece of a line and the column where it begins, from 1; in the word of a string `""` is already a single quote."""

    kind: TokenKind
    text: str
    column: int


class Line(NamedTuple):
    """What multipathd takes for one line. `number` is that of the line of the text, from 1; `column` where it begins there."""

    number: int
    text: str
    column: int = 1


def lines(text: str) -> Iterator[Line]:
    """The lines of a text."""
    for number, whole in enumerate(text.split("\n"), start=1):
        if len(whole) * 3 <= LINE_BYTES or len(_encoded(whole)) <= LINE_BYTES:
            yield Line(number, _cut(whole))
            continue
        raw, column = _encoded(whole), 1
        for start in range(0, len(raw), LINE_BYTES):
            # A character that the cut goes through is a blank on either side, or a mark of replacement in a string.
            piece = raw[start : start + LINE_BYTES].decode("utf-8", "replace")
            yield Line(number, _cut(piece), column)
            column += len(piece)


def tokenise(line: Line) -> list[Token]:
    """The tokens of one line, without its comment."""
    text, offset = line.text, line.column
    tokens: list[Token] = []
    at, in_string = 0, False
    while True:
        if not in_string:
            at = _end(_BLANKS, text, at)
        if at >= len(text) or (not in_string and text[at] in "#!"):
            return tokens
        char = text[at]
        if char == '"' and not (in_string and text[at + 1 : at + 2] == '"'):
            tokens.append(Token(TokenKind.QUOTE, '"', at + offset))
            in_string = not in_string
            at += 1
        elif not in_string and char in "{}":
            tokens.append(Token(TokenKind.BRACE, char, at + offset))
            at += 1
        else:
            end = _end(_STRING if in_string else _WORD, text, at)
            word = text[at:end].replace('""', '"') if in_string else text[at:end]
            tokens.append(Token(TokenKind.WORD, word, at + offset))
            at = end


def is_brace(token: Token, text: str) -> bool:
    """Whether a token is that brace."""
    return token.kind is TokenKind.BRACE and token.text == text


def value_of(tokens: list[Token]) -> str | None:
    """The value on a line `keyword value`; None if there is none. What stands behind it is dropped, as multipathd does."""
    if len(tokens) < 2 or tokens[1].kind is TokenKind.BRACE:
        return None
    if tokens[1].kind is TokenKind.WORD:
        return tokens[1].text
    return tokens[2].text if len(tokens) > 2 and tokens[2].kind is TokenKind.WORD else ""


def quote(value: str) -> str:
    """A value as multipath.conf takes it whatever it holds."""
    return '"' + value.replace('"', '""') + '"'


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _cut(text: str) -> str:
    """A line without what stands behind a CR or a NUL."""
    return text[: _end(_LINE, text, 0)] if "\r" in text or "\0" in text else text


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a pattern that matches anywhere, if only nothing, ends."""
    found = pattern.match(text, at)
    return found.end() if found else at
