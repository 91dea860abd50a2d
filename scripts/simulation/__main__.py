"""Command line of the simulator: see `scripts/simulate --help`."""

import sys

from scripts.simulation.cli import main

sys.exit(main())
