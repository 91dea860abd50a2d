"""The kinds of values that options take: each accepts what people write and gives the one canonical spelling of it.

`parse` raises ValueError with a text that ends a sentence "<option> must be …"; `text` says the same for manuals.
multipathd itself caps or ignores most bad values without a word, and breaks on some; so everything is checked here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from apply.ere import read_rule
from apply.ere_tree import ExpressionError
from store.section_config import FALSE_WORDS, MAX_VALUE_BYTES, TRUE_WORDS

NODE_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?")
STORAGE_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]")
WWID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+=@,-]{0,126}")
WWID_IN_LISTS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+=@-]{0,126}")
_SEPARATORS = re.compile(r"[,;\s\x00]+")
_NUMBER = re.compile(r"[0-9]{1,12}")


class ValueType(Protocol):
    """What a value may be."""

    @property
    def text(self) -> str:
        """The type, range or words, for manuals and messages."""

    def parse(self, value: str) -> str:
        """The canonical spelling of `value`; raises ValueError."""


@dataclass(frozen=True)
class YesNo:
    """A switch of multipathd's; it knows only `yes`, `no`, 1 and 0, people write more."""

    @property
    def text(self) -> str:
        return "yes or no"

    def parse(self, value: str) -> str:
        word = value.lower()
        if word in TRUE_WORDS:
            return "yes"
        if word in FALSE_WORDS:
            return "no"
        raise ValueError(self.text)


@dataclass(frozen=True)
class Flag:
    """A switch of the configuration format: 1 or 0."""

    @property
    def text(self) -> str:
        return "1 or 0"

    def parse(self, value: str) -> str:
        word = value.lower()
        if word in TRUE_WORDS | FALSE_WORDS:
            return "1" if word in TRUE_WORDS else "0"
        raise ValueError(self.text)


@dataclass(frozen=True)
class Integer:
    """A decimal number in a range, or one of some words; `aliases` maps what else may be written to what it means."""

    low: int
    high: int
    words: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""

    @property
    def text(self) -> str:
        number = f"a whole number {self.low} to {self.high}" + (f" ({self.unit})" if self.unit else "")
        return " or ".join(filter(None, [", ".join(self.words), number]))

    def parse(self, value: str) -> str:
        word = self.aliases.get(value.lower(), value.lower())
        if word in self.words:
            return word
        if _NUMBER.fullmatch(value) and self.low <= int(value) <= self.high:
            number = str(int(value))
            return self.aliases.get(number, number)
        raise ValueError(self.text)


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "one of " + ", ".join(self.words)

    def parse(self, value: str) -> str:
        word = self.aliases.get(value, value)
        if word in self.words:
            return word
        raise ValueError(self.text)


@dataclass(frozen=True)
class Selector:
    """A path selector of the kernel's. An unknown one makes multipathd remove an unused map."""

    words: tuple[str, ...] = ("round-robin", "queue-length", "service-time", "historical-service-time")

    @property
    def text(self) -> str:
        return "one of " + ", ".join(self.words)

    def parse(self, value: str) -> str:
        # multipath.conf wants the number of arguments behind the name; the four take none.
        parts = value.split()
        if len(parts) == 2 and parts[1] == "0":
            parts.pop()
        if len(parts) == 1 and parts[0] in self.words:
            return parts[0]
        raise ValueError(self.text)


@dataclass(frozen=True)
class Features:
    """The kernel's feature string: the number of words, then the words. An unknown word costs an unused map."""

    ranges: Mapping[str, tuple[int, int]] = field(default_factory=lambda: {"pg_init_retries": (1, 50), "pg_init_delay_msecs": (0, 60000)})
    modes: tuple[str, ...] = ("bio", "rq", "mq")
    flags: tuple[str, ...] = ("queue_if_no_path",)

    @property
    def text(self) -> str:
        words = [*self.flags, *(f"{word} {low}..{high}" for word, (low, high) in self.ranges.items())]
        return f'"N word …" with N = number of words: {", ".join(words)}, queue_mode {"|".join(self.modes)}'

    def parse(self, value: str) -> str:
        count, *words = value.split() or [""]
        if not _NUMBER.fullmatch(count) or int(count) != len(words) or len(words) > 8:
            raise ValueError(self.text)
        seen: set[str] = set()
        rest = iter(words)
        for word in rest:
            argument = None if word in self.flags else next(rest, "")
            if word in seen or not self._takes(word, argument):
                raise ValueError(self.text)
            seen.add(word)
        return " ".join([str(len(words)), *words])

    def _takes(self, word: str, argument: str | None) -> bool:
        if argument is None:
            return True
        if word in self.ranges:
            low, high = self.ranges[word]
            return _NUMBER.fullmatch(argument) is not None and low <= int(argument) <= high
        return word == "queue_mode" and argument in self.modes


@dataclass(frozen=True)
class ReservationKey:
    """A SCSI-3 persistent reservation key."""

    @property
    def text(self) -> str:
        return "'file', or 1 to 16 hex digits with or without 0x, and ':aptpl' behind them if wanted"

    def parse(self, value: str) -> str:
        if value == "file":
            return value
        match = re.fullmatch(r"(?:0[xX])?([0-9a-fA-F]{1,16})(:aptpl)?", value)
        if match is None or int(match[1], 16) == 0:
            raise ValueError(self.text)
        return f"0x{int(match[1], 16):x}{match[2] or ''}"


@dataclass(frozen=True)
class Printable:
    """Printable ASCII text for multipath.conf, not empty. It may not begin with what multipath.conf takes for a comment."""

    longest: int
    forbidden: str = ""
    regex: bool = False

    @property
    def text(self) -> str:
        without = "".join(f", without {char!r}" for char in self.forbidden)
        what = "a regular expression" if self.regex else "text"
        return f"{what} of 1 to {self.longest} printable ASCII characters{without}, not beginning with '#' or '!'"

    def parse(self, value: str) -> str:
        good = 0 < len(value) <= self.longest and re.fullmatch(r"[ -~]+", value) and value == value.strip()
        if not good or value[0] in "#!" or any(char in value for char in self.forbidden):
            raise ValueError(self.text)
        if self.regex:
            try:
                read_rule(value, invertible=False)
            except ExpressionError as error:
                raise ValueError(f"{self.text} ({error})") from None
        return value


@dataclass(frozen=True)
class Comment:
    """Any Unicode text, line ends included."""

    @property
    def text(self) -> str:
        return f"text of at most {MAX_VALUE_BYTES} bytes"

    def parse(self, value: str) -> str:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise ValueError(self.text) from None
        if not 0 < size <= MAX_VALUE_BYTES:
            raise ValueError(self.text)
        return value


@dataclass(frozen=True)
class NameList:
    """A list of names of one shape, separated by commas, semicolons or blanks; canonically sorted, each once."""

    what: str
    shape: re.Pattern[str]

    @property
    def text(self) -> str:
        return f"a list of {self.what}, separated by commas"

    def parse(self, value: str) -> str:
        names = sorted(set(split_list(value)))
        if not names or not all(self.shape.fullmatch(name) for name in names):
            raise ValueError(self.text)
        return ",".join(names)


@dataclass(frozen=True)
class Matching:
    """Text of one shape."""

    text: str
    shape: re.Pattern[str]

    def parse(self, value: str) -> str:
        if not self.shape.fullmatch(value):
            raise ValueError(self.text)
        return value


def split_list(value: str) -> tuple[str, ...]:
    """The names of a list."""
    return tuple(name for name in _SEPARATORS.split(value) if name)
