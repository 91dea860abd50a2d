"""What `render --diff` says beyond the files."""

from agent.cli.host import _beyond_files


def test_everything_that_an_apply_would_do_is_a_line() -> None:
    body = {
        "allow_list": {"append": ["361"], "disable": ["362"], "deferred": [{"code": "prune-deferred", "message": "363 stays: in use"}]},
        "maps": {"known": False, "renamed": {"364": {"from": "a", "to": "b"}}, "made": ["361"], "released": ["362"]},
        "refused": [{"code": "alias-conflict", "message": "alias b is taken"}],
    }
    assert list(_beyond_files(body)) == [
        "allow-list: + 361",
        "allow-list: - 362",
        "allow-list: 363 stays: in use",
        "map 364: renamed from a to b",
        "map 361: made",
        "map 362: goes once it is unused",
        "maps: multipathd does not answer, so what becomes of them is not known",
        "refused (alias-conflict): alias b is taken",
    ]


def test_an_older_agent_says_nothing_of_it() -> None:
    assert list(_beyond_files({"files": {}, "diff": ""})) == []
