"""Whether the copy of multipath's files in the initramfs is still what is on this host.

With multipath-tools-boot the initramfs holds a copy of the allow-list (and of what else its hook copies), and the maps that the boot needs
are made by that copy. It is never rebuilt here: that is for a person to do when it suits. The image is read only when it is another one,
without unpacking it anywhere: its parts are cpio archives one after the other, the last of which is compressed.
"""

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from apply.cpio import MAGIC, Damaged, Member, members
from apply.hostpaths import HostPaths
from apply.programs import SEARCH
from apply.wwids_file import AllowList
from store.limits import limit

SECONDS = 60.0
"""How long an image may take to be read."""
_HOOK = "usr/share/initramfs-tools/hooks/multipath"
_WITHIN = "etc/multipath/"
_UNPACKERS: Mapping[bytes, tuple[str, ...]] = {
    b"\x28\xb5\x2f\xfd": ("zstd", "-dcq"),
    b"\x1f\x8b": ("gzip", "-dcq"),
    b"\xfd7zXZ": ("xz", "-dcq"),
    b"\x5d\x00\x00": ("xz", "--format=lzma", "-dcq"),
    b"BZh": ("bzip2", "-dcq"),
    b"\x02\x21\x4c\x18": ("lz4", "-dcq"),
    b"\x04\x22\x4d\x18": ("lz4", "-dcq"),
    b"\x89LZO": ("lzop", "-dcq"),
}
"""The first bytes of a compressed archive, and the program that the host unpacks it with (initramfs-tools(7))."""

_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class _Image:
    """One image as it was read: `files` are those of multipath by name, None if it could not be read; `fault` says why."""

    path: Path
    stamp: _Stamp
    files: Mapping[str, bytes] | None
    fault: str = ""


class Initramfs:
    """The image of the running kernel. `root` is where /boot and /usr are found; `search` is a PATH."""

    def __init__(self, paths: HostPaths, root: Path = Path("/"), release: str = os.uname().release, search: str = SEARCH) -> None:
        self._paths = paths
        self._root = root
        self._image = root / "boot" / f"initrd.img-{release}"
        self._search = search
        self._known: _Image | None = None

    def note(self) -> str:
        """What is worth knowing, starting with its code; empty if all is well or there is no such copy. Blocks: not for the event loop."""
        hook = _read(self._root / _HOOK)
        stamp = _stamp(self._image)
        if not hook or stamp is None:
            return ""
        if self._known is None or self._known.stamp != stamp:
            self._known = self._load(stamp)
        if self._known.files is None:
            return f"initramfs-unread: {self._image}: {self._known.fault}; whether its copy of the allow-list is stale is not known"
        differing = self._differing(self._known.files, with_drop_ins=b"conf.d" in hook)
        if not differing:
            return ""
        return f"initramfs-stale: {self._image} holds an older {' and '.join(differing)}; when it suits: update-initramfs -u"

    def _differing(self, files: Mapping[str, bytes], *, with_drop_ins: bool) -> list[str]:
        found = []
        here = AllowList(_read(self._paths.wwids)).active
        if AllowList(files.get(f"{_WITHIN}wwids", b"")).active != here:
            found.append("allow-list (wwids)")
        if with_drop_ins:
            copies = {name.removeprefix(f"{_WITHIN}conf.d/"): text for name, text in files.items() if name.startswith(f"{_WITHIN}conf.d/")}
            with contextlib.suppress(OSError):
                present = {path.name: _read(path) for path in self._paths.conf_dir.iterdir() if path.name.endswith(".conf")}
                if copies != present:
                    found.append("configuration (conf.d)")
        return found

    def _load(self, stamp: _Stamp) -> _Image:
        try:
            files = {member.name: member.content for member in _archives(self._image, self._search)}
        except (OSError, Damaged, subprocess.SubprocessError) as fault:
            return _Image(self._image, stamp, None, str(fault))
        return _Image(self._image, stamp, files)


def _wanted(name: str) -> bool:
    return name == f"{_WITHIN}wwids" or (name.startswith(f"{_WITHIN}conf.d/") and name.endswith(".conf"))


def _archives(path: Path, search: str) -> Iterator[Member]:
    """The wanted files of all archives of an image, one after the other; what follows a compressed one is never looked at."""
    most = limit("initramfs_file_bytes")
    with path.open("rb", buffering=0) as image:
        while head := _next_part(image.fileno()):
            if head[:6] in MAGIC:
                yield from members(lambda size: image.read(size) or b"", _wanted, most)
                continue
            argv = next((argv for magic, argv in _UNPACKERS.items() if head.startswith(magic)), None)
            program = shutil.which(argv[0], path=search) if argv else None
            if argv is None or program is None:
                raise Damaged(f"there is no {argv[0]} to unpack it" if argv else "compressed in a way that is not known")
            with _unpacked([program, *argv[1:]], image.fileno()) as read:
                yield from members(read, _wanted, most)
            return


def _next_part(number: int) -> bytes:
    """The first bytes of what comes next, with the file placed before it; archives are padded with zeros. Empty at the end."""
    while chunk := os.read(number, 65536):
        rest = chunk.lstrip(b"\0")
        if rest:
            os.lseek(number, -len(rest), os.SEEK_CUR)
            return rest[:8]
    return b""


@contextlib.contextmanager
def _unpacked(argv: list[str], number: int) -> Iterator[Callable[[int], bytes]]:
    """A reader of what the program makes of the file, from where that is placed. The program ends with the reading, or with its time."""
    with subprocess.Popen(argv, stdin=number, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            yield process.stdout.read
        finally:
            timer.cancel()
            process.kill()


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
