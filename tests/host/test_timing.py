"""A path that fails shows everywhere because the kernel tells of it: the steady rhythm is set so slow that it cannot be what finds it."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from scripts.hostlab.node import Node, begin, each, wait_cells
from scripts.hostlab.san import lun
from scripts.hostlab.timing import Stopwatch

A = lun(1)
NEVER_MS = 3_000_000
BOUND_MS = 5_000
"""Generous: the machine may be busy with other things."""


def test_faults_are_shown_by_events_alone(guests: Callable[..., AbstractContextManager[list[Node]]]) -> None:
    with guests("n1", "n2") as nodes:
        n1, n2 = nodes
        each(nodes, lambda node: node.san.up(1))
        begin(nodes, ("lun", "add", A), poll_interval_ms=NEVER_MS)
        wait_cells(nodes, A, "healthy", {"n1": "healthy", "n2": "healthy"})
        first, second = (path.device for path in n2.san.paths(A))
        watch = Stopwatch(nodes, n2, A)

        failed = watch.measure(lambda: n2.san.offline(first))
        assert 0 <= failed.detected_ms <= BOUND_MS and failed.shown_ms <= BOUND_MS, failed
        cell = n1.lun(A)["nodes"]["n2"]
        assert cell["paths"]["failed"] == 1, cell
        n2.san.online(first)
        wait_cells(nodes, A, "healthy")

        removed = watch.measure(lambda: n2.san.delete(second))
        assert 0 <= removed.detected_ms <= BOUND_MS and removed.shown_ms <= BOUND_MS, removed
        n2.san.rescan()
        wait_cells(nodes, A, "healthy")
        watch.close()
        print(failed, removed)
