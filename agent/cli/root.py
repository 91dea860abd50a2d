"""The root command: the table of all commands by section, and the global options."""

import click

from agent.cli.base import Root, global_options

SECTIONS = {
    "Look": {
        "status": "agent.cli.status:status",
        "matrix": "agent.cli.matrix:matrix",
        "node": "agent.cli.nodes:node",
        "events": "agent.cli.events:events",
        "dump": "agent.cli.nodes:dump",
    },
    "Configuration": {
        "lun": "agent.cli.lun:lun",
        "defaults": "agent.cli.defaults:defaults",
        "storage": "agent.cli.storage:storage",
        "overrides": "agent.cli.overrides:overrides",
        "config": "agent.cli.config:config",
        "conflicts": "agent.cli.conflicts:conflicts",
        "resolve": "agent.cli.conflicts:resolve",
    },
    "This node": {
        "render": "agent.cli.host:render",
        "apply": "agent.cli.host:apply",
        "agent": "agent.cli.local:agent",
        "settings": "agent.cli.local:settings",
        "doctor": "agent.cli.doctor:doctor",
        "web-login": "agent.cli.web:web_login",
        "web-sessions": "agent.cli.web:web_sessions",
    },
    "Cluster": {
        "init": "agent.cli.local:init",
        "join": "agent.cli.local:join",
        "token": "agent.cli.members:token",
        "member": "agent.cli.members:member",
        "leave": "agent.cli.members:leave",
        "cluster": "agent.cli.members:cluster",
    },
    "Tools": {
        "simulate-host": "agent.cli.simulate:simulate_host",
        "record": "agent.cli.record:record",
    },
}


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("pathmesh")
    except PackageNotFoundError:
        number = "(not installed: run from its source tree)"
    click.echo(f"pathmesh {number}")
    ctx.exit()


root = Root(
    name="pathmesh",
    sections=SECTIONS,
    params=[
        *global_options(environment=True),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and leave.",
        ),
    ],
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "max_content_width": 120,
    },
    no_args_is_help=True,
    help="""One multipath configuration and one health picture for a cluster of storage hosts.

    Everything is asked of the agent on this node, over its local socket. Results go to standard output, messages to standard error.

    Exit status: 0 done, 1 failed, 2 usage, 3 agent not reachable, 4 conflict.
    """,
)
