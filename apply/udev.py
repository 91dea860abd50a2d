"""Telling udev to look again at the paths of a LUN whose place in the allow-list changed.

udev's verdict on a path (`DM_MULTIPATH_DEVICE_PATH`) is made when the path appears and stays until a change event, so without this LVM and
others would go on treating the paths of a new LUN as plain disks, and those of a removed one as untouchable.
"""

import asyncio
import contextlib
import re
import shutil
from collections.abc import Iterable
from typing import Protocol

TRIGGER_SECONDS = 10.0
_DEVICE = re.compile(r"(sd[a-z]+|dasd[a-z]+|nvme[0-9]+n[0-9]+)")


class Triggers(Protocol):
    """Whoever tells udev."""

    async def changed(self, devices: Iterable[str]) -> None: ...


class Udev:
    """Runs `udevadm`, if there is one."""

    async def changed(self, devices: Iterable[str]) -> None:
        """Send a change event for each device name; what cannot be sent is left, for multipathd works without it."""
        program = shutil.which("udevadm")
        names = sorted({name for name in devices if _DEVICE.fullmatch(name)})
        if program is None or not names:
            return
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                "trigger",
                "--action=change",
                *(f"--name-match={name}" for name in names),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError:
            return
        try:
            async with asyncio.timeout(TRIGGER_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class NoUdev:
    """Does nothing: `multipath.udev = off`, or a simulated host."""

    async def changed(self, devices: Iterable[str]) -> None:
        """Leave udev alone."""
