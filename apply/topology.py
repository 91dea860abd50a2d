"""What multipathd says of its maps and paths, read leniently.

`show maps json` pastes strings without escaping, may be preceded by log lines, may be cut, and grew fields over the years. A well-formed
answer takes the fast road (one typed decode); anything else is salvaged map by map, and what could not be read is named, so that nobody
mistakes a map that was not understood for a map that is not there. Field names and values: libmultipath/print.c, 0.7 to 0.14.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

SIZES_COMMAND = 'show maps raw format "%w|%S"'
"""WWID and size of each map; the size is rounded as people read it (`64M`, `1.5T`)."""
PATHS_COMMAND = 'show paths raw format "%w|%i|%d|%S|%m|%z|%s"'
"""WWID, H:C:T:L, device, size, map (`[orphan]` for none), serial, vendor,product,revision. The last may hold a `|` and so comes last."""


class Path(msgspec.Struct, frozen=True):
    """One path as the daemon sees it; words are the daemon's own."""

    dev: str = "-"
    dev_t: str = "#:#"
    dm_st: str = ""
    dev_st: str = ""
    chk_st: str = ""
    checker: str = ""
    pri: int = -1
    host_wwnn: str = "[undef]"
    target_wwnn: str = "[undef]"
    host_wwpn: str = "[undef]"
    target_wwpn: str = "[undef]"
    host_adapter: str = "[undef]"
    lun_hex: str = ""
    marginal_st: str = "normal"


class Group(msgspec.Struct, frozen=True):
    """One path group in the daemon's order."""

    selector: str = ""
    pri: int = 0
    dm_st: str = ""
    marginal_st: str = "normal"
    group: int = 0
    paths: tuple[Path, ...] = ()


class Map(msgspec.Struct, frozen=True):
    """One multipath map. `uuid` is the WWID. The count `paths` that the daemon prints is left out: it counts paths that serve no I/O."""

    uuid: str = ""
    name: str = ""
    sysfs: str = ""
    queueing: str = "-"
    write_prot: str = ""
    dm_st: str = ""
    features: str = ""
    hwhandler: str = ""
    action: str = ""
    vend: str = ""
    prod: str = ""
    rev: str = ""
    path_faults: int = 0
    switch_grp: int = 0
    map_loads: int = 0
    total_q_time: int = 0
    q_timeouts: int = 0
    path_groups: tuple[Group, ...] = ()

    def paths(self) -> Iterator[tuple[int, Path]]:
        """Every path once, with its group's number; a path that the daemon lists in two groups counts in the first."""
        seen: set[str] = set()
        for index, group in enumerate(self.path_groups, start=1):
            for path in group.paths:
                if path.dev not in ("-", "") and path.dev in seen:
                    continue
                seen.add(path.dev)
                yield group.group or index, path


class _Document(msgspec.Struct, frozen=True):
    maps: tuple[Map, ...]


@dataclass(frozen=True)
class Seen:
    """A LUN whose paths the daemon sees: device to H:C:T:L; `assembled` says whether any of them is in a map.

    `sizes` and `serials` are what its paths say, as far as they say anything: each should be one.
    """

    wwid: str
    hcil: Mapping[str, str]
    assembled: bool
    vendor: str
    product: str
    size_bytes: int | None
    sizes: frozenset[str] = frozenset()
    serials: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Topology:
    """The maps of one poll.

    `unreadable` holds the WWIDs of maps of which only the name could be read; `complete` is False if the list was cut or a map was lost,
    so the absence of a map says nothing.
    """

    maps: tuple[Map, ...]
    unreadable: frozenset[str] = frozenset()
    complete: bool = True
    issues: tuple[str, ...] = ()


MAX_TEXT = 256
"""Characters kept of any text from the daemon: real ones have at most 128, and cells travel to every node."""

Built = TypeVar("Built", Map, Group, Path)

_decoder = msgspec.json.Decoder(_Document)
_lenient_json = json.JSONDecoder(strict=False)
_MAP_START = re.compile(r'\{\s*"name"\s*:')
_STRING_LINE = re.compile(r'^(\s*"[a-z_0-9]+"\s*:\s*)"(.*)"(\s*,?\s*)$', re.MULTILINE)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTP])")
_UUID = re.compile(r'"uuid"\s*:\s*"([^"\n]*)"')


def clean(text: str) -> str:
    """Text of the daemon made safe to show and to name things by: bounded, one line, without control characters."""
    text = text[:MAX_TEXT]
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


def parse(text: str | bytes) -> Topology:
    """Read an answer to `show maps json`. Never raises; an answer without any JSON gives an incomplete, empty topology."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    start = _json_start(text)
    if start is None:
        return Topology((), complete=False, issues=("the answer holds no JSON",))
    issues = () if not text[:start].strip() else (f"{len(text[:start].splitlines())} lines before the JSON were skipped",)
    body = text[start:] if start else text
    try:
        return _distinct(_decoder.decode(body).maps, issues)
    except msgspec.MsgspecError:
        return _salvage(body, issues)


def _json_start(text: str) -> int | None:
    """Where a line begins with `{`; log lines and prompts before it are not ours."""
    if text.startswith("{"):
        return 0
    found = re.search(r"^[ \t]*\{", text, re.MULTILINE)
    return None if found is None else found.end() - 1


def _distinct(maps: tuple[Map, ...], issues: tuple[str, ...]) -> Topology:
    """One map per WWID. While multipathd struggles with a mangled name it lists one map twice: the one with more paths is alive."""
    best: dict[str, Map] = {}
    notes = list(issues)
    for found in maps:
        if not found.uuid:
            notes.append(f"map {found.name!r} has no WWID")
            continue
        known = best.get(found.uuid)
        if known is not None:
            notes.append(f"{found.uuid} is listed twice")
        if known is None or _path_count(found) > _path_count(known):
            best[found.uuid] = found
    return Topology(tuple(best.values()), issues=tuple(notes))


def _path_count(found: Map) -> int:
    return sum(len(group.paths) for group in found.path_groups)


def _salvage(body: str, issues: tuple[str, ...]) -> Topology:
    """Read map by map what the fast decode refused: wrong types, cut text, unescaped strings, something after the end."""
    notes = list(issues)
    whole = _value_at(body)
    if isinstance(whole, dict) and isinstance(whole.get("maps"), list):
        values = [(value, "") for value in whole["maps"]]
        return _collect(values, notes, complete=True)
    starts = [found.start() for found in _MAP_START.finditer(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise([*starts, len(body)])]
    complete = bool(pieces) and _is_last(pieces[-1])
    notes.append("the JSON is damaged" if complete else "the JSON is cut or is not a list of maps")
    return _collect([(_value_at(piece) or _value_at(_escaped(piece)), piece) for piece in pieces], notes, complete=complete)


def _is_last(piece: str) -> bool:
    """Whether the list ends after this map. That cannot be told of a map that cannot be read: then it counts as cut."""
    for text in (piece, _escaped(piece)):
        try:
            end = _lenient_json.raw_decode(text)[1]
        except (ValueError, RecursionError):
            continue
        return re.match(r"\s*\]\s*\}", text[end:]) is not None
    return False


def _value_at(text: str) -> Any:
    try:
        return _lenient_json.raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _escaped(piece: str) -> str:
    """The same text with each line's string value escaped as JSON wants it; the daemon prints one field a line."""
    return _STRING_LINE.sub(lambda m: f"{m[1]}{json.dumps(m[2])}{m[3]}", piece)


def _collect(values: list[tuple[Any, str]], notes: list[str], *, complete: bool) -> Topology:
    """The maps among `values`, each with the text it was read from, for naming it if it is unreadable."""
    maps: list[Map] = []
    unreadable: set[str] = set()
    for value, piece in values:
        if isinstance(value, dict):
            maps.append(_map_of(value, notes))
            continue
        found = _UUID.search(piece)
        if found is None:
            complete = False
        else:
            unreadable.add(found[1])
        notes.append(f"map {found[1] if found else 'without a readable WWID'} could not be read")
    distinct = _distinct(tuple(maps), tuple(notes))
    lost = unreadable - {found.uuid for found in distinct.maps}
    return Topology(distinct.maps, frozenset(lost), complete, distinct.issues)


def _map_of(value: Mapping[str, Any], notes: list[str]) -> Map:
    return msgspec.structs.replace(_build(Map, value, notes), path_groups=_each(value.get("path_groups"), _group_of, notes))


def _group_of(value: Mapping[str, Any], notes: list[str]) -> Group:
    return msgspec.structs.replace(_build(Group, value, notes), paths=_each(value.get("paths"), _path_of, notes))


def _path_of(value: Mapping[str, Any], notes: list[str]) -> Path:
    return _build(Path, value, notes)


def _each(values: Any, read: Callable[[Mapping[str, Any], list[str]], Built], notes: list[str]) -> tuple[Built, ...]:
    if not isinstance(values, list):
        return ()
    return tuple(read(value, notes) for value in values if isinstance(value, dict))


def _build(kind: type[Built], value: Mapping[str, Any], notes: list[str]) -> Built:
    """One struct from the scalar fields of `value`; a field of another type keeps its default and is noted."""
    fields: dict[str, str | int] = {}
    for field in msgspec.structs.fields(kind):
        if field.type not in (str, int) or field.name not in value:
            continue
        found = value[field.name]
        if isinstance(found, field.type) and not isinstance(found, bool):
            fields[field.name] = found
        elif field.type is str and isinstance(found, int | float):
            fields[field.name] = str(found)
        else:
            notes.append(f"field {field.name} holds {type(found).__name__}")
    return msgspec.convert(fields, type=kind)


def parse_sizes(text: str) -> dict[str, int]:
    """WWID to bytes from the answer to `SIZES_COMMAND`; lines that are none (`ok`, log lines) are skipped."""
    sizes: dict[str, int] = {}
    for line in text.splitlines():
        wwid, bar, size = line.rpartition("|")
        found = size_bytes(size)
        if bar and found is not None:
            sizes[wwid.strip()] = found
    return sizes


def size_bytes(text: str) -> int | None:
    """Bytes of a size as the tools print it: `64M`, `1.5T` (1,024-based, one decimal below 10), so rounded."""
    found = _SIZE.fullmatch(text.strip())
    return None if found is None else int(float(found[1]) * 1024 ** (1 + "KMGTP".index(found[2])))


def parse_paths(text: str) -> dict[str, Seen]:
    """What the daemon sees, by WWID, from the answer to `PATHS_COMMAND`; paths without a WWID are skipped."""
    rows: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|", 6)]
        if len(fields) == 7 and fields[0]:
            rows.setdefault(fields[0], []).append(fields)
    return {wwid: _seen(wwid, found) for wwid, found in rows.items()}


def _seen(wwid: str, rows: list[list[str]]) -> Seen:
    vendor, _, product = rows[0][6].partition(",")
    hcil = {row[2]: row[1] for row in rows if row[2] not in ("", "-")}
    assembled = any(row[4] not in ("", "[orphan]") for row in rows)
    sizes = frozenset(row[3] for row in rows if size_bytes(row[3]))
    serials = frozenset(row[5] for row in rows if row[5] not in ("", "[undef]"))
    return Seen(wwid, hcil, assembled, vendor.strip(), product.strip(), size_bytes(rows[0][3]), sizes, serials)
