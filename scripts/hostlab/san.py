"""Disks with two paths in a guest: LUNs from the kernel's own target, and iSCSI; faults of single paths."""

from dataclasses import dataclass

from scripts.hostlab.machine import Guest
from scripts.hostlab.network import Net

TARGET = "iqn.2001-05.com.example:lab"


def lun(number: int) -> str:
    """The WWID of the kernel target's LUN of this number: NAA 6, the target's vendor number, and 25 digits of its serial."""
    return f"36001405{number:08x}00004000800000000"


@dataclass(frozen=True)
class LunPath:
    """A path of a LUN: the kernel's name of the device now, and its place in SCSI."""

    device: str
    hcil: str


class San:
    """The disks that one guest sees."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def up(self, luns: int, mebibytes: int = 64) -> None:
        """Give the guest LUNs 1 to `luns` with two ALUA paths each."""
        self._guest.run(["san", "up", str(luns), str(mebibytes)])

    def paths(self, wwid: str) -> list[LunPath]:
        """The paths that the kernel has now, by their places."""
        lines = self._guest.run(["san", "paths", wwid]).out.splitlines()
        return sorted((LunPath(*line.split()) for line in lines), key=lambda path: path.hcil)

    def alua(self, number: int, path: int, state: int) -> None:
        """The access state of one path (1 or 2): 0 optimized, 1 non-optimized, 2 standby, 3 unavailable."""
        self._guest.run(["san", "alua", str(number), str(path), str(state)])

    def offline(self, device: str) -> None:
        """The kernel gives up this path: every command over it fails."""
        self._guest.run(f"echo offline > /sys/block/{device}/device/state")

    def online(self, device: str) -> None:
        """The path works again."""
        self._guest.run(f"echo running > /sys/block/{device}/device/state")

    def delete(self, device: str) -> None:
        """The path is gone from the kernel, as when it is unplugged."""
        self._guest.run(f"echo 1 > /sys/block/{device}/device/delete; udevadm settle")

    def rescan(self) -> None:
        """Find what was deleted, under whatever name the kernel gives it now."""
        self._guest.run(["san", "rescan"])


def serve_iscsi(target: Guest, luns: int, mebibytes: int = 64) -> None:
    """Make a guest an iSCSI target. It listens everywhere; who discovers it over a network is told of the portal there."""
    lines = [f"tgtadm --lld iscsi --op new --mode target --tid 1 -T {TARGET}"]
    for number in range(1, luns + 1):
        file = f"/var/lib/lab-san/iscsi{number}.raw"
        lines += [
            f"mkdir -p /var/lib/lab-san && truncate -s {mebibytes}M {file}",
            f"tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun {number} -b {file}",
            f"tgtadm --lld iscsi --op update --mode logicalunit --tid 1 --lun {number} --params"
            f" vendor_id=LAB,product_id=ISCSI{number},scsi_id=lab-{number:08d},scsi_sn=lab{number:05d}",
        ]
    lines.append("tgtadm --lld iscsi --op bind --mode target --tid 1 -I ALL")
    target.start(["tgtd", "-f"], "/var/log/tgtd.log")
    target.run("for i in $(seq 100); do tgtadm --lld iscsi --op show --mode sys >/dev/null 2>&1 && break; sleep 0.1; done")
    target.run(" && ".join(lines))


def log_in(guest: Guest, target: Guest, *, silence_seconds: int = 5) -> None:
    """Log a guest in over both networks. A portal that is silent for `silence_seconds` is given up after as long again."""
    settings = {
        "node.session.timeo.replacement_timeout": silence_seconds,
        "node.conn[0].timeo.noop_out_interval": silence_seconds,
        "node.conn[0].timeo.noop_out_timeout": silence_seconds,
        "node.conn[0].timeo.login_timeout": 5,
    }
    guest.run("modprobe iscsi_tcp && { pgrep -x iscsid >/dev/null || iscsid; }")
    for net in (Net.SAN_A, Net.SAN_B):
        guest.run(f"iscsiadm -m discovery -t sendtargets -p {net.address(target.number)} >/dev/null")
    for name, value in settings.items():
        guest.run(f"iscsiadm -m node -T {TARGET} --op update -n '{name}' -v {value}")
    guest.run(f"iscsiadm -m node -T {TARGET} --login && udevadm settle", seconds=90)
