"""The grammar of POSIX extended regular expressions: a text in, a tree or a reason out.

The dialect is regex(7) with the GNU escapes, as glibc's regcomp takes it in the C locale, where one byte is one character.
Back-references are refused: the automaton that a tree becomes has none.
"""

from dataclasses import dataclass

from store.limits import limit

MAX_STATES = limit("expression_states")
_MAX_DEPTH = 50
_MAX_LEVELS = 120
"""Repetitions behind one another inside groups add up; what reads a tree goes down one call or two a level."""
_DUP_MAX = 32767
"""The highest count in braces (RE_DUP_MAX of glibc)."""

_ALL = (1 << 256) - 1


class ExpressionError(ValueError):
    """A text is no regular expression; the message says why."""


@dataclass(frozen=True, slots=True)
class Byte:
    """One byte of a set, given as a bit mask."""

    mask: int


@dataclass(frozen=True, slots=True)
class Assert:
    """A place and not a byte: one of `^ $ b B < >`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Series:
    """One after the other."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """One or the other."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """So many times; `most` None is without end."""

    part: "Node"
    least: int
    most: int | None


Node = Byte | Assert | Series | Either | Repeat


def read(pattern: bytes) -> Node:
    """The tree of an expression; raises ExpressionError."""
    return _Reader(pattern).read()


def _span(first: int, last: int) -> int:
    return ((1 << (last - first + 1)) - 1) << first


def _set(text: str) -> int:
    return sum(1 << ord(char) for char in set(text))


_DIGIT, _UPPER, _LOWER = _span(0x30, 0x39), _span(0x41, 0x5A), _span(0x61, 0x7A)
_ALPHA = _UPPER | _LOWER
_SPACE = _set(" \t\n\v\f\r")
_GRAPH = _span(0x21, 0x7E)
_CLASSES = {
    "alpha": _ALPHA, "digit": _DIGIT, "alnum": _ALPHA | _DIGIT, "upper": _UPPER, "lower": _LOWER, "space": _SPACE, "blank": _set(" \t"),
    "punct": _GRAPH & ~(_ALPHA | _DIGIT), "xdigit": _DIGIT | _set("abcdefABCDEF"), "print": _GRAPH | _set(" "), "graph": _GRAPH,
    "cntrl": _span(0, 0x1F) | 1 << 0x7F,
}  # fmt: skip
WORD = _ALPHA | _DIGIT | _set("_")
_GNU_SETS = {"w": WORD, "W": _ALL & ~WORD, "s": _SPACE, "S": _ALL & ~_SPACE}
_GNU_PLACES = {"b": "b", "B": "B", "<": "<", ">": ">", "`": "^", "'": "$"}


class _Reader:
    """One pass over an expression."""

    def __init__(self, pattern: bytes) -> None:
        self._pattern = pattern.decode("latin-1")
        self._at = 0
        self._depth = 0

    def read(self) -> Node:
        tree = self._either()
        if _levels(tree) > _MAX_LEVELS:
            raise ExpressionError("its parts are nested too deeply")
        if size(tree) > MAX_STATES:
            raise ExpressionError(f"it is too large (more than {MAX_STATES} states)")
        return tree

    def _peek(self, ahead: int = 0) -> str:
        return self._pattern[self._at + ahead : self._at + ahead + 1]

    def _either(self) -> Node:
        parts = [self._series()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._series())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _series(self) -> Node:
        parts: list[Node] = []
        while (char := self._peek()) and char != "|" and not (char == ")" and self._depth):
            parts.append(self._piece(char))
        return parts[0] if len(parts) == 1 else Series(tuple(parts))

    def _piece(self, char: str) -> Node:
        """One byte, place or group with the repetitions behind it. Nothing can repeat a place."""
        if char in "*+?{":
            raise ExpressionError(f"there is nothing before {char!r} that it could repeat")
        node = self._atom(char)
        stacked = 0
        while not isinstance(node, Assert) and (char := self._peek()) and char in "*+?{":
            node = self._repeated(node, char)
            stacked += 1
            if stacked > _MAX_DEPTH:
                raise ExpressionError(f"more than {_MAX_DEPTH} repetitions stand behind one another")
        return node

    def _atom(self, char: str) -> Node:
        self._at += 1
        match char:
            case "(":
                return self._group()
            case "[":
                return self._bracket()
            case ".":
                return Byte(_ALL & ~1)
            case "^" | "$":
                return Assert(char)
            case "\\":
                return self._escape()
            case _:
                return Byte(1 << ord(char))

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ExpressionError(f"its parentheses are nested more than {_MAX_DEPTH} deep")
        inner = self._either()
        if self._peek() != ")":
            raise ExpressionError("a '(' is never closed")
        self._at += 1
        self._depth -= 1
        return inner if not isinstance(inner, Assert) else Series((inner,))

    def _escape(self) -> Node:
        char = self._peek()
        self._at += 1
        if not char:
            raise ExpressionError("it ends in a backslash")
        if char in "123456789":
            raise ExpressionError(f"the back-reference \\{char} is not supported")
        if char in _GNU_PLACES:
            return Assert(_GNU_PLACES[char])
        return Byte(_GNU_SETS.get(char, 1 << ord(char)))

    def _repeated(self, node: Node, char: str) -> Node:
        self._at += 1
        if char != "{":
            return Repeat(node, int(char == "+"), 1 if char == "?" else None)
        end = self._pattern.find("}", self._at)
        first, comma, last = self._pattern[self._at : max(end, self._at)].partition(",")
        if end < 0 or not _is_count(first, empty=bool(comma)) or not _is_count(last, empty=True):
            raise ExpressionError("'{' must be followed by a count such as {2}, {2,} or {2,5}")
        self._at = end + 1
        least = int(first or "0")
        most = least if not comma else int(last) if last else None
        if max(least, most or 0) > _DUP_MAX:
            raise ExpressionError(f"it repeats something more than {_DUP_MAX} times")
        if most is not None and most < least:
            raise ExpressionError(f"the count {{{first},{last}}} is upside down")
        return Repeat(node, least, most)

    # -- brackets -----------------------------------------------------------------------------------------------------

    def _bracket(self) -> Node:
        """A set in brackets. A backslash is plain in it, `]` too when it comes first, `-` when it comes first or last."""
        negated = self._peek() == "^"
        self._at += negated
        mask, first = 0, True
        while first or self._peek() != "]":
            low, member = self._member(hyphen=first)
            first = False
            if low is not None and self._peek() == "-" and self._peek(1) not in ("]", ""):
                self._at += 1
                high, _ = self._member(hyphen=True)
                if high is None or high < low:
                    raise ExpressionError("a range in brackets is upside down, or has no end")
                member = _span(low, high)
            mask |= member
        self._at += 1
        return Byte(_ALL & ~mask if negated else mask)

    def _member(self, *, hyphen: bool) -> tuple[int | None, int]:
        """One member of a set: its code if it can begin a range, and its mask. `hyphen` says that a `-` may stand for itself here."""
        char = self._peek()
        if not char:
            raise ExpressionError("a '[' is never closed")
        kind = self._peek(1)
        if char == "[" and kind and kind in ":.=":
            return self._named(kind)
        if char == "-" and not hyphen and self._peek(1) != "]":
            raise ExpressionError("a '-' in brackets must come first or last, or between two characters")
        self._at += 1
        return ord(char), 1 << ord(char)

    def _named(self, kind: str) -> tuple[int | None, int]:
        end = self._pattern.find(kind + "]", self._at + 2)
        name = self._pattern[self._at + 2 : end]
        if end < 0:
            raise ExpressionError("a '[' is never closed")
        self._at = end + 2
        if kind == ":":
            if name not in _CLASSES:
                raise ExpressionError(f"there is no character class [:{ascii(name)[1:-1]}:]")
            return None, _CLASSES[name]
        if len(name) != 1:
            raise ExpressionError(f"there is no collating element {name!a}")
        return (ord(name) if kind == "." else None), 1 << ord(name)


def _is_count(text: str, *, empty: bool) -> bool:
    return (empty and not text) or (text.isascii() and text.isdigit() and len(text) <= 6)


def _levels(tree: Node) -> int:
    """How deep a tree is. Without recursion: it is to say whether others may recurse."""
    deepest, level = 0, [tree]
    while level:
        deepest += 1
        parts: list[Node] = []
        for node in level:
            match node:
                case Series(inner) | Either(inner):
                    parts += inner
                case Repeat(part):
                    parts.append(part)
        level = parts
    return deepest


def size(node: Node) -> int:
    """How many states a tree makes."""
    match node:
        case Byte() | Assert():
            return 1
        case Series(parts) | Either(parts):
            return len(parts) + sum(map(size, parts))
        case Repeat(part, least, most):
            return 1 + (size(part) + 1) * max(least + 1 if most is None else most, 1)
