"""What has to be done on this host, decided from what is wanted, what is there, and what is known to be ours.

Pure. Two rules stand above the rest: what we did not write is not touched, and as long as this node may be ignorant of something
(`may_remove` is False) nothing that works is taken away: no line, no file, no LUN's block or name inside a file.
"""

import enum
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from apply.confsyntax import multipaths, parse
from apply.journal import Remembered
from apply.managed import NAMES, hashes_of, is_managed, sha256
from apply.render import MAIN, Rendered, RenderedFile, body, is_ours, text_of
from apply.wwids_file import AllowList
from store.errors import PathmeshError, listed


@dataclass(frozen=True)
class Desired:
    """The configuration that this host should have.

    `digest` names it. `may_remove`: this node knows all that its last successful apply knew, and nothing is being joined or resynced.
    `kept` are WWIDs whose lines must stay although they are not allow-listed any more, and why. `empty`: nothing is configured at all, so
    everything of ours goes. `needed`: something is expected on this node; if not, an absent package is no fault. `fault` says why it could
    not be found out which tools to render for: then nothing is written. `rendering` renders the same anew with the names of maps (by WWID)
    that have to stay on this host; without it none does.
    """

    digest: str
    rendered: Rendered
    allow_list: frozenset[str]
    may_remove: bool = False
    kept: Mapping[str, str] = field(default_factory=dict)
    empty: bool = False
    needed: bool = True
    fault: PathmeshError | None = None
    rendering: Callable[[Mapping[str, str]], Rendered] | None = None


class Hold(enum.StrEnum):
    """Why a plan may not run."""

    NOTHING = ""
    FOREIGN = "foreign"  # a file of our name is not what we wrote
    IGNORANT = "ignorant"  # it would take something away while this node may lack knowledge


@dataclass(frozen=True)
class Plan:
    """The steps, by what they touch.

    `differs`: a file to install says something else to multipathd, not only in its header. `prune` are lines of ours that are no longer
    wanted, before the guards; `kept` those that must stay, and why.
    """

    install: Mapping[str, RenderedFile]
    differs: bool
    remove: tuple[str, ...]
    append: tuple[str, ...]
    prune: tuple[str, ...]
    kept: Mapping[str, str]
    foreign: tuple[str, ...]
    hold: Hold

    @property
    def touches(self) -> bool:
        """Whether any file or line is to be written, pruning aside."""
        return bool(self.install or self.remove or self.append)

    @property
    def loads(self) -> bool:
        """Whether multipathd has to read its files again after it."""
        return bool(self.differs or self.remove or self.append)


def make_plan(desired: Desired, files: Mapping[str, bytes], allowed: AllowList, remembered: Remembered) -> Plan:
    """Compare what is wanted with what is there."""
    install = {name: file for name, file in sorted(desired.rendered.files.items()) if files.get(name) != file.content}
    remove = tuple(name for name in NAMES if name in files and name not in desired.rendered.files)
    unwanted = remembered.owned.keys() - desired.allow_list
    foreign = tuple(name for name in (*install, *remove) if name in files and not is_managed(files[name], remembered.known_hashes(name)))
    newer = any(body(files[name]) != body(install[name].content) for name in remembered.newer & install.keys())
    loses = _takes_away(files.get(MAIN), desired.rendered.files.get(MAIN), desired.allow_list)
    takes_away = bool(remove) or newer or loses or bool(desired.empty and unwanted)
    ignorant = Hold.IGNORANT if takes_away and not desired.may_remove else Hold.NOTHING
    return Plan(
        install,
        any(name not in files or body(files[name]) != body(file.content) for name, file in install.items()),
        remove,
        tuple(sorted(desired.allow_list - allowed.active)),
        tuple(sorted(unwanted - desired.kept.keys())) if desired.may_remove else (),
        {wwid: desired.kept[wwid] for wwid in sorted(unwanted & desired.kept.keys())} if desired.may_remove else {},
        foreign,
        Hold.FOREIGN if foreign else ignorant,
    )


def recognised(remembered: Remembered, kept: Mapping[str, RenderedFile], present: Mapping[str, RenderedFile]) -> Remembered:
    """The records, with the files that they do not know and that are the same as the copies kept beside them.

    Those were verified here, whatever the records say: a database that was put back knows an older state than its host has, so they are
    not written over before this node knows all that others know.
    """
    known = {name for name in present if is_managed(present[name].content, remembered.known_hashes(name))}
    ours = {
        name: file
        for name, file in present.items()
        if name not in known and name in kept and kept[name].content == file.content and is_ours(file.content)
    }
    if not ours:
        return remembered
    found, journal = hashes_of(ours), remembered.journal
    committed = msgspec.structs.replace(remembered.committed, hashes={**remembered.committed.hashes, **found})
    if journal is not None:  # else going back would take away what was verified since the journal was opened
        journal = msgspec.structs.replace(journal, saved={**journal.saved, **found})
    return replace(remembered, committed=committed, journal=journal, newer=frozenset(found))


def going_back(remembered: Remembered, kept: Mapping[str, RenderedFile], present: Mapping[str, RenderedFile]) -> dict[str, RenderedFile]:
    """The files that a roll-back puts back, by name; one that is not among them was not there before.

    They are the last verified ones, from the kept copies or from what is there; where neither has them, what is there stays.
    """
    journal = remembered.journal
    hashes = remembered.committed.hashes if journal is None else journal.saved
    result = {}
    for name in NAMES:
        copies = [files[name] for files in (kept, present) if name in files and sha256(files[name].content) == hashes.get(name)]
        if copies:
            result[name] = copies[0]
        elif name in present and (journal is None or name in hashes):
            result[name] = present[name]
    return result


def _takes_away(present: bytes | None, wanted: RenderedFile | None, configured: Collection[str]) -> bool:
    """Whether the new main file lacks a LUN, the name of a LUN, or a setting that the present one has; another value is no loss.

    Of a LUN that is not `configured` any more, and of which the name stays, each option is one.
    """
    if present is None or wanted is None:
        return False
    before, after = present.decode("utf-8", "replace"), wanted.content.decode("utf-8", "replace")
    if _wwid_lines(before) - _wwid_lines(after):
        return True
    old, new = parse(before), parse(after)
    blocks, former = multipaths(new), multipaths(old)
    unnamed = (wwid for wwid, values in former.items() if "alias" in values and "alias" not in blocks.get(wwid, {}))
    left = (wwid for wwid, values in former.items() if wwid not in configured and values.keys() - blocks.get(wwid, {}).keys())
    return bool(old.merged("defaults").keys() - new.merged("defaults").keys()) or any(unnamed) or any(left)


def listens_to_fabric(main: bytes | None) -> bool:
    """Whether a main file has multipathd listen to notifications of the fabric (`marginal_pathgroups fpin`): decided at its start only."""
    return main is not None and parse(main.decode("utf-8", "replace")).merged("defaults").get("marginal_pathgroups") == "fpin"


def _wwid_lines(text: str) -> set[str]:
    """Every mention of a LUN, in a block of its own or in the exceptions from the blacklist."""
    return {line.strip() for line in text.splitlines() if line.strip().startswith("wwid")}


def leaving_names(desired: Desired, verified: Mapping[str, RenderedFile], owned: Collection[str]) -> dict[str, str]:
    """The names that the `verified` main file gives to LUNs which are configured no more, by WWID.

    They may be in use. A LUN without an alias is among them only if its line in the allow-list is ours, which stays as long: then the rest
    of what makes its map has to stay too. A name that another LUN is to have is not among them.
    """
    taken = set(wanted_names(desired).values())
    blocks = multipaths(parse(text_of(verified.get(MAIN))))
    leaving = {wwid: values.get("alias", wwid) for wwid, values in blocks.items() if wwid not in desired.allow_list}
    return {wwid: name for wwid, name in sorted(leaving.items()) if name not in taken and (name != wwid or wwid in owned)}


def wanted_names(desired: Desired) -> dict[str, str]:
    """WWID to the name that its map should have: its alias, or else the WWID itself."""
    main = desired.rendered.files.get(MAIN)
    blocks = multipaths(parse(main.content.decode())) if main else {}
    return {wwid: blocks.get(wwid, {}).get("alias", wwid) for wwid in desired.allow_list}


def names_to_free(names: Mapping[str, str], live: Mapping[str, str]) -> frozenset[str]:
    """The managed LUNs whose present name another LUN is to take: multipathd refuses a name in use, so they get a neutral one first.

    `names` are the wanted and `live` the present ones, both by WWID.
    """
    holder = {name: wwid for wwid, name in live.items()}
    takers = ((wwid, holder[name]) for wwid, name in names.items() if name in holder and wwid in live)
    return frozenset(other for wwid, other in takers if other != wwid and other in names and live[other] != other)


def sorted_names(names: Iterable[str], limit: int = 5) -> str:
    """A few of the names for a message, and how many more there are."""
    return listed(sorted(names), limit)
