"""Where the lab keeps what it built: a directory outside every tree, its entries named by a hash of what they were made from."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from scripts.hostlab.errors import LabError

TREE = Path(__file__).resolve().parents[2]


def cache_dir() -> Path:
    """The directory: `PATHMESH_LAB_DIR`, or `pathmesh-lab` in the user's cache."""
    own = os.environ.get("PATHMESH_LAB_DIR")
    if own:
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "pathmesh-lab"


def entry(kind: str, *made_from: object) -> Path:
    """The path of the entry of this kind that is made from these things; it may not be there yet."""
    digest = hashlib.sha256("\0".join(map(str, made_from)).encode()).hexdigest()[:16]
    return cache_dir() / f"{kind}-{digest}"


def build(target: Path, make: Callable[[Path], None]) -> Path:
    """Make an entry if it is absent: beside its place, under a lock, and renamed when it is whole. Older entries of its kind then go."""
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    kind = target.name.rpartition("-")[0]
    with _locked(target.parent / f"{kind}.lock"):
        if target.is_dir():
            return target
        for left in target.parent.glob(f".{kind}-*"):  # of a build that was ended
            shutil.rmtree(left)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        unfinished.chmod(0o755)
        try:
            make(unfinished)
            unfinished.rename(target)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        for old in target.parent.glob(f"{kind}-*"):
            if old != target:
                shutil.rmtree(old, ignore_errors=True)
    return target


def need(tools: Sequence[str], purpose: str) -> None:
    """Check that programs are there; LabError naming those that are not."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [tool for tool in tools if shutil.which(tool, path=path) is None]
    if missing:
        packages = sorted({_PACKAGES.get(tool, tool) for tool in missing})
        raise LabError(f"{', '.join(missing)} not found: {purpose} needs it", f"on Debian: apt-get install {' '.join(packages)}")


_PACKAGES = {
    "apt-get": "apt", "apt-config": "apt", "dpkg-deb": "dpkg", "mke2fs": "e2fsprogs", "ip": "iproute2", "unshare": "util-linux",
    "mount": "mount", "chroot": "coreutils", "nsenter": "util-linux",
}  # fmt: skip


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, seconds: float = 900) -> str:
    """A program that must succeed; its output. LabError with its last words if it does not."""
    words = [str(word) for word in command]
    search = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            words, cwd=cwd, env={**os.environ, **search, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise LabError(f"{words[0]}: {fault}") from fault
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        told = [line for line in said if line.lstrip().startswith(("E:", "ERROR", "error"))] or said
        raise LabError(f"{Path(words[0]).name} {' '.join(words[1:3])} …: exit {done.returncode}: {' | '.join(told[-3:])[:600]}")
    return done.stdout


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One builder at a time on this machine; the others wait and then find it done."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
