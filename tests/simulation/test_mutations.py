"""Known protocol bugs, put back by a patch: the simulator must find each by what it breaks, within a bounded number of seeds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

import store.fold
from gossip.antientropy import AntiEntropy
from gossip.authoring import Authoring, Continuity
from gossip.engine import Engine
from gossip.events import Accepted, Commit, Send
from gossip.liveness import Liveness
from gossip.messages import Digest
from gossip.stability import Stability
from gossip.upkeep import Upkeep
from scripts.simulation import forge, seams
from scripts.simulation.run import Plan, settle, simulate
from scripts.simulation.scenario import LUN, Scenario
from scripts.simulation.violation import Violation
from store.clocks import join
from store.health import HealthStream
from store.members import MEMBER_PREFIX, member_value

Patch = pytest.MonkeyPatch
SEEDS = 60


# -- the bugs ---------------------------------------------------------------------------------------------------------


def seen_before_commit(patch: Patch) -> None:
    """What was handed to the disk counts as here."""
    commit_next = Engine._commit_next

    def mutant(engine: Engine) -> None:
        commit_next(engine)
        for effect in engine._state.effects:
            if isinstance(effect, Commit):
                clocks = engine._state.clocks
                clocks.advance(join(clocks.own, {s.edit.actor: s.edit.counter for s in effect.batch}))

    patch.setattr(Engine, "_commit_next", mutant)


def acknowledged_before_commit(patch: Patch) -> None:
    """A user is told that the edit is made when it is handed to the disk."""
    commit_next = Engine._commit_next

    def mutant(engine: Engine) -> None:
        commit_next(engine)
        for effect in list(engine._state.effects):
            if isinstance(effect, Commit):
                for signed in effect.batch:
                    request = engine._requests.pop(b"%s:%d" % (signed.edit.actor, signed.edit.counter), None)
                    if request is not None:
                        engine._state.effects.append(Accepted(request, signed.dot))

    patch.setattr(Engine, "_commit_next", mutant)


def truncated_delta_advances_a_mark(patch: Patch) -> None:
    """Who was sent a part is taken to have all."""
    send_edits = AntiEntropy._send_edits

    def mutant(pull: AntiEntropy, peer: Any, digest: Digest) -> None:
        marks = pull.__dict__.setdefault("marks", {})
        clock = join(digest.clock, marks.get(peer.key, {}))
        replica = pull._state.replica
        if not replica.behind(clock):
            send_edits(pull, peer, Digest(digest.clock_hash, digest.state_hash, True, dict(clock), digest.floor))
        marks[peer.key] = dict(replica.fold.clock)

    patch.setattr(AntiEntropy, "_send_edits", mutant)


def tombstone_collected_by_age(patch: Patch) -> None:
    """What is some seconds old is taken to be everywhere."""
    look = Upkeep.look

    def mutant(upkeep: Upkeep, now_ms: int) -> None:
        ages = upkeep.__dict__.setdefault("ages", [])
        ages.append((now_ms, dict(upkeep._state.replica.fold.clock)))
        look(upkeep, now_ms)

    def stability(upkeep: Upkeep) -> Stability:
        ages = upkeep.__dict__["ages"]
        old = [clock for at_ms, clock in ages if at_ms <= ages[-1][0] - 3_000]
        return Stability(join(upkeep._state.replica.floor, old[-1] if old else {}), ())

    patch.setattr(Upkeep, "look", mutant)
    patch.setattr(Upkeep, "stability", stability)


def dot_used_again(patch: Patch) -> None:
    """A node goes on with its own counter wherever its database says it is."""
    patch.setattr(Authoring, "continuity", lambda authoring, *, caught_up: Continuity.SURE)


def winner_by_wall_clock(patch: Patch) -> None:
    """The last writer wins, by what its clock says."""
    patch.setattr(store.fold.Sibling, "rank", property(lambda sibling: (sibling.wall, sibling.dot.actor)))


def concurrent_value_lost(patch: Patch) -> None:
    """A change replaces all siblings, seen or not."""
    replaces = store.fold.replaces
    patch.setattr(store.fold, "replaces", lambda edit, key, dot: edit.kind == "change" or replaces(edit, key, dot))


def zombie_by_time_out(patch: Patch) -> None:
    """A retired member is forgotten some time after, and with it that it was retired."""
    tick = Engine._tick

    def mutant(engine: Engine, now_ms: int) -> None:
        tick(engine, now_ms)
        since = engine.__dict__.setdefault("since", {})
        replica = engine.replica
        for name, member in replica.registry.by_name.items():
            if not member.active and now_ms - since.setdefault(member.actor, now_ms) > 3_000:
                fold, key = replica.fold, MEMBER_PREFIX + name
                admissions = [s for s in replica.edits() if (s.edit.changes.get(key) or {}).get("state") == "joined"]
                if admissions and not engine._upkeep.busy:
                    replica._authors.endings.pop(member.actor, None)
                    fold._siblings[key] = (store.fold.sibling(admissions[-1].edit, key),)
                    replica._reread({name})

    patch.setattr(Engine, "_tick", mutant)


def caught_up_at_once(patch: Patch) -> None:
    """A node takes what it has for all there is."""
    patch.setattr(Engine, "caught_up", property(lambda engine: True))


def age_is_not_carried(patch: Patch) -> None:
    """A relayed beat is as young as its last hop."""
    patch.setattr(HealthStream, "age_ms", lambda stream, now_ms: max(0, now_ms - stream._heard_ms))


def late_edits_forgotten(patch: Patch) -> None:
    """Who takes a snapshot loses what only it had written."""
    patch.setattr(Upkeep, "_again", lambda upkeep, replica, changes: [])


def digest_outgrows_a_message(patch: Patch) -> None:
    """A digest names every edit."""
    ask = AntiEntropy.ask

    def mutant(pull: AntiEntropy, *args: Any, **options: Any) -> None:
        sent = len(pull._state.effects)
        ask(pull, *args, **options)
        for number, effect in enumerate(pull._state.effects[sent:], sent):
            if isinstance(effect, Send) and isinstance(effect.message, Digest) and effect.message.full:
                every = tuple((signed.dot.actor, signed.dot.counter) for signed in pull._state.replica.edits())
                pull._state.effects[number] = Send(effect.keys, msgspec.structs.replace(effect.message, held=every))

    patch.setattr(AntiEntropy, "ask", mutant)


def stopped_observer_accuses(patch: Patch) -> None:
    """Who was stopped takes its own silence for that of all others."""
    patch.setattr(Liveness, "_forgive", lambda liveness, gap, now_ms: None)


# -- how each is found ------------------------------------------------------------------------------------------------


def random_run(seed: int) -> str:
    return simulate(Plan(seed, churn=seed % 2 == 0)).violation


def many_edits(seed: int) -> str:
    """A thousand small edits, a limit that a digest of them would break, and a network that loses some."""
    with seams.tightened({"bulk_message_bytes": 16_000}):
        story = Scenario(3, seed=seed, collect_edits=10_000)
        world = story.world
        try:
            for number in range(900):
                world.edit(story[f"n{number % 3 + 1}"], {f"{LUN}{number % 8:x}": {"alias": f"lun-{number}"}})
                world.run(8)
            settle(world)
        except Violation as fault:
            return str(fault)
    return ""


def stopped(seed: int) -> str:
    """One node is stopped for ten seconds, again and again."""
    story = Scenario(6, seed=seed)
    story.world.check.health.strict_liveness = True
    try:
        for name in ("n1", "n2", "n3"):
            story.stop(name)
            story.wait(10)
            story.go_on(name)
            story.wait(5)
    except Violation as fault:
        return str(fault)
    return ""


def behind_the_floor(seed: int) -> str:
    """A node is put back to a backup, writes alone, and finds that the others have collected what it lacks."""
    with seams.tightened({}, look_ms=500):
        story = Scenario(4, seed=seed)
        try:
            story.write("n1", LUN, {"alias": "first"})
            story.wait(3)
            story.backup("n4")
            for number in range(5):
                story.write("n2", LUN, {"alias": f"later-{number}"})
            story.wait(5)
            story.kill("n4")
            story.world.check.health.double(story["n4"])
            story.world.restore(story["n4"], whole=True)
            story.split({"n4"})
            story.start("n4")
            story.write("n4", LUN, {"alias": "unseen"})
            story.wait(2)
            story.agree(60)
        except Violation as fault:
            return str(fault)
    return ""


def joined_anew(seed: int) -> str:
    """A node joins under a new name, and its host still has what the cluster has configured; what it fetches comes little by little."""
    with seams.tightened({"delta_bytes": 1_500}):
        story = Scenario(4, seed=seed)
        try:
            member = forge.member("n5")
            story.write("n1", MEMBER_PREFIX + "n5", member_value(member))
            for number in range(8):
                story.write(f"n{number % 4 + 1}", f"{LUN}{number:x}", {"alias": f"lun-{number}"})
            story.wait(3)
            machine = story.world.add(member, bootstrap=[story["n1"].member, story["n2"].member])
            machine.host = dict(story["n1"].host)
            machine.slow_until = story.world.now + 20_000
            story.start("n5")
            story.wait(20)
            story.agree(60)
        except Violation as fault:
            return str(fault)
    return ""


def restored(seed: int) -> str:
    """A whole machine is put back to an image from before its last edits, and its users go on."""
    story = Scenario(4, seed=seed)
    try:
        story.backup("n2")
        for number in range(3):
            story.write("n2", LUN, {"alias": f"before-{number}"})
        story.wait(2)
        story.restore("n2", whole=True)
        story.world.edit(story["n2"], {LUN: {"alias": "at once"}})
        story.wait(2)
        story.agree(60)
    except Violation as fault:
        return str(fault)
    return ""


class Mutant(NamedTuple):
    """How a bug is put back, what is tried with each seed, and the numbers of the invariants that it breaks (docs/protocol.md)."""

    plant: Callable[[Patch], None]
    attempt: Callable[[int], str]
    breaks: tuple[int, ...]

    def kills(self, why: str) -> bool:
        """Whether this is what the bug must be found by. An engine that fails may fail in the patch itself: that finds nothing."""
        return why.startswith(tuple(f"invariant {number} broken" for number in self.breaks)) and "the engine fails" not in why


MUTANTS = {
    "seen before commit": Mutant(seen_before_commit, random_run, (1,)),
    "acknowledged before commit": Mutant(acknowledged_before_commit, random_run, (1,)),
    "truncated delta advances a mark": Mutant(truncated_delta_advances_a_mark, random_run, (2,)),
    "tombstone collected by age": Mutant(tombstone_collected_by_age, random_run, (5,)),
    "dot used again": Mutant(dot_used_again, restored, (4,)),
    "winner by wall clock": Mutant(winner_by_wall_clock, random_run, (2,)),
    "concurrent value lost": Mutant(concurrent_value_lost, random_run, (1, 3)),
    "zombie by time-out": Mutant(zombie_by_time_out, random_run, (5,)),
    "caught up at once": Mutant(caught_up_at_once, joined_anew, (9,)),
    "age is not carried": Mutant(age_is_not_carried, random_run, (6,)),
    "late edits forgotten": Mutant(late_edits_forgotten, behind_the_floor, (1,)),
    "digest outgrows a message": Mutant(digest_outgrows_a_message, many_edits, (7,)),
    "stopped observer accuses": Mutant(stopped_observer_accuses, stopped, (6,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_kills(name: str, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    mutant = MUTANTS[name]
    with monkeypatch.context() as patch:
        mutant.plant(patch)
        killed = next(((seed, why) for seed in range(1, SEEDS + 1) if mutant.kills(why := mutant.attempt(seed))), None)
    assert killed is not None, f"{name}: not found in {SEEDS} seeds"
    seed, why = killed
    with capsys.disabled():
        print(f"\n  {name}: killed by seed {seed}: {why[:150]}")
    assert not mutant.attempt(seed), "the same seed holds without the bug"


def test_what_breaks_otherwise_is_no_kill() -> None:
    mutant = MUTANTS["digest outgrows a message"]
    assert mutant.kills("invariant 7 broken on n2 at 6528 ms: a message that no peer takes: a DIGEST of 16,938 bytes")
    assert not mutant.kills("invariant 7 broken on n2 at 6528 ms: the engine fails at Tick: KeyError: 1")
    assert not mutant.kills("invariant 1 broken on n2 at 6528 ms: a digest tells of more or less than is durable")
    assert not mutant.kills("the simulation fails at 6528 ms: KeyError: 1") and not mutant.kills("")
