"""Shared by the tests of the host side."""

import os

import pytest

from scripts.hostlab import dropin


@pytest.fixture(scope="session")
def real_parser() -> None:
    """Skips, with the reason, where the parser of multipath-tools cannot be run; fails where it has to."""
    reason = dropin.why_not()
    if reason and os.environ.get(dropin.REQUIRE):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
