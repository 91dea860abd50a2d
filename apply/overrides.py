"""The free-form overrides: read exactly as multipathd reads its configuration, and refused where it would break on them.

A line holds `keyword value`, `section {` or `}`. Outside of double quotes `#` and `!` begin a comment and bytes that are not
ASCII count as blanks; within them `""` is a quote. (multipath.conf(5), and the behaviour of multipath-tools 0.9.4.)
multipathd itself only warns of a broken file, and then runs without what it did not understand.
"""

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from apply.option_tables import PINNED, REFUSED, TABLES, Scope
from apply.option_types import Choice, Features, Selector, ValueType
from apply.options import canonical_name
from apply.problems import Problem, Severity
from store.document import OVERRIDES

MAX_BYTES = 64 * 1024
MAX_LINE_BYTES = 1000
"""multipathd reads into 1024 bytes and takes what is longer for two lines."""

SECTIONS: dict[str, tuple[str, ...]] = {
    "": ("defaults", "devices", "overrides", "blacklist", "blacklist_exceptions"),
    "devices": ("device",),
    "overrides": ("protocol",),
    "blacklist": ("device",),
    "blacklist_exceptions": ("device",),
}
"""Which section may stand in which; "" is the file itself."""

_ALL_SECTIONS = frozenset({name for names in SECTIONS.values() for name in names} | {"multipaths", "multipath"})
_BLANKS = " \t\n\v\f\r"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_FORBIDDEN = frozenset(
    {"uid_attribute", "uid_attrs", "getuid_callout"} | {"bindings_file", "wwids_file", "prkeys_file", "config_dir", "multipath_dir"}
)


class TokenKind(enum.Enum):
    """What a piece of a line is."""

    WORD = "word"
    QUOTE = "quote"
    """A double quote that opens or closes a string; the string itself is a word."""
    BRACE = "brace"


@dataclass(frozen=True)
class Token:
    """One piece of a line; in the word of a string `""` is already a single quote."""

    kind: TokenKind
    text: str


@dataclass(frozen=True)
class Statement:
    """A keyword with its value, or a section with the statements in it (`value` None)."""

    keyword: str
    value: str | None
    line: int
    children: list["Statement"] = field(default_factory=list)


def tokenise(line: str) -> list[Token]:
    """The tokens of one line, without its comment."""
    tokens: list[Token] = []
    at, in_string = 0, False
    while True:
        while not in_string and at < len(line) and _is_blank(line[at]):
            at += 1
        if at >= len(line) or (not in_string and line[at] in "#!"):
            return tokens
        if line[at] == '"' and not (in_string and line[at + 1 : at + 2] == '"'):
            tokens.append(Token(TokenKind.QUOTE, '"'))
            in_string = not in_string
            at += 1
        elif not in_string and line[at] in "{}":
            tokens.append(Token(TokenKind.BRACE, line[at]))
            at += 1
        else:
            end = _end_of_string(line, at) if in_string else _end_of_word(line, at)
            text = line[at:end]
            tokens.append(Token(TokenKind.WORD, text.replace('""', '"') if in_string else text))
            at = end


def parse(text: str) -> tuple[list[Statement], list[Problem]]:
    """The statements of a text, and every error that the text itself has; what has an error is skipped."""
    root: list[Statement] = []
    problems: list[Problem] = []
    open_sections: list[Statement] = []
    for number, line in enumerate(text.split("\n"), start=1):
        tokens = tokenise(line)
        if not tokens:
            continue
        why, statement = _statement(number, tokens)
        if why:
            problems.append(_error("overrides-syntax", number, why))
        if statement is None:
            if tokens[0] == Token(TokenKind.BRACE, "}"):
                if open_sections:
                    open_sections.pop()
                else:
                    problems.append(_error("overrides-syntax", number, "'}' closes nothing"))
            continue
        (open_sections[-1].children if open_sections else root).append(statement)
        if statement.value is None:
            open_sections.append(statement)
    for section in open_sections:
        problems.append(_error("overrides-syntax", section.line, f"the section {section.keyword!r} is never closed"))
    return root, problems


def check(text: str) -> tuple[Problem, ...]:
    """Everything that is wrong with an overrides text, by line; a text with an error is not rendered at all."""
    raw = text.encode(errors="replace")
    if len(raw) > MAX_BYTES:
        return (Problem("overrides-too-large", OVERRIDES, f"the text is larger than {MAX_BYTES} bytes", "text"),)
    problems = list(_check_characters(text))
    statements, errors = parse(text)
    problems += errors
    problems += _check_section("", statements)
    return tuple(sorted(problems, key=lambda problem: _line_of(problem.message)))


def quote(value: str) -> str:
    """A value as multipath.conf takes it whatever it holds."""
    return '"' + value.replace('"', '""') + '"'


def _is_blank(char: str) -> bool:
    return char in _BLANKS or not char.isascii()


def _end_of_word(line: str, at: int) -> int:
    while at < len(line) and not _is_blank(line[at]) and line[at] not in '!#{}"':
        at += 1
    return at


def _end_of_string(line: str, at: int) -> int:
    """Where the closing quote stands, or the end of the line."""
    while at < len(line):
        if line[at] == '"':
            if line[at + 1 : at + 2] != '"':
                return at
            at += 1
        at += 1
    return len(line)


def _statement(number: int, tokens: list[Token]) -> tuple[str, Statement | None]:
    """What is wrong with a line, and the statement on it if there is one."""
    first, rest = tokens[0], tokens[1:]
    if first == Token(TokenKind.BRACE, "}"):
        return ("nothing may stand behind '}'" if rest else ""), None
    if first.kind is not TokenKind.WORD:
        return f"a line cannot begin with {first.text}", None
    brace = Token(TokenKind.BRACE, "{")
    if first.text in _ALL_SECTIONS or rest[:1] == [brace]:
        section = Statement(first.text, None, number)
        if rest[:1] != [brace]:
            return f"'{first.text} {{' must stand on one line", section
        return ("nothing may stand behind '{'; put it on a line of its own" if rest[1:] else ""), section
    if not rest:
        return f"{first.text!r} has no value", None
    if rest[0].kind is TokenKind.BRACE:
        return f"braces must be in double quotes to belong to the value of {first.text!r}", None
    if rest[0].kind is TokenKind.WORD:
        more = f"put the value of {first.text!r} in double quotes; multipathd drops all after its first word"
        return (more if rest[1:] else ""), Statement(first.text, rest[0].text, number)
    if all(token.kind is not TokenKind.QUOTE for token in rest[1:]):
        return "the closing quote is missing", None
    value = rest[1].text if rest[1].kind is TokenKind.WORD else ""
    size = 3 if rest[1].kind is TokenKind.WORD else 2
    return ("nothing may stand behind the closing quote" if rest[size:] else ""), Statement(first.text, value, number)


def _check_characters(text: str) -> Iterator[Problem]:
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            size = len(line.encode())
        except UnicodeEncodeError:
            yield _error("overrides-encoding", number, "a character cannot be written as UTF-8")
            continue
        if size > MAX_LINE_BYTES:
            yield _error("overrides-syntax", number, f"the line is longer than {MAX_LINE_BYTES} bytes")
        control = _CONTROL.search(line)
        if control is not None:
            name = {"\r": "CR (save the text with LF line ends)", "\0": "NUL"}.get(control[0], f"0x{ord(control[0]):02x}")
            yield _error("overrides-encoding", number, f"the line holds a control character: {name}")
        if not line.isascii() and _bare_non_ascii(line):
            yield _error("overrides-encoding", number, "characters that are not ASCII must be in quotes or in a comment")


def _bare_non_ascii(line: str) -> bool:
    """Whether a non-ASCII character stands where multipathd takes it for a blank."""
    in_string = False
    for char in line:
        if char == '"':
            in_string = not in_string
        elif not in_string and char in "#!":
            return False
        elif not in_string and not char.isascii():
            return True
    return False


def _check_section(name: str, statements: list[Statement]) -> Iterator[Problem]:
    allowed = SECTIONS.get(name, ())
    for statement in statements:
        if statement.value is not None:
            if name == "":
                message = f"{statement.keyword!r} stands outside of a section"
                yield _error("overrides-syntax", statement.line, message)
            else:
                yield from _check_value(name, statement)
        elif statement.keyword in allowed:
            yield from _check_section(statement.keyword, statement.children)
        elif statement.keyword == "multipaths":
            message = "options of single LUNs do not belong here"
            yield _error("overrides-multipaths", statement.line, message, "set them in the LUN's own section")
        else:
            where = f"in {name!r}" if name else "at the top"
            message = f"there is no section {statement.keyword!r} {where}"
            yield _error("overrides-syntax", statement.line, message, f"sections {where}: {', '.join(allowed) or 'none'}")


def _check_value(section: str, statement: Statement) -> Iterator[Problem]:
    keyword, value, line = statement.keyword, statement.value or "", statement.line
    name = canonical_name(keyword)
    if section in ("blacklist", "blacklist_exceptions"):
        return
    if keyword in _FORBIDDEN:
        yield _error("overrides-pinned", line, f"{keyword} cannot be set: {REFUSED[name].why}")
    elif name in PINNED:
        if value != PINNED[name] and (PINNED[name], value) != ("no", "0"):
            yield _error("overrides-pinned", line, f"{keyword} can only be {PINNED[name]!r}: {REFUSED[name].why}")
    elif keyword in _BREAKING:
        try:
            _BREAKING[keyword].parse(value)
        except ValueError as error:
            yield _error("overrides-value", line, f"{keyword} must be {error}, not {value!r}")
    elif keyword in _KEYWORDS:
        try:
            _KEYWORDS[keyword].parse(value)
        except ValueError as error:
            message = f"line {line}: {keyword} should be {error}, not {value!r}; multipathd caps or ignores it"
            yield Problem("overrides-value", OVERRIDES, message, "text", severity=Severity.WARNING)


@dataclass(frozen=True)
class _NativeSelector:
    """A path selector as multipath.conf takes it: the name, the number of its arguments, the arguments."""

    text: str = "a path selector of the kernel's with the number of its arguments, such as 'service-time 0'"

    def parse(self, value: str) -> str:
        name, count, *arguments = [*value.split(), "", ""][: max(2, len(value.split()))]
        if name not in Selector().words or count != str(len(arguments)):
            raise ValueError(self.text)
        return value


_KEYWORDS: dict[str, ValueType] = {option.keyword: option.type for option in TABLES[Scope.DEFAULTS].values() if option.rendered}
# With a bad value of these multipathd stops checking paths, loses maps or crashes, and says nothing.
_BREAKING: dict[str, ValueType] = {
    "polling_interval": _KEYWORDS["polling_interval"],
    "max_polling_interval": _KEYWORDS["max_polling_interval"],
    "path_selector": _NativeSelector(),
    "path_checker": _KEYWORDS["path_checker"],
    "checker": _KEYWORDS["path_checker"],
    "prio": _KEYWORDS["prio"],
    "features": Features(flags=("queue_if_no_path", "retain_attached_hw_handler")),
    "partition_delimiter": _KEYWORDS["partition_delimiter"],
    "hardware_handler": Choice(("0", "1 alua", "1 emc", "1 rdac", "1 hp_sw")),
}


def _error(code: str, line: int, message: str, hint: str = "") -> Problem:
    return Problem(code, OVERRIDES, f"line {line}: {message}", "text", hint)


def _line_of(message: str) -> int:
    match = re.match(r"line (\d+):", message)
    return int(match[1]) if match else 0
