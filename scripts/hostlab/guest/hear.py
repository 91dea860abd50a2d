"""Runs in the guest: writes down the kernel's own events as they come, with the time of CLOCK_MONOTONIC. Standard library only.

A line each: nanoseconds, action, subsystem, the device's name, DM_ACTION or `-`.
"""

import os
import socket
import time

NETLINK_KOBJECT_UEVENT = 15
FROM_KERNEL = 1


def main() -> None:
    """Until it is killed."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))  # ahead of whoever else is woken by the event, to see when it came
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT) as kernel:
        kernel.bind((0, FROM_KERNEL))
        while True:
            data = kernel.recv(65536)
            now = time.monotonic_ns()
            _, *words = data.rstrip(b"\0").decode(errors="replace").split("\0")
            event = dict(word.split("=", 1) for word in words if "=" in word)
            name = event.get("DEVPATH", "-").rpartition("/")[2]
            print(now, event.get("ACTION", "-"), event.get("SUBSYSTEM", "-"), name, event.get("DM_ACTION", "-"), flush=True)


if __name__ == "__main__":
    main()
