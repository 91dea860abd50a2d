"""The settings of one node: one TOML file, read once at start, every value typed and checked.

The dataclasses below are the table of all settings: each field carries its default, what it accepts and what it means,
and `reference` writes `docs/settings.md` from them. The module imports little, because the command line reads it too.
"""

import re
import socket
import tomllib
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, cast

from agent.setting_kinds import (
    WILDCARDS,
    AbsolutePath,
    DaemonSocket,
    Endpoint,
    Flag,
    Kind,
    Loopback,
    Matching,
    Mode,
    OneOf,
    Whole,
)
from store.errors import UnavailableError, UsageError

DEFAULT_PATH = Path("/etc/pathmesh/pathmesh.toml")

_NODE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_GROUP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")


def _default_name() -> str:
    """The short host name, made a valid node name, so that a node needs no settings file at all."""
    short = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname().partition(".")[0])[:63].strip("-")
    return short or "node"


def _about(kind: Kind, *doc: str, shown: str = "") -> dict[str, Any]:
    """The metadata of one row; `shown` stands in the reference for a default that is no literal."""
    return {"kind": kind, "doc": " ".join(doc), "shown": shown}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Who this node is and where it keeps its own things."""

    name: str = field(
        default_factory=_default_name,
        metadata=_about(
            Matching(_NODE_NAME, "letters, digits and '-', at most 63, with a letter or digit at both ends"),
            "The node's name in the cluster, proposed by `init` and `join`. It is fixed once the node is a member.",
            shown="the short host name",
        ),
    )
    keys_dir: Path = field(
        default=Path("/etc/pathmesh/keys"),
        metadata=_about(AbsolutePath(), "The directory of this node's private keys (mode 0700, its files 0600)."),
    )
    state_dir: Path = field(
        default=Path("/var/lib/pathmesh"),
        metadata=_about(
            AbsolutePath(),
            "The directory of the database, its guard file, and the copies that apply keeps (mode 0700).",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipSettings:
    """How this node talks with its peers."""

    listen: str = field(
        default="tcp://0.0.0.0:7946",
        metadata=_about(Endpoint("tcp://", wildcard=True), "Where the node accepts its peers."),
    )
    join_listen: str = field(
        default="tcp://0.0.0.0:7947",
        metadata=_about(Endpoint("tcp://", wildcard=True), "Where the node accepts joiners that bring a token it made."),
    )
    advertise: str | None = field(
        default=None,
        metadata=_about(
            Endpoint("tcp://", wildcard=False),
            "The address that peers connect to. Set it when the node has several networks or stands behind a relay.",
            shown="`gossip.listen`, with the node's own address in place of a wildcard",
        ),
    )
    join_advertise: str | None = field(
        default=None,
        metadata=_about(
            Endpoint("tcp://", wildcard=False),
            "The join address that is written into tokens.",
            shown="`gossip.join_listen`, with the node's own address in place of a wildcard",
        ),
    )
    pull_interval_ms: int = field(
        default=1000,
        metadata=_about(
            Whole(100, 60_000),
            "How often one peer is asked for what was missed, in milliseconds.",
            "Lower heals gaps sooner and costs traffic; changes are pushed at once either way.",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """The local socket that the command line and scripts use."""

    socket: Path = field(
        default=Path("/run/pathmesh/pathmesh.sock"),
        metadata=_about(AbsolutePath(for_socket=True), "The unix socket of the HTTP API."),
    )
    group: str = field(
        default="pathmesh",
        metadata=_about(
            Matching(_GROUP_NAME, "the name of a system group"),
            "The group that owns the socket: its members may read.",
        ),
    )
    admin_group: str = field(
        default="pathmesh-admin",
        metadata=_about(Matching(_GROUP_NAME, "the name of a system group"), "The group whose members may write, besides root."),
    )
    mode: int = field(default=0o660, metadata=_about(Mode(), "The permission bits of the socket."))


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The web page, and the same API on TCP, behind a login."""

    listen: str | None = field(
        default=None,
        metadata=_about(
            Loopback(),
            "Where the web page and the API are served, for example `127.0.0.1:480`; `pathmesh web-login` prints a link into it.",
            "Only root can take a port below 1024. From elsewhere it is reached through a tunnel: `ssh -L 7980:127.0.0.1:480 NODE`.",
            shown="off",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipathSettings:
    """How this node drives its own multipathd."""

    etc_dir: Path = field(
        default=Path("/etc/multipath"),
        metadata=_about(
            AbsolutePath(),
            "The directory of the allow-list `wwids`, and of `conf.d` with the drop-ins that Pathmesh writes.",
        ),
    )
    socket: str = field(
        default="@/org/kernel/linux/storage/multipathd",
        metadata=_about(DaemonSocket(), "The socket of multipathd; a leading `@` means an abstract one."),
    )
    program: Path = field(
        default=Path("/usr/sbin/multipathd"),
        metadata=_about(
            AbsolutePath(),
            "The daemon's program file.",
            "When the socket refuses, its absence tells `not-installed` from `daemon-down`.",
        ),
    )
    accept_renames: bool = field(
        default=False,
        metadata=_about(Flag(), "Whether apply may go on when it would rename or drop a live map that Pathmesh does not manage."),
    )
    udev: str = field(
        default="auto",
        metadata=_about(
            OneOf("auto", "off"),
            "Whether udev is told of the paths of a LUN that was added to the allow-list,",
            "and whether the kernel's events bring about a poll at once.",
        ),
    )
    storage_tools: str = field(
        default="auto",
        metadata=_about(
            OneOf("auto", "off"),
            "Whether volume groups, mounts and iSCSI sessions are looked at, and LVM and open-iscsi used where that is asked for.",
            "Off where multipathd is a simulated one.",
        ),
    )
    poll_interval_ms: int = field(
        default=10_000,
        metadata=_about(
            Whole(100, 3_600_000),
            "How often multipathd is asked for its maps when nothing has announced a change, in milliseconds.",
            "Lower shows a quiet loss sooner and costs the daemon work.",
        ),
    )
    debounce_ms: int = field(
        default=2000,
        metadata=_about(
            Whole(0, 60_000),
            "How long apply waits for further edits before it starts, in milliseconds.",
            "Higher means fewer reconfigures, lower a faster effect.",
        ),
    )
    reconfigure_timeout_seconds: int = field(
        default=60,
        metadata=_about(Whole(1, 3600), "How long a reconfigure may take before it is shown as pending and polled, in seconds."),
    )
    query_timeout_ms: int = field(
        default=5000,
        metadata=_about(
            Whole(100, 600_000),
            "How long multipathd may take to answer one question, in milliseconds.",
            "Below 4000 a daemon that is merely busy reads as `daemon-timeout`.",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What the agent logs, on standard error."""

    level: str = field(
        default="info",
        metadata=_about(OneOf("debug", "info", "warning", "error"), "The least severe level that is logged."),
    )
    format: str = field(default="console", metadata=_about(OneOf("console", "json"), "Lines for people, or one JSON object a line."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a node. `source` is the file they came from, None when every value is a default."""

    node: NodeSettings = field(default_factory=NodeSettings)
    gossip: GossipSettings = field(default_factory=GossipSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    web: WebSettings = field(default_factory=WebSettings)
    multipath: MultipathSettings = field(default_factory=MultipathSettings)
    log: LogSettings = field(default_factory=LogSettings)
    source: Path | None = None


TABLES: dict[str, type[Any]] = {
    "node": NodeSettings,
    "gossip": GossipSettings,
    "api": ApiSettings,
    "web": WebSettings,
    "multipath": MultipathSettings,
    "log": LogSettings,
}


class Fault(NamedTuple):
    """One thing that is wrong in a settings file: `key` is `table.name`, or empty when the file as a whole is wrong."""

    key: str
    message: str
    hint: str = ""


def load(path: Path | None = None) -> Settings:
    """Read the settings of this node.

    `path` None means the default file, which may be absent; a path that was asked for must exist. Raises UsageError for
    the first fault, naming file and key, or UnavailableError when the file cannot be read.
    """
    settings, faults = check(path)
    if faults:
        first = faults[0]
        more = f" (and {len(faults) - 1} more: pathmesh settings check)" if len(faults) > 1 else ""
        raise UsageError(f"{path or DEFAULT_PATH}: {_located(first)}{more}", code="settings-invalid", hint=first.hint)
    return settings


def check(path: Path | None = None) -> tuple[Settings, list[Fault]]:
    """Like `load`, but return every fault instead of raising the first; a faulty setting keeps its default."""
    file = DEFAULT_PATH if path is None else path
    try:
        with file.open("rb") as stream:
            document = tomllib.load(stream)
    except FileNotFoundError:
        if path is None:
            return Settings(), []
        raise UnavailableError(f"{file}: no such settings file", code="settings-missing") from None
    except OSError as error:
        raise UnavailableError(f"{file}: {error.strerror}", code="settings-unreadable") from None
    except UnicodeDecodeError as error:
        return Settings(source=file), [Fault("", f"not UTF-8 at byte {error.start}")]
    except tomllib.TOMLDecodeError as error:
        return Settings(source=file), [Fault("", f"not valid TOML: {error}")]
    return _typed(document, file)


def _typed(document: dict[str, Any], file: Path) -> tuple[Settings, list[Fault]]:
    faults: list[Fault] = []
    tables: dict[str, Any] = {}
    for name, content in document.items():
        table = TABLES.get(name)
        if table is None:
            message = f"unknown table or setting; expected one of {_bracketed(TABLES)}"
            faults.append(Fault(name, message, _nearest(name, list(TABLES))))
        elif not isinstance(content, dict):
            faults.append(Fault(name, f"expected a table, [{name}]"))
        else:
            tables[name] = _table(name, table, content, faults)
    settings = Settings(**tables, source=file)
    faults.extend(_relations(settings))
    return settings, faults


def _table(name: str, table: type[Any], content: dict[str, Any], faults: list[Fault]) -> object:
    known = {row.name: row for row in fields(table)}
    values: dict[str, object] = {}
    for key, value in content.items():
        row = known.get(key)
        if row is None:
            message = f"unknown setting; [{name}] has {', '.join(known)}"
            faults.append(Fault(f"{name}.{key}", message, _nearest(key, list(known))))
            continue
        kind = _kind(row)
        try:
            values[key] = kind.parse(value)
        except ValueError:
            hint = _nearest(value, list(kind.words)) if isinstance(kind, OneOf) and isinstance(value, str) else ""
            faults.append(Fault(f"{name}.{key}", f"{_quoted(value)} refused; expected {kind.expected}", hint))
    return table(**values)


def _relations(settings: Settings) -> list[Fault]:
    """What must hold between settings that are each valid alone."""
    gossip = settings.gossip
    mesh_host, _, mesh_port = gossip.listen.removeprefix("tcp://").rpartition(":")
    join_host, _, join_port = gossip.join_listen.removeprefix("tcp://").rpartition(":")
    overlap = mesh_host == join_host or bool({mesh_host, join_host} & WILDCARDS)
    if mesh_port == join_port and overlap:
        message = f"{_quoted(gossip.join_listen)} refused; expected another port than gossip.listen has"
        return [Fault("gossip.join_listen", message)]
    return []


def _located(fault: Fault) -> str:
    return f"{fault.key}: {fault.message}" if fault.key else fault.message


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _bracketed(names: dict[str, Any]) -> str:
    return ", ".join(f"[{name}]" for name in names)


def _nearest(word: str, known: list[str]) -> str:
    """A hint that names the known word closest to `word`, or nothing when none is close."""
    import difflib  # only a faulty file needs it

    found = difflib.get_close_matches(word.replace("-", "_").lower(), known, n=1)
    return f"did you mean {found[0]!r}?" if found else ""


def _kind(row: "Field[Any]") -> Kind:
    return cast(Kind, row.metadata["kind"])


def effective(settings: Settings) -> dict[str, dict[str, str | int | bool | None]]:
    """All settings as plain JSON values, by table."""
    return {name: {row.name: _plain(getattr(getattr(settings, name), row.name)) for row in fields(table)} for name, table in TABLES.items()}


def _plain(value: object) -> str | int | bool | None:
    return value if value is None or isinstance(value, bool | int) else str(value)


_REFERENCE_HEAD = """\
# Settings

One TOML file per node, `/etc/pathmesh/pathmesh.toml` (another one: `--config FILE` or `PATHMESH_CONFIG`). Every setting
has a default, so the file may be absent. An unknown name or a bad value is refused with file, setting and what was
expected; `pathmesh settings check` shows everything that is wrong at once. The file is read when the agent starts.
Settings belong to one node and are not shared; what the whole cluster shares is the configuration (`pathmesh config`).

Durations end in `_ms` or `_seconds`.
"""


def reference() -> str:
    """The text of `docs/settings.md`."""
    parts = [_REFERENCE_HEAD]
    for name, table in TABLES.items():
        parts.append(f"\n## [{name}]\n\n{table.__doc__}\n\n| setting | default | accepts | meaning |\n|--|--|--|--|\n")
        for row in fields(table):
            kind = _kind(row)
            shown = row.metadata["shown"] or f"`{kind.show(row.default)}`"
            parts.append(f"| `{name}.{row.name}` | {shown} | {kind.expected} | {row.metadata['doc']} |\n")
    return "".join(parts)
