"""`pathmesh simulate-host`: a stand-in for multipathd, for demonstrations and tests."""

from pathlib import Path

import click

from agent.cli.base import Command
from agent.cli.session import Session


@click.command(cls=Command)
@click.option("--socket", "address", required=True, metavar="PATH", help="The socket to listen on; @NAME is abstract.")
@click.option("--etc-dir", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Stands for /etc/multipath.")
@click.option("--luns", required=True, metavar="FILE", type=click.Path(path_type=Path), help="What the host sees, TOML.")
@click.option(
    "--program",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Make this stand-in for the daemon's program file, and remove it at the end.",
)
@click.pass_obj
def simulate_host(session: Session, address: str, etc_dir: Path, luns: Path, program: Path | None) -> None:
    """Play a host with multipathd, with the real protocol and the real semantics of its files, until SIGTERM or Ctrl-C.

    \b
    Example:
      pathmesh simulate-host --socket /tmp/h1/multipathd.sock --etc-dir /tmp/h1/etc --luns /tmp/h1/luns.toml
    """
    import asyncio
    import contextlib
    import signal

    from apply.simulated.server import serve

    async def run() -> None:
        serving = asyncio.ensure_future(serve(address, etc_dir, luns, program, ready=lambda: session.say(f"ready at {address}")))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    asyncio.run(run())
