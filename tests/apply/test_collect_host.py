"""The collector against the simulated multipathd: a path fails, comes back, is removed, is accepted; the tools go and come back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from apply.collect import Context, HealthCollector, acceptance_of
from apply.expected import Acceptance
from apply.model import Lun, Model, Settings
from apply.multipathd import MultipathdClient
from apply.simulated.server import serve
from apply.storages import ExpectedNodes
from apply.wwids_file import HEADER
from store.cells import Cell
from store.records import MemoryRecords

pytestmark = pytest.mark.anyio

W = "3624a9370e92ace0b12e941bf000cb4d5"
IQN = "iqn.2001-05.com.example:a"
LUN = f'[[lun]]\nwwid = "{W}"\nvendor = "PURE"\nproduct = "FlashArray"\nrev = "1"\nsize_bytes = 2199023255552\n' + "".join(
    f'[[lun.path]]\ndev = "sd{dev}"\nhost_adapter = "10.0.{n}.5"\ntarget_wwnn = "{IQN}"\n' for n, dev in [(1, "a"), (2, "b")]
)
ONE, TWO = f"iscsi:10.0.1.5>{IQN}", f"iscsi:10.0.2.5>{IQN}"


class Host:
    """A simulated host and the collector on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "multipath").mkdir()
        (root / "multipath" / "wwids").write_bytes(HEADER + f"/{W}/\n".encode())
        (root / "luns.toml").write_text(LUN)
        self.client = MultipathdClient(str(root / "sock"), root / "multipathd", 2.0)
        self.acceptances: dict[str, Acceptance] = {}
        self.now = 0.0
        model = Model(settings=Settings(learn_window_seconds=0), luns={W: Lun(W, alias="pool")}, empty=False)
        expected = {W: ExpectedNodes(frozenset({"n1"}), "explicit")}
        self.collector = HealthCollector(
            self.client,
            MemoryRecords(),
            lambda: Context("n1", model, expected, acceptances=self.acceptances),
            notes=tuple,
            monotonic=lambda: self.now,
            wall=lambda: 1e9 + self.now,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        ready = asyncio.Event()
        task = asyncio.create_task(
            serve(str(self.root / "sock"), self.root / "multipath", self.root / "luns.toml", self.root / "multipathd", ready=ready.set)
        )
        async with asyncio.timeout(5):
            await ready.wait()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def poll(self) -> Cell:
        self.now += 10.0
        (found,) = [cell for cell in await self.collector.poll() if cell.kind == "multipath.map"]
        return found


async def test_a_path_fails_and_comes_back(tmp_path: Path) -> None:
    host = Host(tmp_path)
    async with host.running():
        healthy = await host.poll()
        assert (healthy.state, healthy.detail["redundancy"], healthy.detail["size_bytes"]) == ("healthy", "full", 2 << 40)
        assert healthy.detail["baseline"] == [ONE, TWO]
        await host.client.ask("fail path sdb")
        failed = await host.poll()
        assert (failed.state, failed.reasons) == ("degraded", ("path-failed", "single-path"))
        assert {row["id"]: row["class"] for row in failed.detail["path_list"]} == {ONE: "active", TWO: "failed"}
        await host.client.ask("reinstate path sdb")
        assert [(await host.poll()).state for _ in range(2)] == ["degraded", "healthy"]


async def test_a_removed_path_is_named_and_accepted(tmp_path: Path) -> None:
    host = Host(tmp_path)
    async with host.running():
        await host.poll()
        await host.client.ask("del path sdb")
        lost = await host.poll()
        assert (lost.state, lost.detail["redundancy"]) == ("degraded", "single")
        assert lost.reasons == ("path-lost", "single-path")
        assert lost.detail["missing_paths"] == [TWO]
        assert lost.detail["paths"]["visible"] == 1
        host.acceptances = {W: acceptance_of({"paths": "\n".join(row["id"] for row in lost.detail["path_list"])}, "dot")}
        accepted = [await host.poll() for _ in range(2)][-1]
        assert (accepted.state, accepted.reasons, accepted.detail["paths"]["expected"]) == ("healthy", (), 1)


async def test_the_tools_go_and_come_back(tmp_path: Path) -> None:
    host = Host(tmp_path)
    async with host.running():
        await host.poll()
    gone = await host.poll()
    assert (gone.state, gone.reasons, gone.detail["last"]["state"]) == ("unknown", ("not-installed",), "healthy")
    assert host.collector.facts.state == "not-installed"
    async with host.running():
        assert (await host.poll()).state == "healthy"
        assert host.collector.facts.version == (0, 9, 4)
