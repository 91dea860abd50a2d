"""The SectionConfig text format: reading, canonical writing, digests.

A file is a row of sections. A section is a header `type: id` in column 0, then one indented `key value` a line, then
one empty line. Lines whose first non-blank character is `#` are comments and are lost when the file is written again.
There is no quoting; only `comment` is percent-encoded, so that it can carry newlines and any character. The format is
that of Proxmox VE's configuration files (PVE::SectionConfig).

`defaults` (id `global`) and `wwid` are sections of their own kind; every other type is a storage of that type. What
options mean is not known here: sections and properties that nobody knows are kept and written again as they are.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from store.document import DEFAULTS, STORAGE_PREFIX, WWID_PREFIX, Document, config_keys
from store.errors import UsageError
from store.limits import limit

DEFAULTS_ID = "global"
MAX_CONFIG_BYTES = limit("config_bytes")
"""Size of the whole text in UTF-8; more is refused unread."""
MAX_WWIDS = limit("wwid_sections")
"""Number of `wwid` sections in one document."""
MAX_VALUE_BYTES = limit("value_bytes")
"""Size of one value in UTF-8, after decoding."""
MAX_ISSUES = 100
"""A strict reading stops after so many issues; of a lenient one's notes, so many are kept."""

TRUE_WORDS = frozenset({"1", "on", "yes", "true"})
FALSE_WORDS = frozenset({"0", "off", "no", "false"})

# Keys that a storage type cannot do without come before the others. The text decides the digest, and nodes of different
# versions must agree on it: this table can never be extended.
_REQUIRED_FIRST: Mapping[str, tuple[str, ...]] = {"lvm": ("vgname",)}

_BLANKS = " \t"
_HEADER = re.compile(r"([a-z][a-z0-9-]*):[ \t]+([!-~]+)[ \t]*")
_HEADER_AS_PVE = re.compile(r"(\S+):\s*(\S+)\s*", re.ASCII)
_PROPERTY = re.compile(r"[ \t]+([^ \t]+)(?:[ \t]+(.*[^ \t]))?[ \t]*")
_TYPE = re.compile(r"[a-z][a-z0-9-]*")
_WORD = re.compile(r"[!-~]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_COMMENT_UNSAFE = re.compile(r"[^\x20-\x7e]|[:%]|\A | \Z")


@dataclass(frozen=True)
class Section:
    """One section as it stands in a text, its `comment` decoded and its bare `disable` read as "1".

    `line` is that of the header, from 1; 0 if the section comes from elsewhere.
    """

    type: str
    id: str
    options: dict[str, str]
    line: int = 0

    @property
    def key(self) -> str:
        """The document key of this section."""
        if self.type == "defaults":
            return DEFAULTS
        return (WWID_PREFIX if self.type == "wwid" else STORAGE_PREFIX) + self.id


@dataclass(frozen=True)
class Issue:
    """Something wrong at a line (from 1) of a text."""

    line: int
    message: str


@dataclass(frozen=True)
class Parsed:
    """What a text holds. `issues` make it unusable; `notes` tell what a lenient reading made of its quirks."""

    sections: tuple[Section, ...]
    issues: tuple[Issue, ...]
    notes: tuple[Issue, ...] = ()


def parse(text: str | bytes, *, lenient: bool = False) -> Parsed:
    """Read a text; never raises.

    Strictly, everything that is not the plain format is an issue. Leniently (for files that come from elsewhere) it is
    read as Proxmox VE reads it, and `notes` tell what that dropped or changed; only text that is not UTF-8 or over a
    limit is an issue then.
    """
    reader = _Reader(lenient)
    for number, line in enumerate(reader.lines(text), start=1):
        reader.feed(number, line)
        if len(reader.issues) >= MAX_ISSUES:
            break
    return Parsed(tuple(reader.sections.values()), tuple(reader.issues), tuple(reader.notes))


@dataclass
class _Reader:
    """The state of one pass over a text."""

    lenient: bool
    sections: dict[str, Section] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    notes: list[Issue] = field(default_factory=list)
    wwids: int = 0
    open: bool = False
    """No empty line has ended the last section yet."""
    current: Section | None = None
    """Where properties go; None in an open section that is being skipped."""

    def quirk(self, line: int, what: str, reading: str = "ignored") -> None:
        """Record a departure from the plain format; `reading` is what a lenient reader makes of it."""
        if not self.lenient:
            self.issues.append(Issue(line, what))
        elif len(self.notes) < MAX_ISSUES:
            self.notes.append(Issue(line, f"{what}: {reading}"))

    def lines(self, text: str | bytes) -> list[str]:
        """The lines of a text without their line ends; none if it is too large."""
        raw = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
        if len(raw) > MAX_CONFIG_BYTES:
            self.issues.append(Issue(1, f"the text is larger than {MAX_CONFIG_BYTES} bytes"))
            return []
        try:
            decoded = raw.decode()
        except UnicodeDecodeError as error:
            at = raw.count(b"\n", 0, error.start) + 1
            self.issues.append(Issue(at, f"byte 0x{raw[error.start]:02x} is not UTF-8"))
            decoded = raw.decode(errors="replace")
        if decoded.startswith("\ufeff"):
            self.quirk(1, "the text begins with a byte order mark")
            decoded = decoded[1:]
        lines = decoded.split("\n")
        return lines[:-1] if lines[-1] == "" else lines

    def feed(self, number: int, line: str) -> None:
        if line.endswith("\r"):
            self.quirk(number, "the line ends in CR LF instead of LF", "CR dropped")
            line = line.rstrip("\r")
        stripped = line.strip(_BLANKS)
        if line == "":
            self.open, self.current = False, None
        elif stripped.startswith("#"):
            pass
        elif line == "0" and self.lenient:
            self.quirk(number, "a line of a single 0", "it ends a section")
            self.open, self.current = False, None
        elif stripped == "":
            self.quirk(number, "the line holds only blanks; an empty line ends a section", "it ends none")
        elif line[0] in _BLANKS:
            self.property(number, line)
        else:
            self.header(number, line)

    def header(self, number: int, line: str) -> None:
        match = (_HEADER_AS_PVE if self.lenient else _HEADER).fullmatch(line)
        if match is None:
            self.quirk(number, f"neither a section header ('type: id') nor an indented property: {_shown(line)}")
            return
        if self.open:
            self.quirk(number, f"an empty line is missing before {_shown(line)}", "line ignored")
            if self.lenient:
                return
        self.open, self.current = True, None
        kind, name = match[1].lower(), match[2]
        if not _TYPE.fullmatch(kind) or not _WORD.fullmatch(name):
            self.quirk(number, f"no section can have this type and id: {_shown(line)}", "section dropped")
            return
        if kind == "defaults" and name != DEFAULTS_ID:
            self.quirk(number, f"the id of the defaults section is {DEFAULTS_ID!r}, not {_shown(name)}", "changed")
            name = DEFAULTS_ID
        self.begin(number, Section(kind, name, {}, number))

    def begin(self, number: int, section: Section) -> None:
        self.current = section
        before = self.sections.get(section.key)
        if before is not None:
            what = "a second defaults section" if section.key == DEFAULTS else f"a second section {_shown(section.id)}"
            self.quirk(number, f"{what} (the first is at line {before.line})", "it replaces the first")
            if not self.lenient:
                return
            del self.sections[section.key]
        elif section.type == "wwid":
            self.wwids += 1
            if self.wwids == MAX_WWIDS + 1:
                self.issues.append(Issue(number, f"more than {MAX_WWIDS} wwid sections"))
        self.sections[section.key] = section

    def property(self, number: int, line: str) -> None:
        if not self.open:
            self.quirk(number, f"a property outside of a section: {_shown(line)}")
            return
        match = _PROPERTY.fullmatch(line)
        if match is None or not _WORD.fullmatch(match[1]):
            self.quirk(number, f"not a property ('key value'): {_shown(line)}")
            return
        if self.current is None:
            return
        key, value = match[1], match[2]
        if key in self.current.options:
            self.quirk(number, f"the property {_shown(key)} stands twice", "the second is ignored")
        elif key == "type" and self.current.key.startswith(STORAGE_PREFIX):
            self.quirk(number, "the type of a storage stands in its header, not in a property")
        else:
            self.set(number, self.current.options, key, value)

    def set(self, number: int, options: dict[str, str], key: str, value: str | None) -> None:
        if value is None:
            if key != "disable":
                self.quirk(number, f"the property {_shown(key)} has no value", "read as 1")
            value = "1"
        if _CONTROL.search(value):
            self.quirk(number, f"the value of {_shown(key)} holds a control character")
            return
        if key == "disable":
            if value in FALSE_WORDS:
                return
            if value not in TRUE_WORDS:
                self.quirk(number, f"'disable' stands alone or with 0 or 1, not {_shown(value)}", "read as 1")
            value = "1"
        elif key == "comment":
            try:
                value = unquote_to_bytes(value).decode()
            except UnicodeDecodeError:
                self.quirk(number, "the comment's %-codes are not UTF-8", "left encoded")
        if len(value.encode()) > MAX_VALUE_BYTES:
            self.issues.append(Issue(number, f"the value of {_shown(key)} is larger than {MAX_VALUE_BYTES} bytes"))
            return
        options[key] = value


def write(document: Document) -> str:
    """The canonical text of the config keys: defaults, then LUNs, then storages, sorted; byte-stable.

    Within a section: `comment`, a bare `disable`, what the type requires, then the rest, sorted. Empty values are left
    out. Raises UsageError for what the format cannot carry: control characters, blanks at either end, no type.
    """
    parts: list[str] = []
    for key in config_keys(document):
        options = dict(document[key])
        kind, name = _header_of(key, options)
        if not _TYPE.fullmatch(kind) or not _WORD.fullmatch(name):
            raise _unwritable(key, f"no section can have the type {_shown(kind)} and the id {_shown(name)}")
        parts.append(f"{kind}: {name}\n")
        for option in _ordered(kind, options):
            if options[option] != "":
                parts.append(_property_line(key, option, options[option]))
        parts.append("\n")
    return "".join(parts)


def to_document(parsed: Parsed) -> dict[str, dict[str, str]]:
    """The config part of a document; raises UsageError naming the line of the first issue."""
    if parsed.issues:
        first = min(parsed.issues, key=lambda issue: issue.line)
        more = f" (and {len(parsed.issues) - 1} more)" if len(parsed.issues) > 1 else ""
        raise UsageError(f"line {first.line}: {first.message}{more}", code="invalid-text")
    document: dict[str, dict[str, str]] = {}
    for section in parsed.sections:
        document[section.key] = dict(section.options)
        if section.key.startswith(STORAGE_PREFIX):
            document[section.key]["type"] = section.type
    return document


def config_digest(document: Document) -> str:
    """SHA-256 (hex) of the canonical text; an empty document has the digest of the empty text.

    Total: a document that no text can carry (no edit made here is like that, but it may come from elsewhere) is hashed
    as canonical JSON instead, so that equal documents still have equal digests.
    """
    try:
        text = write(document)
    except UsageError:
        text = json.dumps({key: dict(document[key]) for key in config_keys(document)}, sort_keys=True)
    return text_digest(text)


def text_digest(text: str) -> str:
    """SHA-256 (hex) of a text in UTF-8."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def apply_digest(config_digest: str, overrides_digest: str) -> str:
    """The digest of all that a node applies: SHA-256 (hex) of both digests, joined by a newline."""
    return text_digest(f"{config_digest}\n{overrides_digest}")


def _header_of(key: str, options: dict[str, str]) -> tuple[str, str]:
    """Type and id of a section; takes a storage's type out of its options."""
    if key == DEFAULTS:
        return "defaults", DEFAULTS_ID
    if key.startswith(WWID_PREFIX):
        return "wwid", key.removeprefix(WWID_PREFIX)
    kind = options.pop("type", "")
    # These would come back as sections of another kind.
    if kind in ("defaults", "wwid"):
        raise _unwritable(key, f"no storage can have the type {kind!r}")
    return kind, key.removeprefix(STORAGE_PREFIX)


def _ordered(kind: str, options: Mapping[str, str]) -> list[str]:
    rank = {"comment": 0, "disable": 1} | dict.fromkeys(_REQUIRED_FIRST.get(kind, ()), 2)
    return sorted(options, key=lambda option: (rank.get(option, 3), option))


def _property_line(key: str, option: str, value: str) -> str:
    """One line with its line end, or nothing for `disable 0`."""
    if not _WORD.fullmatch(option) or option.startswith("#"):
        raise _unwritable(key, f"no property can be named {_shown(option)}")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise _unwritable(key, f"the value of {option!r} is not Unicode text") from None
    if len(encoded) > MAX_VALUE_BYTES:
        raise _unwritable(key, f"the value of {option!r} is larger than {MAX_VALUE_BYTES} bytes")
    if option == "comment":
        value = _COMMENT_UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), value)
    elif option == "disable" and value in TRUE_WORDS:
        return "\tdisable\n"
    elif option == "disable" and value in FALSE_WORDS:
        return ""
    if _CONTROL.search(value):
        raise _unwritable(key, f"the value of {option!r} holds a control character")
    if value != value.strip(_BLANKS):
        raise _unwritable(key, f"the value of {option!r} begins or ends with a blank")
    return f"\t{option} {value}\n"


def _unwritable(key: str, why: str) -> UsageError:
    return UsageError(f"{key}: {why}", code="not-writable")


def _shown(text: str) -> str:
    """A piece of somebody's text for a message: one line, quoted, cut at 60 characters."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")
