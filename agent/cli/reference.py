"""The reference of all commands, written from the commands themselves; `python -m agent.cli.reference` renews both references.

`docs/commands.md` comes from here and `docs/settings.md` from the settings; a test compares both files with the code.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from agent import settings
from agent.cli.base import Group, global_options
from agent.cli.root import root

_HEAD = """\
# Commands

Everything is one program, `pathmesh`. It asks the agent on this node over its local socket, but for `init`, `join`, `agent`,
`settings check` and `simulate-host`, which work without one. Results go to standard output, messages to standard error.
`--json` prints the body of the API's answer, `-o tsv` a table with a header for scripts. Tables have colours on a terminal only.

Exit status: 0 done, 1 failed, 2 usage, 3 agent not reachable, 4 conflict: a stale digest, or an edit of a section with an open
conflict.

Every change takes `--digest`, `--reason` and `--dry-run`. Without `--digest` a command reads, changes, and writes with the
digest it read; a write that is refused because somebody else was faster is not repeated.
"""


def commands() -> str:
    """The text of `docs/commands.md`."""
    return "\n".join(_commands()) + "\n"


def _commands() -> Iterator[str]:
    context = click.Context(root, info_name="pathmesh", **root.context_settings)
    yield _HEAD
    yield "## Global options\n\nThey are accepted before the command and after it.\n"
    yield from _options(context, list(global_options(environment=True)))
    for title, names in root.sections.items():
        yield f"\n## {title}"
        for name in names:
            command = root.get_command(context, name)
            if command is not None:
                yield from _command(click.Context(command, context, name), command)


def _command(context: click.Context, command: click.Command) -> Iterator[str]:
    yield ""
    if isinstance(command, Group):
        yield f"### `{context.command_path}`\n"
        yield from _prose(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _command(click.Context(child, context, name), child)
        return
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    level = "####" if context.parent is not None and context.parent.parent is not None else "###"
    yield f"{level} `{' '.join([context.command_path, usage]).strip()}`\n"
    yield from _prose(command)
    own = [param for param in command.params if isinstance(param, click.Option)]
    if own:
        yield ""
        yield from _options(context, own)


def _prose(command: click.Command) -> Iterator[str]:
    """The help text as Markdown: its unwrapped blocks, which are examples, become code."""
    first = True
    for block in inspect.cleandoc(command.help or "").split("\n\n"):
        if not first:
            yield ""
        first = False
        if block.startswith("\b"):
            yield "\n".join(["```", *(line.strip() for line in block.splitlines()[2:]), "```"])
        else:
            yield " ".join(block.split())


def _options(context: click.Context, options: list[click.Option]) -> Iterator[str]:
    yield "| option | meaning |"
    yield "|--|--|"
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            name, meaning = (re.sub(r"\|", "\\|", text) for text in record)
            environment = f" Environment: `{option.envvar}`." if option.envvar else ""
            yield f"| `{name}` | {meaning}{environment} |"


def main() -> None:
    """Write both references into the source tree."""
    docs = Path(__file__).parents[2] / "docs"
    docs.joinpath("commands.md").write_text(commands(), encoding="utf-8")
    docs.joinpath("settings.md").write_text(settings.reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
