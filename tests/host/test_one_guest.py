"""One node on the real multipathd: a configuration comes, paths fail and vanish, the daemon goes, the configuration is emptied."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from scripts.cluster.nodes import wait_for
from scripts.hostlab.node import CONF_DIR, DROP_INS, Node, begin, wait_cells, wait_in_sync
from scripts.hostlab.san import lun

A, HAND_MADE = lun(1), lun(2)


def empty(node: Node) -> None:
    digest = node.ask("GET", "/v1/config", accept="text/plain").digest
    assert node.ask("PUT", "/v1/config", "", if_match=digest).status == 200


def test_a_lun_from_adding_it_to_emptying_the_configuration(guests: Callable[..., AbstractContextManager[list[Node]]]) -> None:
    with guests("n1") as nodes:
        (n1,) = nodes
        n1.san.up(2)
        n1.allow_by_hand(HAND_MADE)
        begin(nodes, ("lun", "add", A, "--alias", "vmpool-a", "--set", "no-path-retry=5"))

        text = n1.guest.read(f"{CONF_DIR}/{DROP_INS[0]}")
        assert 'alias "vmpool-a"' in text and 'no_path_retry "5"' in text
        assert n1.allowed() == {A, HAND_MADE}
        assert n1.maps() == {A: "vmpool-a", HAND_MADE: HAND_MADE}
        wait_cells(nodes, A, "healthy", {"n1": "healthy"})
        assert n1.lun(A)["nodes"]["n1"]["paths"]["expected"] == 2

        identities = n1.path_ids(A)
        assert len(identities) == 2 and not any("sd" in name for name in identities), identities
        first, second = n1.san.paths(A)
        n1.san.offline(first.device)
        wait_cells(nodes, A, "degraded", {"n1": "degraded"})
        cell = n1.lun(A)["nodes"]["n1"]
        assert (cell["redundancy"], cell["paths"]["usable"], cell["paths"]["failed"]) == ("single", 1, 1), cell
        n1.san.online(first.device)
        wait_cells(nodes, A, "healthy")

        n1.san.delete(second.device)
        wait_cells(nodes, A, "degraded")
        cell = wait_for("the lost path is named", lambda: (c := n1.lun(A)["nodes"]["n1"])["missing_paths"] and c)
        assert "path-lost" in cell["reasons"], cell
        assert set(cell["missing_paths"]) == identities - n1.path_ids(A) and len(cell["missing_paths"]) == 1, cell
        assert cell["paths"]["expected"] == 2, "no other identity was learned while the path went"
        n1.san.rescan()
        wait_cells(nodes, A, "healthy")
        assert n1.path_ids(A) == identities

        n1.stop_agent("KILL")
        n1.start_agent()
        wait_in_sync(nodes)
        wait_cells(nodes, A, "healthy")

        empty(n1)
        wait_for("the drop-ins are gone", lambda: not n1.drop_ins(), 45)
        wait_for("the map that nobody uses is gone", lambda: n1.maps() == {HAND_MADE: HAND_MADE}, 45)
        wait_in_sync(nodes)
        assert n1.allowed() == {HAND_MADE}


def test_standby_paths_are_no_failure_until_they_are_all_that_is_left(guests: Callable[..., AbstractContextManager[list[Node]]]) -> None:
    with guests("n1") as nodes:
        (n1,) = nodes
        n1.san.up(1)
        begin(nodes, ("lun", "add", A))
        wait_cells(nodes, A, "healthy")
        n1.san.alua(1, 2, 2)
        cell = wait_for("a path is on standby", lambda: (c := n1.lun(A)["nodes"]["n1"])["paths"]["standby"] == 1 and c, 30)
        assert cell["state"] == "healthy" and cell["paths"]["active"] == 1, cell
        n1.san.alua(1, 1, 2)
        wait_for("both are", lambda: n1.lun(A)["nodes"]["n1"]["paths"]["standby"] == 2, 30)
        wait_cells(nodes, A, "degraded", {"n1": "degraded"})
        n1.san.alua(1, 1, 0)
        n1.san.alua(1, 2, 0)
        wait_cells(nodes, A, "healthy")


def test_a_daemon_that_stops_hangs_and_returns(guests: Callable[..., AbstractContextManager[list[Node]]]) -> None:
    with guests("n1") as nodes:
        (n1,) = nodes
        n1.san.up(1)
        begin(nodes, ("lun", "add", A), ("storage", "add", "multipath", "san"))
        wait_cells(nodes, A, "healthy")

        n1.guest.run("kill $(pidof multipathd) && while pidof multipathd; do sleep 0.1; done")
        wait_cells(nodes, A, "unknown", {"n1": "unknown"})
        assert n1.lun(A)["nodes"]["n1"]["reasons"] == ["daemon-down"]
        n1.guest.run("multipathd")
        wait_cells(nodes, A, "healthy")

        n1.guest.run("kill -STOP $(pidof multipathd)")
        wait_for("it is found stuck", lambda: n1.lun(A)["nodes"]["n1"]["reasons"] == ["daemon-timeout"], 60)
        n1.guest.run("kill -CONT $(pidof multipathd)")
        wait_cells(nodes, A, "healthy", seconds=60)
        wait_in_sync(nodes)
