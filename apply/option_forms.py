"""What a form needs to know of an option's values: the words among which to choose, the range of a number, or that it is text."""

from dataclasses import dataclass
from enum import StrEnum

from apply.option_types import Choice, Comment, Flag, Integer, NameList, Printable, Selector, ValueType, YesNo
from apply.portals import PortalList
from store.section_config import MAX_VALUE_BYTES


class Control(StrEnum):
    """How a value is best asked for."""

    CHOICE = "choice"
    """One of `words`."""
    NUMBER = "number"
    """A whole number from `low` to `high` in `unit`, or one of `words`."""
    LIST = "list"
    """Names separated by commas."""
    LINES = "lines"
    """Text that may have several lines, of at most `longest` bytes."""
    TEXT = "text"
    """Text of one line; `longest` characters, 0 if that alone does not bound it."""


@dataclass(frozen=True)
class Form:
    """How to ask for the values of an option. The types themselves judge what is written: this only helps to write it."""

    control: Control
    words: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    unit: str = ""
    longest: int = 0


def form_of(kind: ValueType) -> Form:
    """The form of a value type. Every word and every number of it is a value that the type takes."""
    match kind:
        case YesNo():
            return Form(Control.CHOICE, ("yes", "no"))
        case Flag():
            return Form(Control.CHOICE, ("1", "0"))
        case Choice(words=words) | Selector(words=words):
            return Form(Control.CHOICE, words)
        case Integer(low=low, high=high, words=words, unit=unit):
            return Form(Control.NUMBER, words, low, high, unit)
        case NameList() | PortalList():
            return Form(Control.LIST)
        case Comment():
            return Form(Control.LINES, longest=MAX_VALUE_BYTES)
        case Printable(longest=longest):
            return Form(Control.TEXT, longest=longest)
        case _:
            return Form(Control.TEXT)
