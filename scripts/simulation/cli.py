"""The command line: one seed, or many in two processes; the last line is the trace."""

import argparse
import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn

from scripts.simulation.faults import FAULTS
from scripts.simulation.run import Outcome, Plan, simulate
from scripts.simulation.sometimes import missing, table
from scripts.simulation.trace import LEGEND
from scripts.simulation.users import MEMBERSHIP, USERS
from store.limits import limit

JOBS = 2
ACTIONS = tuple(sorted({**USERS, **FAULTS, **MEMBERSHIP}))
"""What users and faults do, by name."""
_MOST_SEEDS = 100_000
_MOST_SECONDS = 86_400


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, report; returns the exit status: 0 if all held, 1 if not, 2 (or SystemExit with it) for what cannot be run."""
    options = _parser().parse_args(arguments)
    if options.replay is not None:
        from scripts.simulation.replay import replay

        return replay(options.replay)
    log = None
    if options.log:
        print(LEGEND)
        log = print
    plans = [
        Plan(
            seed,
            options.nodes,
            options.steps,
            options.seconds,
            options.churn,
            options.profile == "nightly" or seed % 4 == 0,
            options.without,
            log,
        )
        for seed in range(options.seed, options.seed + options.seeds)
    ]
    happened: Counter[str] = Counter()
    whole = hashlib.sha256()
    broken = 0
    for outcome in run_all(plans, 1 if options.log else options.jobs):
        happened += outcome.happened
        whole.update(bytes.fromhex(outcome.trace))
        if outcome.violation:
            broken += 1
            print(f"seed {outcome.seed}: {outcome.violation}\n  again: {_again(options, outcome.seed)}", flush=True)
        elif options.seeds == 1 or options.verbose:
            print(_summary(outcome), flush=True)
    print(table(happened))
    never = missing(happened) if options.profile == "nightly" else []
    if never:
        print(f"never happened: {', '.join(never)}")
    print(_verdict(len(plans), broken))
    print(f"trace {outcome.trace if len(plans) == 1 else whole.hexdigest()}")
    return 1 if broken or never else 0


def run_all(plans: Sequence[Plan], jobs: int = JOBS) -> Iterator[Outcome]:
    """The outcomes, in the order of the plans, from at most so many processes."""
    jobs = min(jobs, len(plans), os.cpu_count() or 1)
    if jobs <= 1:
        yield from map(simulate, plans)
        return
    with get_context("fork").Pool(jobs, maxtasksperchild=50) as pool:
        yield from pool.imap(simulate, plans)


def _summary(outcome: Outcome) -> str:
    return (
        f"seed {outcome.seed}: {outcome.edits} edits, {outcome.events} events in {outcome.simulated_ms / 1000:.0f} simulated s"
        f" ({outcome.seconds:.1f} s); agreed {outcome.agreed_ms / 1000:.1f} s after the last fault"
    )


def _verdict(seeds: int, broken: int) -> str:
    """How it went, in one line."""
    if seeds == 1:
        return "1 seed: an invariant was broken" if broken else "1 seed: all invariants held"
    return f"{seeds} seeds: invariants were broken in {broken} of them" if broken else f"{seeds} seeds: all invariants held"


def _again(options: argparse.Namespace, seed: int) -> str:
    words = ["./scripts/simulate", f"--seed {seed}", f"--nodes {options.nodes}", f"--steps {options.steps}"]
    if options.seconds:
        words.append(f"--seconds {options.seconds:g}")
    if options.churn:
        words.append("--churn")
    if options.without:
        words.append(f"--without {','.join(options.without)}")
    if options.profile != "default":
        words.append(f"--profile {options.profile}")
    return " ".join([*words, "--log"])


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def _whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number within these bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most:,}")
        return number

    return read


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to {_MOST_SECONDS:,}")
    return seconds


def _actions(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in ACTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(map(repr, unknown))} is none of {', '.join(ACTIONS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="scripts/simulate", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seed", type=_whole(0, 10**9), default=1, help="the first seed: everything follows from it")
    parser.add_argument("--seeds", type=_whole(1, _MOST_SEEDS), default=1, help="how many seeds")
    parser.add_argument("--nodes", type=_whole(2, limit("members")), default=5, help="nodes at the start")
    parser.add_argument("--steps", type=_whole(0, 1_000_000), default=60, help="how many things users and faults do")
    parser.add_argument(
        "--seconds", type=_seconds, default=0.0, help="simulated time of these steps (0: half a second each, less in a large cluster)"
    )
    parser.add_argument("--churn", action="store_true", help="nodes join, leave and are retired all the time")
    parser.add_argument(
        "--without", type=_actions, default=(), metavar="A,B", help=f"leave out these actions of users and faults: {', '.join(ACTIONS)}"
    )
    parser.add_argument("--profile", choices=("default", "nightly"), default="default", help="nightly: what never happens is a failure")
    parser.add_argument("--jobs", type=_whole(1, 1_024), default=JOBS, help="processes")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run the recording of an agent through an engine instead")
    parser.add_argument("--log", action="store_true", help="a line for each event")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each seed")
    return parser
