"""Reading multipath.conf syntax: what we wrote, and what the daemon says is in effect.

    section {
            keyword "value"
            subsection {
                    …
            }
    }

Comments start with `#` or `!` outside quotes; inside quotes `""` is a quote. The reader takes a line at a time, as the tools do
(libmultipath/parser.c), and never fails: a line that makes no sense is skipped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

_OPEN, _CLOSE = "\0{", "\0}"
"""Braces among words; a quoted brace is a word like any other."""


@dataclass(frozen=True)
class Block:
    """One section: its keywords in order (the last occurrence wins) and its subsections in order."""

    name: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    blocks: Sequence["Block"] = ()

    def sections(self, name: str) -> Iterator["Block"]:
        """The subsections of that name."""
        return (block for block in self.blocks if block.name == name)

    def merged(self, name: str) -> dict[str, str]:
        """The keywords of all subsections of that name; later ones win."""
        result: dict[str, str] = {}
        for block in self.sections(name):
            result.update(block.values)
        return result


_Open = tuple[dict[str, str], list[Block]]
"""The keywords and subsections of a section that is being read."""


@lru_cache(maxsize=8)
def parse(text: str) -> Block:
    """The sections of one configuration text under a nameless root.

    The last few are remembered: a host is read back again and again, and what it says rarely changes.
    """
    root: _Open = ({}, [])
    stack = [root]
    for line in text.splitlines():
        words = list(_words(line))
        if not words:
            continue
        if words[0] == _CLOSE:
            if len(stack) > 1:
                stack.pop()
        elif words[-1] == _OPEN and len(words) == 2:
            inner: _Open = ({}, [])
            stack[-1][1].append(Block(words[0], *inner))
            stack.append(inner)
        else:
            stack[-1][0][words[0]] = words[1] if len(words) > 1 else ""
    return Block("", *root)


def multipaths(root: Block) -> dict[str, dict[str, str]]:
    """WWID to the keywords of its block in `multipaths`."""
    result: dict[str, dict[str, str]] = {}
    for section in root.sections("multipaths"):
        for block in section.sections("multipath"):
            if "wwid" in block.values:
                result.setdefault(block.values["wwid"], {}).update(block.values)
    return result


def without_aliases(content: bytes, wwids: frozenset[str]) -> bytes:
    """The same file in which the LUNs `wwids` have no alias line, so that each is named by its WWID. Only for files that we rendered."""
    lines = content.decode().splitlines(keepends=True)
    result: list[str] = []
    block: list[str] = []
    inside = False
    for line in lines:
        words = list(_words(line))
        inside = inside or words == ["multipath", _OPEN]
        (block if inside else result).append(line)
        if inside and words == [_CLOSE]:
            result.extend(_nameless(block) if _wwid_of(block) in wwids else block)
            block, inside = [], False
    return "".join([*result, *block]).encode()


def _wwid_of(block: list[str]) -> str:
    return next((words[1] for words in map(list, map(_words, block)) if len(words) == 2 and words[0] == "wwid"), "")


def _nameless(block: list[str]) -> list[str]:
    return [line for line in block if next(_words(line), "") != "alias"]


def _words(line: str) -> Iterator[str]:
    """The words of a line: bare, quoted (`""` is a quote inside), or a brace."""
    at = 0
    while at < len(line):
        char = line[at]
        if char in "#!":
            return
        if char == '"':
            word, at = _quoted(line, at + 1)
            yield word
        elif char in "{}":
            yield _OPEN if char == "{" else _CLOSE
            at += 1
        elif char.isspace():
            at += 1
        else:
            end = at
            while end < len(line) and not line[end].isspace() and line[end] not in '"{}#!':
                end += 1
            yield line[at:end]
            at = end


def _quoted(line: str, at: int) -> tuple[str, int]:
    word = []
    while at < len(line):
        if line[at] != '"':
            word.append(line[at])
            at += 1
        elif line[at + 1 : at + 2] == '"':
            word.append('"')
            at += 2
        else:
            return "".join(word), at + 1
    return "".join(word), at
