"""Reading multipath.conf syntax: what we wrote, and what the daemon says is in effect.

    section {
            keyword "value"
            subsection {
                    …
            }
    }

The reader takes a line at a time, as the tools do, and never fails: a line that makes no sense is skipped. Whoever must say what makes
no sense reads with `apply.overrides`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from apply.tokens import Line, TokenKind, is_brace, lines, tokenise, value_of


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
    for line in lines(text):
        tokens = tokenise(line)
        if not tokens:
            continue
        first, opens = tokens[0], len(tokens) > 1 and is_brace(tokens[1], "{")
        if is_brace(first, "}"):
            if len(stack) > 1:
                stack.pop()
        elif first.kind is TokenKind.WORD and opens:
            inner: _Open = ({}, [])
            stack[-1][1].append(Block(first.text, *inner))
            stack.append(inner)
        elif first.kind is TokenKind.WORD:
            stack[-1][0][first.text] = value_of(tokens) or ""
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
    result: list[str] = []
    block: list[str] = []
    inside = False
    for line in content.decode().splitlines(keepends=True):
        tokens = tokenise(Line(0, line))
        inside = inside or (len(tokens) == 2 and tokens[0].text == "multipath" and is_brace(tokens[1], "{"))
        (block if inside else result).append(line)
        if inside and len(tokens) == 1 and is_brace(tokens[0], "}"):
            result.extend(_nameless(block) if _wwid_of(block) in wwids else block)
            block, inside = [], False
    return "".join([*result, *block]).encode()


def _wwid_of(block: list[str]) -> str:
    return next((value or "" for keyword, value in map(_setting, block) if keyword == "wwid"), "")


def _nameless(block: list[str]) -> list[str]:
    return [line for line in block if _setting(line)[0] != "alias"]


def _setting(line: str) -> tuple[str, str | None]:
    """The first word of a line and the value behind it."""
    tokens = tokenise(Line(0, line))
    return (tokens[0].text if tokens else ""), value_of(tokens)
