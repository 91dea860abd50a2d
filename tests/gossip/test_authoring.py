"""Under which actor a node writes: never under one that another process may go on with."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.authoring import Continuity
from gossip.events import LocalEdit
from gossip.mesh import MISHEARD_MS
from store.document import Options
from store.edits import CHANGE, LATE, RESOLVE, EditError, SignedEdit, decode_edit
from store.limits import LIMITS, Limit, limit
from store.members import MEMBER_PREFIX, MemberState, member_value
from store.replica import CLUSTER_KEY, Admission

Make = Callable[..., Any]


def write(text: str = "x", *, kind: str = CHANGE, **changes: Options | None) -> LocalEdit:
    return LocalEdit(1, changes or {"overrides": {"text": text}}, 1.0, "test", kind)


def make(parts: Any, event: LocalEdit, *, caught_up: bool = True) -> SignedEdit:
    """The edit is made and waits for the disk."""
    signed: SignedEdit = parts.authoring.make(event, parts.authoring.continuity(caught_up=caught_up))
    parts.intake.add_own(signed)
    return signed


def land(parts: Any) -> tuple[SignedEdit, ...]:
    """What waits is durable."""
    batch, _ = parts.intake.next_batch()
    parts.commit(*batch)
    parts.intake.landed()
    return tuple(batch)


def vouch(parts: Any, name: str, *, clock: dict[bytes, int] | None = None, hears: bytes | None = None) -> bool:
    """The member shows its clock and which session of n1 it hears; whether it knows more of n1 than n1 itself."""
    session = parts.state.identity.session if hears is None else hears
    return bool(parts.authoring.note(parts.mesh.by_name[name].key, session, clock or {}, parts.now))


# -- under which actor --------------------------------------------------------------------------------------------------------


def test_a_node_writes_as_itself_only_while_all_others_vouch_for_it(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    p.open("n3")
    assert p.authoring.continuity(caught_up=True) is Continuity.UNPROVEN
    vouch(p, "n2")
    assert p.authoring.continuity(caught_up=True) is Continuity.UNPROVEN
    vouch(p, "n3")
    assert p.authoring.continuity(caught_up=True) is Continuity.SURE
    assert p.authoring.continuity(caught_up=False) is Continuity.UNPROVEN
    signed = make(p, write())
    assert signed.dot.actor == scribe.actor("n1") and not signed.edit.identity
    p.mesh.down(p.mesh.by_name["n3"])
    assert p.authoring.continuity(caught_up=True) is Continuity.UNPROVEN, "a vouch ends with the connection"


def test_a_node_alone_has_nobody_to_vouch_for_it(parts: Make) -> None:
    assert parts().authoring.continuity(caught_up=True) is Continuity.UNPROVEN


def test_else_it_writes_as_one_that_was_never_there_and_keeps_to_that(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    first, second = make(p, write("a")), make(p, write("b"))
    assert first.dot.actor == second.dot.actor == p.authoring.actor != scribe.actor("n1")
    assert first.edit.owner == scribe.actor("n1") and (first.dot.counter, second.dot.counter) == (1, 2)
    vouch(p, "n2")
    assert p.authoring.continuity(caught_up=True) is Continuity.SURE
    assert make(p, write("c")).dot.actor == first.dot.actor, "it is not taken back"
    assert p.state.counters["session_actors"] == 1


def test_a_doubt_costs_one_actor_unless_all_vouch(parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    first = make(p, write())
    p.authoring.doubt()
    p.authoring.doubt()
    second, third = make(p, write()), make(p, write())
    assert first.dot.actor != second.dot.actor == third.dot.actor
    p.authoring.doubt()
    vouch(p, "n2")
    assert make(p, write()).dot.actor == second.dot.actor
    assert make(p, write(), caught_up=False).dot.actor == second.dot.actor, "that doubt is over"


def test_who_knows_more_of_this_node_than_it_does_itself_does_not_vouch(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    ahead = {scribe.actor("n1"): p.clock[scribe.actor("n1")] + 1}
    assert vouch(p, "n2", clock=ahead) and not p.mesh.by_name["n2"].vouched
    assert not vouch(p, "n2", clock=p.clock) and p.mesh.by_name["n2"].vouched
    signed = make(p, write())
    assert not vouch(p, "n2", clock={signed.dot.actor: signed.dot.counter}), "what waits for the disk may be known already"
    assert vouch(p, "n2", clock={signed.dot.actor: signed.dot.counter + 1})


def test_edits_of_a_former_life_count_as_this_nodes_own(scribe: Any, parts: Make) -> None:
    former = scribe.edit("n1", {"overrides": {"text": "before"}}, {scribe.actor("n1"): 2}, life="before")
    p = parts("n2", log=[former])
    p.open("n2")
    assert not vouch(p, "n2", clock={former.dot.actor: 1})
    assert vouch(p, "n2", clock={former.dot.actor: 2})


def test_a_peer_that_hears_another_session_makes_this_one_passive_in_the_end(parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    vouch(p, "n2")
    vouch(p, "n2", hears=b"another!")
    assert p.authoring.continuity(caught_up=True) is Continuity.UNPROVEN
    p.now += MISHEARD_MS
    vouch(p, "n2", hears=b"another!")
    assert p.authoring.continuity(caught_up=True) is Continuity.CLONED
    code, _ = p.authoring.refusal(write(), Continuity.CLONED)
    assert code == "cloned"
    vouch(p, "n2")
    assert p.authoring.continuity(caught_up=True) is Continuity.SURE


def test_a_restored_node_never_goes_on_as_itself(scribe: Any, parts: Make) -> None:
    p = parts("n2", restored=True)
    p.open("n2")
    vouch(p, "n2")
    assert p.authoring.continuity(caught_up=True) is Continuity.RESTORED
    assert make(p, write()).dot.actor != scribe.actor("n1")


# -- what it may not write ------------------------------------------------------------------------------------------------------


def code(parts: Any, event: LocalEdit) -> str | None:
    reason = parts.authoring.refusal(event, Continuity.UNPROVEN)
    return reason and str(reason[0])


def test_a_node_that_is_no_member_writes_nothing(scribe: Any, parts: Make) -> None:
    for state, expected in ((MemberState.RETIRED, "retired"), (MemberState.LEFT, "left")):
        p = parts("n2")
        assert code(p, write()) is None
        p.commit(scribe.registration("n1", scribe.member("n1", state=state), p.clock))
        assert code(p, write()) == expected
    p = parts()
    p.state.replica = scribe.replica()
    assert code(p, write()) == "joining"
    assert code(p, LocalEdit(1, {CLUSTER_KEY: {"id": "c"}}, 1.0)) is None, "unless it founds a cluster"
    p.state.replica = scribe.replica(
        scribe.founding("n2"), scribe.registration("n2", scribe.member("n1", actor="n3"), {scribe.actor("n2"): 1})
    )
    assert code(p, write()) == "name-taken"


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    def set_limit(name: str, value: int) -> None:
        old = LIMITS[name]
        monkeypatch.setitem(LIMITS, name, Limit(value, old.unit, old.reason, old.effect, old.counter))

    return set_limit


def test_limits_refuse_what_adds_and_let_pass_what_tidies_up(scribe: Any, parts: Make, tight: Callable[[str, int], None]) -> None:
    member = {MEMBER_PREFIX + "n2": member_value(scribe.member("n2"))}
    for name, refused in (("unstable_edits", "log-full"), ("unstable_bytes", "log-full"), ("actors", "too-many-actors")):
        p = parts("n2")
        p.authoring.renew()
        tight(name, 1)
        assert code(p, write()) == refused
        assert code(p, write(kind=RESOLVE)) is None and code(p, LocalEdit(1, member, 1.0)) is None
        tight(name, 10**9)
    p = parts("n2")
    tight("actors", 1)
    assert code(p, write()) is None, "it has written already"


def test_only_so_many_edits_wait_for_the_disk(parts: Make) -> None:
    p = parts("n2")
    for _ in range(limit("pending_local_edits")):
        assert code(p, write()) is None
        make(p, write())
    assert code(p, write(kind=RESOLVE)) == "busy"
    land(p)
    assert code(p, write()) is None


def test_what_a_later_version_wrote_is_not_replaced_unseen(parts: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    p = parts("n2")
    monkeypatch.setattr(p.state.replica, "unknown_kinds", 1)
    assert code(p, write()) == code(p, LocalEdit(1, {"wwid/1": None}, 1.0)) == "config-behind"
    assert code(p, write(kind=RESOLVE)) is None and code(p, LocalEdit(1, {"ack/1": {}}, 1.0)) is None


def test_beyond_the_limits_of_an_edit_it_is_none(parts: Make) -> None:
    p = parts("n2")
    with pytest.raises(EditError):
        p.authoring.make(write("x" * (limit("edit_bytes") + 1)), Continuity.UNPROVEN)


# -- what it makes --------------------------------------------------------------------------------------------------------------


def test_only_a_resolution_names_what_it_replaces(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    other = scribe.edit("n2", {"overrides": {"text": "other"}}, p.clock)
    p.commit(other)
    covers = {"overrides": (other.dot,)}
    for kind, named in ((CHANGE, {}), (RESOLVE, {"overrides": [tuple(other.dot)]})):
        signed = p.authoring.make(LocalEdit(1, {"overrides": {"text": "x"}}, 1.0, "", kind, covers), Continuity.UNPROVEN)
        assert {key: [tuple(dot) for dot in dots] for key, dots in signed.edit.covers.items()} == named


def test_a_late_edit_keeps_its_rank(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    for number in range(5):
        p.commit(scribe.edit("n2", {"overrides": {"text": str(number)}}, dict(p.state.replica.fold.clock)))
    signed = p.authoring.seal(p.state.replica, {"overrides": {"text": "late"}}, 1.0, "late", LATE, {"overrides": ()}, lamport=3)
    assert signed.edit.lamport == 3 < p.state.replica.fold.lamport
    assert p.state.replica.admit(decode_edit(signed.raw)) is Admission.READY


def test_the_context_has_one_form_whatever_the_order_in_which_its_actors_were_learnt(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    for life in ("c", "a", "b", "d"):
        p.commit(scribe.edit("n3", {"wwid/1": {"alias": life}}, dict(p.state.replica.fold.clock), life=life))
    first = make(p, write())
    p.authoring.doubt()
    second = make(p, write())
    p.authoring.doubt()
    third = make(p, write())
    assert len({first.dot.actor, second.dot.actor, third.dot.actor}) == 3 and not p.state.replica.has(first.dot)
    assert list(third.edit.context) == sorted(third.edit.context)
    assert third.edit.context == {**p.state.replica.fold.clock, first.dot.actor: 1, second.dot.actor: 1}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 25))
def test_whatever_happens_between_its_edits_others_take_them_in_that_order(scribe: Any, parts: Make, seed: int, steps: int) -> None:
    """No dot is used twice, each edit follows all before it, and its number is greater than theirs."""
    random = Random(seed)
    p = parts("n2", "n3")
    p.open("n2")
    p.open("n3")
    other = scribe.replica(*p.state.replica.edits())
    made: list[SignedEdit] = []
    for _ in range(steps):
        match random.randrange(6):
            case 0:
                p.authoring.doubt()
            case 1:
                vouch(p, random.choice(("n2", "n3")))
            case 2:
                p.mesh.down(p.mesh.by_name[random.choice(("n2", "n3"))])
            case 3 if not p.intake.own_pending:
                theirs = scribe.edit("n2", {"wwid/2": {"alias": "theirs"}}, dict(p.state.replica.fold.clock))
                p.commit(theirs)
                made.append(theirs)
            case 4:
                land(p)
            case _:
                made.append(make(p, write(str(len(made))), caught_up=random.random() < 0.8))
    land(p)
    assert len({signed.dot for signed in made}) == len(made)
    for before, after in zip([None, *made], made, strict=False):
        signed = decode_edit(after.raw)
        assert other.admit(signed) is Admission.READY and not other.is_void(signed)
        assert before is None or signed.edit.lamport > before.edit.lamport
        other.commit(signed)
    assert other.fold.state_hash == p.state.replica.fold.state_hash and other.fold.clock == p.state.replica.fold.clock
