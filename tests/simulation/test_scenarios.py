"""Stories about partitions, restored and cloned nodes, long absences, lossy networks and stopped processes."""

from random import Random

import pytest

from scripts.simulation import seams
from scripts.simulation.network import Shape
from scripts.simulation.scenario import LUN, Scenario
from store.matrix import Reporter

A, B, C = f"{LUN}a", f"{LUN}b", f"{LUN}c"


def test_a_partition_with_edits_on_both_sides_heals() -> None:
    story = Scenario(5)
    story.write("n1", A, {"alias": "common"})
    story.split({"n1", "n2"})
    story.wait(10)
    story.write("n1", A, {"alias": "left"})
    story.write("n4", A, {"alias": "right"})
    story.write("n2", B, {"alias": "b"})
    story.write("n5", C, {"alias": "c"})
    story.wait(60)
    assert story.sees("n1", "n4") is Reporter.OFFLINE and story.sees("n1", "n2") is Reporter.FRESH
    assert story.agree(30) < 12
    for name in ("n1", "n3", "n5"):
        assert story.conflicts(name) == [A]
        assert story.value(name, B) == {"alias": "b"} and story.value(name, C) == {"alias": "c"}
    story.resolve("n3", A, {"alias": "decided"})
    story.agree()
    assert story.conflicts("n4") == [] and story.value("n4", A) == {"alias": "decided"}


def test_one_node_is_killed_in_a_partition_and_comes_back() -> None:
    story = Scenario(3)
    story.split({"n1"})
    story.write("n1", A, {"alias": "one"})
    story.write("n2", B, {"alias": "two"})
    story.kill("n3")
    story.wait(20)
    story.mend()
    story.start("n3")
    story.agree()
    assert story.value("n3", A) == {"alias": "one"} and story.value("n3", B) == {"alias": "two"}


@pytest.mark.parametrize("shape", [Shape.PORT, Shape.ONE_WAY])
def test_who_can_be_reached_one_way_only_loses_nothing(shape: Shape) -> None:
    story = Scenario(4)
    story.one_way({"n1"}, {"n2", "n3", "n4"}, shape)
    story.wait(10)
    story.write("n1", A, {"alias": "one"})
    story.write("n3", B, {"alias": "three"})
    story.wait(10)
    story.agree()
    assert story.value("n2", A) == {"alias": "one"} and story.value("n1", B) == {"alias": "three"}


def test_a_node_that_is_down_keeps_everything_and_returns_to_it() -> None:
    with seams.tightened({}, look_ms=500):
        story = Scenario(3)
        story.write("n1", A, {"alias": "old"})
        story.wait(5)
        story.kill("n3")
        story.write("n1", A, None)
        for n in range(20):
            story.write("n2", B, {"alias": f"b{n}"})
        story.wait(30)
        assert story["n1"].running.stability().blocked_by == ("n3",)
        story.start("n3")
        story.agree()
        assert story.value("n3", A) is None and story.value("n3", B) == {"alias": "b19"}
        story.wait(15)
        assert all(len(machine.disk.rows) < 20 for machine in story.world.members)


@pytest.mark.parametrize("whole", [False, True])
def test_a_restored_node_takes_a_snapshot_and_its_own_edits_come_late(whole: bool) -> None:
    with seams.tightened({}, look_ms=500):
        story = Scenario(4)
        story.write("n1", A, {"alias": "first"})
        story.wait(3)
        story.backup("n4")
        story.write("n4", B, {"alias": "made on n4"})
        story.write("n1", A, {"alias": "second"})
        story.write("n2", A, None)
        for n in range(10):
            story.write("n2", C, {"alias": f"c{n}"})
        story.wait(10)
        assert not any(len(machine.disk.rows) > 14 for machine in story.world.members)
        story.kill("n4")
        story.world.check.health.double(story["n4"])
        story.world.restore(story["n4"], whole=whole)
        story.split({"n4"})
        story.start("n4")
        story.write("n4", A, {"alias": "unseen"})
        story.wait(3)
        story.agree(60)
        assert A in story.conflicts("n1"), "the late edit stands beside the deletion"
        assert story.value("n4", B) == {"alias": "made on n4"} and story.value("n4", C) == {"alias": "c9"}


def test_a_wiped_node_gets_everything_back_and_takes_nothing_from_its_host() -> None:
    story = Scenario(3)
    for key in (A, B, C):
        story.write("n2", key, {"alias": key[-1]})
    story.wait(3)
    host = dict(story["n2"].host)
    story.wipe("n2")
    story.wait(1)
    assert story["n2"].host == host
    story.agree()
    story.write("n2", A, {"alias": "again"})
    story.agree()
    assert story.value("n1", A) == {"alias": "again"}


def test_a_clone_is_found_out_and_writes_nothing() -> None:
    story = Scenario(4)
    story.write("n2", A, {"alias": "before"})
    twin = story.clone("n2")
    story.until(lambda: any("clone" in story.alarms(name) for name in ("n1", "n3", "n4")), 10, "peers hear of the clone")
    story.split({"n2"}, loud=True)  # their connections are made anew, to whichever of the two answers
    story.wait(0.5)
    story.mend()
    story.until(lambda: {"cloned"} & (story.alarms("n2") | story.alarms(twin)), 15, "one of the two is told")
    writes = {name: story.world.edit(story[name], {B: {"alias": name}}) for name in ("n2", twin)}
    story.wait(3)
    answered = [name for name, request in writes.items() if request in story[name].accepted]
    assert len(answered) == 1, "one of the two is read-only"
    story.end(twin)
    story.wait(20)
    story.write("n2", C, {"alias": "after"})
    story.agree()


def test_edits_arrive_through_a_network_that_loses_a_fifth() -> None:
    story = Scenario(5)
    story.lose(0.2)
    for n in range(20):
        story.write(f"n{n % 5 + 1}", f"{LUN}{n % 8:x}", {"alias": f"{n}"})
        story.wait(0.5)
    story.agree(20)


def test_nobody_calls_a_running_node_offline_while_a_fifth_is_lost() -> None:
    story = Scenario(8)
    story.world.check.health.strict_liveness = True
    story.lose(0.2)
    story.wait(600)
    story.agree()


def test_nobody_calls_a_running_node_offline_while_others_are_stopped() -> None:
    story = Scenario(8)
    story.world.check.health.strict_liveness = True
    random = Random(3)
    names = [f"n{n}" for n in range(1, 9)]
    for _ in range(100):
        stopped = random.sample(names, 2)
        story.stop(*stopped)
        story.wait(5)
        story.go_on(*stopped)
        story.wait(1)
    story.agree()


def test_a_stopped_node_reads_unknown_then_offline_and_comes_back() -> None:
    story = Scenario(8)
    story.stop("n8")
    unknown = story.until(lambda: not any(story.sees(f"n{n}", "n8") is Reporter.FRESH for n in range(1, 8)), 10, "its cells are unknown")
    offline = story.until(lambda: all(story.sees(f"n{n}", "n8") is Reporter.OFFLINE for n in range(1, 8)), 20, "it is offline")
    assert unknown <= 4 and unknown + offline <= 10
    story.go_on("n8")
    story.agree()


def test_a_killed_node_is_offline_everywhere_soon() -> None:
    story = Scenario(8)
    story.kill("n3")
    assert story.until(lambda: all(story.sees(f"n{n}", "n3") is Reporter.OFFLINE for n in (1, 2, 4, 5, 6, 7, 8)), 10, "it is offline") <= 3
