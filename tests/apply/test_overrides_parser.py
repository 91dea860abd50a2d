"""Made-up overrides, judged by our check and by the real parser: what passes is taken as it was meant, what is objected to was told.

The texts follow from their seeds. They are made of the keywords and sections that there are, with values at and beyond the edges of what
each takes, in every spelling of a line that the format allows; some are then broken in a place.
"""

import random
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import pytest

from apply.confsyntax import Block
from apply.confsyntax import parse as read_effective
from apply.keywords import FILE, Effect, Exactly, Expression, LossTimeout, Number, Octal, Reader, Section, Text, Words, since
from apply.option_types import Choice, Features, Integer, ReservationKey
from apply.overrides import Statement, check, parse
from apply.problems import Severity
from apply.render import OVERRIDES
from apply.tokens import quote
from apply.verify import same_value
from scripts.hostlab import dropin
from scripts.hostlab.rendered import BUILT_OUT, objections

pytestmark = pytest.mark.usefixtures("real_parser")

SEEDS = range(600)
DEVICE = FILE.sections["devices"].sections["device"]
PROTOCOL_TYPE = FILE.sections["overrides"].sections["protocol"].keywords["type"].reader
FILTERS = ("blacklist", "blacklist_exceptions")
NUMBERS = ("007", "+5", " 5", "5 ", "5x", "-1", "", "99999999999999999999", "0x10", "5.5", "yes")
EXPRESSIONS = (
    *(".*", "^sd[a-z]$", "(", ")", "[", "a{2}", "a{2", "*", "", "!sda", "\\!x", "a|b", "x**", "[[:alpha:]]", "[[:foo:]]", "a\\"),
    *("a{3,2}", "+", "?", "^*", "[z-a]", "a||b", "{", "}", "\\<a", "[]a]", "[a", "a{1,255}", "(((a)))", "a)", "x" * 300, "a{,3}", "a{1,b}"),
    *("\\(", "()", "[[.a.]]", "[[=a=]]", "[[.foo.]]", "\\1", "(a)\\1", 'say"so'),
)
SELECTORS = ("service-time 0", "round-robin 0", "service-time", "round-robin 1 5", "junk 0", "service-time  0", " queue-length 0", "")
FEATURES = ("0", "1 retain_attached_hw_handler", "2 pg_init_retries 50", "2  queue_mode   bio", "1 junk", "5 a", "x", "00", "")
KEYS = ("file", "0x1", "123abc", "0xffffffffffffffff", "0x1:aptpl", "junk", "0x12345678901234567", "0", "FILE", ":aptpl")
TEXTS = ("a", "a b", "x" * 200, 'q"q', "a/b", "", "#x", "{", "}", "p", "-part")


# -- made-up texts ----------------------------------------------------------------------------------------------------


def values(reader: Reader) -> tuple[str, ...]:
    """What to try with a keyword."""
    match reader:
        case Words(words=words):
            return (*words, "junk")
        case Number(low=low, high=high, words=words):
            return (*words, *(str(low), str(high), str(low - 1), str(high + 1), "42"), *NUMBERS)
        case LossTimeout():
            return ("infinity", "0", "1", "30", str(2**32 - 1), str(2**32), "-5", "inf", *NUMBERS)
        case Octal():
            return ("0644", "777", "1777", "8", "-1", "600x", "")
        case Expression():
            return EXPRESSIONS
        case Exactly(type=Integer() as kind):
            return (*kind.words, str(kind.low), str(kind.high), str(kind.low - 1), str(kind.high + 1), *NUMBERS)
        case Exactly(type=Choice() as kind):
            return (*kind.words, "junk", "")
        case Exactly(type=Features()):
            return FEATURES
        case Exactly(type=ReservationKey()):
            return KEYS
        case _:
            return (*TEXTS, *(SELECTORS if not isinstance(reader, Text) else ()))


class Maker:
    """Makes one text."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._strange = self._random.choice((0.0, 0.0, 0.5, 1.0))

    def text(self) -> str:
        names = [name for name in FILE.sections if name != "multipaths"]
        lines = []
        for _ in range(self._random.randint(1, 4)):
            name = self._random.choice(names)
            lines += self._section(name, FILE.sections[name], 1)
        if self._random.random() < 0.15:
            self._break(lines)
        return "\n".join(lines) + self._random.choice(("\n", "\n", ""))

    def _section(self, name: str, grammar: Section, depth: int) -> list[str]:
        head, end = self._random.choice((" {", "{", "\t{ ", " { # c")), self._random.choice(("}", "}", "} ", "}# x", "  }"))
        return ["\t" * (depth - 1) + name + head, *self._body(grammar, depth), "\t" * (depth - 1) + end]

    def _body(self, grammar: Section, depth: int) -> Iterator[str]:
        roll = self._random
        names = list(grammar.keywords)
        for _ in range(roll.randint(0, 5)):
            which = roll.random()
            if grammar.sections and which < 0.5:
                name = roll.choice(list(grammar.sections))
                yield from self._section(name, grammar.sections[name], depth + 1)
            elif names and which < 0.94:
                name = roll.choice(names)
                yield self._line(depth, name, roll.choice(values(grammar.keywords[name].reader)))
            elif roll.random() < self._strange:
                name = roll.choice(("junk", "no_path_retry", "wwid", "alias", "vendor", "type", "PRIO", "prio-args", "devnode"))
                yield self._line(depth, name, roll.choice(("5", "yes", "x", "a b", "")))
            else:
                yield roll.choice(("", "   ", "# comment", "! x", "\t# x }"))
        # The parser prints an exception or a blacklist of a vendor alone without its closing brace, so both are always there.
        if "vendor" in names:
            yield self._line(depth, "vendor", f"V{roll.randint(0, 3)}")
            yield self._line(depth, "product", "P")
        if "type" in names and roll.random() < 0.7:
            yield self._line(depth, "type", roll.choice(("scsi:fcp", "nvme:tcp")))

    def _line(self, depth: int, keyword: str, value: str) -> str:
        roll = self._random
        bare = re.fullmatch(r'[^ \t#!{}"\x80-\U0010ffff]+', value) is not None and roll.random() < 0.5
        comment = roll.choice(("", "", "", " ", " # c", "\t! c", ' #"', "!x"))
        return "\t" * depth + keyword + roll.choice((" ", "\t", "  ")) + (value if bare else quote(value)) + comment

    def _break(self, lines: list[str]) -> None:
        roll = self._random
        at = roll.randrange(len(lines))
        match roll.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[at])
            case 2:
                other = roll.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                place = roll.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:place] + roll.choice(('"', "{", "}", "ä", "#", "'", "\\", "  ", " x")) + lines[at][place:]
            case _:
                lines[at] = lines[at].replace('"', "", 1)


# -- what the parser made of them -------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A text, and what the parser says of it."""

    seed: int
    text: str
    verdict: dropin.Verdict


@lru_cache(maxsize=1)
def judged() -> list[Case]:
    """All texts, each parsed by itself in one run."""
    texts = [Maker(seed).text() for seed in SEEDS]
    verdicts = dropin.check_each([{f"conf.d/{OVERRIDES}": (text if text.endswith("\n") else text + "\n").encode()} for text in texts])
    return [Case(*each) for each in zip(SEEDS, texts, verdicts, strict=True)]


def is_refused(text: str) -> bool:
    return any(problem.severity is Severity.ERROR for problem in check(text))


def found(effective: Block, where: tuple[str, ...], keyword: str) -> str | None:
    """What is in effect for a keyword in `defaults`, `overrides`, a protocol or a device."""
    match where:
        case ("protocol", kind):
            blocks = [block for section in effective.sections("overrides") for block in section.sections("protocol")]
            chosen = [block for block in blocks if block.values.get("type") == kind]
        case ("device", *names):
            blocks = [block for section in effective.sections("devices") for block in section.sections("device")]
            chosen = [block for block in blocks if [block.values.get(name, "") for name in ("vendor", "product", "revision")] == names]
        case _:
            chosen = list(effective.sections(where[0]))
    return next((block.values[keyword] for block in reversed(chosen) if keyword in block.values), None)


Place = tuple[str, ...]


def meant(text: str) -> Iterator[tuple[Place, Section, Statement]]:
    """Every setting of a text, with where it holds and the grammar there."""
    for section in parse(text)[0]:
        grammar = FILE.sections[section.keyword]
        if section.keyword in ("defaults", "overrides"):
            yield from (((section.keyword,), grammar, each) for each in section.children)
        for block in section.children:
            named = block.values("vendor", "product", "revision", "type")
            if block.keyword == "protocol" and "type" in named and PROTOCOL_TYPE.read(named["type"]).effect is Effect.TAKEN:
                yield from ((("protocol", named["type"]), grammar.sections["protocol"], each) for each in block.children)
            if block.keyword == "device" and section.keyword == "devices" and {"vendor", "product"} <= named.keys():
                place = ("device", named["vendor"], named["product"], named.get("revision", ""))
                yield from ((place, DEVICE, each) for each in block.children)


def settings(text: str) -> Mapping[tuple[Place, str], str]:
    """What should be in effect: of each keyword the last value, unless the check has told something of it."""
    told = {problem.line for problem in check(text) if problem.code not in ("overrides-duplicate", "overrides-queueing")}
    result: dict[tuple[Place, str], str] = {}
    for place, grammar, each in meant(text):
        known = grammar.keywords.get(each.keyword)
        if known is None or each.value is None:
            continue
        keyword = "path_checker" if each.keyword == "checker" else each.keyword
        later = since(each.keyword, each.value, known) > dropin.version()
        if not later and known.reader.read(each.value).effect is not Effect.IGNORED:  # the former value holds no more
            result.pop((place, keyword), None)
            if each.line not in told and not known.obsolete and each.value not in ("", "undef", *BUILT_OUT):
                result[place, keyword] = each.value
    return result


def same(keyword: str, wanted: str, got: str | None) -> bool:
    return same_value(keyword, wanted.strip().removeprefix("+"), got)


def unlisted(text: str, effective: str) -> list[str]:
    """The rules of the filters that are not in effect."""
    return [
        each.keyword
        for section in parse(text)[0]
        for each in section.children
        if section.keyword in FILTERS and each.value is not None and each.keyword in FILE.sections[section.keyword].keywords
        if f"\t{each.keyword} {quote(each.value)}\n" not in effective.partition(f"\n{section.keyword} {{")[2]
    ]


# -- the tests --------------------------------------------------------------------------------------------------------


def test_what_passes_our_check_has_no_other_fault() -> None:
    passed = [case for case in judged() if not is_refused(case.text)]
    assert len(passed) > len(SEEDS) / 6 and sum(not check(case.text) for case in passed) > 20, "the texts are too bad to prove anything"
    for case in passed:
        files = {OVERRIDES: case.text.encode()}
        assert objections(files, case.verdict, dropin.version()) == [], f"seed {case.seed}:\n{case.text}"


def test_what_passes_our_check_is_in_effect_as_it_was_meant() -> None:
    compared = set()
    for case in judged():
        if is_refused(case.text):
            continue
        effective = read_effective(case.verdict.effective)
        for (place, keyword), value in settings(case.text).items():
            got = found(effective, place, keyword)
            assert same(keyword, value, got), f"seed {case.seed}: {place} {keyword} {value!r} is {got!r}:\n{case.text}"
            compared.add((place[0], keyword))
        assert unlisted(case.text, case.verdict.effective) == [], f"seed {case.seed}:\n{case.text}"
    assert len(compared) > 60, "too few settings were compared to prove anything"


def test_what_the_parser_objects_to_in_a_refused_text_was_told_too() -> None:
    """Not where the form itself is broken: from there on the two count sections differently."""
    lines = re.compile(r" line ([0-9]+)[,:]")
    crashed = 0
    for case in judged():
        problems = check(case.text)
        codes = {problem.code for problem in problems if problem.severity is Severity.ERROR}
        if not codes or codes & {"overrides-syntax", "overrides-encoding"}:
            continue
        placed = dropin.Verdict(tuple(line for line in case.verdict.warnings if lines.search(line)), "")
        assert objections({OVERRIDES: case.text.encode()}, placed, dropin.version()) == [], f"seed {case.seed}:\n{case.text}"
        crashed += any("exit status" in line for line in case.verdict.warnings)
    assert crashed, "none of them would have stopped multipathd"


def test_nothing_that_passes_makes_the_parser_fail() -> None:
    ends = [case for case in judged() if any("exit status" in line for line in case.verdict.warnings)]
    assert ends and all(is_refused(case.text) for case in ends)
