"""The two configuration files of ours in multipath's conf.d: installed whole or not at all, and never over somebody else's.

multipathd reads every name that ends in `.conf`, hidden ones too, so the temporary name ends in `.tmp`. A file is ours only if it carries
our marker and its bytes are what we last wrote; one that was edited since belongs to the editor. Copies of the last verified ones are
kept in the state directory, for going back.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from apply.managed import NAMES
from apply.render import RenderedFile
from store.errors import UnavailableError

TEMPORARY_SUFFIX = ".tmp"

_HINTS = {
    errno.EROFS: "the file system is mounted read-only",
    errno.ENOSPC: "the disk is full",
    errno.EACCES: "the agent has to run as root",
}

Reach = Callable[[str], None]


class WriteFailed(UnavailableError):
    """A file of the configuration cannot be read, written or removed."""

    def __init__(self, path: Path, error: OSError) -> None:
        hint = _HINTS.get(error.errno or 0, "check the directory and the disk")
        super().__init__(f"{path}: {error.strerror}", code="write-failed", hint=hint)


class DropIns:
    """The files in one conf.d directory, with their kept copies in `kept_dir`."""

    def __init__(self, conf_dir: Path, kept_dir: Path) -> None:
        self.conf_dir = conf_dir
        self.kept_dir = kept_dir

    def current(self) -> dict[str, bytes]:
        """Name and bytes of those that are there."""
        return {name: file.content for name, file in self.present().items()}

    def present(self) -> dict[str, RenderedFile]:
        """Those that are there."""
        return _read_all(self.conf_dir)

    def kept(self) -> dict[str, RenderedFile]:
        """The copies for going back, as far as they can be found: whether they are the right ones is for their hashes to say."""
        return _read_all(self.kept_dir)

    def install(self, name: str, wanted: RenderedFile, reach: Reach) -> None:
        """Put one file in place atomically; durable before return. Raises WriteFailed naming the path."""
        path = self.conf_dir / name
        try:
            _make_dir(self.conf_dir, 0o755)
            temporary = _write_temporary(path, wanted)
            reach("apply.install.temporary")
            temporary.rename(path)
            _sync_dir(self.conf_dir)
        except OSError as error:
            raise WriteFailed(path, error) from error
        reach("apply.install.renamed")

    def remove(self, name: str) -> None:
        """Remove one file; an absent one is fine. Raises WriteFailed."""
        try:
            (self.conf_dir / name).unlink(missing_ok=True)
            if self.conf_dir.is_dir():
                _sync_dir(self.conf_dir)
        except OSError as error:
            raise WriteFailed(self.conf_dir / name, error) from error

    def keep(self, files: Mapping[str, RenderedFile]) -> None:
        """Make `files` the copies for going back, and only them; durable before return. Raises WriteFailed."""
        _replace_all(self.kept_dir, files, 0o700)

    def restore(self, files: Mapping[str, RenderedFile]) -> None:
        """Put `files` in place, and only them; durable before return. Raises WriteFailed."""
        _replace_all(self.conf_dir, files, 0o755)

    def clear_temporaries(self) -> None:
        """Remove what an interrupted installation left."""
        for name in NAMES:
            with contextlib.suppress(OSError):
                (self.conf_dir / (name + TEMPORARY_SUFFIX)).unlink(missing_ok=True)


def _replace_all(directory: Path, files: Mapping[str, RenderedFile], mode: int) -> None:
    path = directory
    try:
        _make_dir(directory, mode)
        for name in NAMES:
            path = directory / name
            if name in files:
                _write_temporary(path, files[name]).rename(path)
            else:
                path.unlink(missing_ok=True)
        _sync_dir(directory)
    except OSError as error:
        raise WriteFailed(path, error) from error


def _write_temporary(path: Path, wanted: RenderedFile) -> Path:
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(wanted.content)
        file.flush()
        os.fchmod(fd, wanted.mode)
        os.fsync(fd)
    return temporary


def _read_all(directory: Path) -> dict[str, RenderedFile]:
    files = {}
    for name in NAMES:
        try:
            with (directory / name).open("rb") as file:
                files[name] = RenderedFile(file.read(), os.fstat(file.fileno()).st_mode & 0o777)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise WriteFailed(directory / name, error) from error
    return files


def _make_dir(directory: Path, mode: int) -> None:
    if not directory.is_dir():
        directory.mkdir(mode=mode, parents=True, exist_ok=True)
        _sync_dir(directory.parent)


def _sync_dir(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
