"""What the real parser objects to in files that were rendered, beside what was known before: newer words, and findings of our own.

A rendered file may hold what this release of the tools does not know yet, for it was made for a newer one; and the overrides are people's
text, of which our own check has said what multipathd will not take. Every other objection is a fault: of the renderer, or of that check.
"""

import re
from collections.abc import Mapping

from apply.keywords import FILE, since
from apply.option_model import Version
from apply.overrides import Statement, check, parse
from apply.render import MAIN, OVERRIDES, body, is_ours
from apply.tokens import Line, tokenise, value_of
from scripts.hostlab.dropin import Verdict

BUILT_OUT = ("fpin",)
"""Words that Debian's build of multipath-tools does not have; it says so."""
_PLACE = re.compile(r"conf\.d/([^ ]+) line ([0-9]+)[,:]")
_PLACELESS = (
    (re.compile(r"protocol section in ([^ ]+) missing type"), "overrides-incomplete"),
    (re.compile(r"device config in ([^ ]+) missing vendor or product parameter"), "overrides-incomplete"),
    (re.compile(r"duplicate device section for .* in ([^ ]+)"), "overrides-duplicate"),
    (re.compile(r"option 'features \"1 queue_if_no_path\"' is deprecated()"), "overrides-queueing"),
)
"""Objections without a line, and the code of the finding that says the same."""
_RENDERED = {**FILE.sections["defaults"].keywords, **FILE.sections["multipaths"].sections["multipath"].keywords}


def objections(files: Mapping[str, bytes], verdict: Verdict, release: Version) -> list[str]:
    """What the parser of that release says of `files` (by name, in conf.d) without having been expected to."""
    texts = {name: content.decode(errors="replace") for name, content in files.items()}
    return [line for line in verdict.warnings if not _expected(line, texts, release)]


def _expected(warning: str, texts: Mapping[str, str], release: Version) -> bool:
    for pattern, code in _PLACELESS:
        whole = pattern.search(warning)
        if whole is not None and whole[1] in (OVERRIDES, "") and OVERRIDES in texts:
            return any(problem.code == code for problem in check(_own(texts[OVERRIDES])))
    found = _PLACE.search(warning)
    if found is None or found[1] not in texts:
        return False
    text, number = texts[found[1]], int(found[2])
    if found[1] == MAIN:
        return _is_newer(text.split("\n")[number - 1], release)
    return found[1] == OVERRIDES and number in _remarked(text, release)


def _is_newer(line: str, release: Version) -> bool:
    """Whether a rendered line holds a word or a value that came later, or that this build leaves out."""
    tokens = tokenise(Line(0, line))
    value = value_of(tokens) or ""
    keyword = _RENDERED.get(tokens[0].text) if tokens else None
    return keyword is not None and (value in BUILT_OUT or since(tokens[0].text, value, keyword) > release)


def _remarked(text: str, release: Version) -> frozenset[int]:
    """The lines of a rendered overrides file of which our check says something, or whose words came later."""
    own = _own(text)
    header = text.count("\n") - own.count("\n")
    lines = {problem.line for problem in check(own)}
    newer = {each.line for section in parse(own)[0] for each in _later(section, release)}
    return frozenset(header + line for line in lines | newer)


def _own(text: str) -> str:
    """What people wrote of a rendered overrides file."""
    return body(text.encode()).decode() if is_ours(text.encode()) else text


def _later(section: Statement, release: Version) -> list[Statement]:
    """The statements in a section that came after that release, or that this build leaves out."""
    known = {**FILE.sections, **FILE.sections["devices"].sections, **FILE.sections["overrides"].sections}
    grammar = known.get(section.keyword)
    found = []
    for each in section.children:
        word = grammar.keywords.get(each.keyword) if grammar is not None else None
        if each.value is None:
            found += _later(each, release)
        elif word is not None and (each.value in BUILT_OUT or since(each.keyword, each.value, word) > release):
            found.append(each)
    return found
