"""Nodes of a later version among nodes of this one: what these do not know they ignore, or keep and hand on, and do themselves no harm.

A node of tomorrow is this very engine, which while it runs knows one more kind of edit, writes fields that nobody here knows, or speaks
other protocol versions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

import gossip.authoring
import store.level
from gossip import codec
from gossip.codec import HEADER_BYTES, decode, encode
from gossip.messages import CLASSES, Alive, Delta, Fetch, Hello, MessageClass, Probe, Ranges
from gossip.transport import MessageReceived
from scripts import golden_frames
from store.edits import Edit, decode_edit, encode_body
from store.level import KIND_LEVELS, LEVEL, LEVEL_KEY, level_value
from store.limits import limit
from store.matrix import Reporter
from store.members import MEMBER_PREFIX, Role, member_value

Make = Callable[..., Any]
MERGE = "merge-9"
"""The kind of edit that only tomorrow's nodes know. (What it does is what a `change` does.)"""
LATER = LEVEL + 1
"""The level that brought it."""
UNKNOWN_CLASS = max(MessageClass) + 1
MORE = {"later": {"of": ["tomorrow", 2.5, None]}}


def lun(alias: str) -> dict[str, str]:
    return {"alias": alias}


def grown(value: Any) -> Any:
    """Plain data of a message in which every structure has a field that this version does not know."""
    if isinstance(value, msgspec.Struct):
        fields = {name: grown(getattr(value, name)) for name in value.__struct_fields__}
        return [*fields.values(), MORE] if value.__struct_config__.array_like else fields | MORE
    if isinstance(value, Mapping):
        return {name: grown(item) for name, item in value.items()}
    return [grown(item) for item in value] if isinstance(value, list | tuple) else value


def grown_frames(frames: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """The frames of the same message, as a later version might send it."""
    header, body = frames
    message = decode(header, body)
    if isinstance(message, Hello):
        message = msgspec.structs.replace(message, features=(*message.features, "teleportation", "x" * 64))
    more = msgspec.msgpack.encode(grown(message))
    return codec._HEADER.pack(b"PMSH", codec.MAJOR, codec.MINOR + 7, header[6], len(more), header[-8:]), more


@dataclass(frozen=True)
class Version:
    """What one node's version does otherwise than this one."""

    kinds: frozenset[str] = frozenset()
    edit_fields: bool = False
    message_fields: bool = False
    speaks: tuple[int, int] = (codec.VERSION_MIN, codec.VERSION_MAX)


TODAY = Version()


@dataclass
class Tomorrow:
    """Rules which version runs when: a node's own while it is started or handles an event, and today's in between."""

    world: Any
    versions: dict[str, Version] = field(default_factory=dict)
    running: Version = TODAY
    grown: Counter[str] = field(default_factory=Counter)
    """How many messages of each type went out with fields that nobody knows."""

    def get(self, kind: str) -> int | None:
        """The level that brought a kind of edit, if the version that runs now knows it."""
        return LATER if kind in self.running.kinds else KIND_LEVELS.get(kind)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        before, self.running = self.running, self.versions.get(name, TODAY)
        self._rule()
        try:
            yield
        finally:
            self.running = before
            self._rule()

    def _rule(self) -> None:
        codec.VERSION_MIN, codec.VERSION_MAX = self.running.speaks
        store.level.LEVEL = LATER if self.running.kinds else LEVEL

    def upgrade(self, name: str, version: Version) -> None:
        """The node runs this version from its next start on."""
        if self.world.nodes[name].running is not None:
            self.world.kill(name)
        self.versions[name] = version
        self.world.start(name)


@pytest.fixture
def mixed(world: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, Tomorrow]]:
    """A cluster in which the named nodes are of other versions."""

    def make(
        count: int, versions: Mapping[str, Version], *, collect_edits: int = limit("collect_edits"), roles: Mapping[str, Role] | None = None
    ) -> tuple[Any, Tomorrow]:
        w = world(count, start=False, seed=1, roles=roles)
        w.collect_edits = collect_edits
        tomorrow = Tomorrow(w, dict(versions))
        dispatch, start, transmit = w.dispatch, w.start, w._transmit

        def dispatched(node: Any, event: Any) -> None:
            with tomorrow.of(node.name):
                dispatch(node, event)

        def started(name: str, **how: Any) -> None:
            with tomorrow.of(name):
                start(name, **how)

        def transmitted(node: Any, key: str, message: Any, frames: tuple[bytes, bytes]) -> bool:
            if tomorrow.running.message_fields:
                tomorrow.grown[type(message).__name__] += 1
                frames = grown_frames(frames)
            sent: bool = transmit(node, key, message, frames)
            return sent

        def encoded(edit: Edit) -> bytes:
            if not tomorrow.running.edit_fields:
                return encode_body(edit)
            return msgspec.msgpack.encode(msgspec.msgpack.decode(encode_body(edit)) | MORE)

        for target, name, value in (
            (w, "dispatch", dispatched), (w, "start", started), (w, "_transmit", transmitted), (gossip.authoring, "encode_body", encoded),
            (store.level, "KIND_LEVELS", tomorrow),
        ):  # fmt: skip
            monkeypatch.setattr(target, name, value)
        for name in list(w.nodes):
            w.start(name)
        return w, tomorrow

    return make


def write(w: Any, name: str, changes: Mapping[str, Any], **how: Any) -> Any:
    """Write and wait for the answer; returns the edit's dot."""
    request = w.edit(name, changes, **how)
    w.until(lambda: w.made(name, request), 1_000, "that the edit is made")
    return w.nodes[name].accepted[request]


def join(w: Any, sponsor: str, name: str) -> Any:
    """What the join socket does."""
    write(w, sponsor, {MEMBER_PREFIX + name: member_value(w.scribe.member(name, Role.ADMIN))})
    members = [m.name for m in w.nodes[sponsor].engine.replica.registry.active if m.name != name]
    node = w.add(name, bootstrap=members)
    w.start(name)
    return node


def engine(w: Any, name: str) -> Any:
    return w.nodes[name].engine


def raised(w: Any, name: str = "n1") -> None:
    """Raise the cluster's level, so that tomorrow's kind may be written."""
    write(w, name, {LEVEL_KEY: level_value(LATER)})
    w.until(lambda: same_edits(w), 2_000, "that all have it")


def same_edits(w: Any, *names: str) -> bool:
    """Whether these nodes (or all that run) have committed the same edits; what these come to may differ."""
    clocks = [node.engine.replica.fold.clock for node in w.up if not names or node.name in names]
    return all(clock == clocks[0] for clock in clocks)


def alarms(w: Any) -> Counter[str]:
    return sum((node.codes() for node in w.nodes.values()), Counter())


# -- messages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", golden_frames.messages())
def test_unknown_fields_of_every_message_are_ignored(name: str) -> None:
    message = golden_frames.messages()[name]
    header, body = grown_frames(encode(message))
    assert len(body) > len(encode(message)[1])
    found = decode(header, body)
    if isinstance(found, Hello):
        found = msgspec.structs.replace(found, features=found.features[:-2])
    assert found == message


def test_a_node_whose_messages_all_have_unknown_fields_takes_full_part(mixed: Make) -> None:
    later = Version(message_fields=True)
    w, tomorrow = mixed(4, {"n3": later, "n4": later}, collect_edits=4)
    w.settled()
    for n in range(8):
        write(w, f"n{n % 4 + 1}", {"wwid/1": lun(f"a{n}")})
    w.report("n3", m1="degraded")
    w.until(lambda: w.converged() and all(w.shown(name, "n3") == {"m1": "degraded"} for name in w.nodes), 5_000)
    w.until(lambda: all(node.engine.counters["collections"] for node in w.up), 60_000, "that all collect")
    tomorrow.versions["n5"] = later
    joined = join(w, "n1", "n5")
    w.until(lambda: joined.engine.counters["snapshots_taken"] == 1 and w.converged(), 10_000, "that it has a snapshot")
    w.pause("n1")
    w.until(lambda: all(w.sees(name, "n1") is Reporter.OFFLINE for name in ("n2", "n3", "n4")), 20_000)
    w.resume("n1")
    w.until(lambda: w.all_see(Reporter.FRESH), 20_000)
    assert tomorrow.grown.keys() >= {kind.__name__ for kind in CLASSES.keys() - {Ranges, Alive}}
    assert tomorrow.grown[Probe.__name__] and tomorrow.grown[Fetch.__name__]
    assert {"teleportation"} < set(engine(w, "n1").peers[w.nodes["n3"].member.curve_key].hello.features)
    for node in w.nodes.values():
        assert not node.engine.counters["messages_bad"] and not node.engine.counters["hellos_refused"]
    assert not alarms(w).keys() & {"bad-peer", "diverged", "version-mismatch", "snapshot-refused"}


def test_an_unknown_message_class_is_counted_and_its_sender_not_blamed(mixed: Make) -> None:
    w, _ = mixed(3, {})
    w.settled()
    body = msgspec.msgpack.encode({"what": "nobody knows"})
    session = engine(w, "n3").identity.session
    count = 3 * limit("bad_messages")
    for n in range(count):
        header = codec._HEADER.pack(b"PMSH", codec.MAJOR, codec.MINOR, UNKNOWN_CLASS + n % (256 - UNKNOWN_CLASS), len(body), session)
        w.dispatch(w.nodes["n1"], MessageReceived(w.nodes["n3"].member.curve_key, header, body))
        w.run(50)
    counters = engine(w, "n1").counters
    assert counters["messages_unknown"] == count
    assert not counters["messages_bad"] and not counters["peers_expelled"] and not alarms(w)
    assert w.all_see(Reporter.FRESH)
    write(w, "n3", {"defaults": {"x": "1"}})
    w.until(w.converged, 1_000, "that its edits are taken as ever")


def test_no_class_that_is_there_is_unknown() -> None:
    assert all(
        len(encode(message)[0]) == HEADER_BYTES and encode(message)[0][6] < UNKNOWN_CLASS for message in golden_frames.messages().values()
    )


# -- protocol versions ----------------------------------------------------------------------------------------------------


def test_nodes_whose_version_ranges_overlap_talk(mixed: Make) -> None:
    w, tomorrow = mixed(3, {"n3": Version(speaks=(1, 4))})
    w.settled()
    write(w, "n3", {"defaults": {"x": "1"}})
    w.until(w.converged, 1_000)
    assert not alarms(w)
    tomorrow.upgrade("n2", Version(speaks=(1, 9)))
    w.until(lambda: w.converged() and w.all_see(Reporter.FRESH), 10_000)
    assert not alarms(w)


def test_nodes_without_a_common_version_say_so_once_and_the_others_go_on(mixed: Make) -> None:
    w, tomorrow = mixed(4, {"n4": Version(speaks=(2, 3))})
    rest = ("n1", "n2", "n3")
    w.until(lambda: all(w.sees(a, b) is Reporter.FRESH for a in rest for b in rest if a != b), 10_000)
    w.report("n2", m1="healthy")
    write(w, "n1", {"defaults": {"x": "1"}})
    write(w, "n4", {"wwid/4": lun("alone")})
    w.run(90_000)
    assert w.converged(*rest) and w.value("n3", "defaults") == {"x": "1"} and w.value("n3", "wwid/4") is None
    assert w.shown("n3", "n2") == {"m1": "healthy"}
    for name in rest:
        found = [alarm for alarm in w.nodes[name].alarms if alarm.code == "version-mismatch"]
        assert [alarm.message for alarm in found] == ["peer n4 speaks protocol 2 to 3, this node 1 to 1"]
        assert w.sees(name, "n4") is not Reporter.FRESH and not engine(w, name).connected("n4")
    assert w.nodes["n4"].codes() == {"version-mismatch": 3}, "one for each peer"
    assert alarms(w).keys() == {"version-mismatch"}
    tomorrow.upgrade("n4", Version(speaks=(1, 3)))
    w.until(lambda: w.converged() and w.all_see(Reporter.FRESH), 20_000, "that all is well with a version that speaks both")
    assert w.value("n1", "wwid/4") == lun("alone")
    tomorrow.upgrade("n4", Version(speaks=(2, 3)))
    w.run(20_000)
    assert all(w.nodes[name].codes()["version-mismatch"] == 2 for name in rest), "it is said anew if it comes about anew"


# -- edits with unknown fields --------------------------------------------------------------------------------------------


def test_unknown_fields_of_an_edit_survive_relays_restarts_and_snapshots(mixed: Make) -> None:
    w, _ = mixed(3, {"n3": Version(edit_fields=True)}, collect_edits=4)
    w.settled()
    w.partition(["n2", "n3"], ["n1"])
    dot = write(w, "n3", {"wwid/1": lun("of-tomorrow")})
    raw = engine(w, "n3").replica.raw(dot)
    assert msgspec.msgpack.decode(decode_edit(raw).body)["later"] == MORE["later"]
    w.until(lambda: engine(w, "n2").replica.raw(dot) == raw, 5_000, "that n2 has it")
    w.kill("n3")
    w.kill("n2")
    w.start("n2")
    assert engine(w, "n2").replica.raw(dot) == raw and w.value("n2", "wwid/1") == lun("of-tomorrow")
    w.heal()
    w.until(lambda: engine(w, "n1").replica.raw(dot) == raw, 10_000, "that n1 has it from a node that does not know the field")
    w.start("n3")
    w.until(w.converged, 10_000)
    for n in range(8):
        write(w, "n1", {"wwid/2": lun(f"a{n}")})
    w.until(lambda: all(node.engine.counters["collections"] for node in w.up), 60_000, "that all collect")
    w.kill("n3")
    joined = join(w, "n1", "n4")
    w.until(lambda: joined.engine.counters["snapshots_taken"] == 1 and w.converged(), 10_000, "that it has a snapshot")
    assert joined.engine.replica.raw(dot) == raw
    w.start("n3")
    w.until(lambda: w.converged() and w.all_see(Reporter.FRESH), 20_000)
    assert not any(node.engine.config_behind for node in w.up) and not alarms(w).keys() & {"diverged", "config-behind", "bad-peer"}


# -- edits of an unknown kind ---------------------------------------------------------------------------------------------

KNOWS = Version(kinds=frozenset({MERGE}))


def collected(w: Any) -> dict[str, int]:
    return {node.name: node.engine.counters["collections"] for node in w.up}


def test_an_edit_of_an_unknown_kind_moves_the_clock_and_nothing_else_until_the_upgrade(mixed: Make) -> None:
    """With a base beneath it, as all that was before has been collected."""
    w, tomorrow = mixed(4, {"n3": KNOWS, "n4": KNOWS}, collect_edits=4)
    w.settled()
    raised(w)
    for n in range(8):
        write(w, "n1", {"wwid/1": lun(f"a{n}"), "wwid/2": lun(f"b{n}")})
    w.until(lambda: all(collected(w).values()), 60_000, "that all collect")
    before = collected(w)

    dot = write(w, "n3", {"wwid/1": lun("merged"), "wwid/2": None}, kind=MERGE)
    raw = engine(w, "n3").replica.raw(dot)
    w.until(lambda: same_edits(w), 2_000, "that all have it")
    states = {name: engine(w, name).replica.fold.state_hash for name in w.nodes}
    assert states["n1"] == states["n2"] != states["n3"] == states["n4"]
    for name in ("n1", "n2"):
        assert engine(w, name).config_behind and engine(w, name).replica.raw(dot) == raw
        assert w.value(name, "wwid/1") == lun("a7") and w.value(name, "wwid/2") == lun("b7")
    for name in ("n3", "n4"):
        assert not engine(w, name).config_behind
        assert w.value(name, "wwid/1") == lun("merged") and w.value(name, "wwid/2") is None

    for n in range(8):
        write(w, "n4", {"wwid/3": lun(f"c{n}")})
    w.run(60_000)
    assert same_edits(w) and w.value("n1", "wwid/3") == lun("c7"), "what comes after it is folded all the same"
    after = collected(w)
    assert (after["n1"], after["n2"]) == (before["n1"], before["n2"]), "nothing goes while it is not known what it means"
    assert after["n3"] > before["n3"] and after["n4"] > before["n4"], "who knows it collects"
    assert not any(node.engine.diverged for node in w.up) and not alarms(w)["diverged"], "states are not compared"
    assert [w.nodes[name].codes() for name in w.nodes] == [{"config-behind": 1}, {"config-behind": 1}, {}, {}]

    w.kill("n1")
    w.start("n1")
    w.until(lambda: w.all_see(Reporter.FRESH) and same_edits(w), 10_000)
    assert engine(w, "n1").config_behind and w.value("n1", "wwid/1") == lun("a7"), "a restart alone changes nothing"
    tomorrow.upgrade("n1", KNOWS)
    assert not engine(w, "n1").config_behind
    w.until(lambda: w.converged("n1", "n3", "n4") and same_edits(w), 10_000)
    assert w.value("n1", "wwid/1") == lun("merged") and w.value("n1", "wwid/2") is None
    w.until(lambda: collected(w)["n1"] > 0, 60_000, "that it collects again")
    assert engine(w, "n2").config_behind, "the other one is still of today"
    tomorrow.upgrade("n2", KNOWS)
    w.until(lambda: w.converged() and w.all_see(Reporter.FRESH), 10_000)
    w.run(30_000)
    assert not any(node.engine.diverged for node in w.up) and not alarms(w)["diverged"]


def test_an_edit_of_an_unknown_kind_is_relayed_and_served_after_a_restart(mixed: Make) -> None:
    w, _ = mixed(3, {"n1": KNOWS, "n3": KNOWS})
    w.settled()
    raised(w)
    w.partition(["n2", "n3"], ["n1"])
    dot = write(w, "n3", {"wwid/1": lun("merged")}, kind=MERGE)
    follows = write(w, "n3", {"wwid/2": lun("after")})
    raw = engine(w, "n3").replica.raw(dot)
    w.until(lambda: engine(w, "n2").replica.has(follows), 5_000, "that n2 has them")
    w.kill("n3")
    w.kill("n2")
    w.start("n2")
    w.heal()
    w.until(lambda: engine(w, "n1").replica.has(follows), 10_000, "that n1 has them from a node that does not know the kind")
    assert engine(w, "n1").replica.raw(dot) == raw and w.value("n1", "wwid/1") == lun("merged")


def test_a_snapshot_of_a_node_that_is_behind_says_what_it_says_to_who_knows_the_kind(mixed: Make) -> None:
    w, tomorrow = mixed(3, {"n3": KNOWS}, collect_edits=4)
    w.settled()
    raised(w)
    for n in range(8):
        write(w, "n1", {"wwid/1": lun(f"a{n}")})
    w.until(lambda: all(collected(w).values()), 60_000, "that all collect")
    dot = write(w, "n3", {"wwid/1": lun("merged")}, kind=MERGE)
    w.until(lambda: same_edits(w), 2_000, "that all have it")
    raw = engine(w, "n3").replica.raw(dot)
    w.kill("n3")
    tomorrow.versions["n4"] = KNOWS
    for name, value in (("n4", "merged"), ("n5", "a7")):
        joined = join(w, "n1", name)
        w.until(lambda: joined.engine.counters["snapshots_taken"] == 1 and same_edits(w), 10_000, "that it has a snapshot")  # noqa: B023
        assert joined.engine.replica.raw(dot) == raw and w.value(name, "wwid/1") == lun(value)
        assert joined.engine.config_behind is (name == "n5")
    w.start("n3")
    w.until(lambda: w.converged("n3", "n4") and same_edits(w), 20_000)
    assert not alarms(w)["diverged"] and not alarms(w)["snapshot-refused"]


def test_a_node_of_today_gets_around_a_snapshot_that_it_does_not_understand(mixed: Make) -> None:
    """A node that knows the kind has folded such an edit into its base. Whoever has kept all edits helps."""
    w, _ = mixed(3, {"n3": KNOWS}, collect_edits=4)
    w.settled()
    raised(w)
    write(w, "n3", {"wwid/1": lun("merged")}, kind=MERGE)
    for n in range(8):
        write(w, "n3", {"wwid/2": lun(f"a{n}")})
    w.until(lambda: collected(w)["n3"] > 0, 60_000, "that n3 collects")
    assert collected(w) == {"n1": 0, "n2": 0, "n3": collected(w)["n3"]}
    joined = join(w, "n1", "n4")
    w.until(lambda: joined.engine.member is not None and same_edits(w) and joined.engine.caught_up, 30_000, "that it has all edits")
    assert joined.engine.config_behind and joined.engine.counters["snapshots_taken"] == 0
    assert joined.codes()["bad-peer"] == 0 and not alarms(w)["diverged"]


def test_a_node_that_is_behind_writes_over_nothing_that_it_cannot_see(mixed: Make) -> None:
    """Its edit would have seen what the unknown one did, and would replace that: nobody would hear of a conflict."""
    w, tomorrow = mixed(3, {"n3": KNOWS})
    w.settled()
    raised(w)
    write(w, "n1", {"wwid/1": lun("first")})
    write(w, "n3", {"wwid/1": lun("merged")}, kind=MERGE)
    w.until(lambda: same_edits(w), 2_000)
    for changes in ({"wwid/1": lun("second")}, {"wwid/1": None}, {"defaults": {"x": "1"}}, {"overrides": {"text": "devices {\n}\n"}}):
        refused = w.edit("n1", changes)
        w.run(100)
        assert w.nodes["n1"].rejected[refused].code == "config-behind"
    write(w, "n1", {"ack/maintenance/n1": {"reason": "upgrade"}})
    w.until(lambda: same_edits(w), 2_000)
    assert w.value("n3", "wwid/1") == lun("merged")
    tomorrow.upgrade("n1", KNOWS)
    w.until(lambda: w.all_see(Reporter.FRESH) and same_edits(w), 10_000)
    write(w, "n1", {"wwid/1": lun("second")})
    w.until(lambda: same_edits(w), 2_000)
    assert w.value("n3", "wwid/1") == lun("second")


def test_nobody_writes_a_kind_that_it_does_not_know(mixed: Make) -> None:
    w, _ = mixed(2, {})
    w.settled()
    refused = w.edit("n1", {"wwid/1": lun("merged")}, kind=MERGE)
    w.run(100)
    assert w.nodes["n1"].rejected[refused].code == "forbidden" and not engine(w, "n2").config_behind


def test_a_kind_that_no_level_has_brought_stops_nobody(mixed: Make) -> None:
    """An editor's program writes it. Else it could make all nodes believe that they are out of date, and stop every apply."""
    w, _ = mixed(4, {"n4": KNOWS}, collect_edits=4, roles={"n3": Role.EDITOR})
    w.settled()
    write(w, "n1", {"wwid/1": lun("first")})
    w.until(lambda: same_edits(w), 2_000)
    clock, raws = dict(engine(w, "n1").replica.fold.clock), []
    for n, kind in enumerate((MERGE, "nonsense", MERGE)):
        strange = w.scribe.edit("n3", {"wwid/1": lun(f"strange{n}"), "wwid/2": None}, clock, kind=kind)
        clock[strange.edit.actor] = strange.edit.counter
        raws.append(strange.raw)
    header, body = encode(Delta(edits=tuple(raws)), engine(w, "n3").identity.session)
    w.dispatch(w.nodes["n1"], MessageReceived(w.nodes["n3"].member.curve_key, header, body))
    w.until(lambda: same_edits(w) and engine(w, "n1").replica.has(strange.dot), 5_000, "that all have them")
    for node in w.up:
        assert not node.engine.config_behind and node.engine.replica.raw(strange.dot) == raws[-1]
        assert w.value(node.name, "wwid/1") == lun("first")
        assert node.engine.counters["edits_impossible"] == len(raws) and not node.engine.counters["edits_void"]
        found = [alarm.message for alarm in node.alarms if alarm.code == "edits-impossible"]
        assert found and all("n3" in message for message in found)
    for n in range(8):
        write(w, "n2", {"wwid/1": lun(f"a{n}")})
    w.until(lambda: w.converged() and all(collected(w).values()), 60_000, "that writes and collections go on")
    joined = join(w, "n1", "n5")
    w.until(lambda: joined.engine.counters["snapshots_taken"] == 1 and w.converged(), 10_000, "that snapshots go on")
    raised(w)
    write(w, "n4", {"wwid/1": lun("merged")}, kind=MERGE)
    w.until(lambda: same_edits(w), 2_000)
    assert {node.name for node in w.up if node.engine.config_behind} == {"n1", "n2", "n3", "n5"}, "it counts from the next level on"
    assert w.value("n4", "wwid/1") == lun("merged") and not alarms(w).keys() & {"diverged", "bad-peer", "snapshot-refused"}
