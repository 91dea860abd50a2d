"""The command line: one seed, or many in two processes; the last line is the trace."""

import argparse
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

from scripts.simulation.run import Outcome, Plan, simulate
from scripts.simulation.sometimes import missing, table
from scripts.simulation.trace import LEGEND

JOBS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, report; returns the exit status: 0 if all held."""
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
            tuple(options.without.split(",")),
            log,
        )
        for seed in range(options.seed, options.seed + options.seeds)
    ]
    happened: Counter[str] = Counter()
    whole = hashlib.sha256()
    failed = 0
    outcomes = 0
    for outcome in run_all(plans, 1 if options.log else options.jobs):
        outcomes += 1
        happened += outcome.happened
        whole.update(bytes.fromhex(outcome.trace))
        if outcome.violation:
            failed += 1
            print(f"seed {outcome.seed}: {outcome.violation}\n  again: {_again(options, outcome.seed)}", flush=True)
        elif options.seeds == 1 or options.verbose:
            print(_summary(outcome), flush=True)
    print(table(happened))
    never = missing(happened)
    if options.profile == "nightly" and never:
        print(f"never happened: {', '.join(never)}")
        failed += 1
    print(f"{outcomes - failed if failed <= outcomes else 0} of {outcomes} seeds: all invariants held")
    print(f"trace {outcome.trace if outcomes == 1 else whole.hexdigest()}")
    return 1 if failed else 0


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


def _again(options: argparse.Namespace, seed: int) -> str:
    words = ["./scripts/simulate", f"--seed {seed}", f"--nodes {options.nodes}", f"--steps {options.steps}"]
    if options.seconds:
        words.append(f"--seconds {options.seconds:g}")
    if options.churn:
        words.append("--churn")
    if options.without:
        words.append(f"--without {options.without}")
    if options.profile != "default":
        words.append(f"--profile {options.profile}")
    return " ".join([*words, "--log"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="the first seed: everything follows from it")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--nodes", type=int, default=5, help="nodes at the start")
    parser.add_argument("--steps", type=int, default=60, help="how many things users and faults do")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="simulated time of these steps (0: half a second each, less in a large cluster)"
    )
    parser.add_argument("--churn", action="store_true", help="nodes join, leave and are retired all the time")
    parser.add_argument("--without", default="", metavar="A,B", help="leave out these actions of users and faults")
    parser.add_argument("--profile", choices=("default", "nightly"), default="default", help="nightly: what never happens is a failure")
    parser.add_argument("--jobs", type=int, default=JOBS, help="processes")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run the recording of an agent through an engine instead")
    parser.add_argument("--log", action="store_true", help="a line for each event")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each seed")
    return parser
