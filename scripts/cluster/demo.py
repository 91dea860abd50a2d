"""The demo: a cluster on loopback with simulated hosts, to look at or to check."""

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from scripts.cluster.nodes import Cluster, running
from scripts.cluster.scenario import Scenario, load_sample, write_sample_luns


def main() -> int:
    """Run the demo, or with --check the acceptance scenario; the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="Pathmesh agents on loopback, each with its own simulated multipathd."
    )
    parser.add_argument("--check", action="store_true", help="run the acceptance scenario, print a line a step, exit 0 or 1")
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="how many nodes (default 3)")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where to put everything (default: a new temporary directory)")
    parser.add_argument("--keep", action="store_true", help="keep the directory at the end")
    chosen = parser.parse_args()
    least = 3 if chosen.check else 1
    if not least <= chosen.nodes <= 32:
        parser.error(f"--nodes: from {least} to 32")
    directory = chosen.dir.absolute() if chosen.dir else Path(tempfile.mkdtemp(prefix="pathmesh-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        parser.error(f"--dir: {directory} is not empty")
    try:
        cluster = Cluster(directory, chosen.nodes, relayed=chosen.check, web=not chosen.check)
        write_sample_luns(cluster)
        passed = check(cluster) if chosen.check else show(cluster)
    except (AssertionError, OSError) as fault:
        print(f"demo: {fault}", file=sys.stderr)
        passed = False
    if chosen.keep or not passed:
        print(f"demo: kept {directory}", file=sys.stderr)
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if passed else 1


def check(cluster: Cluster) -> bool:
    """The ten steps of the acceptance scenario."""
    began = time.monotonic()
    with running(cluster):
        print(f"   {len(cluster.nodes)} nodes joined into one cluster  ({time.monotonic() - began:.1f} s)", flush=True)
        return Scenario(cluster).play(lambda line: print(line, flush=True))


def show(cluster: Cluster) -> bool:
    """Start, load the sample, print what there is to look at, and run until Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(f"starting {len(cluster.nodes)} nodes …", file=sys.stderr, flush=True)
    with running(cluster):
        load_sample(cluster)
        first = cluster.nodes[0]
        print(first.run("status").stdout)
        print(first.run("matrix").stdout)
        print("Sockets and web pages:")
        for node in cluster.nodes:
            print(f"  {node.name}  {node.socket}  http://127.0.0.1:{node.web_port}/")
        print("\nThe web page of the first node, by a link that works once (another one: pathmesh web-login):")
        print(f"  {first.run('web-login', '--quiet').stdout.strip()}")
        print("\nThe status document, as scripts and monitoring read it:")
        print(f"  curl --unix-socket {first.socket} http://localhost/v1/status")
        print("\nTry, in another terminal:")
        print(f"  export PATHMESH_SOCKET={first.socket} PATH={Path(sys.executable).parent}:$PATH")
        print("  pathmesh status; pathmesh lun ls; pathmesh matrix --watch")
        print("  A path of the last node fails:")
        print(f"  scripts/ask-host {cluster.nodes[-1].host_socket} fail path sda      (reinstate, del, add)")
        print("\nCtrl-C ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            stop.wait()
    return True


if __name__ == "__main__":
    sys.exit(main())
