"""Configuration files of others that multipathd reads beside ours, as far as it ignores what they say or would break on it. Pure.

Nobody can refuse them, and multipathd tells of them only in its log: a map goes on with what it had, until it has to be loaded anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from apply.keywords import FILE, Effect, Section
from apply.outcome import ApplyError
from apply.overrides import MAX_BYTES, Statement, parse

CODE = "local-file-broken"
SHOWN = 3
"""Faults of one file that are told one by one; the last note counts the rest."""


def broken_files(files: Mapping[str, str]) -> Iterator[ApplyError]:
    """A note for each of the first faults of each file; `files` are texts by path. A file that is too large to be one is not read."""
    for path, text in files.items():
        found = _faults(text) if len(text) <= MAX_BYTES else ()
        for message in found[:SHOWN]:
            yield ApplyError(CODE, f"{path}, {message}", "correct the file; `multipath -t` shows what multipathd makes of it")
        if len(found) > SHOWN:
            yield ApplyError(CODE, f"{path}: {len(found) - SHOWN} more faults", "`multipath -t` names them")


@lru_cache(maxsize=64)
def _faults(text: str) -> tuple[str, ...]:
    statements, problems = parse(text)
    found = [(problem.line, problem.message) for problem in problems]
    found += [(statement.line, message) for statement, message in _values(FILE, statements)]
    return tuple(message for _, message in sorted(found))


def _values(grammar: Section, statements: Sequence[Statement]) -> Iterator[tuple[Statement, str]]:
    for statement in statements:
        keyword, value = statement.keyword, statement.value
        if value is None:
            if keyword in grammar.sections:
                yield from _values(grammar.sections[keyword], statement.children)
        elif keyword in grammar.keywords:
            reading = grammar.keywords[keyword].reader.read(value)
            if reading.effect in (Effect.IGNORED, Effect.BREAKS):
                yield statement, f"line {statement.line}, column {statement.value_column}: {keyword} {reading.why}"
