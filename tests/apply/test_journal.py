"""Whose line is it after a crash: ours only if our append is all that changed."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.journal import KIND, OWNED, Appending, Committed, Journal, Ledger, Owned, Remembered, settle, torn
from apply.outcome import ApplyError, ApplyOutcome, ApplyState
from apply.wwids_file import AllowList
from store.records import MemoryRecords

BEFORE = b"# header\n/360hand/\n"
ROW = Owned(1.0, "d")
JOURNAL = Journal("d", {"a": ("h",)}, saved={"a": "g"})


def interrupted(before: bytes = BEFORE, wwids: tuple[str, ...] = ("361", "362")) -> tuple[Remembered, bytes]:
    payload = AllowList(before).appendix(wwids)
    appending = Appending(len(before), hashlib.sha256(before).hexdigest(), payload, wwids)
    owned = dict.fromkeys(wwids, ROW) | {"369": Owned(0.0, "c", True)}
    return Remembered(journal=Journal("d", {}, appending), owned=owned), payload


def test_an_append_that_happened_is_ours() -> None:
    remembered, payload = interrupted()
    confirmed, forgotten = settle(remembered, BEFORE + payload)
    assert confirmed == {"361": Owned(1.0, "d", True), "362": Owned(1.0, "d", True)}
    assert forgotten == frozenset()


@pytest.mark.parametrize("content", [BEFORE, b"", BEFORE + b"/other/\n", b"x" + BEFORE])
def test_an_append_that_did_not_happen_is_forgotten(content: bytes) -> None:
    remembered, _ = interrupted()
    assert settle(remembered, content) == ({}, frozenset({"361", "362"}))


def test_anything_else_that_changed_makes_the_lines_foreign() -> None:
    remembered, payload = interrupted()
    for content in (BEFORE + payload + b"/later/\n", BEFORE + b"/other/\n" + payload, BEFORE.replace(b"hand", b"HAND") + payload):
        assert settle(remembered, content) == ({}, frozenset({"361", "362"}))


def test_a_part_of_the_append_proves_nothing() -> None:
    remembered, payload = interrupted()
    for end in range(len(payload)):
        assert settle(remembered, BEFORE + payload[:end]) == ({}, frozenset({"361", "362"}))


def test_an_append_that_broke_off_inside_a_line_is_told_from_lines_of_others() -> None:
    remembered, payload = interrupted()
    cuts = {end for end in range(len(payload) + 1) if torn(remembered, BEFORE + payload[:end]) == len(BEFORE)}
    assert {payload[:end] for end in cuts} == {b"/", b"/3", b"/36", b"/361", *(b"/361/\n" + b for b in (b"/", b"/3", b"/36", b"/362"))}
    for content in (BEFORE.replace(b"hand", b"HAND") + b"/36", BEFORE + b"/36x", BEFORE + b"/36\n", BEFORE + b"x/36", b"/36"):
        assert torn(remembered, content) is None
    for content in (b"# Multipath wwids, Ver", b"/36"):
        assert (torn(interrupted(b"")[0], content) == 0) == content.startswith(b"#")


def test_only_an_open_append_can_be_torn() -> None:
    remembered, payload = interrupted()
    half = BEFORE + payload[:3]
    confirmed = {wwid: Owned(1.0, "d", True) for wwid in ("361", "362")}
    for owned in ({}, confirmed):
        assert torn(Remembered(journal=remembered.journal, owned=owned), half) is None
    assert torn(Remembered(owned=remembered.owned), half) is None


def test_rows_without_a_journal_are_forgotten_and_confirmed_ones_stay() -> None:
    assert settle(Remembered(owned={"361": ROW, "369": Owned(0.0, "c", True)}), BEFORE + b"/361/\n") == ({}, frozenset({"361"}))


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_content_but_ours_ever_confirms(before: bytes, after: bytes) -> None:
    remembered, payload = interrupted(before)
    confirmed, forgotten = settle(remembered, after)
    assert confirmed.keys() | forgotten == {"361", "362"}
    if confirmed:
        assert after == before + payload


@pytest.mark.anyio
async def test_records_survive() -> None:
    records = MemoryRecords()
    ledger = Ledger(records)
    assert await ledger.load() == Remembered()
    outcome = ApplyOutcome(ApplyState.IN_SYNC, "d", "d", 5.0, (ApplyError("a", "b", "c", 1.0, 2),))
    await ledger.open(JOURNAL)
    await ledger.own({"361": ROW})
    assert await Ledger(records).load() == Remembered(journal=JOURNAL, owned={"361": ROW})
    committed = Committed({"f": "h"}, "print", 7)
    await ledger.commit(outcome, committed, {"369"})
    assert await Ledger(records).load() == Remembered(None, outcome, committed, ("369",), {"361": ROW})
    await ledger.record(outcome, pruned=True)
    await ledger.own({}, ["361"])
    assert await Ledger(records).load() == Remembered(None, outcome, committed)


@pytest.mark.anyio
async def test_unreadable_records_make_nothing_ours() -> None:
    records = MemoryRecords()
    await records.change(KIND, {"journal": b"\xff", "committed": b"junk", "outcome": b"", "pruning": b"\x01"})
    await records.change(OWNED, {"361": b"\x00"})
    assert await Ledger(records).load() == Remembered()


def test_the_hashes_that_make_a_file_ours() -> None:
    committed = Committed({"a": "c"})
    assert Remembered(committed=committed).known_hashes("a") == ("c",)
    assert Remembered(journal=JOURNAL, committed=committed).known_hashes("a") == ("c", "g", "h")
    assert Remembered(journal=JOURNAL, committed=committed).known_hashes("b") == ()
