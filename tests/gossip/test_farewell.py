"""Members that were retired while they were away hear of it, by a proof, and of nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gossip.codec import encode
from gossip.events import Connect, Disconnect, Send
from gossip.farewell import PROOF_EDITS, proof_of_end
from gossip.mesh import FAREWELL_MS, OUT_MS
from gossip.messages import Delta, Hello
from gossip.transport import Knocked, MessageReceived, PeerUp
from store.limits import limit
from store.members import MEMBER_PREFIX, MemberState, Role, member_value

Make = Callable[..., Any]


def write(w: Any, name: str, changes: dict[str, Any]) -> None:
    request = w.edit(name, changes)
    w.until(lambda: w.made(name, request), 1_000, "that the edit is made")


def register(w: Any, sponsor: str, name: str, state: MemberState, role: Role = Role.ADMIN) -> None:
    write(w, sponsor, {MEMBER_PREFIX + name: member_value(w.scribe.member(name, role, state))})


def retired(w: Any, name: str) -> bool:
    member = w.nodes[name].engine.member
    return member is not None and member.state is MemberState.RETIRED


def away(w: Any, *, sponsor: str = "n2") -> Any:
    """The node n3 is retired while it is down; much is written before and after that."""
    w.settled()
    w.kill("n3")
    write(w, "n1", {"wwid/1": {"alias": "secret"}})
    w.until(lambda: w.converged("n1", "n2"), 2_000)
    register(w, sponsor, "n3", MemberState.RETIRED)
    write(w, "n1", {"wwid/2": {"alias": "secret"}})
    w.until(lambda: w.converged("n1", "n2"), 2_000)
    return w


def test_who_was_retired_while_it_was_away_is_told_and_gets_nothing_else(world: Make) -> None:
    w = away(world(3, seed=1))
    w.start("n3")
    engine = w.nodes["n3"].engine
    before = dict(engine.replica.fold.clock)
    assert not retired(w, "n3")
    w.until(lambda: retired(w, "n3"), 20_000, "that it is told")
    refused = w.edit("n3", {"wwid/3": {"alias": "mine"}})
    w.run(100)
    assert w.nodes["n3"].rejected[refused].code == "retired"
    w.run(120_000)
    assert dict(engine.replica.fold.clock) == before and w.value("n3", "wwid/1") is None and w.value("n3", "wwid/2") is None
    assert not engine.caught_up, "so it takes nothing off its host"
    assert retired(w, "n3") and w.nodes["n3"].codes()["retired"] == 1
    assert not engine.peers and not engine.allowed(w.nodes["n1"].member.curve_key), "it has ended its connections"
    for name in ("n1", "n2"):
        other = w.nodes[name].engine
        assert {peer.name for peer in other.peers.values()} == {"n1", "n2"} - {name} and not other.allowed(engine.member.curve_key)
        assert other.counters["farewells"] == 1, "it is told once"
        assert not w.nodes[name].codes()
    w.kill("n3")
    w.start("n3")
    w.until(lambda: retired(w, "n3"), limit("farewell_gap_ms") + 10_000, "that it is told anew after a restart")


def test_whoever_retired_it_may_have_joined_while_it_was_away(world: Make) -> None:
    """Nor does it know who let that one in: the chain of admissions is part of the proof."""
    w = world(3, seed=1).settled()
    w.kill("n3")
    write(w, "n1", {"wwid/1": {"alias": "secret"}})
    for sponsor, name in (("n1", "n4"), ("n4", "n5")):
        register(w, sponsor, name, MemberState.JOINED)
        w.add(name, bootstrap=["n1", "n2", "n4"][: 2 if name == "n4" else 3])
        w.start(name)
        w.until(lambda: w.converged("n1", "n2", name), 10_000)  # noqa: B023
        write(w, "n1", {"wwid/1": {"alias": f"secret-{name}"}})
    register(w, "n5", "n3", MemberState.RETIRED)
    w.until(lambda: w.converged("n1", "n2", "n4", "n5"), 2_000)
    w.start("n3")
    w.until(lambda: retired(w, "n3"), 20_000, "that it is told")
    assert set(w.nodes["n3"].engine.replica.registry.by_name) == {"n1", "n2", "n3"} and w.value("n3", "wwid/1") is None


def test_who_is_connected_still_is_told_when_it_speaks(world: Make) -> None:
    """The news was lost on its way; its own connection stands, for keys are asked for at handshakes only."""
    w = world(3, seed=1).settled()
    w.mute.update({("n1", "n3"), ("n2", "n3")})
    register(w, "n1", "n3", MemberState.RETIRED)
    w.run(1_000)
    w.mute.clear()
    w.until(lambda: retired(w, "n3"), limit("farewell_gap_ms") + 10_000, "that it is told")


@pytest.mark.parametrize("role", [Role.EDITOR, Role.OBSERVER])
def test_a_word_without_proof_is_worth_nothing(world: Make, role: Role) -> None:
    """Neither an editor nor an observer may retire anybody; nor does a signature help that is somebody else's."""
    w = world(3, seed=1, roles={"n2": role}).settled()
    n3, scribe = w.nodes["n3"], w.scribe
    change = {MEMBER_PREFIX + "n3": member_value(scribe.member("n3", state=MemberState.RETIRED))}
    seen = {**n3.engine.replica.fold.clock, bytes(16): 7}  # more than n3 has: it can never be committed
    stranger = scribe.registration("n1", scribe.member("n9"), seen)
    for edits in (
        [scribe.edit("n2", change, seen)],
        [scribe.edit("n1", change, seen, signer="n2")],
        [scribe.edit("n9", change, {**seen, stranger.edit.actor: stranger.edit.counter})],
        [scribe.edit("n1", {MEMBER_PREFIX + "n3": member_value(scribe.member("n3", state=MemberState.LEFT))}, seen)],
        [scribe.edit("n1", change, seen, kind="nonsense")],
        [scribe.edit("n1", {MEMBER_PREFIX + "n3": member_value(scribe.member("n3", state=MemberState.RETIRED, actor="other"))}, seen)],
        [scribe.edit("n1", change, seen)] * (PROOF_EDITS + 1),
    ):
        frames = encode(Delta(edits=tuple(signed.raw for signed in edits)), w.nodes["n2"].engine.identity.session)
        w.dispatch(n3, MessageReceived(w.nodes["n2"].member.curve_key, *frames))
        assert not retired(w, "n3")
    good = (stranger.raw, scribe.edit("n9", change, {**seen, stranger.edit.actor: stranger.edit.counter}).raw)
    w.dispatch(n3, MessageReceived(w.nodes["n2"].member.curve_key, *encode(Delta(edits=good), w.nodes["n2"].engine.identity.session)))
    assert retired(w, "n3"), "whoever brings a proof is not asked who it is"


def test_calls_are_few_and_end(world: Make) -> None:
    w = world(2, seed=1).settled()
    most = limit("farewells")
    names = [f"gone{n}" for n in range(most + 2)]
    for name in names:
        register(w, "n1", name, MemberState.RETIRED)
    engine, now = w.nodes["n1"].engine, w.now
    keys = [w.scribe.member(name).curve_key for name in names]

    def knock(key: str, at: int) -> list[Any]:
        found: list[Any] = engine.handle(Knocked(key), at)
        return found

    assert not [effect for key in keys for effect in knock(key, now)], "it may have heard just now, and fall silent"
    now += 2 * OUT_MS

    assert [effect for key in keys for effect in knock(key, now)] == [
        Connect(key, f"tcp://{name}:7946") for key, name in zip(keys[:most], names, strict=False)
    ]
    assert engine.counters["farewells_dropped"] == 2
    hello, delta = engine.handle(PeerUp(keys[0]), now + 10)
    assert isinstance(hello, Send) and isinstance(hello.message, Hello) and hello.keys == (keys[0],)
    assert isinstance(delta, Send) and isinstance(delta.message, Delta) and delta.message.edits[-1] in set(engine.replica.raws())
    engine._farewell.tick(now + FAREWELL_MS - 1)
    assert not engine._drain()
    engine._farewell.tick(now + FAREWELL_MS)
    assert engine._drain() == [Disconnect(key) for key in keys[:most]]
    assert not knock(keys[0], now + limit("farewell_gap_ms") - 1) and knock(keys[most], now + FAREWELL_MS + 1)
    assert knock(keys[0], now + limit("farewell_gap_ms")) == [Connect(keys[0], "tcp://gone0:7946")]


def test_who_hears_it_as_it_happens_is_not_called(world: Make) -> None:
    w = world(4, seed=1).settled()
    engine = w.nodes["n1"].engine
    register(w, "n1", "n3", MemberState.RETIRED)
    words = encode(Delta(edits=(engine.replica.raw(engine.replica.endings[w.scribe.actor("n3")].by),), push=True), engine.identity.session)
    w.dispatch(w.nodes["n3"], MessageReceived(w.nodes["n1"].member.curve_key, *words))
    w.until(lambda: retired(w, "n3"), 1_000)
    w.run(120_000)
    assert not w.nodes["n3"].engine.peers and not w.nodes["n3"].links
    assert not any(w.nodes[name].engine.counters["farewells"] for name in ("n1", "n2", "n4"))


@pytest.mark.parametrize("state", [MemberState.JOINED, MemberState.LEFT])
def test_nobody_else_is_called(world: Make, state: MemberState) -> None:
    w = world(2, seed=1).settled()
    register(w, "n1", "n9", state)
    engine = w.nodes["n1"].engine
    for key in ("x" * 40, w.scribe.member("n9").curve_key, w.scribe.member("n2").curve_key, w.scribe.member("n1").curve_key):
        assert not engine.concerns(key) and engine.handle(Knocked(key), w.now) == []


def test_who_was_retired_itself_calls_nobody(world: Make) -> None:
    w = world(3, seed=1).settled()
    register(w, "n1", "n9", MemberState.RETIRED)
    register(w, "n1", "n3", MemberState.RETIRED)
    w.until(lambda: retired(w, "n3"), 20_000)
    n3, key = w.nodes["n3"].engine, w.scribe.member("n9").curve_key
    assert n3.concerns(key)
    for at in (w.now, w.now + 2 * OUT_MS):
        assert n3.handle(Knocked(key), at) == []


def test_the_proof_outlives_a_collection_and_a_new_node_of_that_name(world: Make) -> None:
    w = world(2, seed=1).settled()
    register(w, "n1", "n9", MemberState.JOINED)
    register(w, "n1", "n9", MemberState.RETIRED)
    write(w, "n1", {MEMBER_PREFIX + "n9": member_value(w.scribe.member("n9", actor="anew"))})
    for n in range(3):
        write(w, "n1", {"wwid/1": {"alias": f"a{n}"}})
    replica = w.nodes["n1"].engine.replica.copy()
    collection = replica.collect(replica.fold.clock)
    assert collection is not None
    replica.collected(collection)
    proof = proof_of_end(replica, w.scribe.actor("n9"))
    assert [signed.edit.counter for signed in proof][:1] == [1] and MEMBER_PREFIX + "n9" in proof[-1].edit.changes
    assert replica.registry.by_name["n9"].active
    assert proof_of_end(replica, w.scribe.actor("n1")) == () == proof_of_end(replica, b"?" * 16)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raws=st.lists(st.binary(max_size=60), max_size=4))
def test_no_bytes_break_it(world: Make, raws: list[bytes]) -> None:
    w = world(2, seed=1)
    engine = w.nodes["n1"].engine
    mine = engine.identity.actor.hex().encode()
    assert not engine._farewell.heard([mine + raw for raw in raws])
