"""The lab's networks: bridges in a network namespace of their own, one for management and two storage networks. Needs root.

management  10.91.0.N   the lab's orders, and the agents' own traffic
san-a       10.91.1.N   one path to iSCSI targets
san-b       10.91.2.N   the other
"""

import ctypes
import os
import queue
import socket
import subprocess
import threading
from enum import IntEnum
from pathlib import Path

from scripts.hostlab.cache import run
from scripts.hostlab.errors import LabError

_CLONE_NEWNET = 0x40000000
_CONNECT_SECONDS = 10.0


class Net(IntEnum):
    """The networks, by the number of the guest's interface (`vec0`, …)."""

    MANAGEMENT = 0
    SAN_A = 1
    SAN_B = 2

    def address(self, guest: int) -> str:
        """A guest's address."""
        return f"10.91.{int(self)}.{guest}"


class Network:
    """One namespace with its bridges; `close` removes it with everything in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._path = Path("/run/netns") / name

    def open(self) -> None:
        """Make it. LabError if there is one of this name already."""
        if self._path.exists():
            raise LabError(f"there is a network namespace {self.name} already", "./scripts/lab down")
        run("ip", "netns", "add", self.name)
        self._ip("link", "set", "lo", "up")
        for net in Net:
            self._ip("link", "add", _bridge(net), "type", "bridge")
            self._ip("address", "add", f"{net.address(254)}/24", "dev", _bridge(net))
            self._ip("link", "set", _bridge(net), "up")

    def close(self) -> None:
        """Remove it; fine if it is gone."""
        if self._path.exists():
            run("ip", "netns", "del", self.name)

    @property
    def inside(self) -> tuple[str, ...]:
        """The words that run another command in it."""
        return ("ip", "netns", "exec", self.name)

    def plug(self, guest: int) -> list[str]:
        """Make a guest's interfaces; their names, in the order of `Net`."""
        for net in Net:
            self._ip("tuntap", "add", _tap(guest, net), "mode", "tap")
            self._ip("link", "set", _tap(guest, net), "master", _bridge(net), "up")
        return [_tap(guest, net) for net in Net]

    def unplug(self, guest: int) -> None:
        """Take a guest's interfaces away."""
        for net in Net:
            subprocess.run(["ip", "-n", self.name, "link", "del", _tap(guest, net)], capture_output=True, check=False)

    def cut(self, guest: int, net: Net) -> None:
        """Nothing passes between the guest and this network any more; its interface stays up, as with a fault behind the first switch."""
        self._ip("link", "set", _tap(guest, net), "nomaster")

    def mend(self, guest: int, net: Net) -> None:
        """It passes again."""
        self._ip("link", "set", _tap(guest, net), "master", _bridge(net))

    def connect(self, address: str, port: int, seconds: float = _CONNECT_SECONDS) -> socket.socket:
        """A TCP connection that is made inside. Raises OSError."""
        answers: queue.SimpleQueue[socket.socket | OSError] = queue.SimpleQueue()
        # A thread can be in another namespace than its process, and a socket stays where it was made.
        thread = threading.Thread(target=self._connect, args=(address, port, seconds, answers), daemon=True)
        thread.start()
        thread.join()
        answer = answers.get_nowait()
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _connect(self, address: str, port: int, seconds: float, answers: "queue.SimpleQueue[socket.socket | OSError]") -> None:
        try:
            with self._path.open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    code = ctypes.get_errno()
                    raise OSError(code, f"{self._path}: {os.strerror(code)}")
            answers.put(socket.create_connection((address, port), timeout=seconds))
        except OSError as fault:
            answers.put(fault)

    def _ip(self, *words: str) -> None:
        run("ip", "-n", self.name, *words)


def _bridge(net: Net) -> str:
    return f"br{int(net)}"


def _tap(guest: int, net: Net) -> str:
    return f"g{guest}n{int(net)}"
