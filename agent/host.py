"""This node's own host: the loop that applies the converged configuration, and the loop that reports the host's health.

They meet in two places: apply waits for the first poll (it renders for the tools that are there), and a poll follows every apply at
once. A daemon that comes or goes wakes apply.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from agent.applied_clock import AppliedClock
from agent.apply_loop import ApplyLoop
from agent.knowledge import Knowledge
from agent.maintenance import PREFIX as MAINTENANCE
from agent.picture import Picture
from agent.poll_loop import PollLoop
from agent.reach import Reach
from agent.settings import Settings
from agent.storage_acts import StorageActs
from agent.storage_loop import StorageLoop
from agent.writes import problem_json
from apply.daemon import Timing
from apply.diff import render_diff
from apply.dropins import DropIns
from apply.hostpaths import HostPaths
from apply.initramfs import Initramfs
from apply.inuse import HostInUse
from apply.multipathd import MultipathdClient
from apply.other_owners import other_owners
from apply.outcome import ApplyError
from apply.preview import Preview
from apply.programs import HostPrograms
from apply.reconcile import Reconciler
from apply.render import render
from apply.sysfs import Sysfs
from apply.udev import NoUdev, Udev
from gossip.engine import Engine
from gossip.events import Publish
from gossip.runner import Runner
from store.records import Records


class Host:
    """The host side of one node."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        records: Records,
        applied_clock: AppliedClock,
        picture: Picture,
        engine: Engine,
        skew: Callable[[], Mapping[str, float]],
    ) -> None:
        """`skew()` says how far the wall clocks of other nodes are ahead, in seconds."""
        multipath = settings.multipath
        client = MultipathdClient(multipath.socket, multipath.program, multipath.query_timeout_ms / 1000)
        devices, programs = Sysfs(), HostPrograms()
        in_use = HostInUse(programs=programs)
        self._name = name
        self._picture = picture
        self._paths = HostPaths(multipath.etc_dir, settings.node.state_dir)
        reconciler = Reconciler(
            self._paths,
            client,
            records,
            in_use=in_use,
            attached=devices.attached_wwids,
            udev=Udev(programs) if multipath.udev == "auto" else NoUdev(),
            accept_renames=multipath.accept_renames,
            timing=Timing(reconfigure=float(multipath.reconfigure_timeout_seconds)),
        )
        self._storages = StorageLoop(
            name,
            picture,
            programs if multipath.storage_tools == "auto" else None,
            interval=multipath.poll_interval_ms / 1000,
            told=lambda: self._polling.wake(),
        )
        self._knowledge = Knowledge(name, engine, applied_clock)
        self.storages = StorageActs(name, picture, self._storages, in_use, self._knowledge)
        """What can be asked of this host's storages."""
        self._polling = PollLoop(
            name,
            client,
            devices,
            records,
            picture,
            engine,
            interval=multipath.poll_interval_ms / 1000,
            outcome=lambda: self._applying.outcome,
            daemon_moved=lambda: self._applying.wake(),
            storages=self._storages.cells,
            kernel_events=multipath.udev == "auto",
            looks=_looks(self._paths, real=multipath.storage_tools == "auto"),
            skew=skew,
        )
        self._applying = ApplyLoop(
            name,
            reconciler,
            records,
            applied_clock,
            picture,
            engine,
            self._knowledge,
            debounce=multipath.debounce_ms / 1000,
            polled=self._polling.polled,
            tools_version=self._polling.collector.tools_version,
            told=self._polling.wake,
        )

    def attach(self, runner: Runner) -> None:
        """Give it the runner that its health goes to."""
        self._polling.attach(runner)

    def news(self, change: Publish) -> None:
        """Wake apply when the configuration moved, and a poll when somebody accepted paths, or maintenance begins or ends."""
        self._applying.news(change)
        self._polling.news(change)
        if any(key.startswith((f"ack/{self._name}/", MAINTENANCE + self._name, "storage/", "member/")) for key in change.keys):
            self._polling.wake()
        if any(key.startswith(("storage/", "wwid/", "member/")) for key in change.keys):
            self._storages.wake()

    async def run(self) -> None:
        """Poll and apply until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._polling.run(), name="health")
                group.create_task(self._applying.run(), name="apply")
                group.create_task(self._storages.run(), name="storages")
        finally:
            self._applying.stopped()

    async def apply_now(self) -> dict[str, Any]:
        """Apply again at once, whatever the last outcome was; returns the new one, as the apply cell will tell it."""
        return await self._applying.apply_now()

    async def purge(self) -> dict[str, Any]:
        """Take everything of ours from this host: see `ApplyLoop.purge`."""
        return await self._applying.purge()

    async def keep(self) -> None:
        """Take a purge back: the host gets what the configuration says."""
        await self._applying.keep()

    @property
    def reach(self) -> Reach:
        """Whom this node does not hear or reach, as it is told to others."""
        return self._polling.reach

    async def render(self) -> dict[str, Any]:
        """What this node would write now, the difference to what is there, and what else an apply would do to this host."""
        config = self._picture.config
        found, version = await self._applying.preview(), self._polling.collector.facts.version
        rendered = render(config.model, digest=config.apply_digest, tools_version=version, kept=found.kept_names)
        current = DropIns(self._paths.conf_dir, self._paths.kept_dir).current()
        return {
            "files": {name: file.content.decode() for name, file in sorted(rendered.files.items())},
            "diff": render_diff(self._paths.conf_dir, current, rendered),
            "skipped": [problem_json(p) for p in rendered.skipped],
            **_preview_json(found),
        }


def _looks(paths: HostPaths, *, real: bool) -> list[Callable[[], Sequence[str]]]:
    """What is looked at now and then; the initramfs only where multipathd is a real one, for it is this machine's."""
    initramfs = Initramfs(paths)
    return [partial(other_owners, paths), *([lambda: [note] if (note := initramfs.note()) else []] if real else [])]


def _preview_json(found: Preview) -> dict[str, Any]:
    return {
        "allow_list": {"append": list(found.append), "disable": list(found.disable), "deferred": [_said(each) for each in found.deferred]},
        "maps": {
            "known": found.daemon,
            "renamed": {wwid: {"from": old, "to": new} for wwid, (old, new) in found.renamed.items()},
            "made": list(found.made),
            "released": list(found.released),
        },
        "refused": [_said(each) for each in found.refused],
    }


def _said(error: ApplyError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}
