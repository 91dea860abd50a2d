"""The click classes that all commands are made of: global options anywhere, commands loaded when they are named."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from agent.cli.errors import FAILED, USAGE, exit_status
from agent.cli.output import one_line
from agent.cli.session import Session
from store.errors import PathmeshError

INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports of a program that a signal ended: 128 and the number of SIGINT, SIGPIPE."""


def _remember(change: Callable[[Session, Any], None]) -> Callable[[click.Context, click.Parameter, Any], None]:
    """An option callback that puts the value, if one was given, into the session."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        session = ctx.ensure_object(Session)
        if value is not None and value is not False:
            change(session, value)

    return callback


def _assign(name: str) -> Callable[[Session, Any], None]:
    return lambda session, value: setattr(session, name, value)


def _no_color(session: Session, value: Any) -> None:
    session.color = False


def _json(session: Session, value: Any) -> None:
    session.output = "json"


def global_options(*, environment: bool) -> list[click.Option]:
    """The options that hold for every command; the root alone reads their environment variables."""

    def option(names: Sequence[str], change: Callable[[Session, Any], None], help: str, **more: Any) -> click.Option:
        if not environment:
            more.pop("envvar", None)
        return click.Option(names, expose_value=False, callback=_remember(change), help=help, default=None, **more)

    positive = click.FloatRange(min=0, min_open=True)
    return [
        option(["--socket"], _assign("socket"), "The agent's socket.", metavar="PATH", envvar="PATHMESH_SOCKET"),
        option(["--config"], _assign("config"), "The settings file.", metavar="FILE", envvar="PATHMESH_CONFIG"),
        option(["-o", "--output"], _assign("output"), "How results look.", type=click.Choice(["table", "json", "tsv"])),
        option(["--json"], _json, "Short for --output json.", is_flag=True),
        option(["--no-color"], _no_color, "No colours, as NO_COLOR does.", is_flag=True),
        option(["--timeout"], _assign("timeout"), "How long to wait for the agent.", type=positive, metavar="SECONDS"),
        option(["-q", "--quiet"], _assign("quiet"), "No messages but errors.", is_flag=True),
        option(["-v", "--verbose"], _assign("verbose"), "Show more.", is_flag=True),
    ]


class _GlobalOptions(click.Command):
    """Adds the global options that the command's own do not shadow, and lists them in one line of its help."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        taken = {name for param in self.params for name in param.opts}
        self.shared = [option for option in global_options(environment=False) if not taken & set(option.opts)]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        return own if ctx.parent is None else [*own[:-1], *self.shared, *own[-1:]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shared = [] if ctx.parent is None else self.shared
        own = [p for p in self.get_params(ctx) if isinstance(p, click.Option) and p not in shared]
        records = [option.get_help_record(ctx) for option in own]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record])
        if shared:
            names = " ".join(max(option.opts, key=len) for option in shared)
            with formatter.section("Global options, here or before the command"):
                formatter.write_text(names)


class Command(_GlobalOptions):
    """A command."""


class Group(_GlobalOptions, click.Group):
    """A group of commands; without one it shows its help."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class Root(Group):
    """The program: loads a command's module when the command is named, and maps every error to its exit status."""

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, str]], **more: Any) -> None:
        super().__init__(*args, **more)
        self.sections = sections
        self.places = {name: place for commands in sections.values() for name, place in commands.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self.places.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0].replace("_", "-") if args else ""
        if name and not name.startswith("-") and name not in self.places:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=self.places, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in self.sections.items():
            with formatter.section(title):
                named = ((name, self.get_command(ctx, name)) for name in commands)
                formatter.write_dl([(name, command.get_short_help_str(100)) for name, command in named if command])

    def main(self, *args: Any, **more: Any) -> NoReturn:
        """Run the command line and leave with its exit status; no error of a person or a peer ends in a traceback."""
        more["standalone_mode"] = False
        session = more.setdefault("obj", Session())
        sys.exit(self._run(session, *args, **more))

    def _run(self, session: Session, *args: Any, **more: Any) -> int:
        try:
            status = super().main(*args, **more)
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return USAGE
        except click.UsageError as error:
            _usage(error)
            return USAGE
        except click.ClickException as error:
            click.echo(f"pathmesh: {one_line(error.format_message())}", err=True)
            return FAILED
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
        except PathmeshError as error:
            session.error(error)
            return exit_status(error)
        except (BrokenPipeError, SystemExit):  # the only SystemExit that click raises here is its own for a broken pipe
            _drop_stdout()
            return BROKEN_PIPE
        return status if isinstance(status, int) else 0


def _usage(error: click.UsageError) -> None:
    message = one_line(error.format_message())
    click.echo(f"pathmesh: {message[:1].lower()}{message[1:].removesuffix('.')}", err=True)
    if error.ctx is not None:
        click.echo(f"  hint: {error.ctx.command_path} --help", err=True)


def _drop_stdout() -> None:
    """Nobody reads any more: let the interpreter's last flush go nowhere instead of failing."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exits(status: int) -> NoReturn:
    """End the running command with `status`."""
    raise click.exceptions.Exit(status)


__all__ = ["Command", "Group", "Root", "exits", "global_options"]
