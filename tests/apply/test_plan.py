"""What is to be done, and what may not be."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.diff import render_diff
from apply.journal import Committed, Journal, Owned, Remembered
from apply.managed import sha256
from apply.model import Lun, Model
from apply.plan import (
    Desired,
    Hold,
    Plan,
    going_back,
    leaving_names,
    listens_to_fabric,
    make_plan,
    names_to_free,
    recognised,
    sorted_names,
    wanted_names,
)
from apply.render import MAIN, OVERRIDES, RenderedFile, allow_list, render
from apply.wwids_file import AllowList


def a_model(*luns: Lun, overrides: str = "", **defaults: str) -> Model:
    return Model(defaults=defaults, luns={lun.wwid: lun for lun in luns}, overrides=overrides, empty=not (luns or defaults or overrides))


def desired(model: Model, digest: str = "d", *, may_remove: bool = True, kept: Mapping[str, str] = {}) -> Desired:
    return Desired(digest, render(model, digest=digest, tools_version=(0, 9, 4)), allow_list(model), may_remove, kept, model.empty)


def files(model: Model, digest: str = "d") -> dict[str, bytes]:
    return {name: file.content for name, file in desired(model, digest).rendered.files.items()}


def remembering(present: dict[str, bytes], *owned: str) -> Remembered:
    committed = Committed({name: sha256(content) for name, content in present.items()})
    return Remembered(committed=committed, owned={wwid: Owned(0.0, "d", True) for wwid in owned})


def plan(before: Model, after: Model, *owned: str, may_remove: bool = True, allowed: bytes = b"", kept: Mapping[str, str] = {}) -> Plan:
    present = files(before)
    wanted = desired(after, may_remove=may_remove, kept=kept)
    return make_plan(wanted, present, AllowList(allowed), remembering(present, *owned))


A, B = Lun("361", alias="a"), Lun("362", alias="b")
NOTHING = a_model()


def test_the_names_of_luns_that_go_are_those_of_the_verified_file() -> None:
    verified = desired(a_model(A, B, Lun("363"))).rendered.files
    assert leaving_names(desired(a_model(B)), verified, ()) == {"361": "a"}
    assert leaving_names(desired(NOTHING), verified, ()) == {"361": "a", "362": "b"}
    assert leaving_names(desired(NOTHING), verified, {"363"}) == {"361": "a", "362": "b", "363": "363"}, "our line stays as long"
    assert leaving_names(desired(a_model(Lun("364", alias="a"))), verified, ()) == {"362": "b"}, "the configuration gives it to another"
    assert leaving_names(desired(NOTHING), {}, ()) == {}


def test_a_name_that_stays_alone_is_a_loss_of_what_else_there_was() -> None:
    before = a_model(Lun("361", alias="a", options={"no_path_retry": "18"}), B)
    kept = render(a_model(B), digest="d", tools_version=(0, 9, 4), kept={"361": "a"})
    wanted = replace(desired(a_model(B), may_remove=False), rendered=kept)
    assert make_plan(wanted, files(before), AllowList(b""), remembering(files(before))).hold is Hold.IGNORANT
    bare = {name: file.content for name, file in kept.files.items()}
    assert make_plan(wanted, bare, AllowList(b""), remembering(bare)).hold is Hold.NOTHING
    assert make_plan(desired(a_model(B), may_remove=False), bare, AllowList(b""), remembering(bare)).hold is Hold.IGNORANT


def test_a_first_installation() -> None:
    found = plan(NOTHING, a_model(A, overrides="blacklist {\n}\n"), may_remove=False)
    assert (list(found.install), found.append, found.hold, found.loads) == ([MAIN, OVERRIDES], ("361",), Hold.NOTHING, True)


def test_nothing_to_do() -> None:
    found = plan(a_model(A), a_model(A), "361", allowed=b"/361/\n")
    assert not (found.touches or found.loads or found.prune)


def test_a_new_header_is_written_and_not_loaded() -> None:
    model = a_model(A)
    present = files(model, "d1")
    found = make_plan(desired(model, "d2"), present, AllowList(b"/361/\n"), remembering(present, "361"))
    assert (list(found.install), found.touches, found.loads) == ([MAIN], True, False)


def test_lines_of_others_are_neither_added_nor_pruned() -> None:
    found = plan(a_model(A), a_model(B), allowed=b"/361/\n/362/\n")
    assert (found.append, found.prune) == ((), ())


def test_pruning_and_conflicts() -> None:
    found = plan(a_model(A, B), a_model(Lun("363")), "361", "362", allowed=b"/361/\n/362/\n", kept={"362": "in conflict"})
    assert (found.append, found.prune, found.kept) == (("363",), ("361",), {"362": "in conflict"})


def test_an_edited_file_is_left_alone() -> None:
    present = files(a_model(A))
    edited = {MAIN: present[MAIN] + b"# my note\n"}
    found = make_plan(desired(a_model(A)), edited, AllowList(b""), remembering(present))
    assert (found.hold, found.foreign) == (Hold.FOREIGN, (MAIN,))
    unknown = make_plan(desired(a_model(B)), present, AllowList(b""), Remembered())
    assert unknown.hold is Hold.FOREIGN
    to_remove = make_plan(desired(NOTHING), edited, AllowList(b""), remembering(present))
    assert to_remove.foreign == (MAIN,)
    same_bytes = make_plan(desired(a_model(A)), present, AllowList(b"/361/\n"), Remembered())
    assert same_bytes.hold is Hold.NOTHING


def test_the_hashes_of_an_open_journal_make_a_file_ours() -> None:
    present = files(a_model(A))
    journal = Journal("d", {MAIN: (sha256(present[MAIN]),)})
    assert make_plan(desired(a_model(B)), present, AllowList(b""), Remembered(journal=journal)).hold is Hold.NOTHING


@pytest.mark.parametrize(
    ("before", "after", "takes_away"),
    [
        (a_model(A), a_model(A, B), False),
        (a_model(A), a_model(Lun("361", alias="c")), False),
        (a_model(A), a_model(A, no_path_retry="5"), False),
        (a_model(no_path_retry="5"), a_model(no_path_retry="6"), False),
        (a_model(A, B), a_model(A), True),
        (a_model(A), a_model(Lun("361")), True),
        (a_model(Lun("361"), Lun("362")), a_model(Lun("361")), True),
        (a_model(A, no_path_retry="5"), a_model(A), True),
        (a_model(A, overrides="blacklist {\n}\n"), a_model(A), True),
        (a_model(A), NOTHING, True),
    ],
)
def test_an_ignorant_node_takes_nothing_away(before: Model, after: Model, takes_away: bool) -> None:
    assert plan(before, after, may_remove=False).hold is (Hold.IGNORANT if takes_away else Hold.NOTHING)
    assert plan(before, after, may_remove=True).hold is Hold.NOTHING


def test_an_ignorant_node_prunes_nothing() -> None:
    found = plan(a_model(A), a_model(A), "361", "362", may_remove=False, allowed=b"/361/\n/362/\n")
    assert (found.prune, found.kept, found.hold) == ((), {}, Hold.NOTHING)
    assert plan(NOTHING, NOTHING, "362", may_remove=False).hold is Hold.IGNORANT


def test_names() -> None:
    assert wanted_names(desired(a_model(A, Lun("363"), Lun("364", alias="x", enabled=False)))) == {"361": "a", "363": "363"}
    assert wanted_names(desired(NOTHING)) == {}


@pytest.mark.parametrize(
    ("wanted", "live", "freed"),
    [
        ({"1": "b", "2": "a"}, {"1": "a", "2": "b"}, {"1", "2"}),
        ({"1": "b", "2": "c"}, {"1": "a", "2": "b"}, {"2"}),
        ({"1": "b", "2": "c", "3": "a"}, {"1": "a", "2": "b", "3": "c"}, {"1", "2", "3"}),
        ({"1": "b"}, {"1": "a"}, set()),
        ({"1": "a"}, {"1": "a"}, set()),
        ({"1": "b"}, {"1": "a", "9": "b"}, set()),
        ({"1": "b", "2": "c"}, {"2": "b"}, set()),
        ({"1": "2", "2": "x"}, {"1": "1", "2": "2"}, set()),
    ],
)
def test_names_that_are_taken_over_are_freed_first(wanted: dict[str, str], live: dict[str, str], freed: set[str]) -> None:
    assert names_to_free(wanted, live) == freed


@given(st.permutations(["a", "b", "c", "d"]), st.permutations(["a", "b", "c", "d"]))
def test_after_freeing_no_name_is_taken_from_a_holder(before: list[str], after: list[str]) -> None:
    live = {f"36{n}": name for n, name in enumerate(before)}
    wanted = {f"36{n}": name for n, name in enumerate(after)}
    freed = names_to_free(wanted, live)
    neutral = {wwid: wwid if wwid in freed else name for wwid, name in live.items()}
    holders = {name: wwid for wwid, name in neutral.items()}
    assert all(holders.get(name, wwid) == wwid for wwid, name in wanted.items())


def test_messages_stay_short() -> None:
    assert sorted_names(["b", "a"]) == "a, b"
    assert sorted_names(map(str, range(9))) == "0, 1, 2, 3, 4 and 4 more"


def test_fabric_notifications() -> None:
    assert not listens_to_fabric(None)
    assert not listens_to_fabric(files(a_model(A))[MAIN])
    assert listens_to_fabric(files(a_model(A, marginal_pathgroups="fpin"))[MAIN])


def test_the_diff() -> None:
    conf_dir = Path("/etc/multipath/conf.d")
    before, after = files(a_model(A)), desired(a_model(Lun("361", alias="z")), "d").rendered
    text = render_diff(conf_dir, before, after)
    assert f"--- {conf_dir / MAIN}\n+++ {conf_dir / MAIN}\n" in text
    assert '-\t\talias "a"\n+\t\talias "z"\n' in text
    assert render_diff(conf_dir, before, desired(a_model(A)).rendered) == ""
    assert render_diff(conf_dir, {}, after).startswith("--- /dev/null\n+++ /etc")
    gone = render_diff(conf_dir, {MAIN: b"no newline"}, desired(NOTHING).rendered)
    assert gone.endswith("-no newline\n\\ No newline at end of file\n")


GOOD, BAD, LOST = (RenderedFile(b"# Written by pathmesh. " + word, 0o600) for word in (b"good", b"bad", b"lost"))
VERIFIED = Remembered(committed=Committed({MAIN: sha256(GOOD.content)}))
INTERRUPTED = Remembered(journal=Journal("d", {}, saved={MAIN: sha256(GOOD.content)}))
FIRST_EVER = Remembered(journal=Journal("d", {}))


@pytest.mark.parametrize(
    ("remembered", "kept", "present", "back"),
    [
        (VERIFIED, {MAIN: GOOD}, {MAIN: GOOD}, {MAIN: GOOD}),
        (VERIFIED, {MAIN: GOOD}, {}, {MAIN: GOOD}),
        (VERIFIED, {}, {MAIN: GOOD}, {MAIN: GOOD}),
        (VERIFIED, {MAIN: BAD}, {MAIN: GOOD}, {MAIN: GOOD}),
        (VERIFIED, {MAIN: BAD}, {MAIN: LOST}, {MAIN: LOST}),
        (VERIFIED, {MAIN: BAD}, {}, {}),
        (VERIFIED, {MAIN: GOOD, OVERRIDES: BAD}, {MAIN: GOOD}, {MAIN: GOOD}),
        (INTERRUPTED, {MAIN: GOOD}, {MAIN: BAD, OVERRIDES: BAD}, {MAIN: GOOD}),
        (INTERRUPTED, {}, {MAIN: BAD}, {MAIN: BAD}),
        (FIRST_EVER, {}, {MAIN: BAD}, {}),
        (Remembered(), {MAIN: BAD}, {MAIN: GOOD}, {MAIN: GOOD}),
        (Remembered(), {}, {}, {}),
    ],
)
def test_what_a_roll_back_puts_back(
    remembered: Remembered, kept: dict[str, RenderedFile], present: dict[str, RenderedFile], back: dict[str, RenderedFile]
) -> None:
    assert going_back(remembered, kept, present) == back


def test_a_file_that_the_records_do_not_know_outlives_going_back_to_before_the_journal() -> None:
    """The records were copied with an open journal, from before the file was there; it was verified since."""
    verified = desired(a_model(A)).rendered.files
    old = Remembered(journal=Journal("d", {}, saved={}))
    known = recognised(old, verified, verified)
    assert make_plan(desired(a_model(B)), files(a_model(A)), AllowList(b""), known).hold is not Hold.FOREIGN
    assert going_back(known, verified, verified) == verified
    other = desired(a_model(Lun("361", alias="c")), may_remove=False)
    assert make_plan(other, files(a_model(A)), AllowList(b""), known).hold is Hold.IGNORANT, "the file is newer than what is known here"
    assert make_plan(replace(other, may_remove=True), files(a_model(A)), AllowList(b""), known).hold is Hold.NOTHING
    assert recognised(old, {}, verified) is old
