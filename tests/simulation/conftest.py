"""The runs of the default suite, made once for all tests that look at them."""

import pytest

from scripts.simulation.cli import run_all
from scripts.simulation.run import Outcome, Plan


@pytest.fixture(scope="session")
def five_nodes() -> list[Outcome]:
    """Two hundred seeds under every fault."""
    return list(run_all([Plan(seed, churn=seed % 5 == 0, thorough=seed % 4 == 0) for seed in range(1, 201)]))


@pytest.fixture(scope="session")
def two_hundred_nodes() -> list[Outcome]:
    """Three seeds of a cluster that is no full mesh."""
    return list(run_all([Plan(seed, nodes=200, steps=15, seconds=8, churn=seed == 2) for seed in (1, 2, 3)]))
