"""The free-form overrides: read as multipathd reads its configuration, and refused where it would break on them.

A line holds `keyword value`, `section {` or `}`. multipathd itself only warns of a broken file, and then runs without what it did not
understand. What is said here depends on the text alone, so that every node says the same; what the text does to this cluster's LUNs
and options, `apply.effects` tells.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from apply.ere import read_rule
from apply.keywords import FILE, SYNONYMS, Effect, Expression, Section, nearest
from apply.option_tables import PINNED, REFUSED
from apply.options import canonical_name
from apply.problems import Problem, Severity
from apply.tokens import Line, Token, TokenKind, is_brace, lines, tokenise, value_of
from store.document import OVERRIDES
from store.limits import limit

MAX_BYTES = limit("value_bytes")
MAX_LINE_BYTES = limit("overrides_line_bytes")
MAX_FINDINGS = limit("overrides_findings")
MAX_STATES = limit("overrides_states")
_MAX_GUESSES = 20
"""Unknown keywords for which a near one is looked up; that takes a while."""

# multipathd takes these for headers wherever they stand.
_HEADERS = frozenset({*FILE.sections, "device", "multipath"})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FORBIDDEN = frozenset(
    {"uid_attribute", "uid_attrs", "getuid_callout"} | {"bindings_file", "wwids_file", "prkeys_file", "config_dir", "multipath_dir"}
)
_FILTERS = ("blacklist", "blacklist_exceptions")


@dataclass(frozen=True)
class Statement:
    """A keyword with its value, or a section with the statements in it (`value` None)."""

    keyword: str
    value: str | None
    line: int
    column: int = 1
    value_column: int = 1
    children: list["Statement"] = field(default_factory=list)

    def values(self, *keywords: str) -> dict[str, str]:
        """What these keywords are set to in this section; the last one holds."""
        return {child.keyword: child.value for child in self.children if child.keyword in keywords and child.value is not None}


def parse(text: str) -> tuple[list[Statement], list[Problem]]:
    """The statements of a text as multipathd takes them, and every fault of its form; what has none of a meaning is skipped."""
    root = Statement("", None, 0)
    problems: list[Problem] = []
    open_sections: list[tuple[Statement, Section | None]] = [(root, FILE)]
    for line in lines(text):
        tokens = tokenise(line)
        if not tokens:
            continue
        if is_brace(tokens[0], "}"):
            if len(tokens) > 1:
                problems.append(_syntax(line, tokens[1], "nothing may stand behind '}'"))
            if len(open_sections) > 1:
                open_sections.pop()
            else:
                problems.append(_syntax(line, tokens[0], "'}' closes nothing"))
            continue
        parent, grammar = open_sections[-1]
        fault, statement = _statement(line, tokens, grammar)
        if fault is not None:
            problems.append(fault)
        if statement is not None:
            parent.children.append(statement)
            if statement.value is None:
                open_sections.append((statement, grammar.sections.get(statement.keyword) if grammar else None))
    for section, _ in open_sections[1:]:
        problems.append(finding("overrides-syntax", section, f"the section {_shown(section.keyword)} is never closed"))
    return root.children, problems


def check(text: str) -> tuple[Problem, ...]:
    """Everything that is wrong with an overrides text as such, by line; a text with an error is not rendered at all."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        return (Problem("overrides-too-large", OVERRIDES, f"the text is larger than {MAX_BYTES} bytes", "text"),)
    return _checked(text)


@lru_cache(maxsize=16)
def _checked(text: str) -> tuple[Problem, ...]:
    statements, problems = parse(text)
    return bounded([*_check_characters(text), *problems, *_Checker().section("", FILE, statements)])


def bounded(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """So many findings as people can read, by line; of more the errors stay, and the rest is counted."""
    most = sorted(problems, key=lambda problem: problem.severity is not Severity.ERROR)[:MAX_FINDINGS]
    shown = sorted(most, key=lambda problem: (problem.line, problem.column))
    if len(problems) > len(shown):
        text = f"there are {len(problems) - len(shown)} more findings"
        shown.append(Problem("overrides-more", OVERRIDES, text, "text", severity=Severity.INFO))
    return tuple(shown)


def finding(code: str, at: Statement, message: str, hint: str = "", severity: Severity = Severity.ERROR, *, value: bool = False) -> Problem:
    """A problem at a statement, or at its value."""
    column = at.value_column if value else at.column
    return Problem(code, OVERRIDES, f"line {at.line}, column {column}: {message}", "text", hint, severity, at.line, column)


# -- the form ---------------------------------------------------------------------------------------------------------


def _statement(line: Line, tokens: list[Token], grammar: Section | None) -> tuple[Problem | None, Statement | None]:
    """What is wrong with a line, and the statement on it if there is one."""
    first, rest = tokens[0], tokens[1:]
    keyword = first.text
    if first.kind is not TokenKind.WORD:
        return _syntax(line, first, f"a line cannot begin with {first.text}"), None
    own = grammar is not None and keyword in grammar.sections and keyword not in grammar.keywords
    if own or keyword in _HEADERS or (rest and is_brace(rest[0], "{")):
        section = Statement(keyword, None, line.number, first.column, first.column)
        if not rest or not is_brace(rest[0], "{"):
            return _syntax(line, first, f"'{keyword[:60]} {{' must stand on one line"), section
        extra = "nothing may stand behind '{'; put it on a line of its own"
        return (_syntax(line, rest[1], extra) if rest[1:] else None), section
    value = value_of(tokens)
    if value is None:
        if not rest:
            return _syntax(line, first, f"{_shown(keyword)} has no value"), None
        return _syntax(line, rest[0], f"braces must be in double quotes to belong to the value of {_shown(keyword)}"), None
    statement = Statement(keyword, value, line.number, first.column, rest[0].column)
    if rest[0].kind is TokenKind.WORD:
        extra = f"put the value of {_shown(keyword)} in double quotes; multipathd drops all after its first word"
        return (_syntax(line, rest[1], extra) if rest[1:] else None), statement
    behind = [n for n, token in enumerate(rest[1:], start=2) if token.kind is TokenKind.QUOTE]
    if not behind:
        return _syntax(line, rest[0], "the closing quote is missing"), statement
    return (_syntax(line, rest[behind[0]], "nothing may stand behind the closing quote") if rest[behind[0] :] else None), statement


def _check_characters(text: str) -> Iterator[Problem]:
    for number, whole in enumerate(text.split("\n"), start=1):
        line = Line(number, whole)
        try:
            size = len(whole.encode())
        except UnicodeEncodeError as error:
            yield _at("overrides-encoding", line, error.start + 1, "a character cannot be written as UTF-8")
            continue
        if size > MAX_LINE_BYTES:
            yield _at("overrides-syntax", line, 1, f"the line is longer than {MAX_LINE_BYTES} bytes")
        control = _CONTROL.search(whole)
        if control is not None:
            name = {"\r": "CR (save the text with LF line ends)", "\0": "NUL"}.get(control[0], f"0x{ord(control[0]):02x}")
            yield _at("overrides-encoding", line, control.start() + 1, f"the line holds a control character: {name}")
        bare = 0 if whole.isascii() else _bare_non_ascii(whole)
        if bare:
            yield _at("overrides-encoding", line, bare, "characters that are not ASCII must be in quotes or in a comment")


def _bare_non_ascii(line: str) -> int:
    """The column of a non-ASCII character that stands where multipathd takes it for a blank; 0 if there is none."""
    in_string = False
    for column, char in enumerate(line, start=1):
        if char == '"':
            in_string = not in_string
        elif not in_string and char in "#!":
            return 0
        elif not in_string and not char.isascii():
            return column
    return 0


def _syntax(line: Line, token: Token, message: str) -> Problem:
    return _at("overrides-syntax", line, token.column, message)


def _at(code: str, line: Line, column: int, message: str) -> Problem:
    return Problem(code, OVERRIDES, f"line {line.number}, column {column}: {message}", "text", line=line.number, column=column)


# -- the meaning ------------------------------------------------------------------------------------------------------


class _Checker:
    """One pass over the statements of a text."""

    def __init__(self) -> None:
        self._guesses = 0
        self._states = 0

    def section(self, name: str, grammar: Section, statements: Sequence[Statement]) -> Iterator[Problem]:
        """The faults of what stands in one section."""
        seen: dict[str, int] = {}
        if name == "":
            yield from _intervals(statements)
        if name == "devices":
            yield from _same_devices(statements)
        for statement in statements:
            keyword = SYNONYMS.get(statement.keyword, statement.keyword)
            if keyword in seen and keyword not in grammar.repeats:
                what = "more than once; the last one holds" if statement.value is not None else "more than once; keep one"
                message = f"{keyword} is here {what} (first in line {seen[keyword]})"
                yield finding("overrides-duplicate", statement, message, severity=Severity.WARNING)
            seen.setdefault(keyword, statement.line)
            if statement.value is None:
                yield from self._subsection(name, grammar, statement)
            elif name == "":
                yield finding("overrides-syntax", statement, f"{_shown(statement.keyword)} stands outside of a section")
            else:
                yield from self._value(name, grammar, statement)

    def _subsection(self, name: str, grammar: Section, statement: Statement) -> Iterator[Problem]:
        keyword = statement.keyword
        if name == "" and keyword == "multipaths":
            message = "options of single LUNs do not belong here"
            yield finding("overrides-multipaths", statement, message, "set them in the LUN's own section: pathmesh lun set")
        elif keyword in grammar.sections:
            yield from self.section(keyword, grammar.sections[keyword], statement.children)
            yield from _incomplete(name, statement)
        else:
            where = f"in {name!r}" if name else "at the top"
            offered = [section for section in grammar.sections if section != "multipaths"]
            near = nearest(keyword, tuple(grammar.sections)) if grammar.sections else None
            hint = f"did you mean {near}?" if near else f"sections {where}: {', '.join(offered) or 'none'}"
            yield finding("overrides-syntax", statement, f"there is no section {_shown(keyword)} {where}", hint)

    def _value(self, section: str, grammar: Section, statement: Statement) -> Iterator[Problem]:
        keyword, value = statement.keyword, statement.value or ""
        known = grammar.keywords.get(keyword)
        name = canonical_name(keyword)
        if keyword in _FORBIDDEN:
            yield finding("overrides-pinned", statement, f"{keyword} cannot be set: {REFUSED[name].why}")
        elif keyword in _PINNED:
            if value not in _PINNED[keyword]:
                message = f"{keyword} can only be {_PINNED[keyword][0]!r}: {REFUSED[name].why}"
                yield finding("overrides-pinned", statement, message, value=True)
        elif known is None:
            message = f"there is no keyword {_shown(keyword)} in {section!r}; multipathd ignores it"
            yield finding("overrides-keyword", statement, message, self._guess(keyword, grammar), Severity.WARNING)
        else:
            reading = known.reader.read(value)
            if reading.effect is not Effect.TAKEN:
                severity = Severity.ERROR if reading.effect is Effect.BREAKS else Severity.WARNING
                yield finding("overrides-value", statement, f"{keyword} {reading.why}", severity=severity, value=True)
            if reading.effect is Effect.TAKEN and isinstance(known.reader, Expression) and self._too_large(value, known.reader):
                message = f"the regular expressions up to here are too large together (more than {MAX_STATES} states)"
                yield finding("overrides-value", statement, message, value=True)
            if known.obsolete:
                yield finding("overrides-obsolete", statement, f"{keyword}: {known.obsolete}", severity=Severity.WARNING)
            if _queues(keyword, value):
                message = f"{keyword} {value}: while no path is left, I/O and all that waits for it hang without end"
                yield finding("overrides-queueing", statement, message, "a number of checks bounds it", Severity.WARNING, value=True)

    def _too_large(self, expression: str, reader: Expression) -> bool:
        """Whether this expression is the first that is too much."""
        before = self._states
        self._states += read_rule(expression, invertible=reader.invertible).size
        return before <= MAX_STATES < self._states

    def _guess(self, keyword: str, grammar: Section) -> str:
        """What an unknown keyword was probably meant to be, or where it belongs."""
        places = [name for name, section in FILE.sections.items() if name != "multipaths" and keyword in section.keywords]
        places += ["devices { device { } }"] if keyword in FILE.sections["devices"].sections["device"].keywords else []
        if places:
            return f"it belongs into {' or '.join(places)}"
        self._guesses += 1
        near = nearest(keyword, tuple(grammar.keywords)) if self._guesses <= _MAX_GUESSES else None
        return f"did you mean {near}?" if near else ""


_PINNED = {name.replace("-", "_"): (value, *(["0"] if value == "no" else [])) for name, value in PINNED.items()}


def _incomplete(parent: str, statement: Statement) -> Iterator[Problem]:
    """A section that multipathd drops because it does not say what it is about."""
    if statement.keyword == "device":
        lacking = {"vendor", "product"} - statement.values("vendor", "product").keys()
        if parent == "devices" and lacking:
            message = f"a device without {' and '.join(sorted(lacking, reverse=True))} is dropped by multipathd"
            yield finding("overrides-incomplete", statement, message, "both are regular expressions", Severity.WARNING)
        elif parent in _FILTERS and len(lacking) == 2:
            message = "a device without vendor and product is dropped by multipathd"
            yield finding("overrides-incomplete", statement, message, severity=Severity.WARNING)
    elif statement.keyword == "protocol" and not any(_PROTOCOL_TYPE.read(kind).effect is Effect.TAKEN for kind in _types(statement)):
        message = "a protocol without a type that multipathd knows is dropped"
        yield finding("overrides-incomplete", statement, message, "such as type scsi:fcp", Severity.WARNING)


def _intervals(statements: Sequence[Statement]) -> Iterator[Problem]:
    """multipathd checks paths no less often than the longest interval allows, whatever else is said."""
    found: dict[str, tuple[int, Statement]] = {}
    for section in statements:
        for each in section.children if section.keyword == "defaults" else ():
            if each.keyword in ("polling_interval", "max_polling_interval") and each.value is not None and each.value.isdecimal():
                found[each.keyword] = (int(each.value), each)
    if len(found) == 2:
        (usual, _), (longest, at) = found["polling_interval"], found["max_polling_interval"]
        if longest < usual:
            message = f"max_polling_interval {longest} is below polling_interval {usual}; multipathd takes {longest} for both"
            yield finding("overrides-value", at, message, severity=Severity.WARNING, value=True)


_PROTOCOL_TYPE = FILE.sections["overrides"].sections["protocol"].keywords["type"].reader


def _types(protocol: Statement) -> list[str]:
    return [child.value for child in protocol.children if child.keyword == "type" and child.value is not None]


def _same_devices(statements: Sequence[Statement]) -> Iterator[Problem]:
    """Devices of one vendor, product and revision: multipathd makes one of them, in which the later values hold."""
    first: dict[tuple[str | None, ...], int] = {}
    for device in statements:
        found = device.values("vendor", "product", "revision")
        key = tuple(found.get(keyword) for keyword in ("vendor", "product", "revision"))
        if device.keyword != "device" or device.value is not None or None in key[:2]:
            continue
        if key in first:
            message = f"there is a device of the same vendor and product already (line {first[key]}); multipathd makes one of both"
            yield finding("overrides-duplicate", device, message, severity=Severity.WARNING)
        first.setdefault(key, device.line)


def _queues(keyword: str, value: str) -> bool:
    return (keyword == "no_path_retry" and value == "queue") or (keyword == "features" and "queue_if_no_path" in value.split())


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
