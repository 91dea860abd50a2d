"""Taking over an existing multipath.conf: what of it becomes sections of the configuration, what overrides, and what is left behind.

`defaults` and the `multipath` sections become options, the other sections become overrides. What multipathd itself would ignore or
change, what is always the same here, and what no option or rule can be is left out, each with its line and the reason.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from apply.hosts import Hosts
from apply.keywords import FILE, Effect, nearest
from apply.option_model import Scope
from apply.option_tables import PINNED
from apply.options import canonical_name, check, find
from apply.overrides import Statement, bounded, parse
from apply.overrides import check as check_text
from apply.problems import Problem, Severity
from apply.tokens import is_brace, lines, quote, tokenise
from apply.validate import check_edit
from apply.wwid import check_wwid
from store.document import DEFAULTS, OVERRIDES, WWID_PREFIX, Document, Options
from store.errors import UsageError

FREE_SECTIONS = ("devices", "overrides", "blacklist", "blacklist_exceptions")
"""Sections that become overrides."""

_SECTION_CONFIG = re.compile(r"[a-z][a-z0-9-]*:")
_TAKEN_WITH_A_WARNING = frozenset({"overrides-queueing", "overrides-duplicate", "overrides-more"})
_MAX_ROUNDS = 20
_BINDINGS = "maps are named by their WWID, or by an alias: give the LUNs aliases; present names are in /etc/multipath/bindings"


@dataclass
class Imported:
    """What a file holds. `places` tell where an option comes from, by section and name."""

    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    free: list[Statement] = field(default_factory=list)
    """The sections that become overrides, each name once."""
    notes: list[Problem] = field(default_factory=list)
    places: dict[tuple[str, str], Statement] = field(default_factory=dict)

    @property
    def overrides(self) -> str:
        """The overrides' text, written anew: quoted, indented, without comments."""
        return "".join(f"{line}\n" for line, _ in _rendered(self.free, ""))

    def note(self, code: str, key: str, at: Statement, message: str, hint: str = "", severity: Severity = Severity.WARNING) -> None:
        """Tell something about a line of the file."""
        text = f"line {at.line}, column {at.column}: {message}"
        self.notes.append(Problem(code, key, text, hint=hint, severity=severity, line=at.line, column=at.column))


def is_multipath_conf(text: str) -> bool:
    """Whether a text is of this format, and not SectionConfig: the first line that can tell decides."""
    for line in lines(text.removeprefix("\ufeff")):
        tokens = tokenise(line)
        if not tokens:
            continue
        if _SECTION_CONFIG.match(line.text):
            return False
        if (len(tokens) > 1 and is_brace(tokens[1], "{")) or (len(tokens) == 1 and tokens[0].text in FILE.sections):
            return True
    return False


def read_multipath_conf(text: str) -> Imported:
    """What a multipath.conf says, as far as it can be said here; never raises."""
    found = Imported()
    statements, faults = parse(text.removeprefix("\ufeff"))
    found.notes += [replace(fault, severity=Severity.WARNING, key="", option="") for fault in faults]
    free: dict[str, list[Statement]] = {}
    for statement in statements:
        if statement.value is not None:
            found.note("import-syntax", "", statement, f"{statement.keyword[:60]} stands outside of a section")
        elif statement.keyword == "defaults":
            _options(found, Scope.DEFAULTS, DEFAULTS, statement.children)
        elif statement.keyword == "multipaths":
            for block in statement.children:
                _lun(found, block)
        elif statement.keyword in FREE_SECTIONS:
            free.setdefault(statement.keyword, []).append(statement)
        else:
            near = nearest(statement.keyword, tuple(FILE.sections))
            hint = f"did you mean {near}?" if near else ""
            found.note(
                "import-unknown", "", statement, f"multipathd knows no section {statement.keyword[:60]!r}; nothing of it is taken", hint
            )
    found.free = [replace(parts[0], children=[child for part in parts for child in part.children]) for parts in free.values()]
    _take_free(found)
    _tell_exceptions(found)
    found.notes.sort(key=lambda note: (note.line, note.column))
    return found


def settle(imported: Imported, document: Document, hosts: Hosts) -> tuple[dict[str, Options | None], tuple[Problem, ...]]:
    """The changes that bring an imported file into a document, and the notes about what is left behind.

    What the document says beside stays. What cannot stand together with it, or among itself, is left out. Overrides that are there
    already are never replaced.
    """
    work = Imported(
        {key: dict(options) for key, options in imported.sections.items()}, imported.free, list(imported.notes), imported.places
    )
    present = document.get(OVERRIDES, {}).get("text", "")
    if work.free and present and present != work.overrides:
        message = "there are overrides already: those of the file are not taken"
        work.note("import-overrides", OVERRIDES, work.free[0], message, "pathmesh overrides clear, or bring both together by hand")
        work.free = []
    for _ in range(_MAX_ROUNDS):
        changes = _changes(work, document)
        after = {**document, **{key: value for key, value in changes.items() if value is not None}}
        errors = [problem for problem in check_edit(document, after, hosts) if problem.severity is Severity.ERROR]
        if not [problem for problem in errors if _left_out(work, document, problem)]:
            break
    return changes, bounded(work.notes)


def _changes(work: Imported, document: Document) -> dict[str, Options | None]:
    changes: dict[str, Options | None] = {
        key: {**document.get(key, {}), **options} for key, options in work.sections.items() if options or key != DEFAULTS
    }
    if work.free:
        changes[OVERRIDES] = {"text": work.overrides}
    return changes


# -- sections that become options -------------------------------------------------------------------------------------


def _lun(found: Imported, block: Statement) -> None:
    if block.value is not None or block.keyword != "multipath":
        found.note("import-unknown", "", block, f"{block.keyword[:60]} does not belong into multipaths")
        return
    wwid = block.values("wwid").get("wwid")
    if wwid is None:
        found.note("import-no-wwid", "", block, "a multipath without wwid is nothing; multipathd drops it")
        return
    try:
        key = WWID_PREFIX + check_wwid(wwid)
    except UsageError as error:
        found.note(error.code, "", block, f"the LUN is not taken: {error.message}", error.hint)
        return
    if key in found.sections:
        message = f"LUN {wwid} is there more than once; of what is said twice the last holds"
        found.note("import-duplicate", key, block, message, severity=Severity.INFO)
    _options(found, Scope.WWID, key, [child for child in block.children if child.keyword != "wwid"])


def _options(found: Imported, scope: Scope, key: str, settings: list[Statement]) -> None:
    options = found.sections.setdefault(key, {})
    for setting in settings:
        refusal = _refusal(scope, setting)
        if refusal is not None:
            code, message, hint = refusal
            found.note(code, key, setting, f"{setting.keyword[:60]} is not taken: {message}", hint)
            continue
        name, value = canonical_name(setting.keyword), setting.value or ""
        if name in PINNED:
            continue
        options[name] = check(scope, name, value)
        found.places[key, name] = setting


def _refusal(scope: Scope, setting: Statement) -> tuple[str, str, str] | None:
    """Why a setting does not become an option: code, reason and hint."""
    keyword, value = setting.keyword, setting.value
    if value is None:
        return "import-unknown", "there is no such section here", ""
    name = canonical_name(keyword)
    if name in PINNED and PINNED[name] in (value, {"0": "no"}.get(value)):
        return None
    grammar = FILE.sections["defaults"] if scope is Scope.DEFAULTS else FILE.sections["multipaths"].sections["multipath"]
    known = grammar.keywords.get(keyword)
    try:
        find(scope, name)
        reading = known.reader.read(value) if known else None
        if reading is not None and reading.effect in (Effect.IGNORED, Effect.UNSET, Effect.CHANGED):
            return "bad-value", f"{keyword} {reading.why}", ""
        check(scope, name, value)
    except UsageError as error:
        return error.code, error.message, _BINDINGS if name == "user-friendly-names" else error.hint
    if known is None:
        return "import-unknown", "multipathd has no such keyword in this section", ""
    return None


# -- sections that become overrides -----------------------------------------------------------------------------------


def _rendered(statements: list[Statement], indent: str) -> Iterator[tuple[str, Statement]]:
    """The lines of some statements, each with the one it comes from."""
    for statement in statements:
        if statement.value is not None:
            yield f"{indent}{statement.keyword} {quote(statement.value)}", statement
            continue
        yield f"{indent}{statement.keyword} {{", statement
        yield from _rendered(statement.children, f"{indent}\t")
        yield f"{indent}}}", statement


def _take_free(found: Imported) -> None:
    """Leave out of the overrides what they would be refused for, and what multipathd would make nothing of."""
    for section in found.free:
        _keep_last(found, section)
    for _ in range(_MAX_ROUNDS):
        origin = [statement for _, statement in _rendered(found.free, "")]
        bad = [problem for problem in check_text(found.overrides) if problem.line and problem.code not in _TAKEN_WITH_A_WARNING]
        gone = {id(origin[problem.line - 1]): problem for problem in bad}
        if not gone:
            break
        for statement in origin:
            problem = gone.pop(id(statement), None)
            if problem is not None:
                found.note(problem.code, OVERRIDES, statement, f"{_reason(problem)} (not taken)", problem.hint)
        found.free = _without(found.free, {id(origin[problem.line - 1]) for problem in bad})
    else:
        found.note("overrides-more", OVERRIDES, found.free[0], "too much of these sections is wrong: nothing of them is taken")
        found.free = []
    found.free = [section for section in found.free if section.children]


def _keep_last(found: Imported, section: Statement) -> None:
    """Take away what is said again later in the same section."""
    repeats = FILE.sections[section.keyword].repeats
    last = {child.keyword: child for child in section.children}
    for child in list(section.children):
        if child.keyword not in repeats and child.value is not None and last[child.keyword] is not child:
            message = f"{child.keyword} is set again in line {last[child.keyword].line}, which holds"
            found.note("import-duplicate", OVERRIDES, child, message, severity=Severity.INFO)
            section.children.remove(child)


def _without(statements: list[Statement], gone: set[int]) -> list[Statement]:
    return [
        statement if statement.value is not None else replace(statement, children=_without(statement.children, gone))
        for statement in statements
        if id(statement) not in gone
    ]


def _reason(problem: Problem) -> str:
    """A problem's message without its place, which is that in another text."""
    return problem.message.removeprefix(f"line {problem.line}, column {problem.column}: ")


def _tell_exceptions(found: Imported) -> None:
    """LUNs that the file lets through by name, but says nothing else of: a host's allow-list of the old kind."""
    for section in found.free:
        if section.keyword != "blacklist_exceptions":
            continue
        for rule in section.children:
            wwid = re.sub(r"\\(.)", r"\1", (rule.value or "").removeprefix("^").removesuffix("$"))
            if rule.keyword != "wwid" or WWID_PREFIX + wwid in found.sections:
                continue
            try:
                check_wwid(wwid)
            except UsageError:
                continue
            message = f"LUN {wwid} has an exception but no multipath section; it is not allow-listed by this"
            found.note("import-exception", OVERRIDES, rule, message, f"pathmesh lun add {wwid}", Severity.INFO)


# -- what cannot stand in the document --------------------------------------------------------------------------------


def _left_out(work: Imported, document: Mapping[str, Options], problem: Problem) -> bool:
    """Leave out what a problem is about, with a note; False if it is about nothing that the file brings."""
    key, option = problem.key, problem.option
    if key == OVERRIDES and problem.line and work.free:
        origin = [statement for _, statement in _rendered(work.free, "")]
        statement = origin[problem.line - 1]
        work.note(problem.code, key, statement, f"{_reason(problem)} (not taken)", problem.hint)
        work.free = [section for section in _without(work.free, {id(statement)}) if section.children]
        return True
    if option in work.sections.get(key, {}):
        del work.sections[key][option]
        work.note(problem.code, key, work.places[key, option], f"{option} is not taken: {problem.message}", problem.hint)
        return True
    if key in work.sections and key not in document:
        place = next((at for (section, _), at in work.places.items() if section == key), Statement("", None, 1))
        del work.sections[key]
        work.note(problem.code, key, place, f"{key} is not taken: {problem.message}", problem.hint)
        return True
    return False
