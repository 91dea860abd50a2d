"""The acceptance scenario on three guests, step by step, with a mounted volume group on one of the LUNs."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from scripts.hostlab.node import Node, each, make_cluster
from scripts.hostlab.scenario import Scenario


def test_the_ten_steps(guests: Callable[..., AbstractContextManager[list[Node]]]) -> None:
    with guests("n1", "n2", "n3") as nodes:
        each(nodes, lambda node: node.san.up(3))
        make_cluster(nodes)
        scenario = Scenario(nodes)
        for promise, verify in scenario.steps():
            print(promise)
            verify()
            if verify != scenario.emptied:
                scenario.volume.check(promise)
