"""The real parser of multipath-tools over files that were rendered, on a machine that has neither the tools nor device-mapper.

`multipath -t` reads /etc/multipath.conf and /etc/multipath/conf.d, and no option tells it otherwise; so it runs in a mount namespace of
its own in which /etc is a directory of ours. Its exit status is always 0: what it thinks of a file is on standard error, a line for each
objection, and standard output is the whole configuration as it would be in effect. The program comes unpacked from the machine's package
archive, once.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.hostlab import cache
from scripts.hostlab.errors import LabError
from scripts.hostlab.packages import Archive, release, sources

REQUIRE = "PATHMESH_REQUIRE_LAB"
_SECONDS = 20.0
_STAMP = re.compile(r"^[0-9]+\.[0-9]+ \| ", re.MULTILINE)
_ACCOUNTS = (Path("/etc/passwd"), Path("/etc/group"), Path("/etc/nsswitch.conf"))  # it looks up the names of owners
_INSIDE = 'mount --bind "$1" /etc && exec "$2" -t'


@dataclass(frozen=True)
class Verdict:
    """What the parser objects to, a line each with file and line number, and the configuration that would be in effect."""

    warnings: tuple[str, ...]
    effective: str


def tools() -> Path:
    """The unpacked tools, fetched if they are not there. LabError if they cannot be had."""
    target = cache.entry("multipath", release(), [path.read_text() for path in sources()])
    return cache.build(target, _unpack)


def _unpack(directory: Path) -> None:
    work = directory / "work"
    work.mkdir()
    Archive(work).unpack(["multipath-tools"], directory, with_libraries=True)
    shutil.rmtree(work)
    for unneeded in ("etc", "usr/share", "var"):
        shutil.rmtree(directory / unneeded, ignore_errors=True)


def check_directory(directory: Path) -> Verdict:
    """What the parser says of DIR/multipath.conf and DIR/conf.d, as far as they are there. LabError if it cannot be run."""
    files: dict[str, bytes] = {}
    for path in (directory / "multipath.conf", *sorted((directory / "conf.d").glob("*"))):
        if path.is_file():
            files[str(path.relative_to(directory))] = path.read_bytes()
    if not files:
        raise LabError(f"{directory}: neither multipath.conf nor conf.d with files in it")
    return check(files, shown=str(directory))


def check(files: Mapping[str, bytes], shown: str = "") -> Verdict:
    """The same for files by name (`multipath.conf`, `conf.d/NAME`). Warnings name them as `shown`/NAME."""
    program = _program(tools())
    with tempfile.TemporaryDirectory(prefix="pathmesh-dropin-") as directory:
        etc = Path(directory) / "etc"
        (etc / "multipath" / "conf.d").mkdir(parents=True)
        for known in _ACCOUNTS:
            if known.is_file():
                shutil.copy(known, etc)
        for name, content in files.items():
            place = etc / name if name == "multipath.conf" else etc / "multipath" / name
            place.write_bytes(content)
        done = _run(program, etc)
    if done.returncode or "defaults {" not in done.stdout:
        said = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise LabError(f"the parser cannot be run: {said[-1][:300]}", "it needs a mount namespace: root, or user namespaces for everybody")
    prefix = f"{shown}/" if shown else ""
    text = _STAMP.sub("", done.stderr)
    text = text.replace("/etc/multipath/conf.d", f"{prefix}conf.d").replace("/etc/multipath.conf", f"{prefix}multipath.conf")
    return Verdict(tuple(line for line in text.splitlines() if line.strip()), done.stdout)


def why_not() -> str:
    """Why the parser cannot be run here; empty if it can. It is fetched only if `PATHMESH_REQUIRE_LAB` is set."""
    try:
        target = cache.entry("multipath", release(), [path.read_text() for path in sources()])
        if not target.is_dir() and not os.environ.get(REQUIRE):
            return "multipath-tools are not unpacked: ./scripts/check-dropin --fetch"
        check({"multipath.conf": b"defaults {\n}\n"})
    except LabError as fault:
        return fault.message
    return ""


def _program(root: Path) -> Path:
    for place in ("sbin/multipath", "usr/sbin/multipath"):
        if (root / place).is_file():
            return root / place
    raise LabError(f"{root} holds no multipath", f"rm -r {root}")


def _run(program: Path, etc: Path) -> "subprocess.CompletedProcess[str]":
    root = tools()
    libraries = [str(path) for path in (root / "lib", *root.glob("lib/*-linux-gnu"), *root.glob("usr/lib/*-linux-gnu")) if path.is_dir()]
    private = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    cache.need(["unshare", "mount"], "the parser's mount namespace")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH": ":".join(libraries), "LC_ALL": "C"}
    try:
        return subprocess.run(
            [*private, "sh", "-c", _INSIDE, "sh", str(etc), str(program)], capture_output=True, text=True, errors="replace",
            timeout=_SECONDS, check=False, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired as fault:
        raise LabError(f"the parser takes longer than {_SECONDS:g} s") from fault


def main(words: list[str]) -> int:
    """Exit status 0: nothing to object; 1: the objections are printed; 2: it could not be run."""
    if len(words) != 1 or words[0] in ("-h", "--help"):
        print("usage: scripts/check-dropin DIR | --fetch\n  DIR holds multipath.conf, conf.d, or both", file=sys.stderr)
        return 2
    try:
        if words[0] == "--fetch":
            print(tools())
            return 0
        verdict = check_directory(Path(words[0]))
    except (LabError, OSError) as fault:
        print(f"check-dropin: {fault}", file=sys.stderr)
        return 2
    for line in verdict.warnings:
        print(line)
    return 1 if verdict.warnings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
