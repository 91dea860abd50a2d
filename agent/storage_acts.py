"""What somebody asks this node to do with a storage: activate, deactivate, make a volume group. One thing at a time."""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import structlog

from agent.cell_view import paths_of
from agent.elsewhere import group_elsewhere, users_elsewhere
from agent.knowledge import Knowledge
from agent.map_faults import faults
from agent.picture import Picture
from agent.storage_loop import NOT_LOOKED, StorageLoop
from agent.writes import ConflictOpen
from apply.inuse import InUse
from apply.lvm import Lvm
from apply.model import Model, Storage
from apply.option_model import Scope
from apply.storages import nodes_of
from apply.volume_groups import Report, check_creation, on_base, on_path, single_paths
from apply.volumes import base_map, check_device, chosen_volumes, logical_volumes, usable_storage
from store.cells import MULTIPATH_MAP
from store.document import STORAGE_PREFIX, WWID_PREFIX
from store.errors import UnavailableError, UsageError, listed
from store.matrix import Reporter

_NAMED = 4
"""Nodes and devices that a message names."""

log = structlog.get_logger("host")


class StorageActs:
    """The acts of one node; `root` is where its /dev and /sys are."""

    def __init__(self, name: str, picture: Picture, loop: StorageLoop, in_use: InUse, knowledge: Knowledge, root: Path = Path("/")) -> None:
        self._name = name
        self._picture = picture
        self._loop = loop
        self._in_use = in_use
        self._knowledge = knowledge
        self._root = root
        self._one_at_a_time = asyncio.Lock()

    async def activate(self, storage_id: str, volumes: Sequence[str] = (), *, everything: bool = False) -> dict[str, Any]:
        """Make a storage, or some of its volumes, ready for use on this node; returns what is ready.

        The volumes of a storage of maps that are expected on this node are checked, or those that are named: each device must be there and
        be the map of its LUN, with paths to one disk. Of a volume group the logical volumes that are named are activated. All of them are
        only where the group is certainly for this node alone, or if `everything` says so: on another node they may be in use.
        """
        if volumes and everything:
            raise UsageError("some volumes and all of them: one of the two", code="malformed")
        async with self._one_at_a_time:
            model, storage = self._chosen(storage_id)
            if storage.type == Scope.LVM:
                return await self._activate_group(model, storage, volumes, everything=everything)
            if not storage.offers_maps:
                raise UsageError(
                    f"the storage {storage_id} offers no volumes", code="no-volumes", hint="set `multipath 1` if they are maps"
                )
            named = [wwid for volume in volumes for wwid in chosen_volumes(model, storage, volume)]
            expected = self._picture.config.expected
            wanted = named or [wwid for wwid in chosen_volumes(model, storage, None) if self._name in expected[wwid].nodes]
            found = [
                {"volid": f"{storage_id}:{wwid}", "wwid": wwid, "path": await asyncio.to_thread(check_device, wwid, self._root)}
                for wwid in dict.fromkeys(wanted)
            ]
            for volume in found:
                self._check_whole(volume["wwid"])
            self._loop.wake(anew=True)
            return {"storage": storage_id, "node": self._name, "volumes": found}

    async def _activate_group(self, model: Model, storage: Storage, volumes: Sequence[str], *, everything: bool) -> dict[str, Any]:
        group, names = _group_of(storage), logical_volumes(storage, volumes)
        if not names and not everything:
            await self._check_alone(storage, model, group)
        lvm = self._lvm()
        self._check_group(storage, model, await lvm.report())
        try:
            await lvm.activate(group, names)
        finally:
            self._loop.wake(anew=True)
        log.info("activated", storage=storage.id, group=group, volumes=names or "all")
        return {"storage": storage.id, "node": self._name, "vg": group, "volumes": list(names), "active": True}

    async def deactivate(self, storage_id: str, volumes: Sequence[str] = ()) -> dict[str, Any]:
        """Deactivate logical volumes of an `lvm` storage on this node, all if none is named; LVM refuses those that are open."""
        storage = self._picture.config.model.storages.get(storage_id)
        if storage is None:
            raise UsageError(f"there is no storage {storage_id[:80]!r}", code="not-found", hint="see `pathmesh storage ls`")
        if storage.type != Scope.LVM:
            message = f"the storage {storage_id} is of type {storage.type}: there is nothing to deactivate"
            raise UsageError(message, code="no-volumes", hint="maps stay as long as their LUNs are allow-listed: pathmesh lun rm")
        group, names = _group_of(storage), logical_volumes(storage, volumes)
        async with self._one_at_a_time:
            try:
                await self._lvm().deactivate(group, names)
            finally:
                self._loop.wake(anew=True)
            log.info("deactivated", storage=storage_id, group=group, volumes=names or "all")
        return {"storage": storage_id, "node": self._name, "vg": group, "volumes": list(names), "active": False}

    async def create_group(self, storage_id: str, *, dry_run: bool, ignored: Collection[str] = (), reason: str = "") -> dict[str, Any]:
        """Make the volume group of an `lvm` storage on the map of its base, once everything speaks for it; `dry_run` only looks.

        `ignored` are nodes of which somebody made sure that they do not use the LUN: it does not matter that they are not heard.
        """
        async with self._one_at_a_time:
            model, storage = self._chosen(storage_id)
            if storage.type != Scope.LVM:
                message = f"the storage {storage_id} is of type {storage.type}: it is no volume group"
                raise UsageError(message, code="no-volume-group", hint="pathmesh storage add lvm ID vgname=NAME base=<storage>:<WWID>")
            group, wwid = self._place(storage_id)
            lvm = self._lvm()
            await self._check_caught_up()
            device = await asyncio.to_thread(check_device, wwid, self._root)
            report = await lvm.report()
            check_creation(report, wwid, group, ())  # what LVM knows says more than that something is there
            if why := await self._in_use.reason(wwid, model.luns[wwid].alias or ""):
                raise UsageError(f"the LUN {wwid} is in use on this node: {why}", code="in-use", hint="choose another LUN, or free it")
            check_creation(report, wwid, group, await lvm.signatures(device))
            # All that took its time, in which anything may have happened: what can be asked at once is asked again.
            await self._check_caught_up()
            if self._place(storage_id) != (group, wwid):
                message = f"the storage {storage_id} was changed while its LUN was looked at"
                raise UsageError(message, code="changed-meanwhile", hint="look at it, and begin anew: pathmesh storage ls")
            self._check_elsewhere(storage, wwid, ignored)
            if not dry_run:
                log.info("volume group begun", storage=storage_id, group=group, device=device, ignored=sorted(ignored), reason=reason)
                try:
                    await lvm.create(group, device)
                finally:
                    self._loop.wake(anew=True)
                log.info("volume group made", storage=storage_id, group=group, device=device)
        return {"storage": storage_id, "node": self._name, "vg": group, "wwid": wwid, "path": device, "dry_run": dry_run}

    # -- checks -------------------------------------------------------------------------------------------------------

    def _chosen(self, storage_id: str) -> tuple[Model, Storage]:
        model = self._picture.config.model
        return model, usable_storage(model, storage_id, self._name)

    def _place(self, storage_id: str) -> tuple[str, str]:
        """The volume group of a storage and the WWID of its base, on which it could be made now as far as this node's own state goes."""
        model, storage = self._chosen(storage_id)
        group, wwid = _group_of(storage), base_map(model, storage)
        self._lvm()
        self._check_agreed(storage, wwid)
        self._check_paths(wwid)
        return group, wwid

    async def _caught_up(self) -> bool:
        """Whether this node knows all that decides who else may use a LUN."""
        return self._knowledge.held() is None and await self._knowledge.suffices(self._picture.config)

    async def _check_caught_up(self) -> None:
        if not await self._caught_up():
            message = "this node may not know all that the cluster knows: nothing is written on a LUN that others may use"
            raise UnavailableError(message, code="not-caught-up", hint="pathmesh doctor says what it lacks")

    async def _check_alone(self, storage: Storage, model: Model, group: str) -> None:
        """Whether a group is certainly for this node alone. Guests of a node that has left may still run there: it counts until retired."""
        others = nodes_of(storage, model, self._picture.node_names()) - {self._name}
        if not others and await self._caught_up():
            return
        what = (
            f"is for other nodes too ({listed(sorted(others), _NAMED)})" if others else "may be for other nodes that are not known here yet"
        )
        hint = f"name those that are needed here: pathmesh storage activate {storage.id} VOLUME…; all of them: --all"
        raise UsageError(f"the volume group {group} {what}, which may use its volumes", code="shared-group", hint=hint)

    def _lvm(self) -> Lvm:
        """This host's LVM, if nothing here can make it hang."""
        if self._loop.lvm is None:
            raise UnavailableError(
                "this node does not use the host's storage tools", code="storage-tools-off", hint="multipath.storage_tools in its settings"
            )
        if not self._loop.polled:
            message = "this node has not looked at its maps since the agent's start"
            raise UnavailableError(message, code="map-unknown", hint="try again in a moment")
        if self._loop.hanging:
            message = "a map here has no paths and queues, or is suspended: LVM would hang in reading it"
            raise UnavailableError(message, code="io-hangs", hint="bring its paths back: pathmesh matrix --state failed")
        if self._picture.reporters().get(self._name, Reporter.FRESH) is not Reporter.FRESH:
            message = "what this node knows of its maps is old: a look at them does not end"
            raise UnavailableError(message, code="map-unknown", hint="does multipathd answer? the agent's log may say more")
        if self._loop.unsure:
            message = "the state of a map here was not known yet since the agent's start: LVM may hang in reading it"
            raise UnavailableError(message, code="map-unknown", hint="pathmesh matrix --state unknown")
        return self._loop.lvm

    def _check_agreed(self, storage: Storage, wwid: str) -> None:
        """Nothing is written while the sections that say where are in conflict: what holds now may be what nobody wanted."""
        sections = {STORAGE_PREFIX + storage.id, WWID_PREFIX + wwid, *([STORAGE_PREFIX + storage.base[0]] if storage.base else [])}
        for key in sorted(sections.intersection(self._picture.config.conflicts)):
            raise ConflictOpen(key)

    def _check_paths(self, wwid: str) -> None:
        """What this node last saw of the map: nothing is written on one whose state is not known, or that has no usable path."""
        cell = self._picture.cell(self._name, MULTIPATH_MAP, wwid)
        if cell is None or cell.state in ("missing", "pending"):
            raise UnavailableError(f"there is no map of the LUN {wwid} on this node", code="device-missing", hint="pathmesh node maps")
        if cell.state == "unknown":
            message = f"the state of the LUN {wwid} is not known on this node: {', '.join(cell.reasons)}"
            raise UnavailableError(message, code="map-unknown", hint="pathmesh apply tells how multipathd fares")
        if paths_of(cell.detail)["usable"] < 1:
            raise UnavailableError(f"the map of the LUN {wwid} has no usable path", code="no-usable-path", hint="pathmesh lun show " + wwid)
        self._check_whole(wwid)

    def _check_whole(self, wwid: str) -> None:
        """Whether the paths of a map lead to one disk, or did when that was known last: what is written on two at once is lost on both."""
        cell = self._picture.cell(self._name, MULTIPATH_MAP, wwid)
        found = faults(cell) if cell is not None else None
        if found is None:
            message = f"the state of the LUN {wwid} was not known yet since the agent's start"
            raise UnavailableError(message, code="map-unknown", hint="does multipathd run? see `pathmesh node maps`")
        if "merged-luns" in found:
            message = f"the map of the LUN {wwid} has paths to different disks"
            hint = "two LUNs have one WWID, or a path led to another LUN before: pathmesh node maps"
            raise UnavailableError(message, code="merged-luns", hint=hint)

    def _check_elsewhere(self, storage: Storage, wwid: str, ignored: Collection[str]) -> None:
        """What the other nodes say of the LUN: it is one disk for all of them, and who says nothing may use it."""
        for node in sorted(set(ignored) - (set(self._picture.node_names()) - {self._name})):
            raise UsageError(f"node {node[:80]!r}: there is no such other node", code="unknown-node", hint="see `pathmesh node ls`")
        found = users_elsewhere(self._picture, self._name, wwid, ignored)
        for node, uses in found.used.items():
            hint = "choose another LUN, or free it there"
            raise UsageError(f"the LUN {wwid} is in use on {node}: {', '.join(uses[:3])}", code="in-use-elsewhere", hint=hint)
        if node := group_elsewhere(self._picture, self._name, storage.id, ignored):
            message = f"{node} has a volume group {storage.options['vgname']} already, which is not to be seen here"
            raise UsageError(message, code="vg-exists", hint=f"pathmesh storage status {storage.id}; choose another `vgname`")
        if found.unknown:
            why = listed([f"{node}: {reason}" for node, reason in sorted(found.unknown.items())], _NAMED)
            message = f"it is not known whether other nodes use the LUN {wwid}: {why}"
            options = " ".join(f"--ignore-node {node}" for node in sorted(found.unknown)[:_NAMED])
            hint = f"bring them back; or make sure that they do not use it, and say so: {options}"
            raise UnavailableError(message, code="users-unknown", hint=hint)

    def _check_group(self, storage: Storage, model: Model, report: Report) -> None:
        """Whether the group may be activated: it is there once, whole, and on maps."""
        name = storage.options["vgname"]
        found = report.named(name)
        if not found:
            hint = f"pathmesh storage create-vg {storage.id}" if storage.base is not None else "does this node see its LUN?"
            raise UnavailableError(f"LVM finds no volume group {name} on this node", code="vg-missing", hint=hint)
        if len(found) > 1:
            message = f"LVM finds {len(found)} volume groups {name}"
            raise UnavailableError(message, code="duplicate-vg", hint="rename one of them: vgrename UUID NAME")
        if found[0].missing:
            message = f"the volume group {name} lacks {found[0].missing} of its devices on this node"
            raise UnavailableError(message, code="pv-missing", hint="pathmesh storage status " + storage.id)
        members = report.members(found[0])
        single = [device.name for device in members if on_path(device, model)]
        if single:
            message = f"LVM would use the volume group {name} by a single path: {', '.join(single[:4])}"
            hint = "let multipathd make the map first, and LVM look at maps only (multipath_component_detection in lvm.conf); "
            hint += f"volumes that are active by the path keep it: pathmesh storage deactivate {storage.id}"
            raise UnavailableError(message, code="pv-on-path", hint=hint)
        if twice := [device.name for device in members if device.duplicate]:
            message = f"LVM sees devices of the volume group {name} more than once: {listed(twice, _NAMED)}"
            raise UnavailableError(
                message, code="duplicate-pv", hint="are they paths of one LUN, or is one a copy (a snapshot) of the other?"
            )
        if storage.base is not None and not on_base(storage, model, members):
            message = f"the volume group {name} that LVM finds is not on the LUN {storage.base[1]}: it may be a copy"
            hint = f"correct the base (pathmesh storage set {storage.id} base=…), or let this node see the right LUN"
            raise UnavailableError(message, code="vg-not-on-base", hint=hint)
        if self._loop.old:
            message = f"what this node knows of the volumes of {name} is old: a look at its devices fails, or does not end"
            raise UnavailableError(message, code=NOT_LOOKED, hint="the agent's log says why")
        if active := single_paths(self._loop.direct, found[0], model):
            message = f"volumes of {name} are active by a single path: {', '.join(active[:4])}"
            hint = f"stop what uses them, then: pathmesh storage deactivate {storage.id}, and activate it anew"
            raise UnavailableError(message, code="lv-on-path", hint=hint)
        for wwid in sorted({device.wwid for device in members if device.kind in ("map", "partition")}):
            self._check_whole(wwid)


def _group_of(storage: Storage) -> str:
    """The volume group of an `lvm` storage. UsageError `missing-option`: LVM takes no name for all groups."""
    group = storage.options.get("vgname", "")
    if not group:
        hint = f"pathmesh storage set {storage.id} vgname=NAME"
        raise UsageError(f"the storage {storage.id} names no volume group", code="missing-option", hint=hint)
    return group
