"""Runs the benchmarks and prints their table: python -m scripts.benchmarks.run [--quick] [--json FILE] [NAME …]."""

import argparse
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

from scripts.benchmarks.rig import say
from scripts.benchmarks.table import Row, rows_json, table

NAMES = ("edit", "health", "idle", "offline", "catchup", "matrix", "cli", "fault", "spread", "memory", "parse", "web")
ONLY_NAMED = ("lab",)
"""Those that need more than this machine as it is: run only if they are asked for."""


def main() -> int:
    """Exit status 0 when every target is met, 1 when one is not or a benchmark could not be run."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Speed, size and traffic of real agents on loopback.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default: all); {', '.join(ONLY_NAMED)} if named"
    )
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in (*NAMES, *ONLY_NAMED)]
    if unknown:
        parser.error(f"no benchmark named {unknown[0]!r}: choose from {', '.join((*NAMES, *ONLY_NAMED))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended too
    rows: list[Row] = []
    failed = []
    for name in [n for n in (*NAMES, *ONLY_NAMED) if n in (chosen.names or NAMES)]:
        began = time.monotonic()
        say(f"{name} …")
        try:
            rows += importlib.import_module(f"scripts.benchmarks.{name}").measure(chosen.quick)
        except (AssertionError, OSError, subprocess.SubprocessError) as fault:
            failed.append(name)
            say(f"{name} could not be measured: {fault}")
        else:
            say(f"{name}: {time.monotonic() - began:.0f} s")
    if rows:
        print(table(rows), end="")
    if chosen.json:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
        document = {"quick": chosen.quick, "machine": machine, "failed": failed, "rows": rows_json(rows)}
        chosen.json.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if failed or any(row.holds is False for row in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
