"""The image that guests boot: Debian's User-Mode Linux kernel, a root file system with the real tools, and our runtime dependencies.

Everything comes from the machine's own package sources. The code that is tested is not in the image: a guest gets it from the host when it
boots, so an image is built anew only if the list of packages, our dependencies or the release changed.
"""

import os
import shutil
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.hostlab import cache
from scripts.hostlab.cache import TREE, need, run
from scripts.hostlab.errors import LabError
from scripts.hostlab.packages import Archive, network_options, release, sources

PACKAGES = (
    "busybox-static", "dmsetup", "e2fsprogs", "iproute2", "iputils-ping", "kmod", "lvm2", "multipath-tools", "open-iscsi", "procps",
    "psmisc", "python3", "strace", "tgt", "udev", "util-linux",
)  # fmt: skip
SIZE_MIB = 1024
"""Of the guests' disk; the file is sparse."""
RECIPE = 1
"""Raised by whoever changes this module so that its images come out otherwise."""
BOOT = """\
#!/bin/sh
# The first process: fetch what the host offers, and go on with it.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
for word in $(cat /proc/cmdline); do case $word in lab.share=*) share=${word#lab.share=};; esac; done
mount -t hostfs -o "${share:?}" none /lab
exec sh /lab/guest/init
"""
PYTHON_SITE = "opt/pathmesh"
"""Where our dependencies are in the guests."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """The two files that a guest needs."""

    directory: Path

    @property
    def kernel(self) -> Path:
        return self.directory / "linux.uml"

    @property
    def disk(self) -> Path:
        return self.directory / "base.ext4"


def dependencies() -> list[str]:
    """What our code needs at run time."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    return [str(each) for each in project["dependencies"]]


def image() -> Image:
    """Where the image of this recipe is, built or not."""
    parts = (RECIPE, PACKAGES, SIZE_MIB, BOOT, dependencies(), release(), [path.read_text() for path in sources()])
    return Image(cache.entry("image", *parts))


def why_not() -> str:
    """Why no guest can be started here; empty if nothing is missing."""
    if os.geteuid() != 0:
        return "the lab's networks need root"
    try:
        need(["ip"], "the lab's networks")
        found = image()
    except LabError as fault:
        return fault.message
    return "" if found.directory.is_dir() else "the lab is not built: ./scripts/lab build"


def build(say: Say = lambda _line: None) -> Image:
    """Build the image if it is not there. Needs root; touches nothing outside the cache directory. Raises LabError."""
    found = image()
    if found.directory.is_dir():
        say(f"{found.directory}: up to date")
        return found
    if os.geteuid() != 0:
        raise LabError("building the lab needs root", "it makes a root file system; the result is used as root, too")
    need(["apt-get", "apt-config", "dpkg-deb", "perl", "mke2fs", "chroot", "unshare", "mount"], "building the lab")
    began = time.monotonic()
    cache.build(found.directory, lambda directory: _make(directory, say))
    say(f"built {found.directory} in {time.monotonic() - began:.0f} s")
    return found


def _make(directory: Path, say: Say) -> None:
    work, root = directory / "work", directory / "work" / "root"
    tools = work / "tools"
    tools.mkdir(parents=True)
    say("fetching the kernel and the bootstrap tool …")
    Archive(work / "archive").unpack(["mmdebstrap", "user-mode-linux"], tools)
    shutil.copy2(tools / "usr/bin/linux.uml", directory / "linux.uml")
    say(f"making a root file system of {len(PACKAGES)} packages …")
    _bootstrap(tools, root)
    modules = next((tools / "usr/lib/uml/modules").iterdir())
    shutil.copytree(modules, root / "lib/modules" / modules.name, symlinks=True)
    run("chroot", root, "depmod", modules.name)
    say("adding the agent's dependencies …")
    _dependencies(root)
    _finish(root)
    say("writing the image …")
    disk = directory / "base.ext4"
    run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum", "-d", root, "-L", "lab", disk, f"{SIZE_MIB}M")
    shutil.rmtree(work)


def _bootstrap(tools: Path, root: Path) -> None:
    options = [f"--aptopt={line.rstrip(';')}" for line in network_options()]
    program = tools / "usr/bin/mmdebstrap"
    run(
        "perl", program, "--quiet", "--mode=root", "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES)}",
        *options, release(), root, *sources(),
    )  # fmt: skip


def _dependencies(root: Path) -> None:
    """Install our dependencies by the guest's own Python, with this environment's pip and this machine's pip configuration.

    The guest's interpreter is started by the guest's loader on this machine's file system: so pip picks what fits the guest, and still
    finds the indexes and certificates that it finds here.
    """
    import pip

    loaders = sorted(root.glob("lib*/ld-linux*.so.*")) or sorted(root.glob("usr/lib*/ld-linux*.so.*"))
    interpreters = sorted(root.glob("usr/bin/python3.[0-9]*[0-9]"))
    if not loaders or not interpreters or pip.__file__ is None:
        raise LabError("the root file system has no Python of a known shape")
    loader = loaders[0].resolve() if not loaders[0].is_symlink() else _inside(root, loaders[0])
    libraries = ":".join(str(path) for path in sorted(root.glob("usr/lib/*-linux-gnu")))
    run(
        loader, "--library-path", libraries, interpreters[-1], "-B", Path(pip.__file__).parent, "install",
        "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--only-binary=:all:", "--target", root / PYTHON_SITE, *dependencies(),
        env={"PYTHONHOME": str(root / "usr"), "PYTHONNOUSERSITE": "1", "PYTHONPATH": ""},
    )  # fmt: skip


def _inside(root: Path, link: Path) -> Path:
    """Where a link of the root file system points to, in it."""
    aim = link.readlink()
    return root / aim.relative_to("/") if aim.is_absolute() else link.parent / aim


def _finish(root: Path) -> None:
    boot = root / "sbin" / "lab-boot"
    boot.write_text(BOOT)
    boot.chmod(0o755)
    (root / "lab").mkdir()
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    for leftover in ("var/lib/apt/lists", "var/cache/apt", "usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(root / leftover, ignore_errors=True)
