"""Command line of the simulator: see `scripts/simulate --help`."""

import signal
import sys

from scripts.simulation.cli import main

signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `scripts/simulate --log | head` ends quietly
try:
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(130)
