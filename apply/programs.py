"""Running the host's own programs (lvm, wipefs, dmsetup, iscsiadm), in one way for all of them.

A program that reads from a device without paths hangs in the kernel, where no signal reaches it. So nothing here waits for a program
longer than its time: it is killed, and while it does not die the same program is not started again, or such processes would pile up.

A program that changes something is never killed, for that would leave half of its work: nobody waits for it any longer, and it goes on. It
is in a session of its own and writes to memory, not to a pipe, so that it does so also when the agent ends.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from store.errors import UnavailableError
from store.limits import limit

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for: a service's own PATH may lack the directories for administrators."""
DYING_SECONDS = 2.0
"""How long a killed program may take to go; one that takes longer hangs in the kernel."""
PARTING_SECONDS = 3.0
"""How long a program that changes something is still waited for once nobody wants to know: the agent has to stop in time."""
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Output:
    """What a program said, each stream cut at the bound `program_output_bytes`, and its exit status (negative: the signal)."""

    status: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """What it complains about, on one line: its warnings are mostly about something else."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        told = [line for line in lines if not line.startswith("WARNING:")] or lines
        return "; ".join(told[:3])[:400] or f"exit status {self.status}"


class Programs(Protocol):
    """Whoever runs programs. Tests put executables of their own on the search path of the one implementation."""

    def has(self, name: str) -> bool:
        """Whether there is such a program."""

    async def run(self, *argv: str, seconds: float) -> Output:
        """Run it and give what it said, whatever its exit status.

        UnavailableError `program-missing`, `program-failed` if it cannot be started, `program-timeout` if it takes longer than `seconds`,
        `program-stuck` if an earlier one still hangs.
        """

    async def change(self, *argv: str, seconds: float) -> Output:
        """As `run`, for what changes something: it is not killed. UnavailableError `program-timeout` then says that it goes on.

        A cancellation takes effect once it has ended, or after `PARTING_SECONDS`.
        """


@dataclass
class HostPrograms:
    """The programs of this host. `search` is a PATH."""

    search: str = SEARCH
    _stuck: dict[str, "asyncio.Task[object]"] = field(default_factory=dict)
    _going_on: dict[str, list["subprocess.Popen[bytes]"]] = field(default_factory=dict)
    """Programs that change something and took longer than their time."""

    def has(self, name: str) -> bool:
        return shutil.which(name, path=self.search) is not None

    async def run(self, *argv: str, seconds: float) -> Output:
        name, program = argv[0], self._startable(argv[0])
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *argv[1:],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(self.search),
                start_new_session=True,
            )
        except OSError as fault:
            raise UnavailableError(f"{program}: {fault.strerror}", code="program-failed") from None
        reading = asyncio.ensure_future(_read(process))
        try:
            async with asyncio.timeout(seconds):
                stdout, stderr = await asyncio.shield(reading)
                await process.wait()
        except TimeoutError:
            await self._end(name, process, reading)
            message = f"{' '.join(argv[:2])} did not end within {seconds:g} s"
            raise UnavailableError(message, code="program-timeout", hint="a device that it reads may not answer: pathmesh matrix") from None
        except asyncio.CancelledError:
            self._stuck[name] = _abandoned(process, reading)  # until it is gone it is not started again
            raise
        assert process.returncode is not None
        return Output(process.returncode, stdout, stderr)

    async def change(self, *argv: str, seconds: float) -> Output:
        program = self._startable(argv[0])
        with _memory() as stdout, _memory() as stderr:
            process = self._begin(program, argv, stdout.fileno(), stderr.fileno())
            try:
                await _ended(process, seconds)
            finally:
                if process.returncode is None:
                    self._going_on.setdefault(argv[0], []).append(process)
            if process.returncode is None:
                message = f"{' '.join(argv[:2])} did not end within {seconds:g} s; it goes on"
                hint = (
                    "it is not killed half-way, and nothing of the kind is begun before it ends; a device may not answer: pathmesh matrix"
                )
                raise UnavailableError(message, code="program-timeout", hint=hint)
            return Output(process.returncode, _beginning(stdout), _beginning(stderr))

    def _startable(self, name: str) -> str:
        """Where a program is, unless there is none or an earlier one hangs."""
        program = shutil.which(name, path=self.search)
        if program is None:
            raise UnavailableError(f"there is no program {name} on this host", code="program-missing", hint=_package(name))
        hint = "look for a map without paths that queues: pathmesh matrix"
        stuck = self._stuck.get(name)
        if stuck is not None and not stuck.done():
            message = f"an earlier {name} still hangs in the kernel: it waits for a device that does not answer"
            raise UnavailableError(message, code="program-stuck", hint=hint)
        self._stuck.pop(name, None)
        going_on = self._going_on[name] = [process for process in self._going_on.get(name, ()) if process.poll() is None]
        if going_on:
            raise UnavailableError(f"an earlier {name} that changes something has not ended yet", code="program-stuck", hint=hint)
        return program

    def _begin(self, program: str, argv: tuple[str, ...], stdout: int, stderr: int) -> "subprocess.Popen[bytes]":
        """Start a program that nothing but its own end ends; unlike one of asyncio's it is not killed with the event loop."""
        try:
            return subprocess.Popen(
                [program, *argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=_environment(self.search),
                start_new_session=True,
            )
        except OSError as fault:
            raise UnavailableError(f"{program}: {fault.strerror}", code="program-failed") from None

    async def _end(self, name: str, process: asyncio.subprocess.Process, reading: "asyncio.Future[tuple[str, str]]") -> None:
        """Kill it with all that it started; remember it if it does not die."""
        waiting = _abandoned(process, reading)
        done, _ = await asyncio.wait([waiting], timeout=DYING_SECONDS)
        if not done:
            self._stuck[name] = waiting


async def _read(process: asyncio.subprocess.Process) -> tuple[str, str]:
    assert process.stdout is not None and process.stderr is not None
    stdout, stderr = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
    return stdout, stderr


async def _bounded(stream: asyncio.StreamReader) -> str:
    """The beginning of a stream; the rest is read and dropped, so that the writer never blocks."""
    most, kept, size = limit("program_output_bytes"), [], 0
    while chunk := await stream.read(65536):
        if size < most:
            kept.append(chunk[: most - size])
        size += len(chunk)
    return b"".join(kept).decode("utf-8", "replace")


async def _ended(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Wait until it has ended, at most so long; who is cancelled meanwhile is told so after that, and not much later."""
    loop = asyncio.get_running_loop()
    due, cancelled = loop.time() + seconds, None
    while process.poll() is None and loop.time() < due:
        try:
            await asyncio.sleep(_LOOK_SECONDS)
        except asyncio.CancelledError as fault:
            if cancelled is None:
                due, cancelled = min(due, loop.time() + PARTING_SECONDS), fault
    if cancelled is not None:
        raise cancelled


def _memory() -> BinaryIO:
    """A file without a name, which a program may write to that outlives us."""
    try:
        return os.fdopen(os.memfd_create("output"), "w+b")
    except OSError as fault:
        raise UnavailableError(f"no memory for a program's output: {fault.strerror}", code="program-failed") from None


def _beginning(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(limit("program_output_bytes")).decode("utf-8", "replace")


def _abandoned(process: asyncio.subprocess.Process, reading: "asyncio.Future[tuple[str, str]]") -> "asyncio.Task[object]":
    """Kill it and listen no more; what is given ends when it is gone."""
    _kill(process)
    reading.cancel()
    return asyncio.ensure_future(process.wait())


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _environment(search: str) -> Mapping[str, str]:
    """Nothing of the agent's own but what was fixed here: messages in one language, no complaint about our open files."""
    return {"PATH": search, "LC_ALL": "C", "LVM_SUPPRESS_FD_WARNINGS": "1"}


_PACKAGES: Mapping[str, str] = {
    "lvm": "apt install lvm2",
    "iscsiadm": "apt install open-iscsi",
    "udevadm": "apt install udev",
    "dmsetup": "apt install dmsetup",
    "wipefs": "apt install util-linux",
    "blockdev": "apt install util-linux",
    "dd": "apt install coreutils",
}


def _package(name: str) -> str:
    return _PACKAGES.get(name, "")
