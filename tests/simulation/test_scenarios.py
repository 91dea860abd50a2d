"""Stories about partitions, restored and cloned nodes, long absences, lossy networks and stopped processes."""

from random import Random

import pytest

from gossip.messages import Hello
from scripts.simulation import seams
from scripts.simulation.machine import Machine
from scripts.simulation.network import Frame, Link, Shape
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


def test_an_older_database_takes_nothing_off_its_host_on_the_word_of_one_that_is_as_old() -> None:
    """Both have missed the same edit. Only what is kept beside the database tells that this host knew more."""
    story = Scenario(4)
    story.write("n1", A, {"alias": "one"})
    story.until(lambda: story["n3"].guard.applied, 10, "n3 has applied something")
    story.kill("n4")
    story.backup("n3")
    story.write("n1", B, {"alias": "two"})
    story.until(lambda: B in story["n3"].host, 10, "n3 has applied it")
    story.wait(5)
    story.split({"n3", "n4"})
    story.restore("n3", whole=False)
    story.start("n4")
    story.wait(60)
    assert story.value("n3", A) and story.value("n3", B) is None and story["n3"].host.keys() == {A, B}
    assert not story["n3"].running.caught_up, "it has not met all"
    story.agree()
    assert story["n3"].host[B] == {"alias": "two"} and not story["n3"].guard.restored


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


def test_who_was_started_anew_is_taken_for_no_clone_even_if_its_hellos_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Scenario(4)
    wires = story.world.wires
    launch, lost = wires._launch, list[int]()

    def without_hellos(machine: Machine, link: Link, frame: Frame, *, counted: bool = True) -> None:
        if (machine.label, link.target) == ("n1", "n4") and isinstance(frame.message, Hello):
            lost.append(story.world.now)
        else:
            launch(machine, link, frame, counted=counted)

    with monkeypatch.context() as patch:
        patch.setattr(wires, "_launch", without_hellos)
        story.kill("n1")
        story.start("n1")
        story.wait(12)
    assert len(lost) > 5, "it says hello again and again"
    assert all("cloned" not in story.alarms(name) and "clone" not in story.alarms(name) for name in ("n1", "n2", "n3", "n4"))
    story.agree()


def test_of_two_late_edits_that_say_the_same_one_suffices() -> None:
    with seams.tightened({}, look_ms=500):
        story = Scenario(4)
        story.write("n1", A, {"alias": "first"})
        story.write("n1", A, None)
        story.wait(0.3)
        for name in ("n3", "n4"):
            story.backup(name)
        for n in range(10):
            story.write("n2", C, {"alias": f"c{n}"})
        story.wait(8)
        for name in ("n3", "n4"):
            story.restore(name, whole=True)
            story.split({name})
            story.write(name, A, {"alias": "same"})
        first = story.world.net.cuts[0]
        story.world.wires.mend(first)
        story.until(lambda: story.value("n1", A) == {"alias": "same"}, 30, "the edit of n3 comes late")
        story.agree(60)
        assert "late-edits" in story.alarms("n3") and "late-edits" not in story.alarms("n4")
        assert [s.value for s in story["n1"].running.replica.fold.siblings(A)] == [{"alias": "same"}]


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


def test_a_suspended_machine_finds_its_connections_dead_and_comes_back() -> None:
    story = Scenario(4)
    story.suspend("n4")
    story.until(lambda: all(story.sees(name, "n4") is Reporter.OFFLINE for name in ("n1", "n2", "n3")), 12, "it is offline")
    story.wait(60)
    story.write("n1", A, {"alias": "meanwhile"})
    story.go_on("n4")
    assert story.agree(20) < 15
    assert story.value("n4", A) == {"alias": "meanwhile"}


def test_of_those_that_cannot_reach_each_other_any_more_the_ones_that_know_most_go_on() -> None:
    """A node that has lost its database and its guard knows nobody: nothing can bring the two together."""
    story = Scenario(2)
    story.write("n1", A, {"alias": "a"})
    story.wait(1)
    story.wipe("n1")
    story.kill("n1")
    story["n1"].bootstrap = ()
    story.agree()
    assert [machine.label for machine in story.world.participants] == ["n2"]
    assert story.value("n2", A) == {"alias": "a"}


def test_a_killed_node_is_offline_everywhere_soon() -> None:
    story = Scenario(8)
    story.kill("n3")
    assert story.until(lambda: all(story.sees(f"n{n}", "n3") is Reporter.OFFLINE for n in (1, 2, 4, 5, 6, 7, 8)), 10, "it is offline") <= 3
