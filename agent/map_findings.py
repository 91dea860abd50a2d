"""What is worth knowing of this node's maps and NVMe subsystems although they work, for its doctor."""

from collections.abc import Iterator

from agent.cell_view import said_all
from agent.findings import Finding
from agent.flags import FLAGS, worst_first
from agent.node import Node
from store.cells import MULTIPATH_MAP, NVME_SUBSYSTEM
from store.errors import listed

_NAMED = 3


def map_findings(node: Node) -> Iterator[Finding]:
    """The flags of this node's own cells, each with what carries it."""
    picture, found = node.picture, dict[str, list[str]]()
    for kind in (MULTIPATH_MAP, NVME_SUBSYSTEM):
        for name, cell in sorted(picture.cells_of(node.birth.name, kind).items()):
            lun = picture.config.model.luns.get(name)
            title = f"{lun.alias} ({name})" if lun is not None and lun.alias else name
            for flag in said_all(cell.detail, "flags", str):
                found.setdefault(flag, []).append(title)
    for flag in sorted(found, key=worst_first):
        if flag in FLAGS:
            severity, meaning, hint = FLAGS[flag]
            yield Finding(flag, severity, f"{listed(found[flag], _NAMED)}: {meaning}", hint)
