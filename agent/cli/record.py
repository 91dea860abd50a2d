"""`pathmesh record`: keep what the agent was told, to look at it later or to report a fault."""

import os
from pathlib import Path

import click

from agent.cli.base import Command
from agent.cli.session import Session
from store.errors import UsageError


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def record(session: Session, file: Path) -> None:
    """Write what this node's agent was told in the last minutes to a new FILE, from which its run can be repeated.

    The file holds the whole configuration and this node's health, and no key. It is for whoever looks for a fault in pathmesh: in the
    source tree, `./scripts/simulate --replay FILE` repeats the run.

    \b
    Example:
      pathmesh record /root/n1.recording
    """
    _check_new(file)
    data = session.client().request("GET", "/v1/recording", accept="application/octet-stream").body
    _write(file, data)
    if session.output == "json":
        session.json({"file": str(file), "bytes": len(data)})
    session.say(f"{file}: {len(data):,} bytes; repeat the run with: ./scripts/simulate --replay {file}")


def _check_new(file: Path) -> None:
    if os.path.lexists(file):
        raise UsageError(f"{file}: exists; nothing was written", code="file-exists", hint="name another file")


def _write(file: Path, data: bytes) -> None:
    """Write a new file that its owner alone can read; nothing is left of it if that fails."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        _check_new(file)
        raise
    except OSError as fault:
        raise _unwritable(file, fault) from None
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(data)
    except OSError as fault:
        file.unlink(missing_ok=True)
        raise _unwritable(file, fault) from None


def _unwritable(file: Path, fault: OSError) -> UsageError:
    return UsageError(f"{file}: cannot be written: {fault.strerror}", code="file-unwritable", hint="choose another place for it")
