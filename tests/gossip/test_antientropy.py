"""Digests and deltas, part by part: what is asked, what is answered, and what is known to be lacking."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip import antientropy
from gossip.antientropy import ALL_AGAIN_MS, ANNOUNCE_MS, ASK_AGAIN_MS, ASK_FOR_MS, PULL_SUFFICES, UNKNOWN, chunks
from gossip.exchange import EVERYBODY, NOBODY
from gossip.messages import Delta, Digest
from gossip.stability import clock_hash
from store.cells import Cell
from store.clocks import dominates, join
from store.edits import SignedEdit, decode_edit
from store.health import OwnStream
from store.limits import limit
from store.members import MemberState

Make = Callable[..., Any]
OTHER = b"o" * 32
MEMBERS = 3
"""How many edits found a cluster of n1, n2 and n3."""


def overrides(text: str) -> dict[str, dict[str, str]]:
    return {"overrides": {"text": text}}


def writes(scribe: Any, parts: Any, count: int, author: str = "n1") -> list[SignedEdit]:
    """This many further edits of one author, each on top of the last, and committed."""
    made = []
    for number in range(count):
        signed = scribe.edit(author, overrides(f"{author} {number}"), dict(parts.state.replica.fold.clock))
        parts.commit(signed)
        made.append(signed)
    return made


def full(parts: Any, clock: dict[bytes, int], **more: Any) -> Digest:
    return Digest(clock_hash(clock), OTHER, True, dict(clock), **more)


def answer(parts: Any, peer: Any, digest: Digest) -> bool:
    parts.pull.unanswered[peer.key] = digest
    return bool(parts.pull.answer(peer, parts.now))


def sent_edits(parts: Any) -> list[tuple[tuple[str, ...], list[str]]]:
    """To whom edits went, and what they say."""
    return [
        (names, [str((decode_edit(raw).edit.changes["overrides"] or {})["text"]) for raw in delta.edits])
        for names, delta in parts.sent(Delta)
        if delta.edits
    ]


# -- asking -----------------------------------------------------------------------------------------------------------------


def test_a_full_digest_shows_the_clock_and_what_is_held_and_a_short_one_its_hash_only(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    peer = p.open("n2")
    later = scribe.edit("n2", overrides("waits"), {**p.clock, scribe.actor("n3"): 1})
    p.intake.offer([later.raw])
    p.pull.ask(peer, p.now)
    p.pull.ask(peer, p.now, full=False, answer=True, span=NOBODY)
    (_, long), (names, short) = p.sent(Digest)
    assert long.full and long.clock == p.clock and long.held == ((later.dot.actor, later.dot.counter),)
    assert long.health.keys() == {"n1"}
    assert names == ("n2",) and not short.full and not short.clock and not short.held and not short.health and short.answer
    assert short.clock_hash == long.clock_hash == clock_hash(p.clock)


def test_in_a_large_cluster_only_the_first_of_the_newly_met_is_asked_for_all_health(parts: Make) -> None:
    names = [f"n{n}" for n in range(2, PULL_SUFFICES + 2)]
    p = parts(*names)
    peers = [p.open(name) for name in names]
    for peer in peers:
        p.pull.ask_first(peer, p.now)
    assert [digest.span for _, digest in p.sent(Digest)] == [EVERYBODY] + [NOBODY] * (len(peers) - 1)
    p.now += ALL_AGAIN_MS
    p.pull.ask_first(peers[1], p.now)
    assert [digest.span for _, digest in p.sent(Digest)] == [EVERYBODY]


def test_a_small_cluster_asks_everybody_for_all(parts: Make) -> None:
    p = parts("n2", "n3")
    for name in ("n2", "n3"):
        p.pull.ask_first(p.open(name), p.now)
        assert [digest.span for _, digest in p.sent(Digest)] == [EVERYBODY]


def test_one_node_is_asked_for_at_one_peer_at_a_time(parts: Make) -> None:
    p = parts("n2", "n3", "n4")
    first, second = p.open("n2"), p.open("n3")
    p.pull.ask_for(first, ["n4"], p.now)
    p.pull.ask_for(second, ["n4"], p.now)
    assert [names for names, _ in p.sent(Digest)] == [("n2",)]
    p.pull.ask_for(first, ["n3"], p.now + 1)
    assert not p.sent(Digest), "it was asked only just now"
    p.now += ASK_FOR_MS
    p.pull.ask_for(second, ["n4"], p.now)
    assert [names for names, _ in p.sent(Digest)] == [("n3",)]


def test_who_was_asked_just_now_is_not_asked_again(parts: Make) -> None:
    p = parts("n2")
    peer = p.open("n2")
    p.pull.ask_soon(peer, p.now)
    p.pull.ask_soon(peer, p.now + ASK_AGAIN_MS - 1)
    assert len(p.sent(Digest)) == 1
    p.pull.ask_soon(peer, p.now + ASK_AGAIN_MS)
    assert len(p.sent(Digest)) == 1


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 700), seed=st.integers(0, 99))
def test_digests_one_after_the_other_name_every_stream(scribe: Any, parts: Make, count: int, seed: int) -> None:
    p = parts("n2")
    peer, random = p.open("n2"), Random(seed)
    names = sorted({f"x{random.randrange(10_000)}" for _ in range(count)})
    for name in names:
        p.state.exchange.streams[name] = OwnStream(name, bytes(16), 1, lambda body: b"", p.now).stream
    named, rounds = set(), -(-len(p.state.exchange.streams) // limit("digest_streams"))
    for _ in range(rounds):
        p.pull.ask(peer, p.now)
        ((_, digest),) = p.sent(Digest)
        first, last = digest.span
        inside = {name for name in p.state.exchange.streams if first <= name and (not last or name <= last)}
        assert digest.health.keys() == inside, "who reads the span knows which are not held here"
        assert len(inside) <= limit("digest_streams")
        named |= inside
    assert named == {*names, "n1"}


# -- answering --------------------------------------------------------------------------------------------------------------


def test_who_lacks_edits_gets_these_and_no_others(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    peer = p.open("n2")
    writes(scribe, p, 4)
    assert not answer(p, peer, full(p, {scribe.actor("n1"): MEMBERS + 1}))
    assert sent_edits(p) == [(("n2",), ["n1 1", "n1 2", "n1 3"])]


def test_what_the_asker_holds_back_is_not_sent_again(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    peer = p.open("n2")
    made = writes(scribe, p, 3)
    answer(p, peer, full(p, p.clock, held=((made[1].dot.actor, made[1].dot.counter),)))
    assert sent_edits(p) == [(("n2",), ["n1 0", "n1 2"])]


def test_a_digest_that_comes_too_soon_waits_and_the_newest_is_answered(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    peer = p.open("n2")
    writes(scribe, p, 2)
    answer(p, peer, full(p, p.clock))
    assert len(sent_edits(p)) == 1
    newest = full(p, join(p.clock, {scribe.actor("n1"): 3}))
    p.pull.unanswered[peer.key] = newest
    p.now += limit("answer_gap_ms") - 1
    assert not p.pull.answer(peer, p.now) and p.pull.hurried and not p.sent(Delta)
    p.now += 1
    p.pull.answer(peer, p.now)
    assert sent_edits(p) == [(("n2",), ["n1 1"])] and not p.pull.hurried


def test_a_short_digest_with_another_clock_is_answered_with_a_full_one(parts: Make) -> None:
    p = parts("n2")
    peer = p.open("n2")
    assert not answer(p, peer, Digest(OTHER, OTHER))
    ((_, digest),) = p.sent(Digest)
    assert digest.full and not digest.answer


def test_an_answer_is_answered_no_more(parts: Make) -> None:
    p = parts("n2")
    peer = p.open("n2")
    assert answer(p, peer, full(p, p.clock, answer=True))
    assert not p.sent(Digest)
    p.now += limit("answer_gap_ms")
    assert answer(p, peer, full(p, p.clock))
    ((_, digest),) = p.sent(Digest)
    assert digest.answer, "so that it ends there"


def test_nothing_goes_to_who_could_not_take_it_nor_while_this_node_is_silent(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    peer = p.open("n2")
    writes(scribe, p, 2)
    answer(p, peer, full(p, p.clock, floor={scribe.actor("n2"): 5}))
    assert not sent_edits(p), "this node lacks what is gone there: it has to catch up itself first"
    p.now += limit("answer_gap_ms")
    p.pull.silent = True
    answer(p, peer, full(p, p.clock))
    p.pull.push([b"x"], (peer.key,))
    assert not sent_edits(p)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), budget=st.integers(1, 1_500), count=st.integers(0, 14))
def test_what_was_cut_goes_on_until_the_peer_has_all_of_it_in_causal_order(
    scribe: Any, parts: Make, seed: int, budget: int, count: int
) -> None:
    random = Random(seed)
    p = parts("n2", "n3")
    peer = p.open("n2")
    for number in range(count):
        author = random.choice(("n1", "n2", "n3"))
        clock = p.state.replica.fold.clock
        p.commit(scribe.edit(author, overrides(str(number) + "x" * random.randrange(300)), dict(clock)))
    theirs: dict[bytes, int] = dict(p.clock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(antientropy, "_DELTA_BUDGET", budget)
        for _ in range(count + 1):
            answer(p, peer, full(p, theirs))
            deltas = [delta for _, delta in p.sent(Delta) if delta.edits]
            for signed in (decode_edit(raw) for delta in deltas for raw in delta.edits):
                assert dominates(theirs, signed.edit.context), "nothing comes before what it builds on"
                assert signed.dot.counter == theirs.get(signed.dot.actor, 0) + 1
                theirs[signed.dot.actor] = signed.dot.counter
            assert bool(deltas and deltas[-1].ahead) is (theirs != p.state.clocks.own), "it says whether there is more"
            p.now += limit("answer_gap_ms")
    assert theirs == p.state.clocks.own


# -- what is lacking --------------------------------------------------------------------------------------------------------


def test_what_a_peer_shows_is_lacking_until_it_is_here(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    peer = p.open("n2")
    assert p.pull.met and not p.pull.lacking and p.pull.anchored
    signed = scribe.edit("n2", overrides("new"), p.clock)
    p.pull.note_digest(peer, full(p, {**p.clock, scribe.actor("n2"): 1}))
    assert p.pull.lacking.keys() == {peer.key} and not p.pull.anchored
    p.commit(signed)
    p.pull.committed()
    assert not p.pull.lacking


def test_another_clock_that_was_not_shown_yet_covers_nothing_and_ends_with_the_connection(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    peer = p.open("n2")
    p.pull.note_digest(peer, Digest(OTHER, OTHER))
    assert p.pull.lacking == {peer.key: UNKNOWN}
    writes(scribe, p, 1)
    p.pull.committed()
    assert p.pull.lacking == {peer.key: UNKNOWN}
    p.pull.closed(peer)
    assert not p.pull.lacking
    p.pull.note_digest(peer, full(p, {scribe.actor("n2"): 9}))
    p.pull.closed(peer)
    assert p.pull.lacking, "what it has for certain is lacking also while it is away"


def test_what_a_lost_commit_took_is_asked_for_at_everybody(parts: Make) -> None:
    p = parts("n2", "n3", "n4")
    open_keys = {p.open(name).key for name in ("n2", "n3")}
    p.pull.lost()
    assert p.pull.lacking.keys() == open_keys


def test_an_empty_clock_proves_nothing(parts: Make) -> None:
    p = parts("n2")
    peer = p.open("n2", met=False)
    p.pull.note_digest(peer, full(p, {}))
    assert not p.pull.met
    p.pull.note_digest(peer, full(p, p.clock))
    assert p.pull.met


def test_what_a_retired_member_claims_is_not_lacking(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    peer = p.open("n2")
    p.pull.note_digest(peer, full(p, {scribe.actor("n2"): 9}))
    assert p.pull.lacking
    retired = scribe.member("n2", state=MemberState.RETIRED)
    p.commit(scribe.registration("n1", retired, p.clock))
    p.pull.follow()
    assert not p.pull.lacking


def test_a_peer_that_has_lost_edits_is_told_so_until_it_has_them_again(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    peer = p.open("n2")
    once = {**p.clock, scribe.actor("n2"): 4}
    for clock in (once, p.clock):
        p.pull.note_digest(peer, full(p, clock))
    p.pull.ask(peer, p.now)
    assert [digest.yours for _, digest in p.sent(Digest)] == [once]
    p.pull.note_digest(peer, full(p, once))
    p.pull.ask(peer, p.now)
    assert [digest.yours for _, digest in p.sent(Digest)] == [{}]


# -- news -------------------------------------------------------------------------------------------------------------------


def test_news_goes_to_those_whose_floor_is_known_and_reached(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3", "n4")
    p.open("n2")
    p.open("n3", met=False)
    p.pull.note_digest(p.open("n4"), full(p, {**p.clock, scribe.actor("n4"): 3}, floor={scribe.actor("n4"): 3}))
    signed = scribe.edit("n1", overrides("new"), p.clock)
    p.pull.push([signed.raw], [peer.key for peer in p.mesh.open])
    assert [names for names, delta in p.sent(Delta) if delta.push] == [("n2",)]


def test_the_outcome_of_a_push_is_announced_to_those_who_may_lack_it(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    for name in ("n2", "n3"):
        p.open(name)
    writes(scribe, p, 1)
    p.state.clocks.same(p.members["n3"].actor)
    p.pull.announce(p.now)
    told = []
    for ms in range(0, 1_500, 50):
        p.pull.tick(p.now + ms)
        told += [(ms, names, digest.full) for names, digest in p.sent(Digest)]
    assert told == [(ms, ("n2",), False) for ms in ANNOUNCE_MS] and not p.pull.hurried


def test_others_edits_are_handed_on_once_and_the_memory_of_it_is_bounded(scribe: Any, parts: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    p = parts("n2", "n3")
    keys = [p.open(name).key for name in ("n2", "n3")]
    first, second = (scribe.edit("n2", overrides(text), p.clock, life=text) for text in ("one", "two"))
    p.pull.hand_on([first], keys)
    p.pull.hand_on([first, second], keys)
    assert [texts for _, texts in sent_edits(p)] == [["one"], ["two"]]
    monkeypatch.setattr(antientropy, "limit", lambda name: 1)
    p.pull.hand_on([scribe.edit("n3", overrides("three"), p.clock)], keys)
    assert [texts for _, texts in sent_edits(p)] == [["three"]]
    p.pull.hand_on([first], keys)
    assert [texts for _, texts in sent_edits(p)] == [["one"]], "the oldest are forgotten"


@given(st.lists(st.binary(min_size=1, max_size=400), max_size=40), st.integers(1, 1_000))
def test_chunks_keep_the_order_and_the_budget(raws: list[bytes], budget: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(antientropy, "_DELTA_BUDGET", budget)
        found = list(chunks(raws))
    assert [raw for chunk in found for raw in chunk] == raws
    assert all(chunk and (len(chunk) == 1 or sum(map(len, chunk)) <= budget) for chunk in found)
    for one, other in pairwise(found):
        assert sum(map(len, one)) + len(other[0]) > budget, "none is sent in two that fits in one"


def test_health_is_answered_to_members_only_and_goes_on_where_it_was_cut(parts: Make) -> None:
    p = parts("n2", "n3")
    peer = p.open("n2")
    p.state.exchange.own.report([Cell("multipath.map", "36000", "healthy")], p.now)
    answer(p, peer, Digest(p.state.clocks.hash, OTHER))
    assert [[part.node for part in delta.health] for _, delta in p.sent(Delta)] == [["n1"]]
    p.now += limit("answer_gap_ms")
    peer.contested = True
    answer(p, peer, Digest(p.state.clocks.hash, OTHER))
    assert not p.sent(Delta), "who holds another's name is told of edits only"
