"""Native NVMe multipath as sysfs shows it: subsystems, their controllers, and the ANA state of each namespace by each controller.

multipathd does not list these (its JSON never holds foreign maps), and nothing has to be installed to read them. Attribute names:
drivers/nvme/host/{core,multipath,fabrics}.c.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from apply.nvme import Controller, Namespace, Subsystem
from apply.path_facts import nvme_address
from store.limits import limit

MOST_SUBSYSTEMS = limit("nvme_subsystems")
_CONTROLLER = re.compile(r"nvme[0-9]+")
_HEAD = re.compile(r"nvme[0-9]+n[0-9]+")
_PATH = re.compile(r"nvme[0-9]+c([0-9]+)n([0-9]+)")


@dataclass(frozen=True)
class NvmeSysfs:
    """The real host. `root` is where sysfs is mounted."""

    root: Path = Path("/sys")

    def subsystems(self) -> tuple[Subsystem, ...]:
        """The subsystems that several hosts may share, or that have several controllers; none where native multipath is switched off."""
        if _read(self.root / "module/nvme_core/parameters/multipath") == "N":
            return ()
        found = (self._subsystem(path) for path in _children(self.root / "class" / "nvme-subsystem", re.compile(r"nvme-subsys[0-9]+")))
        return tuple(sorted((each for each in found if each is not None), key=lambda each: each.nqn))[:MOST_SUBSYSTEMS]

    def _subsystem(self, path: Path) -> Subsystem | None:
        nqn = _read(path / "subsysnqn")
        if not nqn or _read(path / "subsystype") == "discovery":
            return None
        controllers = {each.name: self._controller(each) for each in _children(path, _CONTROLLER)}
        if not controllers or (len(controllers) == 1 and {each.transport for each in controllers.values()} == {"pcie"}):
            return None  # a disk of this host alone
        heads = tuple(self._namespace(path, head, controllers) for head in _children(path, _HEAD))
        return Subsystem(
            nqn,
            _read(path / "model"),
            _read(path / "serial"),
            _read(path / "firmware_rev"),
            _read(path / "iopolicy"),
            tuple(controllers.values()),
            tuple(sorted(heads, key=lambda head: head.nsid)),
        )

    def _controller(self, path: Path) -> Controller:
        transport = _read(path / "transport")
        ends = nvme_address(transport, _read(path / "address"))
        service = f":{ends.trsvcid}" if ends.trsvcid else ""
        return Controller(path.name, f"nvme:{transport}:{ends.host_traddr or '-'}>{ends.traddr}{service}", transport, _read(path / "state"))

    def _namespace(self, path: Path, head: Path, controllers: dict[str, Controller]) -> Namespace:
        """A head with its paths: `nvme0c1n2` is head `nvme0n2` by controller `nvme1`; without ANA the attribute is absent."""
        instance = head.name.rpartition("n")[2]
        states: dict[str, str] = {}
        for controller in controllers:
            for each in _children(path / controller, _PATH):
                found = _PATH.fullmatch(each.name)
                if found is not None and found[2] == instance:
                    states[controller] = _read(each / "ana_state")
        size = _read(head / "size")
        nsid = _read(head / "nsid")
        return Namespace(
            int(nsid) if nsid.isdigit() else int(instance), _read(head / "wwid"), int(size) * 512 if size.isdigit() else None, states
        )


def _children(directory: Path, pattern: re.Pattern[str]) -> Iterator[Path]:
    try:
        yield from sorted(path for path in directory.iterdir() if pattern.fullmatch(path.name))
    except OSError:
        return


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
