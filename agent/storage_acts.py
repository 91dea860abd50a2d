"""What somebody asks this node to do with a storage: activate, deactivate, make a volume group. One thing at a time."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from agent.cell_view import paths_of, said_all
from agent.picture import Picture
from agent.storage_loop import StorageLoop
from apply.inuse import InUse
from apply.lvm import Lvm
from apply.model import Model, Storage
from apply.option_tables import Scope
from apply.volume_groups import Report, check_creation, on_path, single_paths
from apply.volumes import base_map, check_device, chosen_volumes, usable_storage
from store.cells import MULTIPATH_MAP
from store.errors import UnavailableError, UsageError

log = structlog.get_logger("host")


class StorageActs:
    """The acts of one node; `root` is where its /dev and /sys are."""

    def __init__(self, name: str, picture: Picture, loop: StorageLoop, in_use: InUse, root: Path = Path("/")) -> None:
        self._name = name
        self._picture = picture
        self._loop = loop
        self._in_use = in_use
        self._root = root
        self._one_at_a_time = asyncio.Lock()

    async def activate(self, storage_id: str, volume: str | None) -> dict[str, Any]:
        """Make a storage, or one of its volumes, ready for use on this node; returns what is ready.

        The volumes of a storage of maps that are expected on this node are checked, or the one that is named: each device must be there and
        be the map of its LUN. The logical volumes of a volume group are activated.
        """
        model, storage = self._chosen(storage_id)
        async with self._one_at_a_time:
            if storage.type == Scope.LVM:
                self._no_volume(storage, volume)
                group, lvm = storage.options["vgname"], self._lvm()
                self._check_group(storage, model, await lvm.report())
                await lvm.activate(group)
                log.info("activated", storage=storage_id, group=group)
                self._loop.wake(anew=True)
                return {"storage": storage_id, "node": self._name, "vg": group, "active": True}
            if not storage.offers_maps:
                raise UsageError(
                    f"the storage {storage_id} offers no volumes", code="no-volumes", hint="set `multipath 1` if they are maps"
                )
            expected = self._picture.config.expected
            found = [
                {"volid": f"{storage_id}:{wwid}", "wwid": wwid, "path": await asyncio.to_thread(check_device, wwid, self._root)}
                for wwid in chosen_volumes(model, storage, volume)
                if volume is not None or self._name in expected[wwid].nodes
            ]
            self._loop.wake(anew=True)
            return {"storage": storage_id, "node": self._name, "volumes": found}

    async def deactivate(self, storage_id: str) -> dict[str, Any]:
        """Deactivate the logical volumes of an `lvm` storage on this node; LVM refuses while one is open."""
        storage = self._picture.config.model.storages.get(storage_id)
        if storage is None:
            raise UsageError(f"there is no storage {storage_id[:80]!r}", code="not-found", hint="see `pathmesh storage ls`")
        if storage.type != Scope.LVM:
            message = f"the storage {storage_id} is of type {storage.type}: there is nothing to deactivate"
            raise UsageError(message, code="no-volumes", hint="maps stay as long as their LUNs are allow-listed: pathmesh lun rm")
        async with self._one_at_a_time:
            group = storage.options.get("vgname", "")
            await self._lvm().deactivate(group)
            log.info("deactivated", storage=storage_id, group=group)
            self._loop.wake(anew=True)
        return {"storage": storage_id, "node": self._name, "vg": group, "active": False}

    async def create_group(self, storage_id: str, *, dry_run: bool) -> dict[str, Any]:
        """Make the volume group of an `lvm` storage on the map of its base, once everything speaks for it; `dry_run` only looks."""
        model, storage = self._chosen(storage_id)
        if storage.type != Scope.LVM:
            message = f"the storage {storage_id} is of type {storage.type}: it is no volume group"
            raise UsageError(message, code="no-volume-group", hint="pathmesh storage add lvm ID vgname=NAME base=<storage>:<WWID>")
        group, wwid = storage.options["vgname"], base_map(model, storage)
        async with self._one_at_a_time:
            lvm = self._lvm()
            self._check_paths(wwid)
            device = await asyncio.to_thread(check_device, wwid, self._root)
            self._check_elsewhere(wwid)
            report = await lvm.report()
            check_creation(report, wwid, group, ())  # what LVM knows says more than that something is there
            if why := await self._in_use.reason(wwid):
                raise UsageError(f"the LUN {wwid} is in use on this node: {why}", code="in-use", hint="choose another LUN, or free it")
            check_creation(report, wwid, group, await lvm.signatures(device))
            if not dry_run:
                await lvm.create(group, device)
                log.info("volume group made", storage=storage_id, group=group, device=device)
                self._loop.wake(anew=True)
        return {"storage": storage_id, "node": self._name, "vg": group, "wwid": wwid, "path": device, "dry_run": dry_run}

    # -- checks -------------------------------------------------------------------------------------------------------

    def _chosen(self, storage_id: str) -> tuple[Model, Storage]:
        model = self._picture.config.model
        return model, usable_storage(model, storage_id, self._name)

    def _lvm(self) -> Lvm:
        if self._loop.lvm is None:
            raise UnavailableError(
                "this node does not use the host's storage tools", code="storage-tools-off", hint="multipath.storage_tools in its settings"
            )
        if self._loop.hanging:
            message = "a map here has no paths and queues: LVM would hang in reading it"
            raise UnavailableError(message, code="io-hangs", hint="bring its paths back: pathmesh matrix --state failed")
        return self._loop.lvm

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

    def _check_elsewhere(self, wwid: str) -> None:
        """What the other nodes last said of the LUN: it is one disk for all of them."""
        for node in self._picture.node_names():
            uses = self._uses_on(node, wwid) if node != self._name else []
            if uses:
                hint = "choose another LUN, or free it there"
                raise UsageError(f"the LUN {wwid} is in use on {node}: {', '.join(uses[:3])}", code="in-use-elsewhere", hint=hint)

    def _uses_on(self, node: str, wwid: str) -> list[str]:
        cell = self._picture.cell(node, MULTIPATH_MAP, wwid)
        detail: Mapping[str, Any] = cell.detail if cell is not None else {}
        return said_all(detail, "used_by", str)

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
        single = [device.name for device in report.members(found[0]) if on_path(device, model)]
        if single:
            message = f"LVM would use the volume group {name} by a single path: {', '.join(single[:4])}"
            hint = "let multipathd make the map first, and LVM look at maps only (multipath_component_detection in lvm.conf); "
            hint += f"volumes that are active by the path keep it: pathmesh storage deactivate {storage.id}"
            raise UnavailableError(message, code="pv-on-path", hint=hint)
        base = model.storages.get(storage.base[0]) if storage.base is not None else None
        on = {device.wwid for device in report.members(found[0])}
        if storage.base is not None and base is not None and base.offers_maps and storage.base[1] not in on:
            message = f"the volume group {name} that LVM finds is not on the LUN {storage.base[1]}: it may be a copy"
            hint = f"correct the base (pathmesh storage set {storage.id} base=…), or let this node see the right LUN"
            raise UnavailableError(message, code="vg-not-on-base", hint=hint)
        if active := single_paths(self._loop.direct, found[0], model):
            message = f"volumes of {name} are active by a single path: {', '.join(active[:4])}"
            hint = f"stop what uses them, then: pathmesh storage deactivate {storage.id}, and activate it anew"
            raise UnavailableError(message, code="lv-on-path", hint=hint)

    @staticmethod
    def _no_volume(storage: Storage, volume: str | None) -> None:
        if volume is not None:
            hint = f"leave the volume out: pathmesh storage activate {storage.id}"
            raise UsageError("the logical volumes of a storage are activated together", code="no-such-volume", hint=hint)
