"""Debian packages from the machine's own sources, without installing any: its own package lists are left as they are."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from scripts.hostlab.cache import need, run
from scripts.hostlab.errors import LabError

_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]+)")
RETRIES = 5
RETRY = f'Acquire::Retries "{RETRIES}";'
"""How often a download is tried again, unless the machine's own configuration says otherwise."""
_ALWAYS_THERE = frozenset({"libc6", "libgcc-s1"})


def sources() -> list[Path]:
    """The files that say where packages come from: `PATHMESH_LAB_SOURCES` (a path), or the machine's Debian ones."""
    own = os.environ.get("PATHMESH_LAB_SOURCES")
    candidates = [Path(own)] if own else [Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")]
    found = [path for path in candidates if path.is_file() and re.search(r"^\s*(deb|Types:)\s", path.read_text(), re.MULTILINE)]
    if not found:
        listed = " and ".join(map(str, candidates))
        raise LabError(f"no package source in {listed}", "name the file of Debian's package sources in PATHMESH_LAB_SOURCES")
    return found


def release() -> str:
    """The name of this machine's release, as its package sources call it (`bookworm`)."""
    text = Path("/etc/os-release").read_text() if Path("/etc/os-release").is_file() else ""
    found = re.search(r'^VERSION_CODENAME="?([a-z]+)', text, re.MULTILINE)
    if found is None:
        raise LabError("/etc/os-release names no release", "the lab is built from the packages of a Debian machine")
    return found[1]


class Archive:
    """The package archive, seen through package lists of our own in `directory`."""

    def __init__(self, directory: Path) -> None:
        need(["apt-get", "apt-config", "dpkg-deb"], "fetching packages")
        self._directory = directory
        for name in ("lists/partial", "cache/archives/partial", "debs"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self._own = [f"-oDir::State::Lists={directory}/lists", f"-oDir::Cache={directory}/cache", "-oAPT::Sandbox::User=root"]
        if RETRY in network_options():
            self._own.append(f"-oAcquire::Retries={RETRIES}")
        self._apt("update", "-qq")

    def unpack(self, names: Collection[str], target: Path, *, with_libraries: bool = False) -> None:
        """Unpack packages into `target`; `with_libraries` also those libraries that they depend on. Nothing of them is run."""
        wanted, have = list(names), set[str]()
        while wanted:
            self._apt("download", "-qq", *wanted)
            have.update(wanted)
            wanted = []
            for deb in sorted((self._directory / "debs").glob("*.deb")):
                run("dpkg-deb", "-x", deb, target)
                if with_libraries:
                    wanted += [name for name in _libraries(deb) if name not in have and name not in wanted]
                deb.unlink()

    def _apt(self, *arguments: str) -> None:
        run("apt-get", *self._own, *arguments, cwd=self._directory / "debs")


def _libraries(deb: Path) -> list[str]:
    depends = ",".join(run("dpkg-deb", "-f", deb, field) for field in ("Pre-Depends", "Depends"))
    names = [found[1] for part in depends.split(",") if (found := _NAME.match(part))]
    return [name for name in names if name.startswith("lib") and name not in _ALWAYS_THERE]


def network_options() -> list[str]:
    """What this machine tells apt about reaching the archive (proxies, certificates, clocks, retries), as `key "value";` lines."""
    lines = run("apt-config", "dump").splitlines()
    passed = re.compile(r"Acquire::(\S*Proxy\S*|https?::Ca\S*|https?::Verify\S*|Check-Valid-Until|Check-Date|Retries)\s")
    found = [line for line in lines if passed.match(line) and not line.endswith('"";')]
    return found if any(line.startswith("Acquire::Retries ") for line in found) else [*found, RETRY]
