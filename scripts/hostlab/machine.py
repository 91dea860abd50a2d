"""One guest: a User-Mode Linux process that is booted, asked to run things, and ended."""

import base64
import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.hostlab.errors import LabError
from scripts.hostlab.image import Image
from scripts.hostlab.network import Net, Network

PORT = 7777
"""Where `guest/obey.py` listens."""
BOOT_SECONDS = 120.0
MEMORY_MIB = 224
_LENGTH = struct.Struct(">I")


class CommandFailed(AssertionError):
    """A command in a guest failed though it must not."""


@dataclass(frozen=True)
class Done:
    """How a command ended: exit status (negative: the signal), what it said, and whether its time was up."""

    code: int
    out: str
    err: str
    late: bool = False


@dataclass
class Guest:
    """A guest by number and name. `share` is what it sees of this host as /lab; `directory` holds its disk and its console."""

    number: int
    name: str
    network: Network
    directory: Path
    share: Path
    pid: int = 0
    started: int = 0
    """When its process began, in the kernel's ticks: a pid alone may be somebody else's by now."""
    process: "subprocess.Popen[bytes] | None" = None
    """If this process has started it."""

    def boot(self, image: Image, *, multipathd: bool = True, memory_mib: int = MEMORY_MIB) -> None:
        """Start it; `wait` tells when it is up. A disk that is there from before is booted again."""
        self.directory.mkdir(parents=True, exist_ok=True)
        taps = self.network.plug(self.number)
        links = [f"vec{net}:transport=tap,ifname={tap},depth=64,gro=0" for net, tap in enumerate(taps)]
        command = [
            *self.network.inside, str(image.kernel), f"mem={memory_mib}M", f"umid={self.name}", f"uml_dir={self.directory}/uml",
            f"ubd0={self.directory / 'disk.cow'},{image.disk}", "root=/dev/ubda", "rw", "init=/sbin/lab-boot", f"lab.share={self.share}",
            f"lab.name={self.name}", f"lab.addresses={','.join(net.address(self.number) for net in Net)}",
            f"lab.multipathd={'on' if multipathd else 'off'}", *links, "con=null", "con0=null,fd:1", "quiet", "panic=1",
        ]  # fmt: skip
        (self.directory / "uml").mkdir(exist_ok=True)
        with (self.directory / "console.log").open("ab") as log:
            # Its memory is a file; it has to lie where programs may be run from.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "TMPDIR": str(memory_directory(self.directory, memory_mib))},
            )  # fmt: skip
        self.pid, self.started = self.process.pid, _start_of(self.process.pid)

    def wait(self, seconds: float = BOOT_SECONDS) -> None:
        """Until it obeys. LabError, with the last lines of its console, if it does not."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.run("true", seconds=10)
                return
            except OSError:
                if not self.alive() or time.monotonic() > end:
                    state = "does not answer" if self.alive() else "has ended"
                    said = self._last_words()
                    hint = "guests need ptrace(2): in a container, the capability SYS_PTRACE" if "ptrace" in said else ""
                    raise LabError(f"guest {self.name} {state}: {said}", hint) from None
                time.sleep(0.2)

    def alive(self) -> bool:
        """Whether its process runs."""
        if self.process is not None:
            self.process.poll()  # so that nothing is left of it once it has ended
        return self.pid > 0 and _start_of(self.pid) == self.started != 0

    def console(self) -> str:
        """What its kernel and its first process have said."""
        return (self.directory / "console.log").read_text(errors="replace")

    def _last_words(self) -> str:
        lines = self.console().partition("Call Trace")[0].splitlines()
        return " | ".join([line for line in lines if line.strip()][-8:])[-800:]

    def shutdown(self, seconds: float = 20.0) -> None:
        """Write everything to its disk and power it off."""
        with contextlib.suppress(OSError, CommandFailed):
            self.run("sync; busybox poweroff -f", check=False, seconds=5)
        end = time.monotonic() + seconds
        while self.alive() and time.monotonic() < end:
            time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.alive():
            end = time.monotonic() + 10
            with contextlib.suppress(ProcessLookupError):  # the group: the kernel's process, and those of the guest's programs
                os.killpg(self.pid, signal.SIGKILL)
                while time.monotonic() < end:
                    self.alive()
                    os.killpg(self.pid, 0)
                    time.sleep(0.02)
        self.network.unplug(self.number)
        shutil.rmtree(self.directory / "uml", ignore_errors=True)

    # -- what is done in it -------------------------------------------------------------------------------------------

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        seconds: float = 60.0,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run words or a line of shell. CommandFailed if it fails (but for `check=False`) or takes longer, OSError if the guest is gone."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        asked = {"do": "run", "command": words, "seconds": seconds, "stdin": _encoded(stdin), "env": dict(env or {})}
        answer = self._ask(asked, seconds + 15)
        done = Done(answer["code"], _decoded(answer["out"]), _decoded(answer["err"]), answer["late"])
        if done.late or (check and done.code):
            how = f"not done after {seconds:g} s" if done.late else f"exit {done.code}"
            line = command if isinstance(command, str) else shlex.join(command)
            said = (done.err or done.out).strip()[-800:]
            raise CommandFailed(": ".join(filter(None, (self.name, line[:200], how, said))))
        return done

    def start(self, command: Sequence[str], log: str, env: Mapping[str, str] | None = None) -> int:
        """Start a program that stays; its pid in the guest. Its words go to the guest's file `log`."""
        return int(self._ask({"do": "start", "command": list(command), "log": log, "env": dict(env or {})}, 20)["pid"])

    def read(self, path: str) -> str:
        """A file of the guest. FileNotFoundError if it is not there."""
        done = self.run(["cat", "--", path], check=False)
        if done.code:
            raise FileNotFoundError(f"{self.name}:{path}: {done.err.strip()}")
        return done.out

    def write(self, path: str, text: str) -> None:
        """Write a file of the guest, with its directories."""
        self.run(["sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path], stdin=text.encode())

    def exists(self, path: str) -> bool:
        """Whether there is something of this name."""
        return self.run(["test", "-e", path], check=False).code == 0

    def clock_offset(self, rounds: int = 20) -> tuple[int, int]:
        """What is to be added to the guest's CLOCK_MONOTONIC to get this host's, and how far that may be off: nanoseconds both."""
        found = []
        with self.network.connect(Net.MANAGEMENT.address(self.number), PORT) as connection:
            connection.settimeout(20)
            for _ in range(rounds):
                asked = time.monotonic_ns()
                there = _exchange(connection, {"do": "clock"})["ns"]
                half = (time.monotonic_ns() - asked) // 2
                found.append((half, asked + half - there))
        half, offset = min(found)
        return offset, half

    def pipe(self, path: str, seconds: float = 30.0) -> socket.socket:
        """A connection to a unix socket of the guest. OSError if it refuses."""
        connection = self.network.connect(Net.MANAGEMENT.address(self.number), PORT)
        try:
            connection.settimeout(seconds)
            answer = _exchange(connection, {"do": "connect", "path": path})
            if "fault" in answer:
                raise ConnectionRefusedError(answer["fault"])
        except BaseException:
            connection.close()
            raise
        return connection

    def _ask(self, asked: dict[str, Any], seconds: float) -> Any:
        with self.network.connect(Net.MANAGEMENT.address(self.number), PORT) as connection:
            connection.settimeout(seconds)
            answer = _exchange(connection, asked)
        if "fault" in answer:
            raise CommandFailed(f"{self.name}: {answer['fault']}")
        return answer


class GuestHttp(http.client.HTTPConnection):
    """HTTP to a unix socket of a guest."""

    def __init__(self, guest: Guest, path: str, seconds: float = 20.0) -> None:
        super().__init__("localhost", timeout=seconds)
        self._guest = guest
        self._path = path

    def connect(self) -> None:
        self.sock = self._guest.pipe(self._path, self.timeout or 20.0)


def memory_directory(fallback: Path, mebibytes: int) -> Path:
    """Where a guest's memory can lie: shared memory if it has room and programs may run from it, else `fallback`."""
    shared = Path("/dev/shm")
    try:
        found = os.statvfs(shared)
    except OSError:
        return fallback
    usable = not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize > 4 * mebibytes << 20
    return shared if usable else fallback


def _exchange(connection: socket.socket, asked: dict[str, Any]) -> Any:
    data = json.dumps(asked).encode()
    connection.sendall(_LENGTH.pack(len(data)) + data)
    return json.loads(_exactly(connection, _LENGTH.unpack(_exactly(connection, _LENGTH.size))[0]))


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(min(size, 65536))
        if not part:
            raise ConnectionResetError("the guest hung up")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _start_of(pid: int) -> int:
    """When a process began; 0 if there is none, or only what is left of one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode("utf-8", "replace")
