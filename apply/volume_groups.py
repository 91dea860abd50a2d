"""Volume groups as LVM reports them, and what that means for an `lvm` storage: pure.

One command tells all: `lvm pvs --all` lists every device that LVM looks at, with the group of each that is a physical volume. What stands
behind a device (a map, a path of one) is told by whoever asked (`Device.kind`, `Device.wwid`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from apply.model import Model, Storage
from apply.option_model import Scope
from store.cells import STORAGE, Cell
from store.errors import UnavailableError, UsageError

FIELDS = (
    "pv_name", "pv_major", "pv_minor", "pv_uuid", "pv_missing", "pv_duplicate", "pv_in_use",
    "vg_name", "vg_uuid", "vg_size", "vg_free", "vg_missing_pv_count", "lv_count",
)  # fmt: skip
"""The columns that are asked for (lvmreport(7)); all of them are known since LVM 2.02.158."""


@dataclass(frozen=True)
class Device:
    """A device that LVM looks at. `number` is `major:minor`, "" for a physical volume that is missing; `group` is "" if it is in none.

    `kind` is `map`, `partition` (of a map), `path` or `other`, `wwid` the LUN behind it. `member`: it is a physical volume; `used`: its
    header says that it belongs to a group, whose metadata may be elsewhere.
    """

    name: str
    number: str
    kind: str = "other"
    wwid: str = ""
    member: bool = False
    used: bool = False
    duplicate: bool = False
    group: str = ""
    group_uuid: str = ""


@dataclass(frozen=True)
class Group:
    """A volume group. `uuid` has no dashes; sizes in bytes; `missing` physical volumes are not there; `volumes` are logical volumes."""

    name: str
    uuid: str
    size_bytes: int
    free_bytes: int
    missing: int
    volumes: int


@dataclass(frozen=True)
class Report:
    """What LVM sees."""

    devices: tuple[Device, ...] = ()
    groups: tuple[Group, ...] = ()

    def named(self, name: str) -> tuple[Group, ...]:
        """The groups of a name; more than one is a fault."""
        return tuple(group for group in self.groups if group.name == name)

    def members(self, group: Group) -> tuple[Device, ...]:
        """The physical volumes of a group that are there."""
        return tuple(d for d in self.devices if d.group_uuid == group.uuid and d.number)

    def by_wwid(self) -> dict[str, frozenset[str]]:
        """The names of the groups on each LUN's map."""
        found: dict[str, set[str]] = {}
        for device in self.devices:
            if device.kind in ("map", "partition") and device.group:
                found.setdefault(device.wwid, set()).add(device.group)
        return {wwid: frozenset(groups) for wwid, groups in found.items()}


def parse_report(text: str, kind_of: Callable[[str], tuple[str, str]]) -> Report:
    """The report of `lvm pvs --all --reportformat json --units b --nosuffix` with `FIELDS`; `kind_of` says what a device number is.

    UnavailableError `lvm-garbage` for anything else.
    """
    try:
        document = msgspec.json.decode(text.encode())
        rows = [row for part in document["report"] for row in part["pv"]]
        devices = tuple(_device(row, kind_of) for row in rows)
        groups = {row["vg_uuid"]: _group(row) for row in rows if row["vg_name"] and not row["pv_duplicate"]}
    except (msgspec.MsgspecError, RecursionError, LookupError, TypeError, ValueError, AttributeError) as fault:
        message = f"lvm's report cannot be read: {type(fault).__name__}"
        raise UnavailableError(message, code="lvm-garbage", hint="what does `lvm pvs --reportformat json` say?") from None
    return Report(devices, tuple(groups[uuid] for uuid in sorted(groups)))


def _device(row: Mapping[str, str], kind_of: Callable[[str], tuple[str, str]]) -> Device:
    there = not row["pv_missing"] and int(row["pv_major"]) >= 0
    number = f"{int(row['pv_major'])}:{int(row['pv_minor'])}" if there else ""
    kind, wwid = kind_of(number) if number else ("other", "")
    return Device(
        name=str(row["pv_name"]),
        number=number,
        kind=kind,
        wwid=wwid,
        member=bool(row["pv_uuid"]),
        used=bool(row["pv_in_use"]),
        duplicate=bool(row["pv_duplicate"]),
        group=str(row["vg_name"]),
        group_uuid=_plain(row["vg_uuid"]),
    )


def _group(row: Mapping[str, str]) -> Group:
    numbers = [int(row[name]) for name in ("vg_size", "vg_free", "vg_missing_pv_count", "lv_count")]
    return Group(str(row["vg_name"]), _plain(row["vg_uuid"]), *numbers)


def _plain(uuid: str) -> str:
    return uuid.replace("-", "")


# -- what it means for a storage --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What a node knows of its volume groups. `report` is None until LVM was asked; `failure` is the code of the last question's failure.

    By group uuid: `active` counts active logical volumes, `direct` are the disks (name, WWID) that these use without a map.
    """

    report: Report | None = None
    failure: str = ""
    active: Mapping[str, int] = field(default_factory=dict)
    direct: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)


def group_cell(storage: Storage, model: Model, known: Known, wall: float) -> Cell:
    """How an `lvm` storage fares on this node."""
    name = storage.options.get("vgname", "")
    if known.report is None:
        return Cell(STORAGE, storage.id, "unknown", (known.failure or "lvm-not-asked",), {"type": storage.type, "vg": name}, {}, wall)
    found = known.report.named(name)
    if len(found) != 1:
        reason = "duplicate-vg" if found else "vg-missing"
        return Cell(STORAGE, storage.id, "failed" if found else "missing", (reason,), {"type": storage.type, "vg": name}, {}, wall)
    [group] = found
    reasons = [*_faults(storage, model, known, known.report, group), *([known.failure] if known.failure else [])]
    active = known.active.get(group.uuid, 0)
    detail: dict[str, Any] = {
        "type": storage.type,
        "vg": name,
        "size_bytes": group.size_bytes,
        "free_bytes": group.free_bytes,
        "active": active > 0,
        "missing_pvs": group.missing,
        "on": sorted({device.wwid or device.name for device in known.report.members(group)})[:16],
    }
    state = "degraded" if reasons else "healthy"
    return Cell(STORAGE, storage.id, state, tuple(reasons), detail, {"volumes": group.volumes, "active_volumes": active}, wall)


def _faults(storage: Storage, model: Model, known: Known, report: Report, group: Group) -> Iterable[str]:
    """What is wrong with a group that is there; codes."""
    members = report.members(group)
    if group.missing:
        yield "pv-missing"
    if any(device.duplicate for device in members):
        yield "duplicate-pv"
    if any(on_path(device, model) for device in members):
        yield "pv-on-path"
    if single_paths(known.direct, group, model):
        yield "lv-on-path"
    if not on_base(storage, model, members):
        yield "vg-not-on-base"


def on_base(storage: Storage, model: Model, members: Iterable[Device]) -> bool:
    """Whether a group with these physical volumes is on the LUN that the storage names, if it names one."""
    base = model.storages.get(storage.base[0]) if storage.base is not None else None
    if storage.base is None or base is None or not base.offers_maps:
        return True
    return any(device.wwid == storage.base[1] for device in members)


def on_path(device: Device, model: Model) -> bool:
    """Whether LVM uses a single path of a LUN that should be used through its map."""
    return device.kind == "path" and _is_managed(device.wwid, model)


def single_paths(direct: Mapping[str, Collection[tuple[str, str]]], group: Group, model: Model) -> list[str]:
    """The disks by which active logical volumes of a group use a LUN that should be used through its map.

    They do so until they are activated anew, also once LVM sees the map: the volume was active before multipathd had made it.
    """
    return sorted(name for name, wwid in direct.get(group.uuid, ()) if _is_managed(wwid, model))


def _is_managed(wwid: str, model: Model) -> bool:
    return wwid in model.luns and model.luns[wwid].enabled


def check_creation(report: Report, wwid: str, name: str, signatures: Collection[str]) -> None:
    """Whether the group `name` may be made on a LUN's map; UsageError that says why not.

    `signatures` are the types of what is written on the map (wipefs(8)). Nothing is ever wiped: who wants to give up what is there does
    that with the tools that wrote it.
    """
    of_lun = [device for device in report.devices if device.wwid == wwid]
    paths = [device.name for device in of_lun if device.kind == "path"]
    if paths:
        hint = "set multipath_component_detection = 1 in lvm.conf, or let its filter or devices file leave out the paths"
        raise UsageError(f"LVM would use single paths of the LUN {wwid}: {', '.join(paths[:4])}", code="lvm-sees-paths", hint=hint)
    found = next((device for device in of_lun if device.kind == "map"), None)
    if found is None:
        hint = "its filter in lvm.conf, or its devices file (`lvmdevices`), must let the map in"
        raise UsageError(f"LVM does not look at the map of the LUN {wwid}", code="lvm-ignores-map", hint=hint)
    if found.group == name:
        raise UsageError(f"the volume group {name} is on the LUN {wwid} already", code="exists", hint="nothing has to be made")
    if found.group:
        raise UsageError(f"the LUN {wwid} belongs to the volume group {found.group}", code="in-use", hint="choose another LUN")
    if found.used:
        message = f"the LUN {wwid} belongs to a volume group whose metadata is on devices that are not there"
        raise UsageError(message, code="in-use", hint="bring its other devices back, or clear it: pvremove")
    if report.named(name):
        hint = "choose another `vgname`, or name the LUN under it as `base`"
        raise UsageError(f"there is a volume group {name} already, on another device", code="vg-exists", hint=hint)
    foreign = sorted(set(signatures) - ({"LVM2_member"} if found.member else set()))
    if foreign or any(device.kind == "partition" for device in of_lun):
        what = ", ".join(foreign[:4]) or "partitions"
        hint = "if nobody needs it any more, clear it by hand on one node: wipefs"
        raise UsageError(f"the LUN {wwid} is not empty: {what} is on it", code="foreign-signature", hint=hint)


def wanted_groups(model: Model, groups: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Of the groups on each LUN those that an `lvm` storage without a base names: from them the nodes are inferred that need the LUN."""
    names = {s.options.get("vgname", "") for s in model.storages.values() if s.type == Scope.LVM and s.base is None and s.enabled}
    found = {wwid: sorted(names.intersection(there)) for wwid, there in sorted(groups.items())}
    return {wwid: there for wwid, there in found.items() if there}
