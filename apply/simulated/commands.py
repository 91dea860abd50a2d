"""The daemon's command language: what a request asks for, who may ask it, and the reply."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from os import getpid

from apply.simulated import listings
from apply.simulated.conf_text import LocalView, show_config
from apply.simulated.daemon import Daemon
from apply.simulated.listings import Listing
from apply.simulated.maps import Map

OK = "ok\n"
FAIL = "fail\n"
DENIED = "permission deny: need to be root\n"

VERSION = "multipath-tools v0.9.4 (12/19, 2022)"
REFERENCE = """\
 list|show paths
 list|show paths format $format
 list|show paths raw format $format
 list|show path $path
 list|show maps|multipaths
 list|show status
 list|show daemon
 list|show maps|multipaths status
 list|show maps|multipaths stats
 list|show maps|multipaths format $format
 list|show maps|multipaths raw format $format
 list|show maps|multipaths topology
 list|show topology
 list|show maps|multipaths json
 list|show map|multipath $map topology
 list|show map|multipath $map format $format
 list|show map|multipath $map raw format $format
 list|show map|multipath $map json
 list|show config local
 list|show config
 list|show blacklist
 list|show devices
 list|show wildcards
 reset maps|multipaths stats
 reset map|multipath $map stats
 add path $path
 remove|del path $path
 add map|multipath $map
 remove|del map|multipath $map
 remove|del maps|multipaths
 switch|switchgroup map|multipath $map group $group
 reconfigure
 reconfigure all
 suspend map|multipath $map
 resume map|multipath $map
 resize map|multipath $map
 reload map|multipath $map
 reset map|multipath $map
 reinstate path $path
 fail path $path
 disablequeueing map|multipath $map
 restorequeueing map|multipath $map
 disablequeueing maps|multipaths
 restorequeueing maps|multipaths
 quit|exit
 shutdown
 getprstatus map|multipath $map
 setprstatus map|multipath $map
 unsetprstatus map|multipath $map
 forcequeueing daemon
 restorequeueing daemon
 getprkey map|multipath $map
 setprkey map|multipath $map key $key
 unsetprkey map|multipath $map
 setmarginal path $path
 unsetmarginal path $path
 unsetmarginal map|multipath $map
"""
"""What the daemon prints when it does not understand; the words, synonyms and parameters below are read from it."""

NOT_SIMULATED = frozenset({"list blacklist", "list devices", "list wildcards"})
"""Listings of the real daemon that answer here as an unknown command does."""


class Fault(Enum):
    """Why a request was not understood, as the daemon words it."""

    UNKNOWN = "not found"
    NO_PARAMETER = "Missing argument"
    EMPTY = "Not enough memory"


@dataclass(frozen=True, slots=True)
class Request:
    """A command in canonical words (`list maps raw format`) and its parameters by the word before them."""

    words: str
    parameters: Mapping[str, str]


def _canonical() -> tuple[Mapping[str, str], frozenset[str], frozenset[str]]:
    """The canonical word of each word, the words that take a parameter, and all commands."""
    words: dict[str, str] = {}
    takers: set[str] = set()
    commands: set[str] = set()
    for line in REFERENCE.splitlines():
        command: list[str] = []
        for part in line.split():
            if part.startswith("$"):
                takers.add(command[-1])
                continue
            names = part.split("|")
            words.update(dict.fromkeys(names, names[0]))
            command.append(names[0])
        commands.add(" ".join(command))
    return words, frozenset(takers), frozenset(commands)


_WORDS, _TAKERS, _COMMANDS = _canonical()


def parse(command: str) -> Request | Fault | None:
    """Understand a command. Nothing means that the daemon answers a bare `fail`: an unknown verb followed by something."""
    parts = _split(command)
    if not parts:
        return Fault.EMPTY
    words: list[str] = []
    parameters: dict[str, str] = {}
    expecting = ""
    for part in parts:
        if expecting:
            parameters[expecting] = part
            expecting = ""
            continue
        word = _lookup(part)
        if word is None:
            return None if not words and len(parts) > 1 else Fault.UNKNOWN
        words.append(word)
        expecting = word if word in _TAKERS else ""
    if expecting:
        return Fault.NO_PARAMETER
    joined = " ".join(words)
    return Request(joined, parameters) if joined in _COMMANDS - NOT_SIMULATED else Fault.UNKNOWN


def answer(daemon: Daemon, command: str, *, root: bool) -> str:
    """The reply to one command. Anybody may list; the rest is for root."""
    request = parse(command)
    if request is None:
        return FAIL
    if isinstance(request, Fault):
        return f"{command}: {request.value}\n{VERSION}\nCLI commands reference:\n{REFERENCE}"
    if not root and not request.words.startswith("list "):
        return DENIED
    daemon.refresh()
    handler = _HANDLERS.get(request.words)
    return handler(daemon, request.parameters) if handler else FAIL


def _split(command: str) -> Sequence[str]:
    """The words of a command; one in double quotes may hold blanks."""
    parts: list[str] = []
    for n, chunk in enumerate(command.strip("\r\n").split('"')):
        if n % 2:
            parts.append(chunk)
        else:
            parts += chunk.split()
    return parts


def _lookup(part: str) -> str | None:
    """The canonical word for a word or an unambiguous beginning of one."""
    if part in _WORDS:
        return _WORDS[part]
    found = [word for word in _WORDS if part and word.startswith(part)]
    return _WORDS[found[0]] if len(found) == 1 else None


Handler = Callable[[Daemon, Mapping[str, str]], str]


def _listing(daemon: Daemon) -> Listing:
    return Listing(list(daemon.maps.values()), list(daemon.paths.values()), daemon.config, daemon.now)


def _maps(form: str | None = None, *, raw: bool = False) -> Handler:
    """An empty listing is answered with a bare ok."""
    return lambda d, p: _listing(d).maps_text(form or p["format"], raw=raw) or OK


def _paths(form: str | None = None, *, raw: bool = False) -> Handler:
    return lambda d, p: _listing(d).paths_text(form or p["format"], raw=raw) or OK


def _one_map(show: Callable[[Listing, Map, Mapping[str, str]], str]) -> Handler:
    def handle(daemon: Daemon, parameters: Mapping[str, str]) -> str:
        m = daemon.find_map(parameters["map"])
        return show(_listing(daemon), m, parameters) if m else FAIL

    return handle


def _outcome(act: Callable[[Daemon, Mapping[str, str]], bool]) -> Handler:
    return lambda d, p: OK if act(d, p) else FAIL


def _show_path(daemon: Daemon, parameters: Mapping[str, str]) -> str:
    path = daemon.find_path(parameters["path"])
    return Listing([], [path], daemon.config, daemon.now).paths_text(listings.PATH_COLUMNS, raw=True) if path else FAIL


def _show_daemon(daemon: Daemon, parameters: Mapping[str, str]) -> str:
    return f"pid {getpid()} {'configure' if daemon.reconfiguring else 'idle'}\n"


def _show_local(daemon: Daemon, parameters: Mapping[str, str]) -> str:
    return show_config(daemon.config, LocalView([(m.wwid, m.name) for m in daemon.maps.values()], daemon.luns))


def _topology(daemon: Daemon, parameters: Mapping[str, str]) -> str:
    return _listing(daemon).topology(daemon.maps.values()) or OK


def _reconfigure(daemon: Daemon, parameters: Mapping[str, str]) -> str:
    daemon.request_reconfigure()
    return OK


def _remove_path(daemon: Daemon, parameters: Mapping[str, str]) -> str:
    daemon.remove_path(parameters["path"])
    return OK


_HANDLERS: Mapping[str, Handler] = {
    "list paths": _paths(listings.PATH_COLUMNS),
    "list paths format": _paths(),
    "list paths raw format": _paths(raw=True),
    "list path": _show_path,
    "list maps": _maps(listings.MAP_COLUMNS),
    "list maps status": _maps(listings.MAP_STATUS),
    "list maps stats": _maps(listings.MAP_STATISTICS),
    "list maps format": _maps(),
    "list maps raw format": _maps(raw=True),
    "list maps topology": _topology,
    "list topology": _topology,
    "list maps json": lambda d, p: _listing(d).maps_json(),
    "list map topology": _one_map(lambda listing, m, p: listing.topology([m])),
    "list map format": _one_map(lambda listing, m, p: listing.map_text(m, p["format"], raw=False)),
    "list map raw format": _one_map(lambda listing, m, p: listing.map_text(m, p["format"], raw=True)),
    "list map json": _one_map(lambda listing, m, p: listing.map_json(m)),
    "list config": lambda d, p: show_config(d.config),
    "list config local": _show_local,
    "list status": lambda d, p: _listing(d).status(),
    "list daemon": _show_daemon,
    "reconfigure": _reconfigure,
    "reconfigure all": _reconfigure,
    "fail path": _outcome(lambda d, p: d.fail_path(p["path"])),
    "reinstate path": _outcome(lambda d, p: d.reinstate_path(p["path"])),
    "remove path": _remove_path,
    "add path": lambda d, p: d.add_path(p["path"]) + "\n",
    "remove map": _outcome(lambda d, p: d.remove_map(p["map"])),
    "resize map": _outcome(lambda d, p: d.resize_map(p["map"])),
    "disablequeueing map": _outcome(lambda d, p: d.set_queueing(p["map"], enabled=False)),
    "disablequeueing maps": _outcome(lambda d, p: d.set_queueing(None, enabled=False)),
    "restorequeueing map": _outcome(lambda d, p: d.set_queueing(p["map"], enabled=True)),
    "restorequeueing maps": _outcome(lambda d, p: d.set_queueing(None, enabled=True)),
    "quit": lambda d, p: OK,
}
"""Commands of the reference that are not here are refused with `fail`."""
