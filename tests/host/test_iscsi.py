"""One target with two portals on two networks, three nodes: a portal that one node cannot reach shows there and nowhere else."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from scripts.cluster.nodes import wait_for
from scripts.hostlab.network import Net
from scripts.hostlab.node import Node, begin, each, wait_cells
from scripts.hostlab.san import TARGET, log_in, serve_iscsi


def paths(viewer: Node, of: str, wwid: str) -> list[Any]:
    maps = viewer.get(f"/v1/nodes/{of}/maps")["maps"]
    found = next(entry for entry in maps if entry["wwid"] == wwid)
    return [path for group in found["path_groups"] for path in group["paths"]]


def test_a_portal_that_one_node_cannot_reach(guests: Callable[..., AbstractContextManager[list[Node]]]) -> None:
    with guests("n1", "n2", "n3", "target") as booted:
        *nodes, target = booted
        n1, n2, n3 = nodes
        serve_iscsi(target.guest, 1)
        each(nodes, lambda node: log_in(node.guest, target.guest))
        wwids = {line for node in nodes for line in node.guest.run('multipathd show paths raw format "%w"').out.split()}
        assert len(wwids) == 1, wwids
        wwid = wwids.pop()
        begin(nodes, ("defaults", "set", "no-path-retry=12"), ("lun", "add", wwid, "--alias", "shared"))
        wait_cells(nodes, wwid, "healthy", {node.name: "healthy" for node in nodes})
        each(nodes, lambda node: node.guest.run("udevadm settle"))
        portals = {f"{net.address(target.guest.number)}:3260,1,{TARGET}" for net in (Net.SAN_A, Net.SAN_B)}
        for node in nodes:
            ends = {path["id"].partition(">")[2] for path in paths(n1, node.name, wwid)}
            assert ends == portals, (node.name, ends)
            starts = {path["id"].partition(">")[0] for path in paths(n1, node.name, wwid)}
            assert starts == {f"iscsi:{net.address(node.guest.number)}" for net in (Net.SAN_A, Net.SAN_B)}, (node.name, starts)

        network = n2.guest.network
        network.cut(n2.guest.number, Net.SAN_B)
        wait_cells(nodes, wwid, "degraded", {"n1": "healthy", "n2": "degraded", "n3": "healthy"}, seconds=60)
        cut = f"{Net.SAN_B.address(target.guest.number)}:3260"
        for viewer in nodes:
            cell = viewer.lun(wwid)["nodes"]["n2"]
            assert cell["redundancy"] == "single" and cell["paths"]["usable"] == 1, cell
            failed = [path["id"] for path in paths(viewer, "n2", wwid) if path["class"] == "failed"]
            assert [cut in name for name in failed] == [True], (viewer.name, failed)
        said = n1.run("status").out
        assert any("failed path" in line and cut in line for line in said.splitlines()), said
        n2.guest.run("dd if=/dev/mapper/shared of=/dev/null bs=64k count=4 iflag=direct", seconds=30)

        network.mend(n2.guest.number, Net.SAN_B)
        wait_cells(nodes, wwid, "healthy", {node.name: "healthy" for node in nodes}, seconds=90)

        portal = f"{Net.SAN_A.address(target.guest.number)}:3260"
        n3.guest.run(f"iscsiadm -m node -T {TARGET} -p {portal} --logout")
        wait_cells(nodes, wwid, "degraded", {"n1": "healthy", "n2": "healthy", "n3": "degraded"})
        cell = wait_for("the lost path is named", lambda: (c := n1.lun(wwid)["nodes"]["n3"])["missing_paths"] and c)
        assert "path-lost" in cell["reasons"] and len(cell["missing_paths"]) == 1 and portal in cell["missing_paths"][0], cell
        assert cell["paths"]["expected"] == 2, cell
        assert portal in n2.run("status").out
        n3.guest.run(f"iscsiadm -m node -T {TARGET} -p {portal} --login")
        wait_cells(nodes, wwid, "healthy", {node.name: "healthy" for node in nodes})
