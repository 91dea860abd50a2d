"""Collecting, catching up by a snapshot and repairing: when each begins, and that only what is durable takes effect."""

from collections.abc import Callable
from typing import Any

import pytest

from gossip.events import Alarm, Rebase, Send
from gossip.messages import Chunk, Digest, Fetch, Ranges
from gossip.stability import clock_hash
from gossip.upkeep import DISTRUST_MS, LOOK_EVERY_MS, REPAIR_EVERY_MS
from store.base import decode_base
from store.edits import LATE, SignedEdit, decode_edit
from store.snapshot import make_snapshot

Make = Callable[..., Any]
KEY = "wwid/36000"


def written(scribe: Any, parts: Any, count: int, author: str = "n2") -> list[SignedEdit]:
    made = []
    for number in range(count):
        made.append(scribe.edit(author, {KEY: {"alias": f"lun-{number}"}}, dict(parts.state.replica.fold.clock)))
        parts.commit(made[-1])
    return made


def rebases(parts: Any) -> list[Rebase]:
    return [effect for effect in parts.effects() if isinstance(effect, Rebase)]


def alarms(parts: Any) -> list[str]:
    return [effect.code for effect in parts.effects() if isinstance(effect, Alarm)]


def look(parts: Any) -> list[Rebase]:
    """Ten seconds later, what is collected."""
    parts.now += LOOK_EVERY_MS
    parts.upkeep.tick(parts.now)
    return rebases(parts)


def all_have_it(parts: Any) -> None:
    for member in parts.members.values():
        parts.state.clocks.same(member.actor)


def show(parts: Any, name: str, clock: dict[bytes, int], floor: dict[bytes, int] | None = None) -> Any:
    """The member shows this clock and floor; returns its connection."""
    peer = parts.mesh.by_name[name]
    parts.pull.note_digest(peer, Digest(clock_hash(clock), b"", True, clock, floor or {}))
    return peer


# -- collecting ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_collected_before_all_members_have_it(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    written(scribe, p, 4)
    p.state.clocks.same(p.members["n2"].actor)
    assert not look(p) and p.upkeep.stability().blocked_by == ("n3",)
    p.state.clocks.same(p.members["n3"].actor)
    (effect,) = look(p)
    assert effect.log is None and len(effect.gone) == 3 and decode_base(effect.base).floor == p.state.clocks.own


def test_a_collection_takes_effect_when_it_is_durable(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    edits = written(scribe, p, 4)
    all_have_it(p)
    before = p.state.replica.fold.state_hash
    assert look(p) and p.upkeep.busy
    assert p.state.replica.raw(edits[0].dot) and not p.state.replica.floor
    assert not look(p), "one at a time"
    p.upkeep.rebased()
    assert not p.upkeep.busy and p.state.replica.raw(edits[0].dot) is None and p.state.replica.raw(edits[3].dot)
    assert p.state.replica.fold.state_hash == before and p.state.replica.floor == p.state.clocks.own
    assert (p.state.counters["collections"], p.state.counters["edits_collected"]) == (1, 3)
    assert not look(p), "there is nothing more"


def test_one_that_fails_leaves_everything_as_it_was_and_is_tried_again(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    edits = written(scribe, p, 4)
    all_have_it(p)
    assert look(p)
    p.upkeep.failed()
    assert p.state.replica.raw(edits[0].dot) and not p.state.counters["collections"]
    assert look(p)


def test_nothing_is_collected_beside_a_commit_or_a_transfer(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    written(scribe, p, 4)
    all_have_it(p)
    p.intake.in_flight = (scribe.edit("n2", {KEY: None}, dict(p.state.clocks.own)),)
    assert not look(p)
    p.intake.in_flight = ()
    assert look(p)


# -- catching up by a snapshot --------------------------------------------------------------------------------------------------


def beyond(scribe: Any, parts: Make, **options: Any) -> tuple[Any, Any]:
    """n1, and a server (by itself: n1 as it is elsewhere) that has written and collected since; both know n2 and n3."""
    server = parts("n2", "n3")
    written(scribe, server, 5)
    all_have_it(server)
    look(server)
    server.upkeep.rebased()
    client = parts("n2", "n3", **options)
    client.open("n2")
    client.open("n3")
    return client, server


def transfer(client: Any, server: Any, fetch: Fetch, *, carrier: str = "n2") -> None:
    """Everything that is asked for is answered."""
    waiting = [fetch]
    asker = server.open("n3")
    while waiting:
        server.upkeep.fetch(asker, waiting.pop(0), server.now)
        for _, chunk in server.sent(Chunk):
            effects = len(client.state.effects)
            client.upkeep.chunk(client.mesh.by_name[carrier], chunk, client.now)
            waiting += [e.message for e in client.state.effects[effects:] if isinstance(e, Send) and isinstance(e.message, Fetch)]


def test_a_floor_within_reach_asks_for_nothing(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    p.open("n3")
    assert not p.upkeep.check_floor(show(p, "n2", p.clock, p.clock), p.now)
    assert not p.sent(Fetch) and not p.pull.silent


def test_a_floor_beyond_it_needs_a_witness(scribe: Any, parts: Make) -> None:
    client, server = beyond(scribe, parts)
    peer = show(client, "n2", dict(server.state.clocks.own), dict(server.state.replica.floor))
    assert not client.upkeep.check_floor(peer, client.now) and not client.sent(Fetch)
    show(client, "n3", dict(server.state.clocks.own))
    assert client.upkeep.check_floor(peer, client.now)
    assert [names for names, _ in client.sent(Fetch)] == [("n2",)]
    assert client.pull.silent and client.upkeep.source == "n2"


def test_a_node_whose_guard_says_that_it_was_restored_needs_none(scribe: Any, parts: Make) -> None:
    client, server = beyond(scribe, parts, restored=True)
    peer = show(client, "n2", dict(server.state.clocks.own), dict(server.state.replica.floor))
    assert client.upkeep.check_floor(peer, client.now)
    ((_, fetch),) = client.sent(Fetch)
    transfer(client, server, fetch)
    assert rebases(client)
    client.upkeep.rebased()
    assert client.state.clocks.own == server.state.clocks.own


def test_a_snapshot_takes_effect_when_it_is_durable_and_until_then_nobody_is_sent_edits(scribe: Any, parts: Make) -> None:
    client, server = beyond(scribe, parts)
    peer = show(client, "n2", dict(server.state.clocks.own), dict(server.state.replica.floor))
    show(client, "n3", dict(server.state.clocks.own))
    client.upkeep.check_floor(peer, client.now)
    ((_, fetch),) = client.sent(Fetch)
    transfer(client, server, fetch)
    (effect,) = rebases(client)
    assert effect.log is not None and client.upkeep.busy and client.pull.silent
    assert client.state.replica.fold.value(KEY) is None
    client.upkeep.rebased()
    assert client.state.replica.fold.value(KEY) == {"alias": "lun-4"} and client.state.clocks.own == server.state.clocks.own
    assert KEY in client.upkeep.replaced and not client.upkeep.late
    client.upkeep.tick(client.now)
    assert not client.pull.silent and client.state.counters["snapshots_taken"] == 1


def test_what_only_the_client_had_written_comes_late_as_another_actor(scribe: Any, parts: Make) -> None:
    client, server = beyond(scribe, parts, restored=True)
    unseen = scribe.edit("n1", {KEY: {"alias": "unseen"}}, client.clock, life="here")
    client.commit(unseen)
    peer = show(client, "n2", dict(server.state.clocks.own), dict(server.state.replica.floor))
    client.upkeep.check_floor(peer, client.now)
    ((_, fetch),) = client.sent(Fetch)
    transfer(client, server, fetch)
    effects = client.effects()
    assert "late-edits" in [e.code for e in effects if isinstance(e, Alarm)]
    ((rebase),) = [e for e in effects if isinstance(e, Rebase)]
    (late,) = client.upkeep.late
    assert late.edit.kind == LATE and late.dot.actor != unseen.dot.actor and late.edit.owner == unseen.edit.owner
    assert rebase.log and decode_edit(rebase.log[-1]).dot == late.dot
    client.upkeep.rebased()
    values = [s.value for s in client.state.replica.fold.siblings(KEY)]
    assert sorted(map(str, values)) == ["{'alias': 'lun-4'}", "{'alias': 'unseen'}"], "it stands beside what the others did"


@pytest.mark.parametrize("damage", ["garbage", "forged", "floor"])
def test_a_snapshot_that_cannot_be_believed_changes_nothing(scribe: Any, parts: Make, damage: str) -> None:
    client, server = beyond(scribe, parts)
    show(client, "n3", dict(server.state.clocks.own))
    peer = show(client, "n2", dict(server.state.clocks.own), dict(server.state.replica.floor))
    client.upkeep.check_floor(peer, client.now)
    ((_, fetch),) = client.sent(Fetch)
    data = make_snapshot(server.state.replica)
    if damage == "floor":  # more is left out than anybody confirms by then
        show(client, "n3", client.clock)
        show(client, "n2", client.clock)
    else:
        bad = b"no snapshot" if damage == "garbage" else data.replace(b"lun-4", b"lun-5")
        server.upkeep._server._make = lambda: bad
    transfer(client, server, fetch)
    assert "snapshot-refused" in alarms(client) and client.state.counters["snapshots_refused"] == 1
    assert not client.upkeep.busy and client.state.clocks.own == client.clock
    assert client.upkeep.check_floor(show(client, "n2", dict(server.state.clocks.own), dict(server.state.replica.floor)), client.now) is (
        damage != "floor"
    )
    assert not client.sent(Fetch), "it is not asked again so soon"


def test_a_peer_that_led_to_nothing_is_asked_again_later(scribe: Any, parts: Make) -> None:
    client, server = beyond(scribe, parts)
    show(client, "n3", dict(server.state.clocks.own))
    peer = show(client, "n2", dict(server.state.clocks.own), dict(server.state.replica.floor))
    peer.distrusted_until = client.now + DISTRUST_MS
    assert client.upkeep.check_floor(peer, client.now) and not client.sent(Fetch)
    assert client.upkeep.check_floor(peer, client.now + DISTRUST_MS) and client.sent(Fetch)


def test_who_does_not_answer_is_given_up(scribe: Any, parts: Make) -> None:
    client, server = beyond(scribe, parts)
    show(client, "n3", dict(server.state.clocks.own))
    peer = show(client, "n2", dict(server.state.clocks.own), dict(server.state.replica.floor))
    client.upkeep.check_floor(peer, client.now)
    asked = 0
    while client.upkeep.source and asked < 100:
        client.now += 1_000
        client.upkeep.tick(client.now)
        asked += len(client.sent(Fetch))
    assert 1 < asked < 100 and not client.pull.silent, "asked again and again, then no more"
    assert peer.distrusted_until > client.now


def test_a_node_serves_no_snapshot_while_it_takes_one_and_none_to_who_is_no_member(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    peer = p.open("n2")
    p.pull.silent = True
    p.upkeep.fetch(peer, Fetch(b"", 0), p.now)
    p.pull.silent, peer.contested = False, True
    p.upkeep.fetch(peer, Fetch(b"", 0), p.now)
    assert not p.sent(Chunk)
    peer.contested = False
    p.upkeep.fetch(peer, Fetch(b"", 0), p.now)
    assert len(p.sent(Chunk)) == 1


# -- divergence -------------------------------------------------------------------------------------------------------------------


def test_a_peer_in_the_same_state_agrees(parts: Make) -> None:
    p = parts("n2")
    p.upkeep.compare(p.open("n2"), p.state.replica.fold.state_hash, p.now)
    assert not p.upkeep.diverged and not p.effects()


def test_a_state_that_was_wrong_in_memory_is_worked_out_anew(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    peer = p.open("n2")
    written(scribe, p, 2)
    right = p.state.replica.fold.state_hash
    p.state.replica.fold._hash ^= 1
    p.upkeep.compare(peer, right, p.now)
    assert p.state.replica.fold.state_hash == right and KEY in p.upkeep.replaced
    assert p.state.counters["states_refolded"] == 1 and not p.sent(Ranges)
    p.upkeep.compare(peer, right, p.now)
    assert not p.upkeep.diverged


def test_another_state_is_told_once_and_looked_into_now_and_then(parts: Make) -> None:
    p = parts("n2", "n3")
    peer, other = p.open("n2"), p.open("n3")
    p.upkeep.compare(peer, b"o" * 32, p.now)
    effects = p.effects()
    assert [e.code for e in effects if isinstance(e, Alarm)] == ["diverged"] and p.upkeep.diverged == {"n2"}
    assert sum(isinstance(e, Send) and isinstance(e.message, Ranges) for e in effects) == 1
    for ms in range(0, REPAIR_EVERY_MS, 1_000):
        p.upkeep.compare(peer, b"o" * 32, p.now + ms)
    assert not p.effects()
    p.upkeep.compare(other, b"p" * 32, p.now + REPAIR_EVERY_MS)
    assert p.upkeep.diverged == {"n2", "n3"} and [names for names, _ in p.sent(Ranges)] == [("n3",)]


def damaged(scribe: Any, parts: Make) -> tuple[Any, Any]:
    """Two nodes with one clock, the second of which has lost a value and has another in its place."""
    sound, other = parts("n2", "n3"), parts("n2", "n3")
    (signed,) = written(scribe, sound, 1)
    other.commit(signed)
    fold = other.state.replica.fold
    fold._siblings[KEY] = (fold._siblings[KEY][0]._replace(value={"alias": "damaged"}),)
    return sound, other


def compared(sound: Any, other: Any) -> list[str]:
    """The first asks the second, which it takes for n2, until it knows; its alarms."""
    there, here = sound.open("n2"), other.open("n3")
    told: list[str] = []
    sound.upkeep.compare(there, b"o" * 32, sound.now)
    while True:
        effects = sound.effects()
        told += [effect.code for effect in effects if isinstance(effect, Alarm)]
        questions = [effect.message for effect in effects if isinstance(effect, Send) and isinstance(effect.message, Ranges)]
        if not questions:
            return told
        for question in questions:
            other.upkeep.ranges(here, question)
        for _, reply in other.sent(Ranges):
            sound.upkeep.ranges(there, reply)


def test_what_is_frozen_is_so_until_nobody_differs(scribe: Any, parts: Make) -> None:
    p, other = damaged(scribe, parts)
    assert compared(p, other) == ["diverged", "frozen"]
    assert p.upkeep.in_doubt
    assert p.upkeep.frozen == {KEY} and p.state.replica.fold.value(KEY) == {"alias": "lun-0"}, "nothing is taken over"
    p.upkeep.compare(p.mesh.by_name["n2"], p.state.replica.fold.state_hash, p.now)
    assert not p.upkeep.frozen and not p.upkeep.diverged


def test_who_agrees_with_another_is_not_the_one_to_stand_still(scribe: Any, parts: Make) -> None:
    p, other = damaged(scribe, parts)
    p.upkeep.compare(p.open("n3"), p.state.replica.fold.state_hash, p.now)
    assert compared(p, other) == ["diverged"]
    assert not p.upkeep.frozen and p.upkeep.diverged == {"n2"} and not p.upkeep.in_doubt
