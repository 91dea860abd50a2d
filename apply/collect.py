"""The collector: asks this node's daemon, keeps the learned baselines, and hands out the node's cells."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from apply.classify import PathMemory
from apply.expected import Acceptance, Baseline, accept, adopt, decode, encode, forget, observe, rest
from apply.facts import Asks, DaemonFacts, Version, daemon_down, facts_cell, host_notes, read_facts, read_version
from apply.health import Derived, Memory, View, as_shown, derive
from apply.holddown import Shown, show
from apply.model import Model
from apply.multipathd import MultipathdError
from apply.nvme import NvmeKey, Subsystem, connections, is_subsystem, live, observe_nvme
from apply.outcome import ApplyOutcome, apply_cell
from apply.path_facts import NoFacts, PathFacts
from apply.sessions import Session
from apply.storages import ExpectedNodes
from apply.topology import PATHS_COMMAND, SIZES_COMMAND, Seen, Topology, clean, parse, parse_paths, parse_sizes
from store.cells import Cell
from store.errors import PathmeshError, listed
from store.records import Records

Read = TypeVar("Read")

BASELINES = "baseline"
MAX_VISIBLE = 512
"""LUNs that nobody configured and that are listed in the node's facts; a node that sees more is told to its operator by the count."""


class DeviceFacts(PathFacts, Protocol):
    """What the kernel knows of devices."""

    def map_size(self, sysfs: str, wwid: str) -> int | None: ...

    def attached_wwids(self) -> frozenset[str]: ...

    def sessions(self) -> tuple[Session, ...]: ...


@dataclass(frozen=True)
class Context:
    """What the rest of the node knows at the time of a poll.

    `acceptances` are the acknowledged paths of this node's LUNs by WWID; `allowed_since` (unix seconds) says when a WWID entered the
    allow-list; `peer_sizes` how many paths other nodes expect of it; `learning` is False in maintenance and shortly after boot.
    """

    node: str
    model: Model
    expected: Mapping[str, ExpectedNodes] = field(default_factory=dict)
    outcome: ApplyOutcome | None = None
    acceptances: Mapping[str, Acceptance] = field(default_factory=dict)
    allowed_since: Mapping[str, float] = field(default_factory=dict)
    peer_sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    learning: bool = True


def acceptance_of(options: Mapping[str, str], dot: str) -> Acceptance:
    """The acceptance in an `ack/<node>/<wwid>` section that the edit `dot` wrote."""
    expires = options.get("expires", "")
    identities = tuple(line for line in options.get("paths", "").splitlines() if line)
    seconds = float(expires) if expires.replace(".", "", 1).isdecimal() else 0.0
    return Acceptance(dot, identities, seconds, options.get("reason", ""), options.get("by", ""))


class _Reader(Generic[Read]):
    """Reads an answer, unless it is the same as the last one: most are."""

    def __init__(self, read: Callable[[str], Read]) -> None:
        self._read = read
        self._last: tuple[str, Read] | None = None

    def read(self, text: str) -> Read:
        if self._last is None or self._last[0] != text:
            self._last = (text, self._read(text))
        return self._last[1]


class HealthCollector:
    """Polls one host. `context` is asked once a poll; `monotonic` and `wall` give seconds; `devices` looks at the real host,
    `nvme` gives its native NVMe subsystems.
    """

    def __init__(
        self,
        client: Asks,
        records: Records,
        context: Callable[[], Context],
        *,
        devices: DeviceFacts | None = None,
        nvme: Callable[[], tuple[Subsystem, ...]] = tuple,
        notes: Callable[[], tuple[str, ...]] = host_notes,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._records = records
        self._context = context
        self._devices: DeviceFacts = devices or NoFacts()
        self._nvme = nvme
        self._subsystems: tuple[Subsystem, ...] = ()
        self._nvme_memory: Mapping[NvmeKey, PathMemory] = {}
        self._nvme_shown: dict[str, Shown] = {}
        self._notes = notes
        self._monotonic = monotonic
        self._wall = wall
        self._one_at_a_time = asyncio.Lock()
        self._maps, self._paths, self._sizes = _Reader(parse), _Reader(parse_paths), _Reader(parse_sizes)
        self._memory = Memory()
        self._idle: frozenset[Session] = frozenset()
        """The sessions without a disk at the last poll: one that has just logged in is still being scanned."""
        self._bare: tuple[Session, ...] = ()
        """Those that were so twice in a row."""
        self._baselines: dict[str, Baseline] | None = None
        self._lost: tuple[str, ...] = ()
        """The LUNs of which it could not be read, at the start, which paths had been learned."""
        self.facts = DaemonFacts("unknown")
        """What the last poll learned of the daemon."""

    async def poll(self) -> list[Cell]:
        """The cells of this node now: its maps, its apply state, its facts.

        Never raises for what the daemon does or does not say, nor because the learned paths cannot be read or kept: then nothing is
        learned, and the facts say so.
        """
        async with self._one_at_a_time:
            return await self._poll(self._context())

    async def _poll(self, context: Context) -> list[Cell]:
        topology, seen, sizes, failure = await self._ask()
        view = View(
            node=context.node,
            now=self._monotonic(),
            wall=self._wall(),
            model=context.model,
            expected=context.expected,
            topology=topology,
            failure=failure,
            seen=seen,
            sizes=sizes,
            facts=self._devices,
            outcome=context.outcome,
            allowed_since=context.allowed_since,
            peer_sizes=context.peer_sizes,
            learning=context.learning,
            doing=self.facts.doing,
        )
        view = await asyncio.to_thread(self._looked_at, view)
        derived, fault = await self._derived(view, context.acceptances)
        self._memory = derived.memory
        nvme = await self._observe_nvme(view, learning=context.learning and not fault)
        cells = [*derived.cells, *nvme, self._facts_cell(view, derived.truncated, fault)]
        return [*cells, apply_cell(context.outcome, view.wall)] if context.outcome else cells

    async def tools_version(self) -> Version | None:
        """The release of multipath-tools here, to render for: the one last read, or else asked for now; None if the daemon does not say.

        Raises MultipathdError: then it is not known which configuration these tools take, and nothing may be written.
        """
        return self.facts.version or await read_version(self._client)

    async def _derived(self, view: View, acceptances: Mapping[str, Acceptance]) -> tuple[Derived, str]:
        """The cells, and why what was learned could not be kept, if so; it is tried again with the next poll."""
        before: dict[str, Baseline] = {}
        try:
            before = await self._known_baselines()
            derived = await asyncio.to_thread(derive, view, self._memory, _accepted(before, acceptances, view.wall))
            await self._remember(before, dict(derived.baselines))
        except PathmeshError as error:
            return await asyncio.to_thread(derive, replace(view, learning=False), self._memory, before), error.message
        return derived, ""

    async def _observe_nvme(self, view: View, *, learning: bool) -> list[Cell]:
        """The cells of the native NVMe subsystems. Their controllers are learned as a LUN's paths are."""
        if self._baselines is None:
            return []  # they could not be read: nothing may be written in their place, and nothing be called healthy
        before = self._baselines
        if not self._subsystems and not any(map(is_subsystem, before)):
            return []
        after, settings = dict(before), view.model.settings
        for subsystem in self._subsystems:
            known = before.get(subsystem.nqn, Baseline())
            if learning:
                learned = observe(known, live(subsystem), view.wall, settings.learn_window_seconds)
                after[subsystem.nqn] = forget(learned, connections(subsystem), view.wall, settings.forget_after_days)
            else:
                after[subsystem.nqn] = rest(known)
        with contextlib.suppress(PathmeshError):  # tried again with the next poll; until then it is not in force
            await self._remember(before, after)
        observed = observe_nvme(self._subsystems, self._baselines, self._nvme_memory, view.now, view.wall)
        self._nvme_memory = observed.memory
        self._nvme_shown = {cell.id: show(self._nvme_shown.get(cell.id), cell.state, cell.reasons, view.now) for cell in observed.cells}
        return [as_shown(cell, self._nvme_shown[cell.id]) for cell in observed.cells]

    async def lost(self) -> bool:
        """Whether some of what was learned before the start cannot be read. PathmeshError if the records cannot be asked at all."""
        async with self._one_at_a_time:
            await self._known_baselines()
        return bool(self._lost)

    async def adopt(self, known: Mapping[str, tuple[str, ...]]) -> None:
        """Take over the baselines that peers remember of this node, by WWID, after it lost its own."""
        async with self._one_at_a_time:
            before = await self._known_baselines()
            grown = {wwid: adopt(before.get(wwid, Baseline()), identities) for wwid, identities in known.items()}
            await self._remember(before, {**before, **grown})

    async def _ask(self) -> tuple[Topology | None, Mapping[str, Seen], Mapping[str, int], str]:
        """Maps, visible paths, rounded sizes, and the error's code if the daemon could not be asked."""
        self.facts = await read_facts(self._client, self.facts)
        try:
            topology = self._maps.read(await self._client.ask("show maps json"))
            seen = self._paths.read(await self._client.ask(PATHS_COMMAND))
            sizes = self._sizes.read(await self._client.ask(SIZES_COMMAND))
        except MultipathdError as error:
            self.facts = daemon_down(error, self.facts)
            return None, {}, {}, error.code
        if not topology.maps and not topology.complete:
            self.facts = replace(self.facts, state="garbage")
        return topology, seen, sizes, ""

    def _looked_at(self, view: View) -> View:
        """The view with what the kernel knows: sizes where it has the map (the daemon rounds them), and the attached disks."""
        sizes = dict(view.sizes)
        for found in view.topology.maps if view.topology else ():
            exact = self._devices.map_size(found.sysfs, found.uuid)
            if exact is not None:
                sizes[found.uuid] = exact
        self._subsystems = self._nvme()
        sessions = self._devices.sessions()
        idle = frozenset(session for session in sessions if not session.disks)
        self._bare, self._idle = tuple(sorted(idle & self._idle)), idle
        ways = frozenset((session.target, session.portal) for session in sessions)
        return replace(view, sizes=sizes, attached=self._devices.attached_wwids(), sessions=ways)

    def _facts_cell(self, view: View, truncated: int, fault: str) -> Cell:
        notes = [*self._notes()] if self.facts.state != "running" else []
        if view.topology is not None and view.topology.issues:
            notes.append(f"multipathd's answer: {clean(view.topology.issues[0])}")
        if self._bare:
            notes.append(_bare_note(self._bare))
        if fault:
            notes.append(f"learned paths could not be kept: {fault}")
        if self._lost:
            notes.append(_lost_note(self._lost))
        if truncated:
            notes.append(f"{truncated} maps are not reported")
        visible = [_visible(found) for wwid, found in sorted(view.seen.items()) if wwid not in view.model.luns]
        if len(visible) > MAX_VISIBLE:
            notes.append(f"{len(visible) - MAX_VISIBLE} more LUNs are visible")
        return facts_cell(self.facts, tuple(notes), visible[:MAX_VISIBLE], view.wall)

    async def _known_baselines(self) -> dict[str, Baseline]:
        if self._baselines is None:
            stored = await self._records.load(BASELINES)
            found = {wwid: decode(data) for wwid, data in stored.items()}
            self._lost = tuple(sorted(wwid for wwid, baseline in found.items() if baseline is None))
            self._baselines = {wwid: Baseline() if baseline is None else baseline for wwid, baseline in found.items()}
        return self._baselines

    async def _remember(self, before: Mapping[str, Baseline], after: dict[str, Baseline]) -> None:
        """Keep what changed; durable before it is shown, so no restart forgets a path that was announced as expected."""
        changed = {wwid: encode(baseline) for wwid, baseline in after.items() if before.get(wwid) != baseline}
        if changed:
            await self._records.change(BASELINES, changed)
        self._baselines = after


def _accepted(baselines: Mapping[str, Baseline], acceptances: Mapping[str, Acceptance], now: float) -> dict[str, Baseline]:
    result = dict(baselines)
    for wwid, acceptance in acceptances.items():
        result[wwid] = accept(result.get(wwid, Baseline()), acceptance, now)
    return result


def _bare_note(bare: Sequence[Session]) -> str:
    shown = listed([f"{session.target} at {session.portal}" for session in bare], 3)
    return f"session-without-path: logged in without any disk: {shown}; the array's masking, or a rescan: iscsiadm -m session --rescan"


def _lost_note(lost: Sequence[str]) -> str:
    shown = listed([*map(clean, lost)], 3)
    return f"the learned paths could not be read at the agent's start: {shown}; the others are asked, and what they lack is learned anew"


def _visible(found: Seen) -> dict[str, Any]:
    return {
        "wwid": clean(found.wwid),
        "vendor": clean(found.vendor),
        "product": clean(found.product),
        "size_bytes": found.size_bytes,
        "paths": len(found.hcil),
    }
