"""Runs in the guest: does what the lab asks, over the management network; the first process reaps and the second serves.

A request is a length (4 bytes, big endian) and as many bytes of JSON; so is the answer. After `connect` the connection is a pipe to a unix
socket of the guest. Standard library only: this runs before anything else is there.
"""

import base64
import contextlib
import json
import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

PORT = 7777
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
_LENGTH = struct.Struct(">I")


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Run a program to its end, or to its time-out; then its whole session is killed."""
    process = subprocess.Popen(
        asked["command"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**ENVIRONMENT, **asked.get("env", {})},
        start_new_session=True,
    )
    late = False
    try:
        out, err = process.communicate(base64.b64decode(asked.get("stdin", "")), timeout=asked["seconds"])
    except subprocess.TimeoutExpired:
        late = True
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return {"code": process.returncode, "out": _text(out), "err": _text(err), "late": late}


def start(asked: dict[str, Any]) -> dict[str, Any]:
    """Start a program that stays; its words go to the file `log`."""
    with Path(asked["log"]).open("ab") as log:
        process = subprocess.Popen(
            asked["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**ENVIRONMENT, **asked.get("env", {})},
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()
    return {"pid": process.pid}


def clock(_asked: dict[str, Any]) -> dict[str, Any]:
    """What CLOCK_MONOTONIC says here now."""
    return {"ns": time.monotonic_ns()}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Handler(socketserver.BaseRequestHandler):
    """One connection: requests one after the other."""

    def handle(self) -> None:
        connection: socket.socket = self.request
        reader = connection.makefile("rb")
        while head := reader.read(_LENGTH.size):
            asked = json.loads(reader.read(_LENGTH.unpack(head)[0]))
            if asked["do"] == "connect":
                self._pipe(asked["path"])
                return
            try:
                answer = {"run": run, "start": start, "clock": clock}[asked["do"]](asked)
            except OSError as fault:
                answer = {"fault": str(fault)}
            self._answer(answer)

    def _answer(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.request.sendall(_LENGTH.pack(len(data)) + data)

    def _pipe(self, path: str) -> None:
        inner = socket.socket(socket.AF_UNIX)
        try:
            inner.connect(path)
        except OSError as fault:
            self._answer({"fault": f"{path}: {fault}"})
            return
        self._answer({})
        back = threading.Thread(target=_copy, args=(inner, self.request), daemon=True)
        back.start()
        _copy(self.request, inner)
        back.join()
        inner.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = True
    daemon_threads = True


def main() -> None:
    """Serve in a child; stay behind as the process that inherits and reaps what others leave."""
    child = os.fork() if os.getpid() == 1 else 0
    if child == 0:
        with Server(("0.0.0.0", PORT), Handler) as server:
            server.serve_forever()
    while os.wait()[0] != child:
        pass
    sys.exit("the lab's server ended")


if __name__ == "__main__":
    main()
