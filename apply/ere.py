"""POSIX extended regular expressions as multipathd uses them, matched in time linear in the text that is looked through.

The tree of an expression becomes a nondeterministic automaton when somebody first asks what it matches, and that is run on all its
states at once, so that no expression can be slow (Thompson 1968).
"""

from functools import lru_cache

from apply.ere_tree import MAX_STATES, WORD, Assert, Byte, Either, ExpressionError, Node, Repeat, Series, read, size


class Rule:
    """One expression; it matches anywhere in a text, as regexec does. An `inverted` one says the opposite."""

    def __init__(self, text: str, tree: Node, *, inverted: bool = False) -> None:
        self.text = text
        self.size = size(tree)
        """States of its automaton, which is made when somebody asks what the rule matches."""
        self.inverted = inverted
        self._tree = tree
        self._automaton: _Automaton | None = None

    def matches(self, subject: str) -> bool:
        """Whether the rule is about `subject`."""
        if self._automaton is None:
            self._automaton = _Automaton(self._tree)
        return self._automaton.finds(_bytes(subject)) is not self.inverted


@lru_cache(maxsize=1024)
def read_rule(text: str, *, invertible: bool = True) -> Rule:
    """Compile an expression; raises ExpressionError.

    With `invertible`, a leading `!` inverts the rule, and a leading `\\!` is a plain `!` (blacklists and their exceptions).
    """
    inverted = invertible and text.startswith("!")
    pattern = text[1:] if inverted or (invertible and text.startswith("\\!")) else text
    return Rule(text, read(_bytes(pattern)), inverted=inverted)


def compile_rule(text: str) -> Rule | None:
    """`read_rule`, with nothing for a text that is no expression."""
    try:
        return read_rule(text)
    except ExpressionError:
        return None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_START, _END = "start", "end"
_Op = tuple[int, str, tuple[int, ...]]
"""The mask of the byte that a state takes (0 = it takes none), the place it asserts (or ""), and the states behind it."""


class _Automaton:
    """The states of one expression, and what was found of them so far."""

    def __init__(self, tree: Node) -> None:
        self._ops: list[_Op] = [(0, "", ())]  # state 0 is the match
        self._first = self._add(tree, 0)
        self._steps: dict[tuple[frozenset[int], str, str, int], frozenset[int] | None] = {}

    def finds(self, subject: bytes) -> bool:
        """Whether the expression matches anywhere in `subject`."""
        states = frozenset((self._first,))
        before = _START
        for byte in subject:
            after = _side(byte)
            key = (states, before, after, byte)
            if key not in self._steps:
                if len(self._steps) >= MAX_STATES:
                    self._steps.clear()
                self._steps[key] = self._step(*key)
            following = self._steps[key]
            if following is None:
                return True
            states, before = following, after
        return 0 in self._closure(states, before, _END)

    def _step(self, states: frozenset[int], before: str, after: str, byte: int) -> frozenset[int] | None:
        """The states behind `byte`, with the first one, for a match can begin anywhere; None if there was a match before it."""
        reached = self._closure(states, before, after)
        if 0 in reached:
            return None
        ops = (self._ops[state] for state in reached)
        return frozenset({self._first, *(target for mask, _, targets in ops if mask >> byte & 1 for target in targets)})

    def _closure(self, states: frozenset[int], before: str, after: str) -> set[int]:
        """All states that can be reached at a place without taking a byte."""
        reached = set(states)
        queue = list(states)
        while queue:
            mask, place, targets = self._ops[queue.pop()]
            if mask or (place and not _holds(place, before, after)):
                continue
            for target in targets:
                if target not in reached:
                    reached.add(target)
                    queue.append(target)
        return reached

    def _add(self, node: Node, behind: int) -> int:
        """The state where `node` begins, when `behind` is where it ends."""
        match node:
            case Byte(mask):
                # A set that holds nothing leads nowhere.
                return self._state(mask, "", (behind,) if mask else ())
            case Assert(kind):
                return self._state(0, kind, (behind,))
            case Series(parts):
                for part in reversed(parts):
                    behind = self._add(part, behind)
                return behind
            case Either(parts):
                return self._state(0, "", tuple(self._add(part, behind) for part in parts))
            case Repeat(part, least, most):
                if most is None:
                    loop = self._state(0, "", ())
                    self._ops[loop] = (0, "", (self._add(part, loop), behind))
                    behind = loop
                else:
                    for _ in range(most - least):
                        behind = self._state(0, "", (self._add(part, behind), behind))
                for _ in range(least):
                    behind = self._add(part, behind)
                return behind

    def _state(self, mask: int, place: str, targets: tuple[int, ...]) -> int:
        self._ops.append((mask, place, targets))
        return len(self._ops) - 1


def _side(byte: int) -> str:
    return "word" if WORD >> byte & 1 else "other"


def _holds(place: str, before: str, after: str) -> bool:
    """Whether a place is between these two sides."""
    left, right = before == "word", after == "word"
    match place:
        case "^":
            return before == _START
        case "$":
            return after == _END
        case "b":
            return left != right
        case "B":
            return left == right
        case "<":
            return right and not left
        case _:
            return left and not right
