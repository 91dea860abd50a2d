"""The reconciler with a daemon that fails in the middle: what is undone, what waits, what is never written."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest

from apply.daemon import Timing
from apply.hostpaths import HostPaths
from apply.journal import Ledger
from apply.model import Lun, Model
from apply.multipathd import CommandFailed, DaemonDown, DaemonGarbage, DaemonTimeout, MultipathdClient, MultipathdError
from apply.outcome import ApplyOutcome, ApplyState
from apply.plan import Desired
from apply.reconcile import Reconciler
from apply.render import MAIN, allow_list, render
from apply.simulated.server import serve
from apply.wwids import read
from store.records import MemoryRecords

pytestmark = pytest.mark.anyio

A, B = "36000000a", "36000000b"
LUNS = "".join(
    f'[[lun]]\nwwid = "{w}"\nvendor = "LAB"\nproduct = "SAN"\nrev = "1"\nsize_bytes = 67108864\n'
    f'[[lun.path]]\ndev = "sd{w[-1]}a"\n[[lun.path]]\ndev = "sd{w[-1]}b"\n'
    for w in (A, B)
)


class Daemon:
    """The simulated daemon behind a wire on which chosen commands fail."""

    def __init__(self, client: MultipathdClient) -> None:
        self._client = client
        self.asked: list[str] = []
        self.fail: dict[str, Callable[[int], MultipathdError | str | None]] = {}

    async def ask(self, command: str) -> str:
        number = self.asked.count(command)
        self.asked.append(command)
        answer = self.fail[command](number) if command in self.fail else None
        if isinstance(answer, MultipathdError):
            raise answer
        return await self._client.ask(command) if answer is None else answer


class InUse:
    """A guard that says what it is told to."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    async def reason(self, wwid: str) -> str:
        return self.reasons.get(wwid, "")


class Told:
    """Remembers which devices udev was told of."""

    def __init__(self) -> None:
        self.devices: list[list[str]] = []

    async def changed(self, devices: Iterable[str]) -> None:
        self.devices.append(sorted(devices))


class Node:
    """A host with a failing daemon."""

    def __init__(self, root: Path) -> None:
        etc = root / "multipath"
        etc.mkdir()
        (root / "luns.toml").write_text(LUNS)
        self.paths = HostPaths(etc, root / "state", root / "mapper", root / "sys")
        self.records = MemoryRecords()
        self.daemon = Daemon(MultipathdClient(str(root / "sock"), root / "multipathd", 2.0))
        self.in_use = InUse()
        self.udev = Told()
        self.now = 1000.0

    async def converge(self, wanted: Desired) -> ApplyOutcome:
        self.daemon.asked.clear()
        agent = Reconciler(
            self.paths,
            self.daemon,
            self.records,
            lambda: self.now,
            in_use=self.in_use,
            udev=self.udev,
            timing=Timing(reconfigure=0.3, settle=2.0, poll=0.005),
        )
        return await agent.converge(wanted)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.paths.conf_dir.iterdir()) if self.paths.conf_dir.is_dir() else []


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    found = Node(tmp_path)
    ready = asyncio.Event()
    root = tmp_path
    task = asyncio.create_task(serve(str(root / "sock"), root / "multipath", root / "luns.toml", root / "multipathd", ready=ready.set))
    async with asyncio.timeout(5):
        await ready.wait()
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def desired(*luns: Lun, digest: str = "d1") -> Desired:
    model = Model(luns={lun.wwid: lun for lun in luns}, empty=not luns)
    return Desired(digest, render(model, digest=digest, tools_version=None), allow_list(model), True, empty=model.empty)


ONE = desired(Lun(A, "a"))
TWO = desired(Lun(A, "z"), Lun(B), digest="d2")


def always(error: MultipathdError | str) -> Callable[[int], MultipathdError | str | None]:
    return lambda _: error


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("show daemon", DaemonTimeout("stuck")),
        ("show daemon", "pid huh\n"),
        ("show config local", "no configuration\n"),
        ("show maps json", DaemonGarbage("broken")),
        ("show maps json", '{"maps": [{'),
    ],
)
async def test_a_daemon_that_does_not_answer_before_is_told_nothing(node: Node, command: str, error: MultipathdError | str) -> None:
    node.daemon.fail[command] = always(error)
    outcome = await node.converge(ONE)
    assert outcome.state is ApplyState.FAILED
    assert outcome.errors[0].code in ("daemon-timeout", "daemon-garbage")
    assert (node.files(), read(node.paths.wwids).content, "reconfigure" in node.daemon.asked) == ([], b"", False)


async def test_a_refused_reconfigure_is_rolled_back(node: Node) -> None:
    await node.converge(ONE)
    node.daemon.fail["reconfigure"] = lambda number: CommandFailed("no") if number == 0 else None
    outcome = await node.converge(TWO)
    assert (outcome.state, [e.code for e in outcome.errors], outcome.applied) == (ApplyState.FAILED, ["reconfigure-failed"], "d1")
    assert (node.paths.conf_dir / MAIN).read_bytes() == ONE.rendered.files[MAIN].content
    assert read(node.paths.wwids).active == {A, B}
    remembered = await Ledger(node.records).load()
    assert remembered.journal is None
    assert remembered.owned.keys() == {A, B}
    node.daemon.fail.clear()
    assert (await node.converge(TWO)).state is ApplyState.IN_SYNC


async def test_a_daemon_that_dies_meanwhile_is_rolled_back_and_both_are_said(node: Node) -> None:
    await node.converge(ONE)
    node.daemon.fail["reconfigure"] = always(DaemonDown("gone"))
    outcome = await node.converge(TWO)
    assert outcome.state is ApplyState.FAILED
    assert {e.code for e in outcome.errors} == {"daemon-down"}
    assert (node.paths.conf_dir / MAIN).read_bytes() == ONE.rendered.files[MAIN].content


async def test_a_long_reconfigure_is_pending_and_not_told_twice(node: Node) -> None:
    node.daemon.fail["show daemon"] = lambda number: None if number == 0 else "pid 7 configure\n"
    outcome = await node.converge(ONE)
    assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.PENDING, ["reconfigure-pending"])
    journal = (await Ledger(node.records).load()).journal
    assert journal is not None
    assert journal.told
    node.daemon.fail.clear()
    outcome = await node.converge(ONE)
    assert (outcome.state, outcome.applied, "reconfigure" in node.daemon.asked) == (ApplyState.IN_SYNC, "d1", False)


@pytest.mark.parametrize("word", ["pid 7 idle (reconfigure pending)\n", "pid 7 configure\n"])
async def test_what_idle_means(node: Node, word: str) -> None:
    node.daemon.fail["show daemon"] = lambda number: word if 0 < number < 4 else None
    assert (await node.converge(ONE)).state is ApplyState.IN_SYNC
    assert node.daemon.asked.count("show daemon") > 4


async def test_a_reconfigure_that_was_perhaps_not_heard_is_told_again(node: Node) -> None:
    node.daemon.fail["reconfigure"] = always(DaemonTimeout("busy"))
    assert (await node.converge(ONE)).state is ApplyState.PENDING
    assert node.files() == [MAIN], "nothing is undone for a daemon that is only busy"
    node.daemon.fail.clear()
    assert (await node.converge(ONE)).state is ApplyState.IN_SYNC
    assert node.daemon.asked.count("reconfigure") == 1


async def test_a_guarded_line_stays_and_its_map_too(node: Node) -> None:
    await node.converge(TWO)
    node.in_use.reasons[B] = "mounted on /srv"
    outcome = await node.converge(desired(Lun(A, "z"), digest="d3"))
    assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.IN_SYNC, ["prune-deferred"])
    assert "mounted on /srv" in outcome.errors[0].message
    assert read(node.paths.wwids).active == {A, B}
    again = await node.converge(desired(Lun(A, "z"), digest="d3"))
    assert ("reconfigure" in node.daemon.asked, again.errors) == (False, outcome.errors)
    node.in_use.reasons.clear()
    assert (await node.converge(desired(Lun(A, "z"), digest="d3"))).removed == (B,)


async def test_udev_is_told_of_the_paths_that_came_and_went(node: Node) -> None:
    await node.converge(ONE)
    await node.converge(desired())
    assert [devices for devices in node.udev.devices if devices] == [["sdaa", "sdab"], ["sdaa", "sdab"]]


async def test_two_at_a_time_take_turns(node: Node) -> None:
    agent = Reconciler(node.paths, node.daemon, node.records, lambda: 0.0, timing=Timing(settle=2.0, poll=0.005))
    first, second = await asyncio.gather(agent.converge(ONE), agent.converge(TWO))
    assert (first.state, second.state) == (ApplyState.IN_SYNC, ApplyState.IN_SYNC)
    assert (node.paths.conf_dir / MAIN).read_bytes() == TWO.rendered.files[MAIN].content
