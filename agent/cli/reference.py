"""The references of commands and options, written from the code; `python -m agent.cli.reference` renews all references.

`docs/commands.md` and `docs/options.md` come from here and `docs/settings.md` from the settings; tests compare the files with the code.
"""

import inspect
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click

from agent import settings
from agent.cli.base import Group, global_options
from agent.cli.root import root
from apply.options import STORAGE_TYPES, describe

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


_OPTIONS_HEAD = """\
# Options

What may stand in the sections of the configuration, by kind of section. A name may be written with `_` for `-`; it is kept with `-`.
A value is kept in the spelling shown here. Options with the name of one of multipath.conf(5) mean the same there; *own* options
mean something to Pathmesh only and are never rendered. *Since* is the first release of multipath-tools that knows an option: on a
node with an older one it is left out, and a note says so. A default that is not shown depends on something else, or is nothing.

For what is not here there are the overrides: `pathmesh overrides --help`.
"""

_SCOPES = {
    "defaults": "The one section for all LUNs: `pathmesh defaults set OPTION=VALUE`.",
    "wwid": "A section for each allow-listed LUN: `pathmesh lun set WWID OPTION=VALUE`. What it says goes before `defaults`.",
    "multipath": "A storage whose volumes are LUNs: `pathmesh storage add multipath ID`.",
    "iscsi": "An iSCSI target: `pathmesh storage add iscsi ID target=IQN portals=ADDRESS,…`. See [Storages](storages.md).",
    "fc": "LUNs that come over Fibre Channel: `pathmesh storage add fc ID`.",
    "nvme": "Namespaces that come over NVMe, where multipathd gathers their paths: `pathmesh storage add nvme ID`.",
    "lvm": "A storage that is a volume group: `pathmesh storage add lvm ID vgname=VG`.",
}


def options() -> str:
    """The text of `docs/options.md`."""
    return "\n".join(_option_tables())


def _option_tables() -> Iterator[str]:
    rows = describe()
    yield _OPTIONS_HEAD
    for scope, about in _SCOPES.items():
        title = f"{scope} storage" if scope in STORAGE_TYPES else scope
        yield f"## {title}\n\n{about}\n"
        for group, options in groupby((row for row in rows if row.scope == scope and row.group), key=lambda row: row.group):
            if scope not in STORAGE_TYPES:
                yield f"### {group.heading}\n"
            yield "| option | values | default | since | note |"
            yield "|--|--|--|--|--|"
            for row in options:
                default = f"`{_cell(row.default)}`" if row.default else ""
                remarks = ("required" if row.required else "", "" if row.rendered or scope in STORAGE_TYPES else "own", row.note)
                note = "; ".join(filter(None, remarks))
                yield f"| `{row.name}` | {_cell(row.type)} | {default} | {row.since} | {_cell(note)} |"
            yield ""
        refused = [row for row in rows if row.scope == scope and row.refused]
        if refused:
            yield "### Not taken here\n\n| option | why |\n|--|--|"
            yield from (f"| `{row.name}` | {_cell(row.refused)} |" for row in refused)
            yield ""


def _cell(text: str) -> str:
    """Text that stands in a Markdown table as it is."""
    return re.sub(r"([|<*])", r"\\\1", text)


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
    """Write all references into the source tree."""
    docs = Path(__file__).parents[2] / "docs"
    docs.joinpath("commands.md").write_text(commands(), encoding="utf-8")
    docs.joinpath("options.md").write_text(options(), encoding="utf-8")
    docs.joinpath("settings.md").write_text(settings.reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
