"""`pathmesh storage`: what is shown of storages and volumes, and what this node is asked to do with them."""

import json
from typing import Any

import pytest

Run = Any


@pytest.fixture
def lun(fake_agent: Any) -> str:
    """The WWID of the LUN that the stand-in's volumes are on."""
    return str(fake_agent.status["luns"][1]["wwid"])


def test_status_of_one_storage_is_by_node(run: Run) -> None:
    done = run("storage", "status", "san-lvm")
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["NODE", "STATE", "SIZE", "FREE", "ACTIVE", "WHY"],
        ["n1", "healthy", "1", "TiB", "512", "GiB", "3", "of", "7", "-"],
        ["n2", "degraded", "-", "-", "-", "pv-on-path"],
    ]


def test_status_names_the_portals_without_a_session_and_why(run: Run) -> None:
    done = run("storage", "status", "tgt")
    assert done.stdout.splitlines()[1].endswith("session-missing,no session at 10.0.2.10:3260")
    assert done.stderr == "error: n1: the portal does not answer\n  hint: look at the network\n"


def test_status_as_json_and_of_a_storage_that_is_not_there(run: Run) -> None:
    assert json.loads(run("storage", "status", "tgt", "--json").stdout)["id"] == "tgt"
    assert [s["id"] for s in json.loads(run("storage", "status", "--json").stdout)["storages"]] == ["san-lvm", "tgt"]
    done = run("storage", "status", "nope")
    assert done.exit_code == 1 and done.stderr.startswith("pathmesh: there is no storage 'nope'\n  hint: pathmesh storage ls")


def test_volumes_say_who_uses_them_here_and_elsewhere(run: Run, lun: str) -> None:
    header, line = run("storage", "volumes", "san").stdout.splitlines()
    assert header.split() == ["VOLUME", "ALIAS", "SIZE", "STATE", "USED", "BY", "ELSEWHERE"]
    assert line.split() == [f"san:{lun}", "vmpool-a", "1", "TiB", "healthy", "pv:vm", "n2", "mount:/srv"]
    other = run("storage", "volumes", "san", "--node", "n2").stdout.splitlines()[1]
    assert other.split()[-3:] == ["mount:/srv", "n1", "pv:vm"]
    assert json.loads(run("storage", "volumes", "san", "--json").stdout)["volumes"][0]["path"].endswith(lun)


def test_activating_a_storage_of_maps_lists_the_devices(run: Run, lun: str) -> None:
    done = run("storage", "activate", "san")
    assert done.stdout.splitlines()[1].split() == [f"san:{lun}", f"/dev/disk/by-id/dm-uuid-mpath-{lun}"]
    refused = run("storage", "activate", "san", "gone")
    assert refused.exit_code == 1 and "has no volume 'gone'" in refused.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("activate", "san-lvm"), "the volume group vm is active on n1\n"),
        (("deactivate", "san-lvm"), "the volume group vm is not active on n1\n"),
        (("activate", "san-lvm", "--all"), "the volume group vm is active on n1\n"),
        (("activate", "san-lvm", "a"), "vm/a is active on n1\n"),
        (("deactivate", "san-lvm", "a", "b"), "2 volumes of vm are not active on n1\n"),
    ],
)
def test_a_volume_group_or_volumes_are_activated_and_deactivated(run: Run, words: tuple[str, ...], told: str) -> None:
    done = run("storage", *words)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", told)
    assert json.loads(run("storage", *words, "--json").stdout)["active"] is (words[0] == "activate")


def test_a_volume_group_is_made_or_only_could_be(run: Run, lun: str) -> None:
    path = f"/dev/disk/by-id/dm-uuid-mpath-{lun}"
    assert run("storage", "create-vg", "san-lvm").stderr == f"the volume group vm is made on {path}\n"
    assert run("storage", "create-vg", "san-lvm", "--dry-run").stderr == f"the volume group vm could be made on {path}\n"
    assert json.loads(run("storage", "create-vg", "san-lvm", "--dry-run", "--json").stdout)["dry_run"] is True


def test_nodes_that_are_to_be_ignored_are_named_with_the_reason(run: Run) -> None:
    done = run("storage", "create-vg", "san-lvm", "--ignore-node", "n2", "--ignore-node", "n3", "--reason", "off", "--json")
    answer = json.loads(done.stdout)
    assert answer["asked"] == {"ignore_nodes": ["n2", "n3"], "reason": "off"}
