"""The command line, `pathmesh`: a thin and fast client of the agent's local API."""

from typing import NoReturn

from agent.cli.root import root

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line with the arguments of this process; the entry point of the installed program."""
    root.main(prog_name="pathmesh")
