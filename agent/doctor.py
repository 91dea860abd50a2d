"""What is wrong with this node and its place in the cluster, and what to do about it.

`standing` are the findings that hold until somebody acts, or time heals them: they stand in the status too. `diagnose` looks further.
"""

import shutil
from collections.abc import Collection, Iterator
from ipaddress import ip_address
from typing import Any

from agent.bootstrap import advertised
from agent.findings import SEVERITIES, Finding
from agent.lasting import lasting
from agent.map_findings import map_findings
from agent.node import Node
from agent.reach import in_words, read_reach
from agent.skew import MOST_SECONDS
from agent.storage_findings import storage_findings
from gossip.addresses import parse_endpoint
from gossip.authoring import Continuity
from gossip.liveness import Opinion
from gossip.peers import Peer
from gossip.runner import boottime_ms
from gossip.sockets import check_file_limit
from store import level
from store.cells import GOSSIP_REACH
from store.errors import PathmeshError, UsageError, listed
from store.limits import limit
from store.matrix import Reporter
from store.members import MemberState

LOG_SHARE = 0.1
"""From this share of the log's bound on it is worth saying who keeps it from shrinking."""
LEAST_FREE_BYTES = 256 * 2**20
_NAMED = 5
FOUND_AT_START = frozenset({"database-restored", "database-lost", "database-damaged", "guard-missing"})
"""Alarms that say more closely why a node was restored."""


def problems(node: Node) -> list[dict[str, Any]]:
    """What the status says beside the problems of the configuration: what holds now, then the recent alarms that are not the same."""
    found = [finding.problem() for finding in standing(node)]
    return found + _alarms(node, {problem["code"] for problem in found})


def standing(node: Node) -> list[Finding]:
    """What holds now of this node's membership, identity and configuration."""
    return [*_membership(node), *_identity(node), *_configuration(node), *_floor(node), *node.web.findings()]


def diagnose(node: Node) -> list[Finding]:
    """Everything, worst first."""
    host = [*map_findings(node), *storage_findings(node)]
    found = [*standing(node), *_connections(node), *_storage(node), *host, *_clocks(node), *_settings(node)]
    codes = {finding.code for finding in found}
    alarms = [Finding(p["code"], p["severity"], p["message"], p["hint"]) for p in _alarms(node, codes)]
    return sorted([*found, *alarms], key=lambda finding: SEVERITIES.index(finding.severity))


def _alarms(node: Node, codes: Collection[str]) -> list[dict[str, Any]]:
    """The recent alarms that say something new, beside the findings with these codes."""
    told = [problem for problem in node.alarms.problems() if problem["code"] not in codes]
    recent = {problem["code"] for problem in told}
    pointless = {"restored"} if recent & FOUND_AT_START else set()
    if "left" in codes:
        pointless = {"restored", *FOUND_AT_START}
    return [problem for problem in told if problem["code"] not in pointless]


# -- what holds -------------------------------------------------------------------------------------------------------


def _membership(node: Node) -> Iterator[Finding]:
    engine, name = node.runner.engine, node.birth.name
    member = engine.member
    if engine.name_taken:
        yield Finding(
            "name-taken",
            "error",
            f"another node holds the name {name!r}: this one is read-only",
            f"join anew under another name: move {node.settings.node.state_dir} and {node.settings.node.keys_dir} away, then pathmesh join",
        )
    elif member is None:
        yield Finding("joining", "warning", "the cluster's configuration is not here yet", "is any member reachable from here?")
    elif member.state is MemberState.LEFT:
        yield Finding(
            "left",
            "warning",
            "this node has left the cluster: it hears nobody, and what it shows is old",
            f"stop its agent; to join again move {node.settings.node.state_dir} and {node.settings.node.keys_dir} away, then pathmesh join",
        )
    elif member.state is MemberState.RETIRED:
        yield Finding("retired", "error", "this node was retired from the cluster: it is read-only", "stop its agent, or join it anew")


def _identity(node: Node) -> Iterator[Finding]:
    continuity = node.runner.engine.continuity
    if continuity is Continuity.CLONED:
        yield Finding(
            "cloned",
            "error",
            "another process runs with this node's keys, and the cluster listens to that one: this one is read-only",
            f"stop one of the two; a copy of this machine needs an identity of its own: move {node.settings.node.state_dir} and "
            f"{node.settings.node.keys_dir} away there, then pathmesh join",
        )
    elif continuity is Continuity.RESTORED and not _left(node) and not _why_restored(node):
        yield Finding(
            "restored",
            "warning",
            "this node was further on once: its database was brought back from an older copy, or lost",
            "nothing has to be done: it fetches what it lacks, and writes under a new actor until its next start",
        )
    forgotten = _forgotten(node)
    if forgotten:
        yield Finding(
            "member-forgotten",
            "warning",
            f"this node remembers {_named(forgotten)} as members from before it was restored, and no other knows of them: what they wrote "
            "may be in effect here, so it is not taken off this host",
            "start them if they exist; if they are gone for good: pathmesh apply --now (this stands here until the agent's next start)",
        )


def _forgotten(node: Node) -> list[str]:
    """The members that the guard of a restored node remembers, and that were never admitted as far as all others know."""
    engine = node.runner.engine
    if not engine.identity.restored or not engine.caught_up:
        return []
    return [member.name for member in engine.identity.bootstrap if not engine.replica.knows(member.actor)]


def _left(node: Node) -> bool:
    member = node.runner.engine.member
    return member is not None and member.state is MemberState.LEFT


def _why_restored(node: Node) -> bool:
    """Whether an alarm of the start says it already, and more."""
    return any(problem["code"] in FOUND_AT_START for problem in node.alarms.problems())


def _configuration(node: Node) -> Iterator[Finding]:
    engine = node.runner.engine
    if engine.config_behind:
        yield Finding(
            "config-behind",
            "error",
            "a newer version has written edits that this one does not know: nothing is applied here",
            "upgrade pathmesh on this node",
        )
    present = level.read_level(engine.replica.fold.value(level.LEVEL_KEY))
    if present > level.LEVEL:
        yield Finding(
            "level-above",
            "error",
            f"the cluster is at feature level {present}, this version speaks up to {level.LEVEL}: it does not know all that is written",
            "upgrade pathmesh on this node",
        )
    if engine.frozen:
        yield Finding(
            "frozen",
            "error",
            f"{len(engine.frozen)} keys differ from a peer's beyond repair, so nothing is applied here: {_named(engine.frozen)}",
            "keep the state directories of both and report it; then let the node that is wrong join anew",
        )
    elif engine.diverged:
        yield Finding(
            "diverged",
            "error",
            f"the same edits have led to another state on {_named(engine.diverged)}",
            "it is repaired by itself if it can be; keep both state directories and report it",
        )
    if engine.catching_up is not None:
        here, of = engine.catch_up_bytes
        share = f": {here:,} of {of:,} bytes" if of else ""
        yield Finding("catching-up", "info", f"this node is far behind and fetches the whole state from {engine.catching_up}{share}")


def _floor(node: Node) -> Iterator[Finding]:
    """Who keeps the log from shrinking, once that matters."""
    engine = node.runner.engine
    fill = _log_share(node)
    blocked = engine.stability().blocked_by if fill >= LOG_SHARE else ()
    if blocked:
        yield Finding(
            "floor-blocked",
            "error" if fill >= 0.8 else "warning",
            f"the log of edits is {fill:.0%} full: {', '.join(_since(node, name) for name in blocked[:_NAMED])} "
            f"{'and others ' if len(blocked) > _NAMED else ''}{'has' if len(blocked) == 1 else 'have'} not received them",
            "bring the member back; or retire it if it is gone for good: pathmesh member retire " + blocked[0],
        )


def _log_share(node: Node) -> float:
    replica = node.runner.engine.replica
    return max(len(replica) / limit("unstable_edits"), replica.log_bytes / limit("unstable_bytes"))


def _since(node: Node, name: str) -> str:
    """A member and since when nothing is known of it."""
    age = node.picture.age_seconds(name)
    if age is None:
        return f"{name} (not heard since this agent's start)"
    return f"{name} (last heard {lasting(age)} ago)" if age > 15 else name


# -- what only the doctor looks at ------------------------------------------------------------------------------------


def _connections(node: Node) -> Iterator[Finding]:
    engine, now = node.runner.engine, boottime_ms()
    if engine.member is None or not engine.member.active:
        return
    maintained, found = node.picture.maintenance(), node.host.reach
    for peer in sorted(engine.peers.values(), key=lambda peer: peer.name):
        lost = engine.liveness.opinion(peer.name) is not Opinion.ONLINE or peer.name in found.unheard | found.unreached
        if peer.contested or peer.guest or not lost:
            continue
        yield _not_connected(node, peer, "info" if peer.name in maintained else "warning", now)
    flapping = [peer.name for peer in engine.peers.values() if engine.liveness.flapping(peer.name, now)]
    if flapping:
        yield Finding("flapping", "warning", f"lost and found again and again: {_named(flapping)}", "its network, its load, its agent")
    told = {name: read_reach(node.picture.cell(name, GOSSIP_REACH, "reach")) for name in _fresh(node)}
    for line in in_words({**told, node.birth.name: node.host.reach}):
        yield Finding("reach", "warning", line, "firewall rules between the two, in both directions: pathmesh member reach")


def _not_connected(node: Node, peer: Peer, severity: str, now: int) -> Finding:
    """Which way nothing passes. Of one that is not online either way may be broken: what is known is whether a connection to it stands."""
    engine, found, here = node.runner.engine, node.host.reach, node.runner.engine.member
    opinion = engine.liveness.opinion(peer.name)
    unheard = opinion is not Opinion.ONLINE or peer.name in found.unheard
    unreached = not peer.up if opinion is not Opinion.ONLINE else peer.name in found.unreached
    age = engine.liveness.direct_age_ms(peer.name, now)
    since = "since this agent's start" if age is None else f"for {lasting(age / 1000)}"
    ours = f"this node's mesh port{f' ({here.endpoint})' if here is not None else ''}"
    if unheard and unreached:
        what = f"neither heard nor reached {since}"
        hint = f"is its agent running? can {peer.endpoint} be reached from here, and {ours} from there?"
    elif unheard:
        what = f"a connection to it stands, but it was not heard directly {since}"
        hint = f"can {ours} be reached from there? a firewall here, gossip.advertise; its log says what it finds"
    else:
        what = "it is heard, but no connection to it can be made"
        hint = f"can {peer.endpoint} be reached from here? a firewall there, the route to it, its gossip.advertise"
    return Finding("not-connected", severity, f"{peer.name} ({opinion.value}): {what}", hint)


def _storage(node: Node) -> Iterator[Finding]:
    directory = node.settings.node.state_dir
    free = shutil.disk_usage(directory).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            "disk-low", "warning", f"{directory}: {free / 2**20:.0f} MiB are free", "free some space: without it nothing can be written"
        )
    try:
        check_file_limit(len(node.runner.engine.replica.registry.active))
    except PathmeshError as fault:
        yield Finding("file-limit", "warning", fault.message, fault.hint)
    if node.picture.config.conflicts:
        count = len(node.picture.config.conflicts)
        yield Finding(
            "conflicts",
            "warning",
            f"{count} {'section has' if count == 1 else 'sections have'} concurrent values: {_named(node.picture.config.conflicts)}",
            "pathmesh conflicts, then pathmesh resolve",
        )


def _clocks(node: Node) -> Iterator[Finding]:
    for name, seconds in sorted(node.skew.known().items()):
        if name in node.picture.node_names() and abs(seconds) > MOST_SECONDS:
            way = "ahead of" if seconds > 0 else "behind"
            yield Finding(
                "clock-skew",
                "info",
                f"the wall clock of {name} is {lasting(abs(seconds))} {way} this node's",
                "nothing is decided by wall clocks; times that are shown, and expiry of acknowledgements, are off",
            )


def _settings(node: Node) -> Iterator[Finding]:
    member = node.runner.engine.member
    if member is None:
        return
    now = advertised(node.settings.gossip.listen, node.settings.gossip.advertise)
    if member.active and member.endpoint != now:
        yield Finding(
            "endpoint-differs",
            "warning",
            f"the cluster reaches this node at {member.endpoint}, but it is set to be reached at {now}: nothing may arrive here",
            "set gossip.listen and gossip.advertise back, or let the node leave and join anew; if this machine is a copy of another one, "
            "give it an identity of its own: move its state and keys away, then pathmesh join",
        )
    others = [m.name for m in node.runner.engine.replica.registry.active if m.name != member.name and not _is_loopback(m.endpoint)]
    if others and _is_loopback(member.endpoint):
        yield Finding(
            "advertises-loopback",
            "error",
            f"this node is registered at {member.endpoint}, where no other host can reach it; {_named(others)} are elsewhere",
            "set gossip.advertise, then let this node leave and join anew",
        )


def _fresh(node: Node) -> list[str]:
    return [name for name, reporter in node.picture.reporters().items() if reporter is Reporter.FRESH]


def _is_loopback(endpoint: str) -> bool:
    try:
        host = parse_endpoint(endpoint).host
        return host == "localhost" or ip_address(host).is_loopback
    except (UsageError, ValueError):
        return False  # a name, or what another version makes of it


def _named(names: Any) -> str:
    """A few of the names, and how many more there are."""
    return listed(sorted(names), _NAMED)
