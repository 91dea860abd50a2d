"""The acceptance scenario on three guests, step by step, with a mounted volume group on one of the LUNs."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from scripts.hostlab.node import Node, each, make_cluster
from scripts.hostlab.scenario import LUNS, Scenario


def test_the_ten_steps(guests: Callable[..., AbstractContextManager[list[Node]]]) -> None:
    with guests("n1", "n2", "n3") as nodes:
        each(nodes, lambda node: node.san.up(LUNS))
        make_cluster(nodes)
        steps = list(Scenario(nodes).steps())
        assert len(steps) == 10
        for promise, verify in steps:
            print(promise)
            verify()
