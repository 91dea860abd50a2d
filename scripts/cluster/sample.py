"""The sample cluster of the demo: two LUNs with two paths each on every node, a multipath storage, and an lvm storage on LUN A."""

from scripts.cluster.nodes import Node

LUN_A = "3600140500000000a0000000000000001"
LUN_B = "3600140500000000b0000000000000002"
SIZES = {LUN_A: 64 * 2**30, LUN_B: 16 * 2**30}
HAND_MADE = "3600a098038314353763f505349676e35"


def path_id(node: Node, fabric: int) -> str:
    """The identity of the node's path through one of the two fabrics."""
    return f"fc:0x2100000e1e00{_number(node):02x}{fabric:02x}>0x50014380242b{fabric:02x}01"


def write_luns(node: Node) -> None:
    """The LUN file of one node's simulated host: two fabrics, so two paths to each LUN."""
    lines = []
    for index, (wwid, size) in enumerate(SIZES.items()):
        lines += ["[[lun]]", f'wwid = "{wwid}"', 'vendor = "PURE"', 'product = "FlashArray"', 'rev = "8888"', f"size_bytes = {size}"]
        for fabric in (1, 2):
            lines += [
                "[[lun.path]]",
                f'dev = "{device(index, fabric)}"',
                f'host_wwnn = "0x2000000e1e00{_number(node):02x}{fabric:02x}"',
                f'host_wwpn = "0x2100000e1e00{_number(node):02x}{fabric:02x}"',
                'target_wwnn = "0x50014380242b0000"',
                f'target_wwpn = "0x50014380242b{fabric:02x}01"',
                f'host_adapter = "0000:3b:00.{fabric - 1}"',
                "prio = 50",
            ]
    node.luns.write_text("\n".join(lines) + "\n")


def device(lun: int, fabric: int) -> str:
    """The sd name of a path."""
    return "sd" + "abcd"[2 * lun + fabric - 1]


def _number(node: Node) -> int:
    return int(node.name.removeprefix("n"))
