"""The grammar of `multipath.conf`: bytes in, sections and settings out; every quirk is a warning and nothing is fatal.

A line is one keyword with one value, a section's header with `{` at its end, or `}`. Outside double quotes a byte that is not ASCII is a
blank and `#` or `!` starts a comment; inside them `""` is a quote. Source: multipath.conf(5) and the 0.9.4 daemon's behaviour.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from apply.simulated.conf_keywords import GRAMMAR, Section

LINE_BYTES = 1023
"""The daemon's line buffer: a longer line is split, and each piece is a line of its own."""

_BLANK = frozenset(" \t\v\f\r\n")


@dataclass(frozen=True, slots=True)
class Setting:
    """A keyword and its raw value. `source` is the line as it stands in the file."""

    keyword: str
    value: str
    line: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A section with its settings and sections in file order."""

    name: str
    line: int
    items: tuple["Setting | Block", ...]


class Complaint(NamedTuple):
    """A warning and the line at which the daemon utters it; what it says of the whole file comes after the last line."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What one file says, and what the daemon would complain of."""

    file: str
    blocks: tuple[Block, ...]
    complaints: tuple[Complaint, ...]
    lines: int


def parse(content: bytes, file: str) -> ParsedFile:
    """Parse one file; `file` is how the warnings call it."""
    reader = _Reader(content, file)
    blocks = reader.section(GRAMMAR, "", top=True)
    return ParsedFile(file, tuple(b for b in blocks if isinstance(b, Block)), tuple(reader.complaints), reader.line)


class _Reader:
    def __init__(self, content: bytes, file: str) -> None:
        self._lines = _lines(content)
        self._file = file
        self._cut_off = False
        self.line = 0
        self.complaints: list[Complaint] = []

    def section(self, grammar: Section, name: str, *, top: bool = False) -> list[Setting | Block]:
        """Read on to the end of this section. An unclosed one swallows the rest of its file and no other file."""
        items: list[Setting | Block] = []
        seen: set[str] = set()
        for source in self._lines:
            self.line += 1
            words = _words(source)
            if not words or not self._well_formed(words, grammar):
                continue
            keyword = words[0].text
            if keyword == "}" and words[0].mark:
                if not top:
                    return items
                self._warn(f"unmatched '}}' at line {self.line} of {self._file}")
            known = keyword in grammar.sections or keyword in grammar.keywords
            if not known:
                place = "" if top else f" in the {name} section"
                self._warn(f"{self._file} line {self.line}, invalid keyword{place}: {keyword}")
                continue
            if keyword in seen and keyword not in grammar.repeatable:
                self._warn(f"{self._file} line {self.line}, duplicate keyword: {keyword}")
            seen.add(keyword)
            if keyword in grammar.sections and _opens(words, grammar, keyword):
                line = self.line
                items.append(Block(keyword, line, tuple(self.section(grammar.sections[keyword], keyword))))
            else:
                items.append(Setting(keyword, _value(words), self.line, source))
        if not top and not self._cut_off:
            self._cut_off = True
            self._warn(f"missing '}}' at end of {self._file}")
        return items

    def _well_formed(self, words: list["_Word"], grammar: Section) -> bool:
        """Complain of the line's shape; False if the daemon skips the line."""
        where = f"on line {self.line} of {self._file}"
        first = words[0]
        if first.mark and first.text == '"':
            self._warn(f"can't parse option {where}")
            return False
        if first.mark and first.text == "}":
            self._extra(words, 1)
            return True
        if first.mark:
            self._warn(f"invalid keyword '{first.text}' {where}")
            return False
        if first.text in grammar.sections and first.text not in grammar.keywords:
            if len(words) == 1:
                self._warn(f"missing '{{' {where}")
            elif not (words[1].mark and words[1].text == "{"):
                self._warn(f"expecting '{{' {where}. found '{words[1].text}'")
            else:
                self._extra(words, 2)
            return True
        if len(words) == 1:
            self._warn(f"missing value for option '{first.text}' {where}")
            return False
        if not (words[1].mark and words[1].text == '"'):
            self._extra(words, 2)
            return True
        closing = next((n for n in range(2, len(words)) if words[n].mark and words[n].text == '"'), None)
        if closing is None:
            self._warn(f"missing closing quotes {where}")
        else:
            self._extra(words, closing + 1)
        return True

    def _extra(self, words: list["_Word"], start: int) -> None:
        if len(words) > start:
            self._warn(f"ignoring extra data starting with '{words[start].text}' on line {self.line} of {self._file}")

    def _warn(self, text: str) -> None:
        self.complaints.append(Complaint(self.line, text))


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a line; a `mark` is a bare brace or a quote, which no quoted text can be."""

    text: str
    mark: bool = False


def _opens(words: list[_Word], grammar: Section, keyword: str) -> bool:
    """Whether the line opens a section; a keyword that is also a setting does so only with its brace."""
    return keyword not in grammar.keywords or (len(words) > 1 and words[1].mark and words[1].text == "{")


def _lines(content: bytes) -> Iterator[str]:
    """The lines as the daemon's buffer holds them: split when too long, cut at a NUL or a carriage return. One character is one byte."""
    for whole in content.split(b"\n"):
        for start in range(0, max(len(whole), 1), LINE_BYTES):
            piece = whole[start : start + LINE_BYTES].split(b"\0", 1)[0].lstrip(b"\r").split(b"\r", 1)[0]
            yield piece.decode("latin-1")


def _words(line: str) -> list[_Word]:
    words: list[_Word] = []
    at = 0
    end = len(line)
    while True:
        while at < end and (line[at] in _BLANK or line[at] > "\x7f"):
            at += 1
        if at == end or line[at] in "!#":
            return words
        if line[at] == '"':
            at += 1
            words.append(_Word('"', mark=True))
            text, at, closed = _quoted(line, at)
            if text or not closed:
                words.append(_Word(text))
            if not closed:
                return words
            words.append(_Word('"', mark=True))
        elif line[at] in "{}":
            words.append(_Word(line[at], mark=True))
            at += 1
        else:
            start = at
            while at < end and line[at] not in '!#{}"' and line[at] not in _BLANK and line[at] <= "\x7f":
                at += 1
            words.append(_Word(line[start:at]))


def _quoted(line: str, start: int) -> tuple[str, int, bool]:
    """The text from `start` to the closing quote, where the line goes on, and whether the quote was there at all."""
    text = ""
    at = start
    while True:
        closing = line.find('"', at)
        if closing < 0:
            return text + line[at:], len(line), False
        text += line[at:closing]
        if line[closing + 1 : closing + 2] != '"':
            return text, closing + 1, True
        text += '"'
        at = closing + 2


def _value(words: list[_Word]) -> str:
    raw = words[1].text
    if words[1].mark and raw == '"':
        raw = words[2].text if len(words) > 2 and not words[2].mark else ""
    return raw.encode("latin-1").decode("utf-8", "surrogateescape")
