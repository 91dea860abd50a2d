"""Opening what a node keeps on its disk, and going on when the disk has lost some of it.

| database | guard | what happens |
|--|--|--|
| fits | fits | the ordinary start |
| older than the guard says | there | it goes on, under a new actor, and fetches what it lacks: `database-restored` |
| gone | there | a new one with the same birth; its peers fill it: `database-lost` |
| damaged | there | moved aside, then the same: `database-damaged` |
| there | gone or damaged | it may be older: as restored, `guard-missing` |
| of another node | there | refused: one of the two was copied |
| gone | gone | not a member |

A node that is alone in its cluster has no peers that could fill a new database: it does not start without the old one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.birth import Birth, decode_birth, encode_birth, not_a_member
from agent.guard import FILE_NAME as GUARD_NAME
from agent.guard import Guard, GuardDamaged, Keeper, read_guard, write_guard
from agent.settings import Settings
from gossip.keys import NodeKeys, verify
from store.base import decode_base
from store.database import FILE_NAME, Database, Loaded
from store.edits import EditError, decode_edit
from store.errors import UnavailableError, UsageError
from store.replica import Replica

CORRUPT = "database-corrupt"
_ALONE = (
    "what was written since is lost, for no other node has it; what would be taken off this host for that is kept "
    "until `pathmesh apply --now`"
)
_GOES_ON = "it goes on by itself: it fetches what it lacks from its peers, and its next edits carry a new actor"


class Notice(NamedTuple):
    """What was found at the start and somebody should know."""

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """All that a node has on its disk. `restored`: what it writes next must not use the numbers of what it may have forgotten."""

    database: Database
    birth: Birth
    keys: NodeKeys
    replica: Replica
    meta: dict[str, bytes]
    streams: dict[str, bytes]
    epoch: int
    keeper: Keeper
    restored: bool
    notices: tuple[Notice, ...] = ()


async def open_state(settings: Settings) -> Opened:
    """Open database, keys and guard, and make a boot epoch durable that this node never had. PathmeshError if it cannot start."""
    directory = settings.node.state_dir
    guard, unusable = None, ""
    try:
        guard = read_guard(directory)
    except GuardDamaged as fault:
        unusable = str(fault)
    if (directory / FILE_NAME).exists():
        try:
            return await _as_it_is(settings, guard, unusable)
        except UnavailableError as fault:
            if fault.code != CORRUPT or guard is None:
                raise
            return await _anew(settings, guard, fault)
    if guard is None:
        raise not_a_member(settings)  # and no empty database is left behind that looks like a node's
    return await _anew(settings, guard, None)


async def _as_it_is(settings: Settings, guard: Guard | None, unusable: str) -> Opened:
    """With the database that is there. UnavailableError `database-corrupt` if it cannot be used."""
    directory = settings.node.state_dir
    database = await Database.open(directory)
    try:
        loaded = await database.load()
        birth = _birth(loaded, guard, settings)
        keys = load_keys(settings)
        replica = _replica(birth, loaded, settings)
        epoch, clock = int.from_bytes(loaded.meta.get("epoch", b""), "big"), replica.fold.clock
        counter = clock.get(birth.actor, 0)
        known = guard or Guard(birth)
        members = tuple(replica.registry.active)
        # An older database may know nobody any more: those whom the guard remembers are the way back.
        remembered = tuple(m for m in known.members if m.name not in replica.registry.by_name)
        others = {m.name for m in (*members, *remembered)} - {birth.name}
        hint = _GOES_ON if others else _ALONE
        notices: tuple[Notice, ...] = ()
        if guard is None:
            notices = (Notice("guard-missing", _guard_missing(directory, unusable), hint),)
        elif not guard.fits(epoch, clock):
            notices = (Notice("database-restored", _restored(database, guard, epoch, counter), hint),)
        restored = bool(notices) or known.restored
        now = Guard(
            birth,
            epoch=max(epoch, known.epoch) + 1,
            least=counter,
            ceiling=max(counter, known.ceiling),
            members=(*members, *remembered),
            restored=restored and bool(others),
            applied=known.applied,
        )
        if restored:
            birth = msgspec.structs.replace(birth, bootstrap=now.members)
        keeper = await _begin(database, now, {})
    except BaseException:
        await database.close()
        raise
    return Opened(database, birth, keys, replica, loaded.meta, loaded.streams, now.epoch, keeper, restored, notices)


async def _anew(settings: Settings, guard: Guard, damage: UnavailableError | None) -> Opened:
    """With a new database that its peers will fill; a damaged one is kept aside."""
    directory = settings.node.state_dir
    keys = load_keys(settings)
    own = next((m for m in guard.members if m.actor == guard.birth.actor), None)
    if own is not None and own.curve_key != keys.mesh_public:
        raise _mismatch(directory, "the keys", "other keys")
    what = damage.message if damage is not None else f"{directory / FILE_NAME}: the database is gone"
    if not guard.others:
        raise UnavailableError(
            f"{what}; this node is alone in its cluster, so no peer has a copy",
            code=CORRUPT if damage is not None else "database-lost",
            hint=f"keep the file; bring {FILE_NAME} back from a backup, or to start over move {directory} and "
            f"{settings.node.keys_dir} away, then `pathmesh init`",
        )
    notice = Notice("database-lost", f"{what}: a new one was made", _GOES_ON)
    # A journal that outlived its database would be replayed into the new one.
    left_over = any((directory / f"{FILE_NAME}{part}").exists() for part in ("-wal", "-shm"))
    aside = Database.quarantine(directory, what) if left_over or damage is not None else None
    if damage is not None:
        notice = Notice("database-damaged", f"{what}: it is kept as {aside}, and a new one was made", _GOES_ON)
    birth = msgspec.structs.replace(guard.birth, bootstrap=guard.members)
    now = msgspec.structs.replace(guard, birth=birth, epoch=guard.epoch + 1, least=0, restored=True)
    database = await Database.open(directory)
    try:
        keeper = await _begin(database, now, {"node": encode_birth(birth)})
    except BaseException:
        await database.close()
        raise
    return Opened(database, birth, keys, Replica(birth.cluster_id, verify), {}, {}, now.epoch, keeper, True, (notice,))


async def _begin(database: Database, guard: Guard, meta: dict[str, bytes]) -> Keeper:
    """Make the epoch durable: first in the database, for a guard that is ahead of it means an older database."""
    await database.put_meta({**meta, "epoch": guard.epoch.to_bytes(8, "big")})
    write_guard(database.path.parent, guard)
    return Keeper(database.path.parent, guard)


def load_keys(settings: Settings) -> NodeKeys:
    """The keys of a node that was made: without them it cannot be who it is."""
    try:
        return NodeKeys.load(settings.node.keys_dir)
    except UsageError as fault:
        if fault.code != "key-missing":
            raise
        hint = f"bring them back from a backup; else move {settings.node.state_dir} away and join again"
        raise UsageError(fault.message, code=fault.code, hint=hint) from None


def _birth(loaded: Loaded, guard: Guard | None, settings: Settings) -> Birth:
    record = loaded.meta.get("node")
    if record is None and guard is not None:
        raise UnavailableError(f"{settings.node.state_dir / FILE_NAME}: the database is empty", code=CORRUPT)
    birth = decode_birth(record, settings)
    if guard is not None and (guard.birth.actor, guard.birth.cluster_id) != (birth.actor, birth.cluster_id):
        raise _mismatch(settings.node.state_dir, f"the database of {birth.name}", f"the node {guard.birth.name}")
    return birth


def _replica(birth: Birth, loaded: Loaded, settings: Settings) -> Replica:
    try:
        base = decode_base(loaded.base) if loaded.base is not None else None
        return Replica(birth.cluster_id, verify, (decode_edit(raw) for raw in loaded.log), base)
    except (EditError, ValueError) as fault:
        raise UnavailableError(
            f"{settings.node.state_dir}: the log of edits is damaged: {fault}",
            code=CORRUPT,
            hint="keep the directory; move it and the keys away and join this node again",
        ) from None


def _mismatch(directory: Path, found: str, guarded: str) -> UsageError:
    return UsageError(
        f"{directory}/{GUARD_NAME}: guards {guarded}, not {found} here",
        code="guard-mismatch",
        hint="one of the two was copied from elsewhere: move the one that does not belong here away",
    )


def _guard_missing(directory: Path, unusable: str) -> str:
    found = f"cannot be used ({unusable})" if unusable else "is missing"
    return f"{directory / GUARD_NAME}: the guard file {found}; without it nobody can tell whether the database is the newest"


def _restored(database: Database, guard: Guard, epoch: int, counter: int) -> str:
    if epoch < guard.epoch:
        why = f"it was started {epoch} times, this node {guard.epoch} times"
    elif counter < guard.least:
        why = f"it has {counter} edits of this node, which had made {guard.least} at least"
    elif counter > guard.ceiling:
        why = f"it has {counter} edits of this node, for which {guard.ceiling} were noted at most"
    else:
        why = "it lacks edits that this host has had in effect"
    return f"{database.path}: an older copy was put back: {why}"
