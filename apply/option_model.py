"""What an option is: its scope, its group, what it takes, and since when multipath-tools knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from apply.option_types import ValueType

Version = tuple[int, int, int]


class Scope(StrEnum):
    """The kind of section that an option stands in."""

    DEFAULTS = "defaults"
    WWID = "wwid"
    MULTIPATH = "multipath"
    """A storage whose volumes are multipath maps."""
    LVM = "lvm"
    """A storage that is a volume group, on a map if it has a `base`."""
    ISCSI = "iscsi"
    """An iSCSI target; with `multipath 1` its volumes are multipath maps."""
    FC = "fc"
    """LUNs that come over Fibre Channel; its volumes are multipath maps."""
    NVME = "nvme"
    """Namespaces that come over NVMe and are gathered by multipathd; its volumes are multipath maps."""


class Group(StrEnum):
    """What an option is about: manuals and forms show options in these groups, in this order. The values are titles with `-` for blanks."""

    EXPECTATIONS = "names-and-expectations"
    """What Pathmesh itself goes by."""
    FAILOVER = "paths-and-failover"
    """Which paths carry the I/O."""
    QUEUEING = "loss-of-paths-and-queueing"
    """What becomes of the I/O and of the paths when paths are lost."""
    CHECKING = "checking-and-timing"
    """How paths are tested, and how often."""
    MARGINAL = "marginal-paths"
    """What becomes of paths that work sometimes."""
    MAPS = "maps-and-devices"
    """How maps are made, sized and removed, and which devices may be paths."""
    DAEMON = "daemon"
    """multipathd as a program."""
    STORAGE = "storage"
    """What a storage is and who has it."""

    @property
    def heading(self) -> str:
        """What people read above it."""
        return self.value.replace("-", " ").capitalize()


@dataclass(frozen=True)
class Option:
    """One option of one scope. `default` is what holds without it, "" where that depends or is nothing; `note` says what it is for."""

    name: str
    type: ValueType
    default: str = ""
    note: str = ""
    since: Version = (0, 0, 0)
    rendered: bool = True
    """It goes into multipath.conf; the others mean something to Pathmesh only."""
    required: bool = False
    suffix: str = ""
    """What multipath.conf wants behind the value."""
    values_since: Mapping[str, Version] = field(default_factory=dict)
    """Values that older releases do not know."""
    before: tuple[Version, Mapping[str, str]] | None = None
    """Releases before this one spell the values otherwise."""
    group: Group = Group.STORAGE

    @property
    def keyword(self) -> str:
        """The name in multipath.conf."""
        return self.name.replace("-", "_")


@dataclass(frozen=True)
class Refusal:
    """Why an option of multipath.conf is not offered here, and what to do instead."""

    code: str
    why: str
    hint: str = ""
