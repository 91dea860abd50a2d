"""What a draft would make of the files: one preview for each release of the tools, and none for what does not change."""

from types import SimpleNamespace
from typing import Any

import pytest

from agent.draft_preview import preview_json
from apply.model import build

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "360014050000000100004000800000000"
NOW = {"defaults": {"polling-interval": "5"}, f"wwid/{A}": {"alias": "a"}}


def picture(document: Any, **versions: object) -> Any:
    """A picture of a configuration, and of members with these releases of the tools."""
    config = SimpleNamespace(members=frozenset(versions), order={}, model=build(document, {}))
    return SimpleNamespace(config=config, node_facts=lambda name: {"tools_version": versions[name]})


def test_nodes_with_the_same_release_have_one_preview() -> None:
    after = NOW | {"defaults": {"polling-interval": "5", "max-retries": "3"}}
    found = preview_json(picture(NOW, n3="0.9.4", n1="0.10.0", n2="0.9.4", n4=None), after)
    assert [(group["nodes"], group["tools_version"]) for group in found["nodes"]] == [
        (["n1"], "0.10.0"),
        (["n2", "n3"], "0.9.4"),
        (["n4"], None),
    ]
    new, old, newest = found["nodes"]
    assert '+\tmax_retries "3"\n' in new["diff"] and '+\tmax_retries "3"\n' in newest["diff"] and new["skipped"] == []
    assert old["diff"] == "" and [problem["option"] for problem in old["skipped"]] == ["max-retries"]


def test_nothing_differs_where_nothing_is_changed() -> None:
    found = preview_json(picture(NOW, n1="0.9.4"), NOW)
    assert found["nodes"][0]["diff"] == "" and found["allow_list"] == {"append": [], "disable": []}


@pytest.mark.parametrize(
    ("after", "append", "disable"),
    [
        (NOW | {f"wwid/{B}": {}}, [B], []),
        ({f"wwid/{B}": {}}, [B], [A]),
        (NOW | {f"wwid/{A}": {"disable": "1"}}, [], [A]),
        ({}, [], [A]),
    ],
)
def test_the_lines_of_the_allow_list(after: Any, append: list[str], disable: list[str]) -> None:
    assert preview_json(picture(NOW, n1="0.9.4"), after)["allow_list"] == {"append": append, "disable": disable}


def test_files_come_and_go_whole() -> None:
    gone = preview_json(picture(NOW, n1="0.9.4"), {})["nodes"][0]["diff"]
    assert gone.startswith("--- /etc/multipath/conf.d/90-pathmesh.conf\n+++ /dev/null\n")
    come = preview_json(picture({}, n1="0.9.4"), NOW | {"overrides": {"text": "# x\n"}})["nodes"][0]["diff"]
    assert "+++ /etc/multipath/conf.d/90-pathmesh.conf\n" in come and "+++ /etc/multipath/conf.d/95-pathmesh-overrides.conf\n" in come
