"""Native NVMe: what sysfs shows of subsystems, and how they are judged."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from apply.classify import PathClass, PathMemory
from apply.expected import Acceptance, Baseline, accept
from apply.nvme import Controller, Namespace, NvmeKey, Subsystem, live, observe_nvme, path_class
from apply.nvme_sysfs import NvmeSysfs
from store.cells import Cell, content_hash

NQN = "nqn.2010-06.com.purestorage:flasharray.1"
ONE, TWO = "nvme:tcp:10.0.0.5>10.0.0.10:4420", "nvme:tcp:10.0.1.5>10.0.1.10:4420"


class Host:
    """A sysfs tree with one subsystem of two controllers and one namespace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sysfs = NvmeSysfs(root)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def subsystem(self, number: int = 0, nqn: str = NQN, subsystype: str = "nvm") -> str:
        place = f"class/nvme-subsystem/nvme-subsys{number}"
        for name, text in (
            ("subsysnqn", nqn),
            ("model", "Pure FlashArray    "),
            ("serial", "SN1"),
            ("firmware_rev", "6.4"),
            ("iopolicy", "numa"),
        ):
            self.write(f"{place}/{name}", text)
        self.write(f"{place}/subsystype", subsystype)
        return place

    def controller(self, place: str, number: int, port: int, transport: str = "tcp", state: str = "live") -> str:
        directory = f"{place}/nvme{number}"
        address = f"traddr=10.0.{port}.10,trsvcid=4420,host_traddr=10.0.{port}.5,src_addr=10.0.{port}.5"
        self.write(f"{directory}/transport", transport)
        self.write(f"{directory}/address", address if transport != "pcie" else f"0000:3{port}:00.0")
        self.write(f"{directory}/state", state)
        return directory

    def namespace(self, place: str, head: int, nsid: int, ana: Mapping[int, str | None]) -> None:
        directory = f"{place}/nvme{head}n{nsid}"
        self.write(f"{directory}/wwid", f"eui.00000000000000{nsid:02x}")
        self.write(f"{directory}/nsid", str(nsid))
        self.write(f"{directory}/size", "2097152")
        for controller, state in ana.items():
            path = f"{place}/nvme{controller}/nvme{head}c{controller}n{nsid}"
            (self.root / path).mkdir(parents=True)
            if state is not None:
                self.write(f"{path}/ana_state", state)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_subsystem_is_read(host: Host) -> None:
    place = host.subsystem()
    host.controller(place, 3, 0)
    host.controller(place, 4, 1, state="connecting")
    host.namespace(place, 3, 1, {3: "optimized", 4: "inaccessible"})
    host.namespace(place, 3, 2, {3: None})
    [found] = host.sysfs.subsystems()
    assert (found.nqn, found.model, found.serial, found.iopolicy) == (NQN, "Pure FlashArray", "SN1", "numa")
    assert found.controllers == (Controller("nvme3", ONE, "tcp", "live"), Controller("nvme4", TWO, "tcp", "connecting"))
    assert found.namespaces == (
        Namespace(1, "eui.0000000000000001", 1 << 30, {"nvme3": "optimized", "nvme4": "inaccessible"}),
        Namespace(2, "eui.0000000000000002", 1 << 30, {"nvme3": ""}),
    )


def test_disks_of_this_host_alone_and_discovery_are_left_out(host: Host) -> None:
    assert host.sysfs.subsystems() == ()
    local = host.subsystem(0, "nqn.2014.08.org.nvmexpress:local")
    host.controller(local, 0, 0, "pcie")
    host.controller(host.subsystem(1, "nqn.2014-08.org.nvmexpress.discovery", "discovery"), 1, 0)
    host.subsystem(2, "nqn.2014-08.org.nvmexpress:empty")
    assert host.sysfs.subsystems() == ()
    host.controller(local, 5, 1, "pcie")
    assert [each.nqn for each in host.sysfs.subsystems()] == ["nqn.2014.08.org.nvmexpress:local"]
    host.write("module/nvme_core/parameters/multipath", "N")
    assert host.sysfs.subsystems() == (), "then multipathd has them"


@pytest.mark.parametrize(
    ("controller", "ana", "expected"),
    [
        ("live", "optimized", (PathClass.ACTIVE, "")),
        ("live", "non-optimized", (PathClass.STANDBY, "")),
        ("live", "change", (PathClass.TRANSIENT, "")),
        ("live", "", (PathClass.ACTIVE, "")),
        ("live", "inaccessible", (PathClass.FAILED, "ana-inaccessible")),
        ("live", "persistent-loss", (PathClass.FAILED, "ana-inaccessible")),
        ("live", "invalid state", (PathClass.SUSPECT, "path-suspect")),
        ("new", "optimized", (PathClass.TRANSIENT, "")),
        ("connecting", "optimized", (PathClass.TRANSIENT, "")),
        ("resetting", "", (PathClass.TRANSIENT, "")),
        ("deleting", "optimized", (PathClass.FAILED, "controller-lost")),
        ("deleting (no IO)", "optimized", (PathClass.FAILED, "controller-lost")),
        ("dead", "optimized", (PathClass.FAILED, "controller-lost")),
        ("", "optimized", (PathClass.FAILED, "controller-lost")),
    ],
)
def test_the_class_of_a_path(controller: str, ana: str, expected: tuple[PathClass, str]) -> None:
    assert path_class(controller, ana) == expected


def subsystem(first: str = "live", second: str | None = "live", *namespaces: tuple[str, str], firmware: str = "1") -> Subsystem:
    controllers = [Controller("nvme0", ONE, "tcp", first)] + ([Controller("nvme1", TWO, "tcp", second)] if second else [])
    heads = tuple(Namespace(n, f"eui.{n}", 512, dict(zip(("nvme0", "nvme1"), ana, strict=True))) for n, ana in enumerate(namespaces, 1))
    return Subsystem(NQN, "M", "S", firmware, "numa", tuple(controllers), heads)


def judged(*states: Subsystem, learned: tuple[str, ...] = (), step: float = 10.0) -> list[Cell]:
    memory: Mapping[NvmeKey, PathMemory] = {}
    cells = []
    for number, each in enumerate(states):
        observed = observe_nvme([each], {NQN: Baseline(learned)} if learned else {}, memory, number * step, 1e9)
        memory = observed.memory
        [cell] = observed.cells
        cells.append(cell)
    return cells


@pytest.mark.parametrize(
    ("found", "learned", "state", "reasons"),
    [
        (subsystem("live", "live", ("optimized", "non-optimized")), (ONE, TWO), "healthy", ()),
        (subsystem("live", "live", ("optimized", "inaccessible")), (ONE, TWO), "degraded", ("ana-inaccessible",)),
        (subsystem("live", "live", ("non-optimized", "non-optimized")), (ONE, TWO), "degraded", ("no-optimized",)),
        (subsystem("live", "live", ("inaccessible", "persistent-loss")), (ONE, TWO), "failed", ("ana-inaccessible", "all-paths-failed")),
        (subsystem("live", "dead", ("optimized", "optimized")), (ONE, TWO), "degraded", ("controller-lost",)),
        (subsystem("dead", "deleting", ("optimized", "optimized")), (ONE, TWO), "failed", ("controller-lost", "all-paths-failed")),
        (subsystem("live", None), (ONE, TWO), "degraded", ("path-lost",)),
        (subsystem("live", None), (), "healthy", ()),
        (subsystem("live", "live"), (), "healthy", ()),
        (subsystem("live", "live", ("optimized", "optimized"), ("inaccessible", "optimized")), (), "degraded", ("ana-inaccessible",)),
    ],
)
def test_the_state_of_a_subsystem(found: Subsystem, learned: tuple[str, ...], state: str, reasons: tuple[str, ...]) -> None:
    [cell] = judged(found, learned=learned)
    assert (cell.kind, cell.id, cell.state, cell.reasons) == ("nvme.subsystem", NQN, state, reasons)


def test_what_a_cell_tells() -> None:
    [cell] = judged(subsystem("live", None, firmware="7"), learned=(ONE, TWO))
    assert cell.detail["missing_paths"] == [TWO] and cell.detail["redundancy"] == "single"
    assert (cell.detail["paths"]["usable"], cell.detail["paths"]["expected"], cell.detail["paths"]["expected_source"]) == (1, 2, "learned")
    [namespace] = judged(subsystem("live", "live", ("optimized", "inaccessible")))[0].detail["namespaces"]
    assert namespace == {
        "nsid": 1,
        "wwid": "eui.1",
        "size_bytes": 512,
        "state": "degraded",
        "paths": {ONE: "optimized", TWO: "inaccessible"},
    }


def test_a_controller_that_resets_does_not_blink_and_one_that_stays_away_is_lost() -> None:
    up, away = subsystem("live", "live", ("optimized", "optimized")), subsystem("live", "connecting", ("optimized", "optimized"))
    cells = judged(up, away, away, away, away, away)
    assert [cell.state for cell in cells] == ["healthy"] * 4 + ["degraded"] * 2
    assert cells[-1].reasons == ("controller-lost",)


def test_numbers_of_discovery_and_firmware_are_no_content() -> None:
    one = subsystem("live", "live", ("optimized", "optimized"))
    renamed = Subsystem(
        NQN, "M", "S", "2", "numa",
        (Controller("nvme9", TWO, "tcp", "live"), Controller("nvme7", ONE, "tcp", "live")),
        (Namespace(1, "eui.1", 512, {"nvme9": "optimized", "nvme7": "optimized"}),),
    )  # fmt: skip
    assert content_hash(judged(one)[0]) == content_hash(judged(renamed)[0])


def test_a_subsystem_that_the_kernel_gave_up_is_missing_until_that_is_accepted() -> None:
    observed = observe_nvme([], {NQN: Baseline((ONE, TWO)), "3624a": Baseline(("x",))}, {}, 0.0, 1e9)
    [cell] = observed.cells
    assert (cell.id, cell.state, cell.reasons, cell.detail["missing_paths"]) == (NQN, "missing", ("not-visible",), [ONE, TWO])
    assert observe_nvme([], {NQN: Baseline()}, {}, 0.0, 1e9).cells == []


def test_the_acceptance_in_force_is_told() -> None:
    accepted = {NQN: accept(Baseline((ONE, TWO)), Acceptance("n1/7", (ONE,), 0.0, "one is enough", "n2"), 0.0)}
    told = {"id": "n1/7", "by": "n2", "reason": "one is enough", "expires": 0.0}
    for found in ([subsystem("live", None)], []):
        [cell] = observe_nvme(found, accepted, {}, 0.0, 1e9).cells
        assert cell.detail["acked"] == told


def test_equal_connections_are_counted() -> None:
    twice = Subsystem(NQN, "M", "S", "1", "numa", (Controller("nvme0", ONE, "tcp", "live"), Controller("nvme1", ONE, "tcp", "live")), ())
    assert live(twice) == {ONE, f"{ONE}#2"}
