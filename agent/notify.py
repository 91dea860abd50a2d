"""Telling systemd how the service stands (sd_notify(3)): one datagram to the socket that it names."""

import os
import socket


def notify(state: str) -> None:
    """Send `state` (for example `READY=1`) if the process was started by systemd with Type=notify; otherwise do nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.sendall(state.encode())
        except OSError:
            pass  # a notification that cannot be sent must not stop the service
