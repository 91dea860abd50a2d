"""The log of kept edits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.clocks import Dot
from store.edits import SignedEdit
from store.log import EditLog


def filled(scribe: Any, count: int) -> tuple[EditLog, list[SignedEdit]]:
    """A log with edits of three authors in turn."""
    log, edits, clock = EditLog(), [], dict[bytes, int]()
    for n in range(count):
        name = f"n{n % 3}"
        edit = scribe.edit(name, {f"wwid/{n}": {}}, clock)
        clock = clock | {edit.edit.actor: edit.edit.counter}
        log.append(edit, void=n % 4 == 0)
        edits.append(edit)
    return log, edits


@given(st.sets(st.integers(0, 19)), st.integers(0, 8), st.integers(0, 8))
def test_what_is_taken_out_is_gone_and_the_rest_is_as_before(scribe: Any, gone: set[int], first: int, second: int) -> None:
    log, edits = filled(scribe, 20)
    copy = log.copy()
    log.remove({edits[n].dot for n in gone} | {Dot(bytes(16), 1)})
    kept = [edit for n, edit in enumerate(edits) if n not in gone]
    assert list(log.edits()) == kept
    assert list(log.raws()) == [edit.raw for edit in kept]
    assert (log.count, log.size) == (len(kept), sum(len(edit.raw) for edit in kept))
    for n, edit in enumerate(edits):
        entry = log.entry(edit.dot)
        assert (entry is None) == (n in gone)
        if entry is not None:
            assert entry.raw == edit.raw
            assert entry.keys == (() if n % 4 == 0 else (f"wwid/{n}",))
    vector = {scribe.actor("n0"): first, scribe.actor("n1"): second}
    after = [edit.raw for edit in kept if edit.edit.counter > vector.get(edit.edit.actor, 0)]
    assert [entry.raw for entry in log.after(vector)] == after
    assert {entry.dot for entry in log} == {edit.dot for edit in kept}
    assert list(copy.edits()) == edits and copy.count == 20
    more = scribe.edit("n0", {}, {scribe.actor("n0"): 7})
    log.append(more, void=False)
    assert list(log.edits())[-1] == more


def test_an_edit_comes_after_its_authors_others(scribe: Any) -> None:
    log, edits = filled(scribe, 6)
    for edit in edits:
        with pytest.raises(ValueError, match="follow"):
            log.append(edit, void=False)
    assert log.entry(Dot(scribe.actor("n0"), 9)) is None
    assert log.entry(Dot(bytes(16), 1)) is None
