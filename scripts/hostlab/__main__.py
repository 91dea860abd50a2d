"""The command behind `scripts/lab`."""

import argparse
import shlex
import sys

from scripts.hostlab import image
from scripts.hostlab.errors import LabError
from scripts.hostlab.lab import MAX_GUESTS, Lab, common_directory, found
from scripts.hostlab.node import Node, each, make_cluster
from scripts.hostlab.scenario import play

NAMESPACE = "pathmesh-lab"


def main() -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/lab", description="The real host in User-Mode Linux guests. See docs/lab.md.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("build", help="build the image, if it is not there").set_defaults(do=_build)
    up = commands.add_parser("up", help="boot guests 1 to N")
    up.add_argument("guests", type=int, metavar="N")
    up.add_argument("--luns", type=int, default=2, metavar="L", help="LUNs with two ALUA paths each in every guest (default 2)")
    up.set_defaults(do=_up)
    run = commands.add_parser("run", help="run a command in guest N; its output and exit status are passed on")
    run.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS")
    run.add_argument("guest", type=int, metavar="N")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND …", help="several words, or one word with a line of shell")
    run.set_defaults(do=_run)
    commands.add_parser("cluster", help="start the agent in every guest and join them into one cluster").set_defaults(do=_cluster)
    commands.add_parser("status", help="which guests run").set_defaults(do=_status)
    commands.add_parser("down", help="end the guests and remove their networks and disks").set_defaults(do=_down)
    commands.add_parser("scenario", help="the acceptance scenario on three guests of its own").set_defaults(do=_scenario)
    chosen = parser.parse_args()
    try:
        return int(chosen.do(chosen))
    except LabError as fault:
        print(f"lab: {fault}", file=sys.stderr)
        return 1
    except AssertionError as fault:
        print(f"lab: {fault}", file=sys.stderr)
        return 1


def _build(_chosen: argparse.Namespace) -> int:
    image.build(lambda line: print(line, flush=True))
    return 0


def _up(chosen: argparse.Namespace) -> int:
    if not 1 <= chosen.guests <= MAX_GUESTS:
        raise LabError(f"{chosen.guests} guests: from 1 to {MAX_GUESTS}")
    if found(common_directory()) is not None:
        raise LabError("the lab is up already", "./scripts/lab down")
    lab = Lab(common_directory(), NAMESPACE)
    lab.up([f"n{number}" for number in range(1, chosen.guests + 1)])
    if chosen.luns:
        each([Node(guest) for guest in lab.guests], lambda node: node.san.up(chosen.luns))
    print(f"{len(lab.guests)} guests run; try: ./scripts/lab run 1 multipathd show paths")
    return 0


def _run(chosen: argparse.Namespace) -> int:
    if not chosen.words:
        raise LabError("no command", "./scripts/lab run 1 multipath -ll")
    guest = _lab().guest(chosen.guest)
    try:
        done = guest.run(chosen.words if len(chosen.words) > 1 else chosen.words[0], check=False, seconds=chosen.timeout)
    except OSError as fault:
        raise LabError(f"guest {guest.name} does not answer: {fault}") from fault
    sys.stdout.write(done.out)
    sys.stderr.write(done.err)
    return done.code if done.code >= 0 else 128 - done.code


def _cluster(_chosen: argparse.Namespace) -> int:
    make_cluster([Node(guest) for guest in _lab().guests])
    print(_lab().guests[0].run(["pathmesh", "status"]).out, end="")
    return 0


def _status(_chosen: argparse.Namespace) -> int:
    lab = found(common_directory())
    if lab is None:
        print("the lab is down")
        return 3
    for guest in lab.guests:
        state = f"pid {guest.pid}" if guest.alive() else "ended"
        print(f"{guest.number}  {guest.name}  {state}  {shlex.quote(str(guest.directory))}")
    return 0


def _down(_chosen: argparse.Namespace) -> int:
    lab = found(common_directory())
    if lab is None:
        lab = Lab(common_directory(), NAMESPACE)
    lab.down()
    return 0


def _scenario(_chosen: argparse.Namespace) -> int:
    return 0 if play(lambda line: print(line, flush=True)) else 1


def _lab() -> Lab:
    lab = found(common_directory())
    if lab is None:
        raise LabError("the lab is down", "./scripts/lab up 3")
    return lab


if __name__ == "__main__":
    sys.exit(main())
