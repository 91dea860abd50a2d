"""Who sees whom: what each node reports of its own connections, and the matrix that this makes.

A node tells the exceptions only: members that are up, by all it knows, but of which it hears nothing itself (`unheard`), or to which its
own connection does not stand (`unreached`). Each node makes its connection to each other, so a barrier can be passable one way.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agent.cell_view import said_all
from gossip.engine import Engine
from gossip.liveness import Opinion
from store.cells import GOSSIP_REACH, Cell, CellView

REACH_ID = "reach"
HEARD_WITHIN_MS = 10_000
HEARD_PER_PEER_MS = 3_000
HEARD_PER_PEER_MOST_MS = 15_000
"""How long a peer may be silent: in a quiet cluster each peer speaks to each other about once per round of pulls.

With many peers a round is long: then one that was not heard directly for a while is asked (gossip/liveness.py), and answers.
"""
MOST_NAMES = 256


class Reach(NamedTuple):
    """The exceptions of one node."""

    unheard: frozenset[str] = frozenset()
    unreached: frozenset[str] = frozenset()


def look(engine: Engine, now_ms: int) -> Reach:
    """What this node finds now, among the members that it keeps a connection to and that are not offline for everybody."""
    patience = HEARD_WITHIN_MS + min(HEARD_PER_PEER_MS * len(engine.peers), HEARD_PER_PEER_MOST_MS)
    unheard, unreached = set(), set()
    for peer in engine.peers.values():
        if peer.contested or peer.guest or engine.liveness.opinion(peer.name) is Opinion.OFFLINE:
            continue
        age = engine.liveness.direct_age_ms(peer.name, now_ms)
        if age is None or age > patience:
            unheard.add(peer.name)
        if not peer.up:
            unreached.add(peer.name)
    return Reach(frozenset(unheard), frozenset(unreached))


class Steady:
    """What two observations in a row have found; so a connection that is just being made does not show."""

    def __init__(self) -> None:
        self._last = Reach()
        self.reach = Reach()

    def observe(self, found: Reach) -> Reach:
        """Take what was found now; returns what holds."""
        self.reach = Reach(*(now & last | (now | last) & held for now, last, held in zip(found, self._last, self.reach, strict=True)))
        self._last = found
        return self.reach


def reach_cell(reach: Reach, wall: float) -> Cell:
    """How it is told to other nodes."""
    detail = {name: sorted(getattr(reach, name))[:MOST_NAMES] for name in Reach._fields}
    return Cell(GOSSIP_REACH, REACH_ID, "degraded" if any(detail.values()) else "healthy", (), detail, {}, wall)


def read_reach(cell: CellView | None) -> Reach | None:
    """What another node has told; None if it has not."""
    if cell is None:
        return None
    detail = cell.detail
    return Reach(frozenset(said_all(detail, "unheard", str)), frozenset(said_all(detail, "unreached", str)))


def matrix(names: Iterable[str], told: Mapping[str, Reach | None], offline: frozenset[str]) -> dict[str, dict[str, str]]:
    """How each node sees each: `self`, `ok` (nothing else was reported), `unheard`, `unreached`, `cut` (both), or `offline`.

    `unknown` stands where the node itself has not told.
    """
    members = list(names)
    return {a: {b: _sees(a, b, told.get(a), offline) for b in members} for a in members}


def _sees(a: str, b: str, reach: Reach | None, offline: frozenset[str]) -> str:
    if a == b:
        return "self"
    if reach is None:
        return "unknown"
    if b in offline:
        return "offline"
    if b in reach.unheard:
        return "cut" if b in reach.unreached else "unheard"
    return "unreached" if b in reach.unreached else "ok"


def one_way(told: Mapping[str, Reach | None]) -> list[tuple[str, str]]:
    """Pairs `(a, b)` of which a hears b, and nothing passes from a to b; both have to have told."""
    broken = _broken(told)
    return sorted((a, b) for a, b in broken if (b, a) not in broken)


def cut(told: Mapping[str, Reach | None]) -> list[tuple[str, str]]:
    """Pairs between which nothing passes either way, while others hear both."""
    broken = _broken(told)
    return sorted((a, b) for a, b in broken if a < b and (b, a) in broken)


def _broken(told: Mapping[str, Reach | None]) -> set[tuple[str, str]]:
    """Pairs `(a, b)` such that nothing passes from a to b: by b, who does not hear a, or at once by a, whose connection does not stand."""
    known = {name: reach for name, reach in told.items() if reach is not None}
    unheard = {(a, b) for b, reach in known.items() for a in reach.unheard if a in known}
    return unheard | {(a, b) for a, reach in known.items() for b in reach.unreached if b in known}


def in_words(told: Mapping[str, Reach | None]) -> list[str]:
    """One line for each pair that something is wrong with."""
    lines = []
    for a, b in one_way(told):
        heard = told[b]
        silent = heard is not None and a in heard.unheard
        lines.append(f"{a} hears {b}, {b} does not hear {a}" if silent else f"{a} cannot connect to {b}, but hears it")
    for a, b in cut(told):
        one, other = told[a], told[b]
        silent = one is not None and other is not None and b in one.unheard and a in other.unheard
        lines.append(f"{a} and {b} do not hear each other" if silent else f"{a} and {b} do not reach each other")
    return lines


def reach_document(nodes: Mapping[str, Mapping[str, Any]], told: Mapping[str, Reach | None]) -> dict[str, Any]:
    """The answer to who sees whom. `nodes` says of each node its `state` and `age_seconds`."""
    offline = frozenset(name for name, node in nodes.items() if node["state"] == "offline")
    sees = matrix(nodes, told, offline)
    return {
        "nodes": [
            {
                "node": name,
                **node,
                "unheard": sorted(reach.unheard) if (reach := told.get(name)) is not None else None,
                "unreached": sorted(reach.unreached) if reach is not None else None,
                "sees": sees[name],
            }
            for name, node in nodes.items()
        ],
        "one_way": [{"hears": a, "unheard": b} for a, b in one_way(told)],
        "cut": [list(pair) for pair in cut(told)],
        "problems": in_words(told),
    }
