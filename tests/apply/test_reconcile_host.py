"""The reconciler against the simulated multipathd, over its real socket: the usual course, failures, and a crash at every point."""

import asyncio
import copy
import itertools
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apply.confsyntax import without_aliases
from apply.daemon import Timing
from apply.hostpaths import HostPaths
from apply.journal import Ledger, Remembered
from apply.model import Lun, Model
from apply.multipathd import MultipathdClient
from apply.outcome import ApplyOutcome, ApplyState
from apply.plan import Desired
from apply.reconcile import Reconciler
from apply.render import MAIN, OVERRIDES, Rendered, RenderedFile, allow_list, render
from apply.simulated.server import serve
from apply.wwids import read
from apply.wwids_file import HEADER
from store.failpoints import FAILPOINTS
from store.records import MemoryRecords

pytestmark = pytest.mark.anyio

A, B, C, D, E, HAND = (f"3600000000000000{n}" for n in "abcdef")
TIMING = Timing(reconfigure=10.0, settle=5.0, poll=0.005)
IMPATIENT = Timing(reconfigure=10.0, settle=0.15, poll=0.005)
"""For what stays wrong: the whole time to settle is waited out."""


class Crash(BaseException):
    """Stands for the death of the process."""


def lun_table(wwid: str, number: int, *, paths: int = 2, open_: bool = False) -> str:
    rows = "".join(
        f'[[lun.path]]\ndev = "sd{chr(97 + number)}{chr(97 + n)}"\nhcil = "{n}:0:0:{number}"\n'
        f'host_wwpn = "0x{n:02}"\ntarget_wwpn = "0x9{n}"\n'
        for n in range(paths)
    )
    return (
        f'[[lun]]\nwwid = "{wwid}"\nvendor = "LAB"\nproduct = "SAN"\nrev = "1"\nsize_bytes = 67108864\nopen = {json.dumps(open_)}\n{rows}'
    )


class Host:
    """One simulated host with what outlives the agent on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = root / "multipath"
        self.etc.mkdir(parents=True)
        self.paths = HostPaths(self.etc, root / "state", root / "mapper", root / "sys")
        self.luns = root / "luns.toml"
        self.program = root / "multipathd"
        self.records = MemoryRecords()
        self.now = 1_000_000.0
        self.client = MultipathdClient(str(root / "sock"), self.program, 2.0)
        self.points: list[str] = []
        self.asked: list[str] = []
        self.timing = TIMING
        self.attached: frozenset[str] = frozenset()
        self.used: dict[str, str] = {}
        self.visible()

    def visible(self, *wwids: str, opened: Iterable[str] = ()) -> None:
        chosen = wwids or (A, B, C, D, E, HAND)
        self.luns.write_text("".join(lun_table(w, n, open_=w in opened) for n, w in enumerate(chosen)))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Host"]:
        ready = asyncio.Event()
        task = asyncio.create_task(serve(str(self.root / "sock"), self.etc, self.luns, self.program, ready=ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        try:
            yield self
        finally:
            waiting.cancel()
            task.cancel()
            await asyncio.gather(task, waiting, return_exceptions=True)

    async def reason(self, wwid: str, name: str = "") -> str:
        """The guard: what uses a LUN."""
        return self.used.get(wwid, "")

    async def ask(self, command: str) -> str:
        self.asked.append(command)
        return await self.client.ask(command)

    def agent(self, reach: Callable[[str], None] | None = None, *, accept_renames: bool = False) -> Reconciler:
        return Reconciler(
            self.paths,
            self,
            self.records,
            lambda: self.now,
            timing=self.timing,
            reach=reach or self.points.append,
            accept_renames=accept_renames,
            in_use=self,
            attached=lambda: self.attached,
        )

    async def converge(self, wanted: Desired, *, force: bool = False) -> ApplyOutcome:
        self.asked.clear()
        self.points.clear()
        return await self.agent().converge(wanted, force=force)

    async def names(self) -> dict[str, str]:
        return {m["uuid"]: m["name"] for m in json.loads(await self.client.ask("show maps json"))["maps"]}

    async def remembered(self) -> Remembered:
        return await Ledger(self.records).load()

    @property
    def reconfigures(self) -> int:
        return self.asked.count("reconfigure")

    @property
    def active(self) -> list[str]:
        return sorted(line.strip("/") for line in self.paths.wwids.read_text().splitlines() if line.startswith("/"))

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.paths.conf_dir.iterdir()} if self.paths.conf_dir.is_dir() else {}

    async def state(self) -> Mapping[str, object]:
        """Everything that must be the same however an apply came about."""
        remembered = await self.remembered()
        outcome = remembered.outcome
        return {
            "files": self.files(),
            "allowed": self.active,
            "names": await self.names(),
            "owned": {wwid: row.confirmed for wwid, row in remembered.owned.items()},
            "journal": remembered.journal,
            "pruning": remembered.pruning,
            "committed": remembered.committed,
            "kept": {path.name: path.read_bytes() for path in self.paths.kept_dir.iterdir()},
            "outcome": (outcome.state, outcome.desired, outcome.applied, [e.code for e in outcome.errors]) if outcome else None,
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "h")


def desired(
    *luns: Lun, digest: str = "d1", overrides: str = "", may_remove: bool = True, blocked: Iterable[str] = (), **defaults: str
) -> Desired:
    model = Model(defaults=defaults, luns={lun.wwid: lun for lun in luns}, overrides=overrides, empty=not (luns or overrides or defaults))

    def rendering(kept: Mapping[str, str]) -> Rendered:
        return render(model, digest=digest, tools_version=(0, 9, 4), kept=kept)

    why = dict.fromkeys(blocked, "its configuration is in conflict")
    return Desired(digest, rendering({}), allow_list(model), may_remove, why, model.empty, rendering=rendering)


FIRST = desired(Lun(A, "a"), Lun(B, "b"), Lun(E), Lun(HAND), digest="d1", polling_interval="5")
SECOND = desired(
    Lun(A, "b"), Lun(B, "a"), Lun(D, "d", options={"no_path_retry": "18"}), Lun(HAND), digest="d2",
    overrides="blacklist {\n\tdevnode \"^never$\"\n}\n", polling_interval="7",
)  # fmt: skip
EMPTY = desired(digest="d0")


def dying_at(point: str) -> Callable[[str], None]:
    def reach(name: str) -> None:
        if name == point:
            raise Crash(name)

    return reach


def hand_made(host: Host) -> None:
    host.paths.wwids.write_bytes(HEADER + f"/{HAND}/\n/{C}/\n".encode())


async def test_from_nothing_to_in_sync_and_idempotent(host: Host) -> None:
    async with host.running():
        outcome = await host.converge(FIRST)
        assert (outcome.state, outcome.applied, outcome.errors, outcome.added) == (ApplyState.IN_SYNC, "d1", (), (A, B, E, HAND))
        assert await host.names() == {A: "a", B: "b", E: E, HAND: HAND}
        assert host.files() == {MAIN: FIRST.rendered.files[MAIN].content}
        assert host.reconfigures == 1
        before = {path: path.stat().st_mtime_ns for path in host.etc.rglob("*")}
        again = await host.converge(FIRST)
        assert (again.state, again.changed, again.at) == (ApplyState.IN_SYNC, False, outcome.at)
        assert host.reconfigures == 0
        assert host.points == []
        assert {path: path.stat().st_mtime_ns for path in host.etc.rglob("*")} == before


async def test_hand_made_lines_are_never_adopted_nor_removed(host: Host) -> None:
    hand_made(host)
    async with host.running():
        assert (await host.converge(FIRST)).added == (A, B, E)
        await host.converge(desired(Lun(A), digest="d3"))
        assert host.active == [A, C, HAND]
        assert (await host.remembered()).owned.keys() == {A}
        outcome = await host.converge(EMPTY)
        assert (outcome.state, outcome.removed) == (ApplyState.IN_SYNC, (A,))
        assert host.active == [C, HAND]
        assert host.files() == {}
        assert await host.names() == {C: C, HAND: HAND}


async def test_a_hand_removed_line_comes_back_and_a_duplicate_stays(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        host.paths.wwids.write_text(host.paths.wwids.read_text().replace(f"/{A}/", f"#{A}/") + f"/{B}/\n")
        outcome = await host.converge(FIRST)
        assert (outcome.state, outcome.added) == (ApplyState.IN_SYNC, (A,))
        await host.converge(desired(Lun(A), digest="d3"))
        assert host.active == [A, B], "the second line for B is somebody else's"
        assert (await host.remembered()).owned.keys() == {A}


async def test_names_are_swapped_in_two_steps(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        outcome = await host.converge(desired(Lun(A, "b"), Lun(B, "a"), Lun(E), Lun(HAND), digest="d2"))
        assert (outcome.state, outcome.errors) == (ApplyState.IN_SYNC, ())
        assert host.reconfigures == 2
        assert await host.names() == {A: "b", B: "a", E: E, HAND: HAND}


async def test_names_that_stuck_in_a_swap_are_freed_though_the_files_are_right(host: Host) -> None:
    """The daemon was told while it had something else to do, refused the names, and never tries again by itself."""
    swapped = desired(Lun(A, "b"), Lun(B, "a"), Lun(E), Lun(HAND), digest="d2")
    async with host.running():
        await host.converge(FIRST)
        (host.paths.conf_dir / MAIN).write_bytes(swapped.rendered.files[MAIN].content)
        host.paths.kept_dir.joinpath(MAIN).write_bytes(swapped.rendered.files[MAIN].content)
        await host.client.ask("reconfigure")
        for _ in range(100):
            if "idle" in await host.client.ask("show daemon"):
                await asyncio.sleep(0.01)
        assert (await host.names())[A] == "a", "refused"
        host.timing = IMPATIENT
        assert (await host.converge(swapped)).state is ApplyState.IN_SYNC
        assert await host.names() == {A: "b", B: "a", E: E, HAND: HAND}
        before = host.files()
        assert ((await host.converge(swapped)).state, host.reconfigures, host.files()) == (ApplyState.IN_SYNC, 0, before)


def named(names: Mapping[str, str]) -> str:
    rows = "".join(f'\tmultipath {{\n\t\twwid "{wwid}"\n\t\talias "{name}"\n\t}}\n' for wwid, name in names.items())
    return f"multipaths {{\n{rows}}}\n"


async def reread(host: Host, *texts: str) -> None:
    """Somebody writes a file and has the daemon read it, once for each text; an empty one is no file."""
    local = host.paths.conf_dir / "99-local.conf"
    for text in texts:
        local.write_text(text) if text else local.unlink()
        await host.client.ask("reconfigure")
        for _ in range(100):
            if "idle" in await host.client.ask("show daemon"):
                await asyncio.sleep(0.01)


async def test_names_that_another_file_swaps_are_told_and_not_fought_for(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        host.timing = IMPATIENT
        await reread(host, named({A: "neutral"}), named({A: "neutral", B: "a"}), named({A: "b", B: "a"}))
        assert (await host.names())[A] == "b" and (await host.names())[B] == "a"
        told = []
        for _ in range(3):
            outcome = await host.converge(FIRST)
            assert {error.code for error in outcome.errors} == {"overridden-locally"}, outcome.errors
            told.append(host.reconfigures)
        assert told[1:] == [0, 0], "telling it again would change nothing"
        await reread(host, "")
        assert (await host.converge(FIRST)).state is ApplyState.IN_SYNC
        assert await host.names() == {A: "a", B: "b", E: E, HAND: HAND}


async def test_a_name_that_was_taken_while_the_files_were_read_is_given_once_it_is_free(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        host.timing = IMPATIENT
        await reread(host, named({B: "neutral"}), named({A: "b", B: "neutral"}))
        await host.converge(FIRST)
        await reread(host, "")
        assert (await host.names())[B] == "neutral", "refused while A had it"
        assert (await host.converge(FIRST)).state is ApplyState.IN_SYNC
        assert await host.names() == {A: "a", B: "b", E: E, HAND: HAND}


@pytest.mark.parametrize("wanted", [FIRST, SECOND, EMPTY], ids=["first", "change", "teardown"])
@pytest.mark.parametrize("before", [None, FIRST], ids=["nothing", "first"])
async def test_a_preview_says_what_an_apply_then_does(host: Host, before: Desired | None, wanted: Desired) -> None:
    hand_made(host)
    async with host.running():
        await host.ask("reconfigure")
        if before is not None:
            await host.converge(before)
        names, files, active = await host.names(), host.files(), host.active
        shown = await host.agent().preview(wanted)
        assert (await host.names(), host.files(), host.active) == (names, files, active)
        outcome = await host.converge(wanted)
        after = await host.names()
        assert outcome.state is ApplyState.IN_SYNC
        assert (shown.append, shown.disable, shown.deferred, shown.refused) == (outcome.added, outcome.removed, (), ())
        assert shown.renamed == {wwid: (names[wwid], after[wwid]) for wwid in after if names.get(wwid, after[wwid]) != after[wwid]}
        assert set(shown.made) == after.keys() - names.keys()
        assert set(shown.released) == names.keys() - after.keys()


async def test_a_preview_says_why_nothing_would_be_written_and_what_is_not_known(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        edited = host.files()[MAIN] + b"# my note\n"
        (host.paths.conf_dir / MAIN).write_bytes(edited)
        assert [error.code for error in (await host.agent().preview(SECOND)).refused] == ["foreign-or-edited-file"]
        (host.paths.conf_dir / MAIN).write_bytes(FIRST.rendered.files[MAIN].content)
        taken = desired(Lun(A, HAND), Lun(B, "b"), digest="d5")
        assert [error.code for error in (await host.agent().preview(taken)).refused] == ["alias-conflict"]
        assert [e.code for e in (await host.agent().preview(desired(Lun(A), digest="d6", blocked=[B]))).deferred] == ["prune-deferred"]
    blind = await host.agent().preview(SECOND)
    assert (blind.daemon, blind.append, blind.renamed) == (False, (D,), {})


async def test_an_edit_that_means_nothing_to_multipathd_is_not_loaded(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        same = desired(Lun(A, "a"), Lun(B, "b"), Lun(E), Lun(HAND), digest="d9", polling_interval="5")
        outcome = await host.converge(same)
        assert (outcome.state, outcome.applied, host.reconfigures) == (ApplyState.IN_SYNC, "d9", 0)
        assert b"d9" in host.files()[MAIN]


async def test_a_line_in_use_is_put_back_and_deferred(host: Host) -> None:
    host.visible(A, B, E, HAND, opened=[B])
    async with host.running():
        await host.converge(FIRST)
        shrunk = desired(Lun(A, "a"), digest="d3")
        outcome = await host.converge(shrunk)
        assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.IN_SYNC, ["prune-deferred"])
        assert B in outcome.errors[0].message
        assert host.active == [A, B]
        assert (await host.remembered()).owned.keys() == {A, B}
        waiting = await host.converge(shrunk)
        assert (host.reconfigures, [e.code for e in waiting.errors]) == (0, ["prune-deferred"])
        host.visible(A, B, E, HAND)
        host.now += 3600
        later = await host.converge(shrunk)
        assert (later.errors, later.removed, host.active) == ((), (B,), [A])


async def test_force_tries_a_deferred_line_at_once_and_teardown_waits(host: Host) -> None:
    host.visible(A, B, E, HAND, opened=[B])
    async with host.running():
        await host.converge(FIRST)
        outcome = await host.converge(EMPTY)
        assert (outcome.state, host.files(), host.active) == (ApplyState.TEARDOWN, {}, [B])
        assert (await host.converge(EMPTY)).state is ApplyState.TEARDOWN
        assert host.reconfigures == 0
        host.visible(A, B, E, HAND)
        done = await host.converge(EMPTY, force=True)
        assert (done.state, done.errors, host.active) == (ApplyState.IN_SYNC, (), [])
        assert (host.reconfigures, await host.names()) == (1, {})


async def test_a_conflict_or_ignorance_prunes_nothing(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        blocked = await host.converge(desired(Lun(A, "a"), digest="d3", blocked=[B]))
        assert [e.code for e in blocked.errors] == ["prune-deferred"]
        assert "conflict" in blocked.errors[0].message
        assert host.active == [A, B]
        before = await host.state()
        ignorant = await host.converge(desired(Lun(B, "b"), digest="d4", may_remove=False))
        assert (ignorant.state, [n.code for n in ignorant.notes]) == (ApplyState.PENDING, ["prune-deferred"])
        torn = await host.converge(desired(digest="d0", may_remove=False))
        assert torn.state is ApplyState.PENDING
        after = await host.state()
        assert {**after, "outcome": None} == {**before, "outcome": None}


async def test_an_edited_file_is_not_touched(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        edited = host.files()[MAIN] + b"# my note\n"
        (host.paths.conf_dir / MAIN).write_bytes(edited)
        for wanted in (SECOND, EMPTY):
            outcome = await host.converge(wanted)
            assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.FAILED, ["foreign-or-edited-file"])
            assert str(host.paths.conf_dir / MAIN) in outcome.errors[0].message
        assert host.files() == {MAIN: edited}
        assert host.active == sorted([A, B, E, HAND])


async def test_maps_of_others_are_protected(host: Host) -> None:
    (host.paths.conf_dir).mkdir()
    (host.paths.conf_dir / "10-local.conf").write_text('defaults {\n\tuser_friendly_names "yes"\n\tfind_multipaths "greedy"\n}\n')
    host.visible(A, B)
    async with host.running():
        live = await host.names()
        assert live[A].startswith("mpath")
        refused = await host.converge(desired(Lun(B)))
        assert (refused.state, {e.code for e in refused.errors}) == (ApplyState.FAILED, {"foreign-map-affected"})
        assert live[A] in refused.errors[0].message
        assert (host.reconfigures, MAIN in host.files()) == (0, False)
        cured = await host.converge(desired(Lun(A, "disk-a"), Lun(B)))
        assert cured.state is ApplyState.IN_SYNC
        assert await host.names() == {A: "disk-a", B: B}


async def test_renames_may_be_accepted(host: Host) -> None:
    (host.paths.conf_dir).mkdir()
    (host.paths.conf_dir / "10-local.conf").write_text('defaults {\n\tuser_friendly_names "yes"\n\tfind_multipaths "greedy"\n}\n')
    host.visible(A, B)
    async with host.running():
        outcome = await host.agent(accept_renames=True).converge(desired(Lun(B)))
        assert outcome.state is ApplyState.IN_SYNC
        assert (await host.names())[B] == B


async def test_a_local_override_is_named_and_healed(host: Host) -> None:
    async with host.running():
        host.timing = IMPATIENT
        local = host.paths.conf_dir / "99-local.conf"
        host.paths.conf_dir.mkdir()
        local.write_text('defaults {\n\tpolling_interval "9"\n}\n')
        outcome = await host.converge(FIRST)
        assert (outcome.state, [e.code for e in outcome.errors], outcome.applied) == (ApplyState.FAILED, ["overridden-locally"], "")
        assert str(local) in outcome.errors[0].message
        assert MAIN in host.files(), "our files stay: taking them away would cure nothing"
        again = await host.converge(FIRST)
        assert (again.errors[0].count, host.reconfigures) == (2, 0)
        local.unlink()
        host.timing = TIMING
        healed = await host.converge(FIRST)
        assert (healed.state, healed.applied, host.reconfigures) == (ApplyState.IN_SYNC, "d1", 1)


async def test_a_configuration_that_kills_maps_is_rolled_back(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        good = await host.state()
        host.timing = IMPATIENT
        outcome = await host.converge(broken())
        assert outcome.state is ApplyState.FAILED
        assert {e.code for e in outcome.errors} >= {"reconfigure-failed"}
        assert "apply.rollback.restored" in host.points
        assert {**await host.state(), "outcome": None} == {**good, "outcome": None}
        assert (outcome.desired, outcome.applied) == ("bad", "d1")


def broken() -> Desired:
    """A file that no validation lets through: the kernel refuses the table, and multipathd drops the unused map."""
    content = FIRST.rendered.files[MAIN].content.replace(b'alias "a"', b'alias "a"\n\t\tpath_selector "nonsense 0"')
    return Desired("bad", Rendered({MAIN: RenderedFile(content, 0o644)}, ()), FIRST.allow_list, True)


DEVNODES, PROTOCOL = ('blacklist {\n\tdevnode "^sd"\n}\n', 'blacklist {\n\tprotocol "scsi:fcp"\n}\n')


@pytest.mark.parametrize("rule", [DEVNODES, PROTOCOL])
async def test_a_blacklist_that_takes_working_maps_is_rolled_back(host: Host, rule: str) -> None:
    """multipathd does not list what it hides: the kernel says that the disks are there. A LUN that came with it changes nothing."""
    host.attached = frozenset({A, B, D, E, HAND})
    async with host.running():
        await host.converge(FIRST)
        good = await host.state()
        host.timing = IMPATIENT
        luns = (Lun(A, "a"), Lun(B, "b"), Lun(D), Lun(E), Lun(HAND))
        outcome = await host.converge(desired(*luns, digest="bad", overrides=rule, polling_interval="5"))
        assert outcome.state is ApplyState.FAILED
        assert {e.wwid for e in outcome.errors if e.code == "reconfigure-failed"} == {A, B, E, HAND}
        assert {e.wwid for e in outcome.errors if e.code == "wwid-blacklisted"} == {A, B, D, E, HAND}
        after = await host.state()
        assert (after["files"], after["kept"]) == (good["files"], good["kept"])
        assert {A, B, E, HAND} <= (await host.names()).keys()


async def test_a_map_in_use_that_is_configured_no_more_is_watched_too(host: Host) -> None:
    host.attached, host.used = frozenset({A, E}), {E: "mounted on /srv"}
    async with host.running():
        await host.converge(desired(Lun(A), Lun(E)))
        host.timing = IMPATIENT
        outcome = await host.converge(desired(Lun(A), digest="bad", overrides=DEVNODES))
        assert {e.wwid for e in outcome.errors if e.code == "reconfigure-failed"} == {A, E}
        assert OVERRIDES not in host.files() and (await host.names()).keys() == {A, E}


async def test_a_rule_that_hides_a_map_of_others_writes_nothing(host: Host) -> None:
    hand_made(host)
    host.visible(A, B, C)
    wanted = desired(Lun(A), digest="d", overrides=f'blacklist {{\n\twwid "{C}"\n}}\n')
    async with host.running():
        await host.ask("reconfigure")
        refused = await host.converge(wanted)
        assert (refused.state, [e.code for e in refused.errors]) == (ApplyState.FAILED, ["foreign-map-affected"])
        assert C in refused.errors[0].message and "wwid rule" in refused.errors[0].message
        assert (host.files(), host.active, C in await host.names()) == ({}, sorted([HAND, C]), True)
        assert [e.code for e in (await host.agent().preview(wanted)).refused] == ["foreign-map-affected"]
        (host.paths.conf_dir).mkdir(exist_ok=True)
        (host.paths.conf_dir / "10-local.conf").write_text(f'blacklist_exceptions {{\n\twwid "^{C}$"\n}}\n')
        assert (await host.converge(wanted)).state is ApplyState.IN_SYNC
        assert (await host.names()).keys() == {A, C}


async def test_a_map_of_others_that_went_is_rolled_back(host: Host) -> None:
    """Whatever the check before the write made of it."""
    hand_made(host)
    host.attached = frozenset({A, B, C, E, HAND})
    async with host.running():
        await host.ask("reconfigure")
        await host.converge(FIRST)
        host.timing = IMPATIENT
        main = RenderedFile(FIRST.rendered.files[MAIN].content + f'blacklist {{\n\twwid "{C}"\n}}\n'.encode(), 0o644)
        outcome = await host.converge(Desired("bad", Rendered({MAIN: main}, ()), FIRST.allow_list, True))
        assert [(e.code, e.wwid) for e in outcome.errors] == [("reconfigure-failed", C)]
        assert host.files()[MAIN] == FIRST.rendered.files[MAIN].content
        assert C in await host.names()


REST = (Lun(B, "b"), Lun(E), Lun(HAND))


async def test_a_name_in_use_stays_until_nothing_uses_it(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        host.used[A] = "mounted on /"
        without = desired(*REST, digest="d3", polling_interval="5")
        assert (await host.agent().preview(without)).kept_names == {A: "a"}
        outcome = await host.converge(without)
        assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.IN_SYNC, ["prune-deferred"])
        assert "mounted on /" in outcome.errors[0].message
        assert ((await host.names())[A], A in host.active) == ("a", True)
        await host.converge(without)
        assert host.reconfigures == 0
        blinded = desired(*REST, digest="d4", may_remove=False, polling_interval="5")
        assert (await host.converge(blinded)).state is ApplyState.IN_SYNC, "nothing is taken away"
        host.used.clear()
        assert (await host.converge(blinded)).state is ApplyState.PENDING
        done = await host.converge(without)
        assert (done.state, done.errors, done.removed) == (ApplyState.IN_SYNC, (), (A,))
        assert host.files() == {MAIN: without.rendered.files[MAIN].content}
        assert (A in await host.names(), A in host.active) == (False, False)


async def test_a_map_in_use_keeps_its_exception_from_a_local_blacklist(host: Host) -> None:
    (host.paths.conf_dir).mkdir()
    (host.paths.conf_dir / "10-local.conf").write_text('blacklist {\n\twwid ".*"\n}\n')
    host.attached = frozenset({A, B, E, HAND})
    async with host.running():
        await host.converge(FIRST)
        host.used[E] = "mounted on /srv"
        outcome = await host.converge(desired(Lun(A, "a"), Lun(B, "b"), Lun(HAND), digest="d3", polling_interval="5"))
        assert (outcome.state, [(e.code, e.wwid) for e in outcome.errors]) == (ApplyState.IN_SYNC, [("prune-deferred", E)])
        assert (await host.names())[E] == E
        assert ((await host.converge(EMPTY)).state, await host.names()) == (ApplyState.TEARDOWN, {E: E})
        assert ((await host.converge(EMPTY)).state, host.reconfigures) == (ApplyState.TEARDOWN, 0)
        host.used.clear()
        assert ((await host.converge(EMPTY)).state, host.files().keys(), host.active) == (ApplyState.IN_SYNC, {"10-local.conf"}, [])


async def test_options_of_a_lun_in_use_go_only_with_knowledge(host: Host) -> None:
    async with host.running():
        await host.converge(desired(Lun(A, "a", options={"no_path_retry": "18"}), Lun(B, "b")))
        host.used[A] = "swap"
        before = host.files()
        assert (await host.converge(desired(Lun(B, "b"), digest="d2", may_remove=False))).state is ApplyState.PENDING
        assert host.files() == before
        assert (await host.converge(desired(Lun(B, "b"), digest="d2"))).state is ApplyState.IN_SYNC
        assert "18" not in host.files()[MAIN].decode() and (await host.names())[A] == "a"


async def test_a_teardown_waits_for_the_names_in_use_of_hand_made_lines_too(host: Host) -> None:
    hand_made(host)
    async with host.running():
        await host.ask("reconfigure")
        await host.converge(desired(Lun(A, "a"), Lun(HAND, "rootdisk"), digest="d1"))
        host.used = {HAND: "mounted on /"}
        outcome = await host.converge(EMPTY)
        assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.TEARDOWN, ["prune-deferred"])
        assert "'rootdisk'" in outcome.errors[0].message
        assert await host.names() == {HAND: "rootdisk", C: C}
        assert b"defaults" not in host.files()[MAIN] and host.active == sorted([HAND, C])
        assert ((await host.converge(EMPTY)).state, host.reconfigures) == (ApplyState.TEARDOWN, 0)
        host.used.clear()
        done = await host.converge(EMPTY)
        assert (done.state, done.errors, host.files()) == (ApplyState.IN_SYNC, (), {})
        assert await host.names() == {HAND: HAND, C: C}


@pytest.mark.parametrize("wanted", [desired(*REST, digest="d3"), EMPTY], ids=["removed", "teardown"])
async def test_a_crash_while_a_name_is_in_use_is_survived(tmp_path: Path, wanted: Desired) -> None:
    async def prepare(host: Host) -> None:
        hand_made(host)
        await host.ask("reconfigure")
        await host.converge(FIRST)
        host.used[A] = "mounted on /"

    undisturbed = Host(tmp_path / "undisturbed")
    async with undisturbed.running():
        await prepare(undisturbed)
        await undisturbed.converge(wanted)
        points, end = list(undisturbed.points), await undisturbed.state()
    assert points and end["names"][A] == "a"  # type: ignore[index]
    for number, point in enumerate(points):
        host = Host(tmp_path / f"{number}-{point}")
        async with host.running():
            await prepare(host)
            with pytest.raises(Crash, match=point):
                await host.agent(crash_at(number)).converge(wanted)
            assert (await host.names())[A] == "a", point
            after = host.agent()
            await after.recover()
            await after.converge(wanted)
            assert await host.state() == end, f"after a crash at {point} (call {number})"


async def test_a_name_that_a_rollback_puts_back_stays(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        host.used[A] = "mounted on /"
        await host.converge(desired(*REST, digest="d3"))
        good = host.files()
        host.timing = IMPATIENT
        assert (await host.converge(broken())).state is ApplyState.FAILED
        assert host.files() == good
        assert (await host.names())[A] == "a"


async def test_a_new_lun_whose_map_is_in_use_under_another_name_writes_nothing(host: Host) -> None:
    hand_made(host)
    (host.paths.conf_dir).mkdir()
    (host.paths.conf_dir / "10-local.conf").write_text(f'multipaths {{\n\tmultipath {{\n\t\twwid "{HAND}"\n\t\talias "root"\n\t}}\n}}\n')
    host.used[HAND] = "mounted on /"
    async with host.running():
        await host.ask("reconfigure")
        refused = await host.converge(desired(Lun(HAND, "rootdisk")))
        assert (refused.state, [(e.code, e.wwid) for e in refused.errors]) == (ApplyState.FAILED, [("foreign-map-affected", HAND)])
        assert "'root'" in refused.errors[0].message and "--alias root," in refused.errors[0].hint
        assert (MAIN in host.files(), await host.names()) == (False, {HAND: "root", C: C})
        for lun in (Lun(HAND), Lun(HAND, "root")):  # the other file's name stays, or ours is the same
            assert (await host.converge(desired(lun, digest=f"d-{lun.alias}"))).state is ApplyState.IN_SYNC
            assert (await host.names())[HAND] == "root"
            await host.converge(EMPTY)
        outcome = await host.agent(accept_renames=True).converge(desired(Lun(HAND, "rootdisk"), digest="d9"))
        assert (outcome.state, (await host.names())[HAND]) == (ApplyState.IN_SYNC, "rootdisk")


async def test_a_file_that_beats_the_overrides_is_named(host: Host) -> None:
    local = host.paths.conf_dir / "99-local.conf"
    host.paths.conf_dir.mkdir()
    device = 'devices {{\n\tdevice {{\n\t\tvendor "LAB"\n\t\tproduct "SAN"\n\t\tno_path_retry {}\n\t}}\n}}\n'
    overrides = device.format(7) + "overrides {\n\tfailback 10\n}\ndefaults {\n\tchecker_timeout 30\n}\n"
    local.write_text(device.format(9) + "overrides {\n\tfailback manual\n}\ndefaults {\n\tchecker_timeout 31\n}\n")
    wanted = desired(Lun(A, "a"), overrides=overrides)
    async with host.running():
        host.timing = IMPATIENT
        outcome = await host.converge(wanted)
        assert (outcome.state, {e.code for e in outcome.errors}) == (ApplyState.FAILED, {"overridden-locally"})
        assert [e.message.split(" instead")[0] for e in outcome.errors] == [
            "checker_timeout in defaults {} of the overrides is '31'",
            "failback in overrides {} of the overrides is 'manual'",
            "no_path_retry of device LAB SAN of the overrides is '9'",
        ]
        assert all(str(local) in e.message and str(local) in e.hint for e in outcome.errors)
        local.write_text(overrides)
        host.timing = TIMING
        assert (await host.converge(wanted)).state is ApplyState.IN_SYNC


async def test_a_first_apply_that_fails_leaves_no_file(host: Host) -> None:
    hand_made(host)
    async with host.running():
        await host.ask("reconfigure")
        host.timing = IMPATIENT
        main = RenderedFile(FIRST.rendered.files[MAIN].content + b'overrides {\n\tpath_checker "nonsense"\n}\n', 0o644)
        outcome = await host.converge(Desired("bad", Rendered({MAIN: main}, ()), FIRST.allow_list, True))
        assert outcome.state is ApplyState.FAILED
        assert host.files() == {}
        assert {A, B, E, C, HAND} == set(host.active), "lines that were added stay: they are ours"
        assert (await host.remembered()).owned.keys() == {A, B, E}
        assert (await host.converge(EMPTY)).state is ApplyState.IN_SYNC
        assert set(host.active) == {C, HAND}


async def test_a_lun_that_is_not_visible_is_a_note(host: Host) -> None:
    host.visible(A)
    async with host.running():
        outcome = await host.converge(desired(Lun(A), Lun(B)))
        assert (outcome.state, outcome.errors, [n.code for n in outcome.notes]) == (ApplyState.IN_SYNC, (), ["wwid-not-visible"])
        host.visible(A, B)
        later = await host.converge(desired(Lun(A), Lun(B)))
        assert (later.notes, await host.names()) == ((), {A: A, B: B})


async def test_without_multipath_tools(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
    outcome = await host.converge(SECOND)
    assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.FAILED, ["not-installed"])
    assert "apt install" in outcome.errors[0].hint
    again = await host.converge(SECOND)
    assert (again.errors[0].count, again.errors[0].since) == (2, outcome.errors[0].since)
    note = await host.converge(Desired("d2", SECOND.rendered, SECOND.allow_list, needed=False, may_remove=True))
    assert (note.state, note.errors, [n.code for n in note.notes]) == (ApplyState.NOT_APPLICABLE, (), ["not-installed"])
    host.program.touch()
    down = await host.converge(SECOND)
    assert (down.state, [e.code for e in down.errors]) == (ApplyState.FAILED, ["daemon-down"])
    host.program.unlink()
    async with host.running():
        assert (await host.converge(SECOND)).state is ApplyState.IN_SYNC


async def test_teardown_without_multipath_tools(host: Host) -> None:
    hand_made(host)
    async with host.running():
        await host.converge(FIRST)
    outcome = await host.converge(EMPTY)
    assert (outcome.state, [n.code for n in outcome.notes], outcome.removed) == (ApplyState.NOT_APPLICABLE, ["not-installed"], (A, B, E))
    assert (host.files(), host.active) == ({}, [C, HAND])
    remembered = await host.remembered()
    assert (remembered.journal, remembered.owned) == (None, {})
    quiet = await host.converge(EMPTY)
    assert (quiet.state, quiet.changed) == (ApplyState.NOT_APPLICABLE, False)


async def test_an_alias_that_is_taken_writes_nothing(host: Host) -> None:
    (host.root / "mapper").mkdir()
    (host.root / "mapper" / "a").touch()
    async with host.running():
        outcome = await host.converge(FIRST)
        assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.FAILED, ["alias-conflict"])
        assert (host.files(), read(host.paths.wwids).active) == ({}, frozenset())


async def test_a_change_of_fabric_notifications_wants_a_restart(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        fpin = desired(Lun(A), digest="d5", marginal_pathgroups="fpin")
        for _ in range(2):
            outcome = await host.converge(fpin)
            assert (outcome.state, [n.code for n in outcome.notes]) == (ApplyState.IN_SYNC, ["restart-required"])


async def test_lost_records_make_everything_foreign(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        host.records = MemoryRecords()
        same = await host.converge(FIRST)
        assert (same.state, same.added) == (ApplyState.IN_SYNC, ())
        assert (await host.remembered()).owned == {}
        changed = await host.converge(desired(Lun(A), digest="d3"))
        assert changed.state is ApplyState.IN_SYNC, "a file of exactly the wanted bytes was verified and is ours again"
        assert host.active == sorted([A, B, E, HAND])


async def test_the_kept_copies_say_which_files_are_ours_when_the_records_are_lost(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        host.records = MemoryRecords()
        outcome = await host.converge(SECOND)
        assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.IN_SYNC, [])
        assert host.files() == {name: file.content for name, file in SECOND.rendered.files.items()}
        assert (await host.remembered()).owned.keys() == {D}, "lines of the allow-list are ours only by their records"


@pytest.mark.parametrize("point", [None, "apply.install.renamed"])
async def test_records_that_were_put_back_do_not_disown_what_was_written_since(host: Host, point: str | None) -> None:
    """Also when the copy was made in the middle of an attempt, so that it has an open journal."""
    third = desired(Lun(A, "three"), Lun(B), Lun(E), Lun(HAND), digest="d3")
    async with host.running():
        await host.converge(FIRST)
        if point:
            with pytest.raises(Crash):
                await host.agent(dying_at(point)).converge(SECOND)
        old = copy.deepcopy(host.records)
        assert ((await host.remembered()).journal is not None) == (point is not None)
        for wanted in (SECOND, third):
            assert (await host.converge(wanted)).state is ApplyState.IN_SYNC
        host.records = old
        outcome = await host.converge(FIRST)
        assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.IN_SYNC, [])
        assert host.files() == {name: file.content for name, file in FIRST.rendered.files.items()}


async def test_a_file_that_is_not_the_kept_copy_stays_foreign_when_the_records_are_lost(host: Host) -> None:
    async with host.running():
        await host.converge(FIRST)
        path = host.paths.conf_dir / MAIN
        path.write_bytes(path.read_bytes() + b"# by hand\n")
        host.records = MemoryRecords()
        outcome = await host.converge(SECOND)
        assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.FAILED, ["foreign-or-edited-file"])
        assert path.read_bytes().endswith(b"# by hand\n")


async def test_what_cannot_be_written_is_named_and_nothing_is_half_done(host: Host) -> None:
    host.paths.conf_dir.write_text("not a directory")
    async with host.running():
        outcome = await host.converge(FIRST)
        assert outcome.state is ApplyState.FAILED
        assert outcome.errors[0].code == "write-failed"
        assert str(host.paths.conf_dir) in outcome.errors[0].message
        host.paths.conf_dir.unlink()
        assert (await host.converge(FIRST)).state is ApplyState.IN_SYNC
        assert (await host.remembered()).owned.keys() == {A, B, E, HAND}


# A crash at every point


@dataclass(frozen=True)
class Case:
    """An apply to be interrupted, on a host that has the configuration `before` already."""

    before: Desired | None
    wanted: Desired
    timing: Timing = TIMING

    async def prepare(self, host: Host) -> None:
        hand_made(host)
        await host.ask("reconfigure")
        if self.before is not None:
            assert (await host.converge(self.before)).state is ApplyState.IN_SYNC
        host.timing = self.timing


CASES = {
    "first": Case(None, FIRST),
    "change": Case(FIRST, SECOND),
    "teardown": Case(FIRST, EMPTY),
    "rollback": Case(FIRST, broken(), IMPATIENT),
}


def crash_at(number: int) -> Callable[[str], None]:
    """Dies at the call with that number, counted from 0."""
    calls = itertools.count()

    def reach(name: str) -> None:
        if next(calls) == number:
            raise Crash(name)

    return reach


async def reached(tmp_path: Path, case: str) -> tuple[list[str], Mapping[str, object]]:
    """The points that an undisturbed run reaches, and how it ends."""
    host = Host(tmp_path / "undisturbed")
    async with host.running():
        await CASES[case].prepare(host)
        await host.converge(CASES[case].wanted)
        return list(host.points), await host.state()


@pytest.mark.parametrize("case", CASES)
async def test_a_crash_at_any_point_is_survived(tmp_path: Path, case: str) -> None:
    wanted = CASES[case].wanted
    points, end = await reached(tmp_path, case)
    for number, point in enumerate(points):
        host = Host(tmp_path / f"{number}-{point}")
        async with host.running():
            await CASES[case].prepare(host)
            with pytest.raises(Crash, match=point):
                await host.agent(crash_at(number)).converge(wanted)
            after = host.agent()
            await after.recover()
            assert not [name for name in host.files() if name.endswith(".tmp")]
            assert {HAND, C} <= set(host.active)
            assert not {HAND, C} & (await host.remembered()).owned.keys()
            assert all(row.confirmed for row in (await host.remembered()).owned.values())
            await after.converge(wanted)
            assert await host.state() == end, f"after a crash at {point} (call {number})"


@pytest.mark.parametrize("case", CASES)
async def test_after_a_crash_another_configuration_may_be_wanted(tmp_path: Path, case: str) -> None:
    wanted = CASES[case].wanted
    points, _ = await reached(tmp_path, case)
    other = desired(Lun(A, "other"), Lun(C), digest="d7")
    for number, point in enumerate(points):
        host = Host(tmp_path / f"{number}-{point}")
        async with host.running():
            await CASES[case].prepare(host)
            with pytest.raises(Crash):
                await host.agent(crash_at(number)).converge(wanted)
            host.timing = TIMING
            outcome = await host.agent().converge(other)
            assert (outcome.state, outcome.errors) == (ApplyState.IN_SYNC, ()), point
            assert host.active == sorted([A, C, HAND]), point
            assert (await host.remembered()).owned.keys() == {A}, point
            assert await host.names() == {A: "other", C: C, HAND: HAND}, point


# A crash at every single step


class Steps:
    """Counts what an attempt does to the world, each write twice: before it and after it, and in the middle where that is possible.

    Steps are transactions, what the daemon is told, and calls that change files. The reconciler makes these in threads of their own, the
    simulated daemon in this one, which so is left out.
    """

    def __init__(self, host: Host, patch: pytest.MonkeyPatch, dies_at: int = -1) -> None:
        self.seen: list[str] = []
        self._dies_at = dies_at
        self._lock = threading.Lock()
        for name in ("fsync", "fchmod", "ftruncate", "rename", "unlink", "mkdir"):
            patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
        patch.setattr(os, "pwrite", self._torn(os.pwrite))
        patch.setattr(host.records, "change", self._awaited("commit", host.records.change))
        patch.setattr(host, "ask", self._asked(host.ask))

    def take(self, name: str) -> None:
        with self._lock:
            self.seen.append(name)
            if len(self.seen) - 1 == self._dies_at:
                raise Crash(name)

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                return real(*args, **kwargs)
            self.take(f"before {name}")
            result = real(*args, **kwargs)
            self.take(f"after {name}")
            return result

        return call

    def _torn(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(fd: int, data: bytes, offset: int) -> int:
            if threading.current_thread() is threading.main_thread():
                return real(fd, data, offset)
            self.take("before pwrite")
            half = min(len(data) // 2, 9)  # within the first line: what is whole, the daemon may take up, and then it is the daemon's
            if half:
                real(fd, data[:half], offset)
                self.take("amid pwrite")
            real(fd, data[half:], offset + half)
            self.take("after pwrite")
            return len(data)

        return call

    def _asked(self, real: Callable[[str], Any]) -> Callable[[str], Any]:
        """Other questions change nothing, and how often they are asked depends on how long the daemon takes."""
        told = self._awaited("reconfigure", real)
        return lambda command: told(command) if command == "reconfigure" else real(command)

    def _awaited(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.take(f"before {name}")
            result = await real(*args, **kwargs)
            self.take(f"after {name}")
            return result

        return call


async def interrupted(host: Host, case: Case, number: int) -> tuple[str, Mapping[str, object]]:
    """Die at the step with that number (-1: at none); returns the step, and the state before."""
    await case.prepare(host)
    before = await host.state() if case.before is not None else {}
    with pytest.MonkeyPatch.context() as patch:
        steps = Steps(host, patch, number)
        if number < 0:
            await host.converge(case.wanted)
        else:
            with pytest.raises(Crash):
                await host.agent(lambda _: None).converge(case.wanted)
    return steps.seen[-1] if number >= 0 else ",".join(steps.seen), before


def nothing_between(host: Host, case: Case) -> None:
    """What a dead agent left is whole: each file is an old or a new one, and what others wrote is there."""
    sides = [side.rendered.files for side in (case.before, case.wanted) if side is not None]
    for name, content in host.files().items():
        if name.endswith(".conf"):
            assert name in (MAIN, OVERRIDES)
            whole = {side[name].content for side in sides if name in side}
            assert content in whole or (name == MAIN and content in {without_aliases(one, {A, B}) for one in whole}), name
    assert {HAND, C} <= set(host.active)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
async def test_a_crash_at_every_step_leaves_the_old_or_the_new_state(tmp_path: Path, case: str) -> None:
    host = Host(tmp_path / "undisturbed")
    async with host.running():
        steps = (await interrupted(host, CASES[case], -1))[0].split(",")
        end = await host.state()
    assert len(steps) > 20
    for number, step in enumerate(steps):
        host = Host(tmp_path / f"{number}")
        async with host.running():
            died_at, before = await interrupted(host, CASES[case], number)
            where = f"{died_at} (step {number} of {len(steps)}: {step})"
            nothing_between(host, CASES[case])
            after = host.agent()
            await after.recover()
            nothing_between(host, CASES[case])
            if number % 2 and before:
                host.timing = TIMING
                back = CASES[case].before
                assert back is not None
                outcome = await after.converge(back)
                if outcome.errors:  # the daemon had not done yet what the dead agent told it; the next attempt comes by itself
                    outcome = await after.converge(back)
                assert (outcome.state, outcome.errors) == (ApplyState.IN_SYNC, ()), where
                found = await host.state()
                assert {key: found[key] for key in ("files", "names", "kept")} == {
                    key: before[key] for key in ("files", "names", "kept")
                }, where
                assert set(host.active) == set(before["allowed"]), where  # type: ignore[call-overload]
            else:
                await after.converge(CASES[case].wanted)
                assert await host.state() == end, where


async def test_the_crash_cases_reach_every_point(tmp_path: Path) -> None:
    seen = set()
    for case in CASES:
        points, _ = await reached(tmp_path / case, case)
        seen |= set(points)
    assert seen == {name for name in FAILPOINTS if name.startswith("apply.")}


async def test_a_line_that_others_wrote_during_the_crash_stays_theirs(host: Host) -> None:
    def crash(name: str) -> None:
        if name == "apply.wwids.owned":
            raise Crash(name)

    hand_made(host)
    async with host.running():
        with pytest.raises(Crash):
            await host.agent(crash).converge(FIRST)
        with host.paths.wwids.open("ab") as file:
            file.write(f"/{A}/\n".encode())
        await host.agent().recover()
        await host.converge(FIRST)
        assert (await host.remembered()).owned.keys() == {B, E}
        await host.converge(EMPTY)
        assert host.active == sorted([A, C, HAND])


async def test_two_files_are_removed_and_one_comes_back(host: Host) -> None:
    async with host.running():
        await host.converge(SECOND)
        assert sorted(host.files()) == [MAIN, OVERRIDES]
        await host.converge(FIRST)
        assert sorted(host.files()) == [MAIN]
        assert (await host.converge(EMPTY)).state is ApplyState.IN_SYNC
        assert host.files() == {}
