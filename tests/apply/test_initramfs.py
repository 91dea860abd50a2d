"""Whether the initramfs holds what the host has: told from an image made for the test, compressed as hosts do."""

import bz2
import gzip
import lzma
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from apply import initramfs
from apply.hostpaths import HostPaths
from apply.initramfs import Initramfs
from apply.wwids_file import HEADER

A, B = "3624a9370e92ace0b12e941bf000cb4d5", "360014050000000100004000800000000"
HOOK = "cp /etc/multipath/wwids $DESTDIR/etc/multipath/\n"


def entry(name: str, content: bytes = b"") -> bytes:
    raw = name.encode() + b"\0"
    fields = [1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0]
    body = b"070701" + b"".join(b"%08x" % field for field in fields) + raw
    return body + b"\0" * (-len(body) % 4) + content + b"\0" * (-len(content) % 4)


def archive(**files: bytes) -> bytes:
    return b"".join(entry(name, content) for name, content in files.items()) + entry("TRAILER!!!")


def wwids(*names: str) -> bytes:
    return HEADER + b"".join(b"/%s/\n" % name.encode() for name in names)


MICROCODE = archive(**{"kernel/x86/microcode/GenuineIntel.bin": b"m" * 5000})


class Host:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = HostPaths(root / "etc" / "multipath", root / "state")
        self.paths.conf_dir.mkdir(parents=True)
        self.image = root / "boot" / "initrd.img-6.1"
        self.image.parent.mkdir()
        self.hook(HOOK)
        self.allow(A)
        self.reader = Initramfs(self.paths, root, "6.1")

    def hook(self, text: str) -> None:
        path = self.root / "usr/share/initramfs-tools/hooks/multipath"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def allow(self, *names: str) -> None:
        self.paths.wwids.write_bytes(wwids(*names))

    def build(self, *names: str, compress: Callable[[bytes], bytes] = gzip.compress, **more: bytes) -> None:
        main = archive(**{"usr/bin/busybox": b"b" * 300_000, "etc/multipath/wwids": wwids(*names), **more})
        self.image.write_bytes(MICROCODE + b"\0" * 512 + compress(main))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def by_program(*argv: str) -> Callable[[bytes], bytes]:
    return lambda data: subprocess.run(argv, input=data, capture_output=True, check=True).stdout


PLAIN: Callable[[bytes], bytes] = bytes
WAYS = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": by_program("zstd", "-q", "-c"),
    "lz4": by_program("lz4", "-l", "-q", "-c"),
    "cpio": PLAIN,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_compressing(host: Host, way: str) -> None:
    program = {"lzma": "xz", "cpio": "sh"}.get(way, way)
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    host.build(A, compress=WAYS[way])
    assert host.reader.note() == ""
    host.allow(A, B)
    note = host.reader.note()
    assert note.startswith("initramfs-stale: ") and str(host.image) in note and "update-initramfs -u" in note


def test_only_what_counts_counts(host: Host) -> None:
    host.build(A)
    host.paths.wwids.write_bytes(b"# another comment\n#" + B.encode() + b"/\n/" + A.encode() + b"/\n")
    assert host.reader.note() == ""
    host.paths.wwids.unlink()
    assert "initramfs-stale" in host.reader.note()


def test_without_the_package_or_an_image_there_is_nothing_to_say(host: Host) -> None:
    assert host.reader.note() == ""
    host.build(B)
    assert "initramfs-stale" in host.reader.note()
    host.hook("")
    assert host.reader.note() == ""


def test_drop_ins_count_where_the_hook_copies_them(host: Host) -> None:
    (host.paths.conf_dir / "90-pathmesh.conf").write_text("defaults {\n}\n")
    (host.paths.conf_dir / "90-pathmesh.conf.tmp").write_text("half")
    host.build(A)
    assert host.reader.note() == ""
    host.hook(HOOK + "cp -r /etc/multipath/conf.d $DESTDIR/etc/multipath/\n")
    assert "conf.d" in host.reader.note()
    host.build(A, **{"etc/multipath/conf.d/90-pathmesh.conf": b"defaults {\n}\n"})
    assert host.reader.note() == ""


def test_an_image_is_read_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.build(A)
    reads = []
    real = initramfs._archives
    monkeypatch.setattr(initramfs, "_archives", lambda path, search: reads.append(path) or real(path, search))
    for _ in range(3):
        assert host.reader.note() == ""
    host.allow(A, B)
    assert "initramfs-stale" in host.reader.note()
    assert len(reads) == 1
    host.build(A, B)
    assert host.reader.note() == ""
    assert len(reads) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x28\xb5\x2f\xfdnot zstd", "the archive ends in the middle"),
        (b"what is this", "compressed in a way that is not known"),
        (MICROCODE[:200], "the archive ends in the middle"),
    ],
)
def test_an_image_that_cannot_be_read_is_said_and_not_called_stale(host: Host, content: bytes, why: str) -> None:
    host.image.write_bytes(content)
    note = host.reader.note()
    assert note.startswith("initramfs-unread: ") and why in note


def test_a_missing_program_is_said(host: Host) -> None:
    host.build(A)
    assert "there is no gzip to unpack it" in Initramfs(host.paths, host.root, "6.1", search=str(host.root)).note()


def test_an_image_without_a_copy_is_stale_as_long_as_something_is_allowed(host: Host) -> None:
    host.image.write_bytes(gzip.compress(archive(init=b"#!/bin/sh")))
    assert "initramfs-stale" in host.reader.note()
    host.allow()
    assert host.reader.note() == ""


def test_a_program_that_hangs_is_ended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    program = host.root / "gzip"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(initramfs, "SECONDS", 0.1)
    host.build(A)
    assert "ends in the middle" in Initramfs(host.paths, host.root, "6.1", search=str(host.root)).note()
