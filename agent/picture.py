"""What this node answers from: the configuration view and the matrix, kept in memory and moved by the engine's news.

Nothing here reads the database. News only mark what is out of date; it is worked out when somebody asks, row by row.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from agent.brief_rows import brief_row, configured
from agent.cell_view import row_json
from agent.config_view import ConfigView
from agent.inferred import InferredGroups
from agent.maintenance import Maintenance
from agent.row_versions import Changes, RowVersions
from gossip.engine import Engine
from gossip.events import Publish
from gossip.runner import boottime_ms
from store.cells import MULTIPATH_APPLY, MULTIPATH_MAP, NODE_FACTS, NVME_SUBSYSTEM, STORAGE, CellView
from store.matrix import Expectation, Reporter, Row, Sources, build_rows
from store.members import MemberState

KINDS = (MULTIPATH_MAP, MULTIPATH_APPLY, NVME_SUBSYSTEM, STORAGE)
_CONFIGURED = frozenset({MULTIPATH_MAP, STORAGE})
"""The kinds of which nobody should carry what is not configured."""


class Picture:
    """The state of the cluster as this node holds it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._config: ConfigView | None = None
        self._inferred = InferredGroups()
        self._inferred.look(engine.exchange.streams)
        self._rows: dict[str, dict[str, Row]] = {kind: {} for kind in KINDS}
        self._encoded: dict[tuple[str, str], bytes] = {}
        self._brief: dict[tuple[str, str], bytes] = {}
        self._configured: dict[tuple[str, str], dict[str, Any]] = {}
        self._configured_by: ConfigView | None = None
        self._versions = RowVersions()
        self._since: dict[tuple[str, str], tuple[str, float]] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._dirty: set[tuple[str, str]] = set()
        self._all_dirty = True
        self._ordered: list[tuple[str, str]] = []
        self._left: frozenset[str] = frozenset()
        self._excluded: frozenset[str] = frozenset()
        self._version = 0
        self._moved: dict[tuple[str, str], Row | None] | None = None
        """Rows that are not what they were when last asked, as they were then; None while nobody asks."""

    # -- news ---------------------------------------------------------------------------------------------------------

    def news(self, change: Publish) -> None:
        """Take note of what moved."""
        if change.keys:
            self._config = None
            self._all_dirty = True
        if change.standing:
            self._all_dirty = True
        for node in change.health:
            self._note_cells(node)
        if (change.health or change.keys) and self._inferred.look(self._engine.exchange.streams):
            self._config = None
            self._all_dirty = True
        self._version += 1

    @property
    def version(self) -> int:
        """Moves with everything that readers see."""
        self._note_maintenance()
        return self._version

    def _note_maintenance(self) -> None:
        """Maintenance ends by the clock, without any news. A node that has left counts as little as one in maintenance."""
        maintained = self.maintenance()  # first, for it may find that the members are others
        excluded = self._left.union(maintained)
        if excluded != self._excluded:
            self._excluded = excluded
            self._all_dirty = True
            self._version += 1

    def _note_cells(self, node: str) -> None:
        stream = self._engine.exchange.streams.get(node)
        if stream is None:
            self._all_dirty = True
            return
        epoch, seq = self._seen.get(node, (-1, 0))
        if epoch != stream.head.epoch:
            seq = 0
            self._all_dirty = True
        for entry in stream.entries.values():
            if entry.seq > seq:
                self._dirty.add(entry.cell.key)
        self._seen[node] = stream.head.content

    # -- configuration ------------------------------------------------------------------------------------------------

    @property
    def config(self) -> ConfigView:
        """The configuration now."""
        if self._config is None:
            registry = self._engine.replica.registry
            self._config = ConfigView(self._engine.replica.fold, [m.name for m in registry.active], self._inferred.groups)
            self._left = frozenset(name for name, member in registry.by_name.items() if member.state is MemberState.LEFT)
        return self._config

    def maintenance(self) -> Mapping[str, Maintenance]:
        """The nodes that are in maintenance now: they are shown as ever, and count nowhere."""
        now = time.time()
        return {name: found for name, found in self.config.maintenance.items() if found.holds(now)}

    # -- the matrix ---------------------------------------------------------------------------------------------------

    def node_names(self) -> list[str]:
        """The members that are shown, by name: all but the retired."""
        return [name for name, member in sorted(self._engine.replica.registry.by_name.items()) if member.state is not MemberState.RETIRED]

    def reporters(self) -> dict[str, Reporter]:
        """How far the word of each member that is shown counts now."""
        now = boottime_ms()
        return {name: self._engine.reporter(name, now) for name in self.node_names()}

    def _told_reporters(self) -> dict[str, Reporter]:
        """The same as the news told it last: what rows are made from must not move without news, or they would stay as they are.

        An agent that was stopped for a while and goes on would else find everybody's word old, and never hear that it is not.
        """
        return {name: self._engine.published_reporter(name) or live for name, live in self.reporters().items()}

    def rows(self, kind: str) -> Mapping[str, Row]:
        """The rows of one kind by id, in order of id."""
        self._refresh()
        return self._rows.get(kind, {})

    def encoded_rows(self, keys: Iterable[tuple[str, str]]) -> list[bytes]:
        """The JSON of rows, each encoded once for as long as it does not change."""
        return self._rows_as(keys, self._encoded, lambda row: row_json(row, self.seq))

    def brief_rows(self, keys: Iterable[tuple[str, str]]) -> list[bytes]:
        """The same in brief: see `agent.brief_rows`."""

        def brief(row: Row) -> dict[str, Any]:
            return brief_row(row, self._configured.get((row.kind, row.id), {}), self.since(row.kind, row.id))

        return self._rows_as(keys, self._brief, brief)

    def _rows_as(
        self, keys: Iterable[tuple[str, str]], kept: dict[tuple[str, str], bytes], document: Callable[[Row], dict[str, Any]]
    ) -> list[bytes]:
        self._refresh()
        encoded = []
        for key in keys:
            found = kept.get(key)
            if found is None:
                found = kept[key] = msgspec.json.encode(document(self._rows[key[0]][key[1]]))
            encoded.append(found)
        return encoded

    def changes(self, version: int) -> Changes | None:
        """Which rows have changed since that version; None if that is not known any more."""
        self._refresh()
        return self._versions.since(version) if version <= self._version else None

    def row_keys(self) -> list[tuple[str, str]]:
        """All rows' keys, kind by kind, in order."""
        self._refresh()
        return self._ordered

    def watch(self) -> None:
        """Begin to remember which rows move, for `moves`; what is there now is no move."""
        self._refresh()
        self._moved = {}

    def moves(self) -> dict[tuple[str, str], tuple[Row | None, Row | None]]:
        """The rows that moved since the last call (or since `watch`), each as it was then and as it is; None where there is none."""
        self._refresh()
        before, self._moved = self._moved or {}, {}
        pairs = ((key, (old, self._rows[key[0]].get(key[1]))) for key, old in before.items())
        return {key: pair for key, pair in pairs if pair[0] != pair[1]}

    def since(self, kind: str, name: str) -> float:
        """Wall time (seconds) since which this node has seen the row's present roll-up."""
        return self._since.get((kind, name), ("", time.time()))[1]

    def cell(self, node: str, kind: str, name: str) -> CellView | None:
        """What the node itself said last of one resource."""
        stream = self._engine.exchange.streams.get(node)
        entry = stream.entries.get((kind, name)) if stream is not None else None
        return entry.cell if entry is not None and entry.cell.state != "absent" else None

    def cells_of(self, node: str, kind: str) -> dict[str, CellView]:
        """All that the node said last of one kind, by id."""
        stream = self._engine.exchange.streams.get(node)
        return {c.id: c for c in stream.cells() if c.kind == kind} if stream is not None else {}

    def node_facts(self, node: str) -> Mapping[str, Any]:
        """The node's own facts: tools version, daemon, notes."""
        cell = self.cell(node, NODE_FACTS, "node")
        return cell.detail if cell is not None else {}

    def age_seconds(self, node: str) -> float | None:
        """How old the node's newest word is; None if it was never heard."""
        stream = self._engine.exchange.streams.get(node)
        if stream is None or not stream.fresh:
            return None
        return 0.0 if stream is self._engine.exchange.own.stream else stream.age_ms(boottime_ms()) / 1000

    def seq(self, node: str, kind: str, name: str) -> int:
        """The position of the node's stream at which the cell last changed; 0 if there is none."""
        stream = self._engine.exchange.streams.get(node)
        entry = stream.entries.get((kind, name)) if stream is not None else None
        return entry.seq if entry is not None else 0

    def _refresh(self) -> None:
        self._note_maintenance()
        if not self._all_dirty and not self._dirty:
            return
        reporters = self._told_reporters()
        expectations, unsettled = self._expectations(), self._unsettled(reporters)
        moved = False
        for kind in KINDS:
            ids = None if self._all_dirty else [name for k, name in self._dirty if k == kind]
            if ids is not None and not ids:
                continue
            sources = Sources({node: self._raw_cells(node, kind, ids) for node in reporters}, reporters, unsettled, self._excluded)
            nothing = Expectation(stray=kind in _CONFIGURED)
            rows = {row.id: row for row in build_rows(kind, sources, expectations.get(kind, {}), ids=ids, nothing=nothing)}
            moved |= self._store(kind, rows, ids)
        if self._configured_by is not self._config:
            self._note_configured()
        if moved:
            self._ordered = [(kind, name) for kind in KINDS for name in sorted(self._rows[kind])]
        self._dirty.clear()
        self._all_dirty = False

    def _store(self, kind: str, rows: dict[str, Row], ids: list[str] | None) -> bool:
        """Take new rows in place of those of `ids` (None = of all); whether a row came or went."""
        held = self._rows[kind]
        moved = not rows.keys() <= held.keys()
        for name in list(held) if ids is None else ids:
            if name in held and name not in rows:
                self._note_move(kind, name, held.pop(name))
                moved = True
                self._drop((kind, name))
                self._versions.remove((kind, name), self._version)
                self._since.pop((kind, name), None)
        for name, row in rows.items():
            if held.get(name) != row:
                self._note_move(kind, name, held.get(name))
                held[name] = row
                self._drop((kind, name))
                self._versions.change([(kind, name)], self._version)
            if self._since.get((kind, name), ("", 0.0))[0] != row.state:
                self._since[(kind, name)] = (row.state, time.time())
        return moved

    def _drop(self, key: tuple[str, str]) -> None:
        self._encoded.pop(key, None)
        self._brief.pop(key, None)

    def _note_configured(self) -> None:
        """Another configuration may say other things of rows that are as they were."""
        config = self._configured_by = self.config
        before, self._configured = self._configured, {(k, name): configured(config, k, name) for k in KINDS for name in self._rows[k]}
        changed = [key for key, said in self._configured.items() if before.get(key) != said]
        self._versions.change(changed, self._version)
        for key in changed:
            self._brief.pop(key, None)

    def _note_move(self, kind: str, name: str, before: Row | None) -> None:
        if self._moved is not None:
            self._moved.setdefault((kind, name), before)

    def _raw_cells(self, node: str, kind: str, ids: list[str] | None) -> dict[str, CellView]:
        if ids is None:
            return self.cells_of(node, kind)
        found = ((name, self.cell(node, kind, name)) for name in ids)
        return {name: cell for name, cell in found if cell is not None}

    def _expectations(self) -> dict[str, dict[str, Expectation]]:
        config = self.config
        maps = {
            wwid: Expectation(found.nodes, wanted=bool(found.nodes or found.consumers))
            for wwid, found in config.expected.items()
            if wwid in config.model.luns and config.model.luns[wwid].enabled
        }
        for wwid, lun in config.model.luns.items():
            if lun.enabled:
                maps.setdefault(wwid, Expectation())
        streams = self._engine.exchange.streams.values()
        names = (name for name, storage in config.model.storages.items() if storage.enabled)
        storages = {name: Expectation() for name in names if any((STORAGE, name) in stream.entries for stream in streams)}
        return {MULTIPATH_MAP: maps, MULTIPATH_APPLY: {"config": Expectation(config.members, wanted=True)}, STORAGE: storages}

    def _unsettled(self, nodes: Iterable[str]) -> frozenset[str]:
        desired = self.config.apply_digest
        unsettled = set()
        for node in nodes:
            cell = self.cell(node, MULTIPATH_APPLY, "config")
            if cell is None or cell.detail.get("applied") != desired:
                unsettled.add(node)
        return frozenset(unsettled)
