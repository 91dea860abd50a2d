"""A lab: guests that see one set of networks, kept in a directory so that another process can find and end them."""

import compileall
import json
import os
import py_compile
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.hostlab.cache import TREE, cache_dir
from scripts.hostlab.errors import LabError
from scripts.hostlab.image import image, why_not
from scripts.hostlab.machine import Guest
from scripts.hostlab.network import Network

MAX_GUESTS = 16
_CODE = ("agent", "apply", "gossip", "store")
_STATE = "lab.json"


def common_directory() -> Path:
    """Where the lab of `./scripts/lab up` lives."""
    return cache_dir() / "up"


class Lab:
    """Guests 1 to N, with their disks under `directory`."""

    def __init__(self, directory: Path, namespace: str) -> None:
        self.directory = directory
        self.network = Network(namespace)
        self.guests: list[Guest] = []

    def up(self, names: "list[str]", *, multipathd: bool = True) -> None:
        """Boot one guest for each name, side by side, and wait until all obey. LabError if one does not; then none is left."""
        reason = why_not()
        if reason:
            raise LabError(reason)
        if self.guests:
            raise LabError("the lab is up already", "./scripts/lab down")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._share()
        self.network.open()
        try:
            for number, name in enumerate(names, 1):
                guest = Guest(number, name, self.network, self.directory / name, self.share)
                self.guests.append(guest)
                guest.boot(image(), multipathd=multipathd)
            self._remember()
            for guest in self.guests:
                guest.wait()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End every guest and remove networks and disks."""
        for guest in self.guests:
            guest.kill()
        self.network.close()
        self.guests = []
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def share(self) -> Path:
        """What the guests see as /lab."""
        return self.directory / "share"

    def guest(self, number: int) -> Guest:
        """The guest of this number. LabError if there is none."""
        for guest in self.guests:
            if guest.number == number:
                return guest
        numbers = ", ".join(str(guest.number) for guest in self.guests)
        raise LabError(f"there is no guest {number}", f"there are {numbers}" if numbers else "./scripts/lab up 3")

    def _share(self) -> None:
        """A copy of the code as it is now, so that an edit while guests run does not give them half of it."""
        shutil.rmtree(self.share, ignore_errors=True)
        shutil.copytree(TREE / "scripts" / "hostlab" / "guest", self.share / "guest", ignore=shutil.ignore_patterns("__pycache__"))
        for package in _CODE:
            shutil.copytree(TREE / package, self.share / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(
            self.share / "code", quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH, stripdir=str(self.share)
        )

    def _remember(self) -> None:
        guests = [{"number": g.number, "name": g.name, "pid": g.pid, "started": g.started} for g in self.guests]
        (self.directory / _STATE).write_text(json.dumps({"namespace": self.network.name, "guests": guests}, indent=1))


def found(directory: Path) -> Lab | None:
    """The lab that another process has brought up there; None if there is none."""
    try:
        state = json.loads((directory / _STATE).read_text())
    except FileNotFoundError:
        return None
    lab = Lab(directory, state["namespace"])
    for each in state["guests"]:
        lab.guests.append(
            Guest(each["number"], each["name"], lab.network, directory / each["name"], lab.share, each["pid"], each["started"])
        )
    return lab


@contextmanager
def running(directory: Path, names: "list[str]", *, multipathd: bool = True) -> Iterator[Lab]:
    """A lab of this process alone; it goes at the end whatever happens."""
    lab = Lab(directory, f"pathmesh-lab-{os.getpid()}-{time.monotonic_ns() % 10**6}")
    lab.up(names, multipathd=multipathd)
    try:
        yield lab
    finally:
        lab.down()
