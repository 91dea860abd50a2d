"""The volumes of storages whose volumes are maps, and the checks before a storage or a volume is used on a node.

A volume is `<storage>:<WWID>`, raw, at `/dev/disk/by-id/dm-uuid-mpath-<WWID>`: that name belongs to the map alone, whatever its alias,
and never to a single path.
"""

import os
import re
import stat
from collections.abc import Callable, Collection
from pathlib import Path

from apply.model import Model, Storage
from apply.transports import is_on
from apply.usage import kind_of
from apply.wwid import device_path
from store.errors import UnavailableError, UsageError

_LOGICAL_VOLUME = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,126}")
"""lvm(8), \"valid names\"."""


def volumes_of(storage: Storage, model: Model) -> tuple[str, ...]:
    """The WWIDs that a storage may have as volumes: allow-listed, and in its `wwids` if it has them."""
    return tuple(wwid for wwid, lun in sorted(model.luns.items()) if lun.enabled and storage.exposes(wwid))


def usable_storage(model: Model, name: str, node: str) -> Storage:
    """A storage that may be used on a node; UsageError `not-found`, `storage-disabled` or `not-on-node`, for its bases too."""
    storage = model.storages.get(name)
    if storage is None:
        raise UsageError(f"there is no storage {name[:80]!r}", code="not-found", hint="see `pathmesh storage ls`")
    if not storage.enabled:
        raise UsageError(f"the storage {name} is disabled", code="storage-disabled", hint=f"pathmesh storage set {name} --delete disable")
    if not is_on(storage, node):
        on = ", ".join(sorted(storage.nodes or ()))
        raise UsageError(f"the storage {name} is not for {node}", code="not-on-node", hint=f"it is on {on}")
    if storage.base is not None:
        usable_storage(model, storage.base[0], node)
    return storage


def base_map(model: Model, storage: Storage) -> str:
    """The WWID of the map that an `lvm` storage stands on; UsageError `no-base` or `broken-base` if none is named that can be used."""
    if storage.base is None:
        hint = f"pathmesh storage set {storage.id} base=<storage>:<WWID>"
        raise UsageError(f"the storage {storage.id} names no LUN to stand on: it has no base", code="no-base", hint=hint)
    base, wwid = model.storages[storage.base[0]], storage.base[1]
    if wwid not in volumes_of(base, model):
        why = f"the storage {base.id} does not offer it" if wwid in model.luns else "it is not allow-listed"
        raise UsageError(f"the LUN {wwid} under the storage {storage.id} cannot be used: {why}", code="broken-base")
    return wwid


def chosen_volumes(model: Model, storage: Storage, volume: str | None) -> tuple[str, ...]:
    """The WWIDs that are meant by `volume`: a WWID, an alias or `<storage>:<WWID>`; all for None. UsageError `no-such-volume`."""
    offered = volumes_of(storage, model)
    if volume is None:
        return offered
    wwid = volume.removeprefix(f"{storage.id}:")
    wwid = next((lun.wwid for lun in model.luns.values() if lun.alias == wwid), wwid)
    if wwid not in offered:
        hint = f"see `pathmesh storage volumes {storage.id}`"
        raise UsageError(f"the storage {storage.id} has no volume {volume[:140]!r}", code="no-such-volume", hint=hint)
    return (wwid,)


def logical_volumes(storage: Storage, volumes: Collection[str]) -> tuple[str, ...]:
    """The names of the logical volumes that are meant: NAME, `<group>/NAME` or `<storage>:NAME`. UsageError `no-such-volume`."""
    names = []
    for volume in volumes:
        name = volume.removeprefix(f"{storage.id}:").removeprefix(f"{storage.options['vgname']}/")
        if not _LOGICAL_VOLUME.fullmatch(name):
            message = f"{volume[:140]!r} is no name of a logical volume of the storage {storage.id}"
            raise UsageError(message, code="no-such-volume", hint=f"lvs {storage.options['vgname']}")
        names.append(name)
    return tuple(dict.fromkeys(names))


def device_number(node: Path) -> str:
    """`major:minor` of a block device's node, "" for anything else."""
    try:
        status = node.stat()
    except OSError:
        return ""
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if stat.S_ISBLK(status.st_mode) else ""


def check_device(wwid: str, root: Path = Path("/"), number_of: Callable[[Path], str] = device_number) -> str:
    """The device path of a LUN's map on this host, once it is known to lead to that map and to nothing else.

    UnavailableError `device-missing` or `wrong-device`.
    """
    path = device_path(wwid)
    link = root / path.lstrip("/")
    if not link.exists():
        message = f"{path}: there is no such device on this node"
        raise UnavailableError(message, code="device-missing", hint="is there a map? see `pathmesh node maps`; the link comes from udev")
    node = link.resolve()
    found = kind_of(number_of(node), root)
    if found != ("map", wwid):
        what = f"the {found[0]} of {found[1]}" if found[1] else "something else"
        message = f"{path} leads to {node.name}, which is {what} and not the map of this LUN"
        raise UnavailableError(
            message, code="wrong-device", hint="udevadm trigger --action=change; do not use it before that is cleared up"
        )
    return path
