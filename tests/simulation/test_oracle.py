"""The oracle: siblings from who had seen what, worked out step by step and from the definition."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.simulation import forge
from scripts.simulation.oracle import Known, Oracle
from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE, LATE, RESOLVE, Edit, SignedEdit, encode_body, seal

A, B, C = (forge.actor(name) for name in "abc")


def signed(actor: bytes, counter: int, changes: dict[str, Options | None], lamport: int = 1, kind: str = CHANGE) -> SignedEdit:
    """An edit of which the oracle takes all but what it says that it had seen."""
    context = {actor: counter - 1} if counter > 1 else {}
    filler = {bytes([n]) * 16: 1 for n in range(1, lamport)}  # the bound on the number
    values = {key: None if value is None else dict(value) for key, value in changes.items()}
    edit = Edit(
        actor=actor, counter=counter, context={**filler, **context}, lamport=lamport, author="x", wall=0.0, changes=values, kind=kind
    )
    body = encode_body(edit)
    return seal(edit, body, forge.sign(actor, body))


def test_what_was_seen_is_replaced_and_what_was_not_stays() -> None:
    oracle = Oracle()
    first = oracle.make(signed(A, 1, {"k": {"v": "1"}}), 0, "a")
    left = oracle.make(signed(A, 2, {"k": {"v": "2"}}, 2), first.bit, "a")
    right = oracle.make(signed(B, 1, {"k": None}, 3), first.bit, "b")
    both = first.bit | left.bit | right.bit
    assert oracle.state(first.bit | left.bit).siblings == {"k": (left.number,)}
    assert oracle.state(both).siblings == {"k": (left.number, right.number)}
    assert oracle.winner((left.number, right.number)) is right
    assert oracle.deleted_by(both, "k") and not oracle.deleted_by(first.bit | left.bit, "k")
    assert oracle.clock(both) == {A: 2, B: 1}
    assert oracle.claimed({A: 2}) == first.bit | left.bit


def test_a_resolution_replaces_what_it_names_and_a_late_edit_no_more_than_that() -> None:
    oracle = Oracle()
    one = oracle.make(signed(A, 1, {"k": {"v": "1"}}), 0, "a")
    two = oracle.make(signed(B, 1, {"k": {"v": "2"}}), 0, "b")
    seen = one.bit | two.bit
    resolve = oracle.make(signed(C, 1, {"k": {"v": "3"}}, 2, RESOLVE), seen, "c", named={"k": frozenset({one.dot})})
    assert oracle.state(seen | resolve.bit).siblings == {"k": (two.number, resolve.number)}
    late = oracle.make(signed(C, 2, {"k": {"v": "4"}}, 3, LATE), seen | resolve.bit, "c", named={"k": frozenset({two.dot})})
    assert oracle.state(seen | resolve.bit | late.bit).siblings == {"k": (resolve.number, late.number)}


def test_an_edit_that_never_was_gives_its_dot_back() -> None:
    oracle = Oracle()
    lost = oracle.make(signed(A, 1, {"k": {"v": "1"}}), 0, "a")
    oracle.withdraw(lost)
    again = oracle.make(signed(A, 1, {"k": {"v": "2"}}), 0, "a")
    assert oracle.by_dot[Dot(A, 1)] is again and again.bit != lost.bit
    assert oracle.claimed({A: 1}) == again.bit


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, list[int], str, int]]:
    """For each edit its author, how much of each author's edits it had seen, its kind, and which of three keys it changes."""
    count = draw(st.integers(1, 12))
    return [
        (draw(st.integers(0, 2)), draw(st.lists(st.integers(0, 12), min_size=3, max_size=3)), draw(st.sampled_from([CHANGE, RESOLVE])), n)
        for n in draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    ]


@settings(max_examples=150, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_step_by_step_is_the_definition_in_every_causal_order(history: list[tuple[int, list[int], str, int]], random: Random) -> None:
    oracle = Oracle()
    lanes: list[list[Known]] = [[], [], []]  # per author, the closure of each of its edits
    for number, (author, seen, kind, key) in enumerate(history):
        past: Known = lanes[author][-1] if lanes[author] else 0
        for lane, most in zip(lanes, seen, strict=True):
            past |= lane[min(most, len(lane)) - 1] if most and lane else 0
        edit = signed((A, B, C)[author], len(lanes[author]) + 1, {f"k{key}": {"v": str(number)}}, 1, kind)
        made = oracle.make(edit, past, "x", named={} if kind == CHANGE else {"k0": frozenset()})
        lanes[author].append(past | made.bit)
    waiting = list(oracle.edits)
    state = oracle.state(0)
    while waiting:
        ready = [made for made in waiting if not made.past & ~state.known]
        made = random.choice(ready)
        waiting.remove(made)
        state = oracle.after(state, made)
        fresh = Oracle(edits=oracle.edits, by_dot=oracle.by_dot, by_raw=oracle.by_raw, writers=oracle.writers)
        assert dict(fresh.state(state.known).siblings) == dict(state.siblings)
