"""Path identities: stable across renumbering, told apart by count where equal."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.path_facts import IscsiPortal, NoFacts, NvmeAddress
from apply.paths import identities, identity, single_failure_domain
from apply.topology import Path

IQN = "iqn.2001-05.com.example:a"


class Facts(NoFacts):
    """A host whose every path has the same answers."""

    def __init__(self, portal: IscsiPortal | None = None, nvme: NvmeAddress | None = None, ancestry: str | None = None) -> None:
        self._portal, self._nvme, self._ancestry = portal, nvme, ancestry

    def iscsi_portal(self, dev: str) -> IscsiPortal | None:
        return self._portal

    def nvme_address(self, dev: str) -> NvmeAddress | None:
        return self._nvme

    def ancestry(self, dev: str) -> str | None:
        return self._ancestry


FC = Path(dev="sda", host_wwpn="0x10000090FA1B2C3D", target_wwpn="0x524a937a1b2c3d00", host_adapter="0000:3b:00.0", target_wwnn="0x524a")
ISCSI = Path(dev="sda", host_adapter="10.0.2.5", target_wwnn=IQN)


@pytest.mark.parametrize(
    ("path", "facts", "hcil", "expected"),
    [
        (FC, Facts(), "", "fc:0x10000090fa1b2c3d>0x524a937a1b2c3d00"),
        (ISCSI, Facts(IscsiPortal("10.0.2.10", 3260, 1)), "", f"iscsi:10.0.2.5>10.0.2.10:3260,1,{IQN}"),
        (ISCSI, Facts(IscsiPortal("fd00::10", 3260, 1)), "", f"iscsi:10.0.2.5>[fd00::10]:3260,1,{IQN}"),
        (ISCSI, Facts(), "", f"iscsi:10.0.2.5>{IQN}"),
        (Path(dev="sda", target_wwnn=IQN), Facts(), "", f"iscsi:->{IQN}"),
        (Path(dev="sda", host_adapter="0000:3b:00.0", target_wwnn="0x5000C500"), Facts(), "", "sas:0000:3b:00.0>0x5000c500"),
        (
            Path(dev="nvme0n1"),
            Facts(nvme=NvmeAddress("tcp", "192.168.154.10", "4420", "192.168.154.5")),
            "",
            "nvme:tcp:192.168.154.5>192.168.154.10:4420",
        ),
        (Path(dev="nvme0n1"), Facts(nvme=NvmeAddress("pcie", "0000:3d:00.0", "", "")), "", "nvme:pcie:->0000:3d:00.0"),
        (
            Path(dev="sda", lun_hex="0x0001"),
            Facts(ancestry="pci0000:00/0000:00:04.0/virtio1/host"),
            "",
            "other:pci0000:00/0000:00:04.0/virtio1/host",
        ),
        (Path(dev="sda", lun_hex="0x0001"), Facts(), "3:0:0:1", "other:->-,0:0:1"),
        (Path(dev="sda", lun_hex="0x0001"), Facts(), "#:#:#:#", "other:->-,0x0001"),
    ],
)
def test_the_identity_of_each_transport(path: Path, facts: Facts, hcil: str, expected: str) -> None:
    assert identity(path, facts, hcil) == expected


def test_equal_identities_are_counted() -> None:
    paths = [Path(dev=dev, host_adapter="10.0.2.5", target_wwnn=IQN) for dev in ("sdb", "sda", "sdaa")]
    assert [(name, path.dev) for name, path in identities(paths)] == [
        (f"iscsi:10.0.2.5>{IQN}", "sda"),
        (f"iscsi:10.0.2.5>{IQN}#2", "sdb"),
        (f"iscsi:10.0.2.5>{IQN}#3", "sdaa"),
    ]


def test_phantoms_never_look_like_a_port() -> None:
    assert [name for name, _ in identities([Path(), Path(), FC])] == ["fc:0x10000090fa1b2c3d>0x524a937a1b2c3d00", "phantom", "phantom#2"]


A, B = f"iscsi:10.0.2.5>10.0.2.10:3260,1,{IQN}", f"iscsi:10.0.3.5>10.0.3.10:3260,1,{IQN}"


@pytest.mark.parametrize(
    ("initiator", "portal", "known", "expected"),
    [
        ("[undef]", "10.0.2.10", (A, B), A),
        ("[undef]", "10.0.3.10", (A, B), B),
        ("10.0.3.5", None, (A, B), B),
        ("[undef]", None, (A,), A),
        ("[undef]", "10.0.9.9", (A, B), f"iscsi:->10.0.9.9:3260,1,{IQN}"),
        ("[undef]", "10.0.2.10", (), f"iscsi:->10.0.2.10:3260,1,{IQN}"),
        ("10.0.2.6", "10.0.2.10", (A, B), f"iscsi:10.0.2.6>10.0.2.10:3260,1,{IQN}"),
        ("[undef]", "10.0.2.10", (f"{A}#2", "fc:0x1>0x2"), A),
    ],
)
def test_an_iscsi_path_without_a_connection_is_the_one_that_is_known(
    initiator: str, portal: str | None, known: Sequence[str], expected: str
) -> None:
    facts = Facts(IscsiPortal(portal, 3260, 1) if portal else None)
    path = Path(dev="sda", host_adapter=initiator, target_wwnn=IQN)
    assert [name for name, _ in identities([path], facts, known=known)] == [expected]


@given(st.permutations(["sda", "sdb", "sdc"]), st.sets(st.sampled_from(["sda", "sdb", "sdc"])))
def test_a_known_identity_is_given_once(order: list[str], down: set[str]) -> None:
    """Three initiators at one portal; whichever lose their connection, the three stay three and those that are up stay who they are."""
    facts = Facts(IscsiPortal("10.0.2.10", 3260, 1))

    def paths(down: set[str]) -> list[Path]:
        own = {"sda": "10.0.2.5", "sdb": "10.0.2.6", "sdc": "10.0.2.7"}
        return [Path(dev=dev, host_adapter="[undef]" if dev in down else own[dev], target_wwnn=IQN) for dev in order]

    before = {path.dev: name for name, path in identities(paths(set()), facts)}
    after = {path.dev: name for name, path in identities(paths(down), facts, known=before.values())}
    assert sorted(after.values()) == sorted(before.values())
    assert all(after[dev] == before[dev] for dev in order if dev not in down)


def test_a_path_whose_device_is_gone_takes_no_lesser_identity() -> None:
    class Vanishing(Facts):
        """The kernel takes `sdb` away while its facts are read."""

        def __init__(self) -> None:
            super().__init__(ancestry="pci0000:00/host")
            self.there = True

        def ancestry(self, dev: str) -> str | None:
            self.there = self.there and dev != "sdb"
            return super().ancestry(dev) if dev != "sdb" else None

        def gone(self, dev: str, sysfs: str = "", wwid: str = "") -> bool:
            return dev == "sdb" and not self.there

    facts = Vanishing()
    found = identities([Path(dev="sda"), Path(dev="sdb"), Path()], facts, {"sdb": "1:0:0:1"}, facts.gone)
    assert [name for name, _ in found] == ["other:pci0000:00/host", "phantom"]


def test_names_are_safe_to_show() -> None:
    ((name, _),) = identities([Path(dev="sda", host_adapter="a\nb\x1b[31m", target_wwnn="iqn." + "x" * 900)])
    assert "\n" not in name
    assert "\x1b" not in name
    assert len(name) <= 256


PORTS = st.lists(st.sampled_from(["0x1", "0x2", "0x3"]), min_size=1, max_size=6)


@given(PORTS, st.randoms(use_true_random=False))
def test_renumbering_changes_no_identity(ports: Sequence[str], rng: random.Random) -> None:
    def seen(names: Sequence[str]) -> list[str]:
        return [name for name, _ in identities([Path(dev=d, host_wwpn=p, target_wwpn="0x9") for d, p in zip(names, ports, strict=True)])]

    names = [f"sd{chr(97 + n)}" for n in range(len(ports))]
    shuffled = names[:]
    rng.shuffle(shuffled)
    assert seen(names) == seen(shuffled) == seen([f"sdz{n}" for n in range(len(ports))])


@given(PORTS, st.data())
def test_losing_a_path_loses_exactly_one_identity(ports: Sequence[str], data: st.DataObject) -> None:
    paths = [Path(dev=f"sd{n}", host_wwpn=p, target_wwpn="0x9") for n, p in enumerate(ports)]
    whole = {name for name, _ in identities(paths)}
    paths.pop(data.draw(st.integers(0, len(paths) - 1)))
    left = {name for name, _ in identities(paths)}
    assert left < whole
    assert len(whole - left) == 1


@pytest.mark.parametrize(
    ("names", "single"),
    [
        (["fc:a>x", "fc:b>y"], False),
        (["fc:a>x", "fc:a>y"], True),
        (["fc:a>x", "fc:b>x"], True),
        (["fc:a>x"], False),
        (["fc:a>x", "fc:a>x#2"], True),
        (["nvme:tcp:->a:1", "nvme:tcp:->b:1"], False),
        (["other:p>q", "other:p>q#2"], False),
        (["iscsi:->i", "iscsi:->i#2"], False),
    ],
)
def test_single_failure_domain(names: list[str], single: bool) -> None:
    assert single_failure_domain(names) is single
