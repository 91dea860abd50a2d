"""Which rows changed since a version: nothing is missed, and what is not known any more is said to be."""

from hypothesis import given
from hypothesis import strategies as st

from agent.row_versions import Changes, Key, RowVersions
from store.limits import limit

A, B = ("k", "a"), ("k", "b")


def test_changed_and_gone() -> None:
    versions = RowVersions()
    versions.change([A, B], 1)
    versions.change([A], 3)
    versions.remove(B, 4)
    assert versions.since(0) == Changes(frozenset({A}), frozenset({B}))
    assert versions.since(3) == Changes(frozenset(), frozenset({B}))
    assert versions.since(4) == Changes(frozenset(), frozenset())
    versions.change([B], 5)
    assert versions.since(3) == Changes(frozenset({B}), frozenset()), "what came again is not gone"


def test_too_many_that_are_gone() -> None:
    versions = RowVersions()
    for number in range(limit("matrix_rows_gone") + 2):
        versions.remove(("k", str(number)), number + 1)
    assert versions.since(1) is None
    kept = versions.since(2)
    assert kept is not None and len(kept.gone) == limit("matrix_rows_gone")


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=40), st.integers(0, 40))
def test_who_follows_has_what_there_is(steps: list[tuple[str, bool]], version: int) -> None:
    versions = RowVersions()
    states: list[dict[Key, int]] = [{}]
    for number, (name, there) in enumerate(steps, 1):
        now = dict(states[-1])
        if there:
            now[("k", name)] = number
            versions.change([("k", name)], number)
        else:
            now.pop(("k", name), None)
            versions.remove(("k", name), number)
        states.append(now)
    version = min(version, len(steps))
    changes = versions.since(version)
    assert changes is not None
    held = {key: at for key, at in states[version].items() if key not in changes.gone}
    held |= {key: states[-1][key] for key in changes.changed}
    assert held == states[-1]
    assert all(states[version].get(key) != states[-1][key] for key in changes.changed)
