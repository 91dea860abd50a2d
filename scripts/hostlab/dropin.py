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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from scripts.hostlab import cache
from scripts.hostlab.errors import LabError
from scripts.hostlab.packages import Archive, release, sources

REQUIRE = "PATHMESH_REQUIRE_LAB"
_SECONDS, _SECONDS_EACH = 20.0, 0.5
_STAMP = re.compile(r"^[0-9]+\.[0-9]+ \| ", re.MULTILINE)
_ACCOUNTS = (Path("/etc/passwd"), Path("/etc/group"), Path("/etc/nsswitch.conf"))  # it looks up the names of owners
_INSIDE = """
mount --bind "$1" /etc || exit
for each in /etc/sets/*; do
    ln -sfn "$each" /etc/current || exit
    "$2" -t > "$each/out" 2> "$each/err"
    echo $? > "$each/status"
done
"""
_NO_PROGRAM = ("", "126", "127")
"""Exit statuses of a program that was not run; one that crashed is the file's fault."""
_RELEASE = re.compile(r"multipath-tools v([0-9]+)\.([0-9]+)\.([0-9]+)")


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
    return check_each([files], shown)[0]


def check_each(sets: Sequence[Mapping[str, bytes]], shown: str = "") -> list[Verdict]:
    """The same for many sets of files, each by itself; in one namespace, so that a set costs a few hundredths of a second."""
    with tempfile.TemporaryDirectory(prefix="pathmesh-dropin-") as directory:
        etc = Path(directory) / "etc"
        etc.mkdir()
        for known in _ACCOUNTS:
            if known.is_file():
                shutil.copy(known, etc)
        (etc / "multipath").symlink_to("current/multipath")
        (etc / "multipath.conf").symlink_to("current/multipath.conf")
        places = [etc / "sets" / f"{number:06}" for number in range(len(sets))]
        for place, files in zip(places, sets, strict=True):
            (place / "multipath" / "conf.d").mkdir(parents=True)
            for name, content in files.items():
                (place / name if name == "multipath.conf" else place / "multipath" / name).write_bytes(content)
        done = _run(["sh", "-c", _INSIDE, "sh", str(etc), str(_program(tools()))], _SECONDS + _SECONDS_EACH * len(sets))
        outputs = [tuple(_read(place / name) for name in ("status", "err", "out")) for place in places]
    unable = next((f"exit {status.strip()}: {err}" for status, err, _ in outputs if status.strip() in _NO_PROGRAM), "")
    if done.returncode or unable:
        said = (unable or done.stderr).strip().splitlines() or [f"exit {done.returncode}"]
        raise LabError(f"the parser cannot be run: {said[-1][:300]}", "it needs a mount namespace: root, or user namespaces for everybody")
    return [_verdict(status.strip(), err, out, f"{shown}/" if shown else "") for status, err, out in outputs]


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def _verdict(status: str, errors: str, effective: str, prefix: str) -> Verdict:
    text = _STAMP.sub("", errors)
    text = text.replace("/etc/multipath/conf.d", f"{prefix}conf.d").replace("/etc/multipath.conf", f"{prefix}multipath.conf")
    warnings = [line for line in text.splitlines() if line.strip()]
    crashed = [] if status == "0" else [f"the parser ended with exit status {status}"]
    return Verdict((*warnings, *crashed), effective)


@lru_cache(maxsize=1)
def version() -> tuple[int, int, int]:
    """The release of the tools. LabError if they cannot be had, or do not say."""
    done = _run([str(_program(tools())), "-h"], _SECONDS)
    found = _RELEASE.search(done.stdout + done.stderr)
    if found is None:
        raise LabError("the tools do not tell their release")
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


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


def _run(command: Sequence[str], seconds: float) -> "subprocess.CompletedProcess[str]":
    """Run a command with the tools' libraries in a mount namespace of its own."""
    root = tools()
    libraries = [str(path) for path in (root / "lib", *root.glob("lib/*-linux-gnu"), *root.glob("usr/lib/*-linux-gnu")) if path.is_dir()]
    private = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    cache.need(["unshare", "mount"], "the parser's mount namespace")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH": ":".join(libraries), "LC_ALL": "C"}
    try:
        return subprocess.run(
            [*private, *command], capture_output=True, text=True, errors="replace", timeout=seconds, check=False, env=environment
        )
    except subprocess.TimeoutExpired as fault:
        raise LabError(f"the parser takes longer than {seconds:g} s") from fault


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
