"""Guests with the real host in them; skipped, with the reason, where the lab cannot run or is not built."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from scripts.hostlab.image import why_not
from scripts.hostlab.lab import running
from scripts.hostlab.node import Node

HERE = Path(__file__).parent
LogOn = Callable[..., AbstractContextManager[list[Node]]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this directory are the lab's."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(autouse=True)
def real_host() -> None:
    """Skip without a lab; fail if `PATHMESH_REQUIRE_LAB` says that there must be one."""
    reason = why_not()
    if reason and os.environ.get("PATHMESH_REQUIRE_LAB"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def guests(tmp_path: Path) -> LogOn:
    """Boots guests of the given names. If the test fails in them, what agents and kernels have said is shown with it."""

    @contextmanager
    def boot(*names: str) -> Iterator[list[Node]]:
        with running(tmp_path / "lab", list(names)) as lab:
            nodes = [Node(guest) for guest in lab.guests]
            try:
                yield nodes
            except BaseException:
                for node in nodes:
                    print(f"==== {node.name}: console\n{node.guest.console()[-1500:]}")
                    with contextlib.suppress(OSError, AssertionError):
                        print(f"==== {node.name}: agent\n{node.log()[-3000:]}")
                    with contextlib.suppress(OSError, AssertionError):
                        print(f"==== {node.name}: host\n{node.guest.run('multipath -ll; dmesg | tail -30').out}")
                raise
            finally:
                for node in nodes:
                    node.hang_up()

    return boot
