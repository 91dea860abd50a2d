"""The collector: asks this node's daemon, keeps the learned baselines, and hands out the node's cells."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from apply.expected import Acceptance, Baseline, accept, adopt, decode, encode
from apply.facts import Asks, DaemonFacts, Version, daemon_down, facts_cell, host_notes, read_facts, read_version
from apply.health import Derived, Memory, View, derive
from apply.model import Model
from apply.multipathd import MultipathdError
from apply.outcome import ApplyOutcome, apply_cell
from apply.storages import ExpectedNodes
from apply.sysfs import NoFacts, PathFacts
from apply.topology import PATHS_COMMAND, SIZES_COMMAND, Seen, Topology, clean, parse, parse_paths, parse_sizes
from store.cells import Cell
from store.errors import PathmeshError
from store.records import Records

BASELINES = "baseline"
MAX_VISIBLE = 512
"""LUNs that nobody configured and that are listed in the node's facts; a node that sees more is told to its operator by the count."""


class DeviceFacts(PathFacts, Protocol):
    """What the kernel knows of devices."""

    def map_size(self, sysfs: str, wwid: str) -> int | None: ...

    def attached_wwids(self) -> frozenset[str]: ...


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


class HealthCollector:
    """Polls one host. `context` is asked once a poll; `monotonic` and `wall` give seconds; `devices` looks at the real host."""

    def __init__(
        self,
        client: Asks,
        records: Records,
        context: Callable[[], Context],
        *,
        devices: DeviceFacts | None = None,
        notes: Callable[[], tuple[str, ...]] = host_notes,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._records = records
        self._context = context
        self._devices: DeviceFacts = devices or NoFacts()
        self._notes = notes
        self._monotonic = monotonic
        self._wall = wall
        self._one_at_a_time = asyncio.Lock()
        self._memory = Memory()
        self._baselines: dict[str, Baseline] | None = None
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
        )
        view = await asyncio.to_thread(self._looked_at, view)
        derived, fault = await self._derived(view, context.acceptances)
        self._memory = derived.memory
        cells = [*derived.cells, self._facts_cell(view, derived.truncated, fault)]
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
            topology = parse(await self._client.ask("show maps json"))
            seen = parse_paths(await self._client.ask(PATHS_COMMAND))
            sizes = parse_sizes(await self._client.ask(SIZES_COMMAND))
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
        return replace(view, sizes=sizes, attached=self._devices.attached_wwids())

    def _facts_cell(self, view: View, truncated: int, fault: str) -> Cell:
        notes = [*self._notes()] if self.facts.state != "running" else []
        if view.topology is not None and view.topology.issues:
            notes.append(f"multipathd's answer: {clean(view.topology.issues[0])}")
        if fault:
            notes.append(f"learned paths could not be kept: {fault}")
        if truncated:
            notes.append(f"{truncated} maps are not reported")
        visible = [_visible(found) for wwid, found in sorted(view.seen.items()) if wwid not in view.model.luns]
        if len(visible) > MAX_VISIBLE:
            notes.append(f"{len(visible) - MAX_VISIBLE} more LUNs are visible")
        return facts_cell(self.facts, tuple(notes), visible[:MAX_VISIBLE], view.wall)

    async def _known_baselines(self) -> dict[str, Baseline]:
        if self._baselines is None:
            stored = await self._records.load(BASELINES)
            self._baselines = {wwid: decode(data) for wwid, data in stored.items()}
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


def _visible(found: Seen) -> dict[str, Any]:
    return {
        "wwid": clean(found.wwid),
        "vendor": clean(found.vendor),
        "product": clean(found.product),
        "size_bytes": found.size_bytes,
        "paths": len(found.hcil),
    }
