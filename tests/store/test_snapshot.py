"""Snapshots: what comes out is what went in, and nothing that was tampered with comes out at all."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from store import limits
from store.base import Base
from store.edits import LATE, SignedEdit, decode_edit
from store.level import LEVEL, LEVEL_KEY, level_value
from store.members import MEMBER_PREFIX, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Replica
from store.snapshot import Snapshot, SnapshotError, make_snapshot, read_snapshot

Tamper = Callable[[dict[str, Any]], None]


def grown(scribe: Any) -> Replica:
    """Some members, one of them gone, and a configuration with a conflict, a deletion and void edits; partly collected."""
    replica: Replica = scribe.replica(scribe.founding("n1"))

    def write(author: str, changes: dict[str, Any], **more: Any) -> SignedEdit:
        edit: SignedEdit = scribe.edit(author, changes, replica.fold.clock, lamport=replica.fold.lamport + 1, **more)
        replica.commit(edit)
        return edit

    for name, role in (("n2", Role.EDITOR), ("n3", Role.OBSERVER), ("n4", Role.ADMIN), ("n5", Role.ADMIN)):
        write("n1", {MEMBER_PREFIX + name: member_value(scribe.member(name, role))})
    for n in range(6):
        write(("n1", "n2", "n5")[n % 3], {"defaults": {"x": str(n)}, f"wwid/{n % 4}": {"alias": str(n)}})
    write("n3", {MEMBER_PREFIX + "n3": member_value(scribe.member("n3", Role.OBSERVER, MemberState.LEFT))})
    write("n4", {MEMBER_PREFIX + "n5": member_value(scribe.member("n5", state=MemberState.RETIRED))})
    write("n2", {CLUSTER_KEY: None})
    write("n1", {"wwid/0": None})
    stable = dict(replica.fold.clock)
    one = scribe.edit("n1", {"overrides": {"text": "one"}}, stable, lamport=replica.fold.lamport + 1)
    two = scribe.edit("n2", {"overrides": {"text": "two"}}, stable, lamport=replica.fold.lamport + 1, life="a")
    replica.commit(one, two)
    write("n2", {"wwid/9": {"alias": "late"}}, kind=LATE, covers={"wwid/9": []}, life="a")
    collection = replica.collect(stable)
    assert collection is not None and collection.gone
    replica.collected(collection)
    write("n2", {CLUSTER_KEY: None})
    write("n4", {"defaults": {"x": "last"}})
    return replica


def known(replica: Replica) -> dict[bytes, bytes]:
    return {actor: found[0].signing_key for actor, found in replica.authors.items()}


def read(scribe: Any, data: bytes, trusted: dict[bytes, bytes] | None = None) -> Snapshot:
    return read_snapshot(data, "c1", scribe.verify, trusted or {})


def rebuilt(scribe: Any, snapshot: Snapshot) -> Replica:
    return Replica("c1", scribe.verify, snapshot.log, snapshot.base)


def same_state(left: Replica, right: Replica) -> bool:
    def picture(replica: Replica) -> Any:
        fold, authors = replica.fold, replica._authors
        return (
            fold.clock, fold.lamport, fold.state_hash, {key: fold.siblings(key) for key in fold}, fold.conflicts, replica.floor,
            list(replica.raws()), replica.authors, authors.endings, authors.beyond, replica.voided, replica.registry.by_name,
            replica.unknown_kinds,
        )  # fmt: skip

    return bool(picture(left) == picture(right))


def test_what_comes_out_is_what_went_in(scribe: Any) -> None:
    replica = grown(scribe)
    snapshot = read(scribe, make_snapshot(replica), known(replica))
    assert same_state(rebuilt(scribe, snapshot), replica)
    assert snapshot.base.clock == replica.fold.clock
    assert make_snapshot(rebuilt(scribe, snapshot)) == make_snapshot(replica)


def test_a_snapshot_of_something_that_never_collected(scribe: Any) -> None:
    replica = scribe.replica(scribe.founding("n1"))
    assert same_state(rebuilt(scribe, read(scribe, make_snapshot(replica))), replica)


@pytest.mark.parametrize("collected", [True, False])
def test_edits_of_an_unknown_kind_are_not_folded_into_the_base(scribe: Any, collected: bool) -> None:
    """A receiver of a later version has to fold them itself."""
    replica = grown(scribe) if collected else scribe.replica(scribe.founding("n1"))
    base = replica.base
    replica.commit(scribe.edit("n1", {LEVEL_KEY: level_value(LEVEL + 1)}, replica.fold.clock))
    replica.commit(scribe.edit("n1", {"defaults": {"x": "?"}}, replica.fold.clock, kind="later"))
    replica.commit(scribe.edit("n1", {"wwid/1": {"x": "!"}}, replica.fold.clock))
    assert replica.unknown_kinds == 1
    snapshot = read(scribe, make_snapshot(replica), known(replica))
    assert snapshot.base == (base or Base())
    assert same_state(rebuilt(scribe, snapshot), replica)


# -- tampering ----------------------------------------------------------------------------------------------------------------


def unpacked(data: bytes) -> dict[str, Any]:
    whole: dict[str, Any] = msgpack.unpackb(data, strict_map_key=False)
    whole["base"] = msgpack.unpackb(whole["base"], strict_map_key=False)[1]
    return whole


def packed(whole: dict[str, Any]) -> bytes:
    data: bytes = msgpack.packb(whole | {"base": msgpack.packb([1, whole["base"]])})
    return data


def refused(scribe: Any, replica: Replica, tamper: Tamper, trusted: dict[bytes, bytes] | None = None) -> str:
    whole = unpacked(make_snapshot(replica))
    assert packed(whole) == make_snapshot(replica)
    tamper(whole)
    with pytest.raises(SnapshotError) as caught:
        read(scribe, packed(whole), known(replica) if trusted is None else trusted)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def at(whole: dict[str, Any], scribe: Any, author: str, counter: int) -> int:
    return next(n for n, raw in enumerate(whole["log"]) if decode_edit(raw).dot == (scribe.actor(author), counter))


def forge(
    whole: dict[str, Any], place: int, change: Callable[[dict[str, Any]], None], sign: Callable[[bytes], bytes] | None = None
) -> None:
    body, signature = msgpack.unpackb(whole["log"][place])
    inside = msgpack.unpackb(body, strict_map_key=False)
    change(inside)
    body = msgpack.packb(inside)
    whole["log"][place] = msgpack.packb([body, sign(body) if sign else signature])


def live_place(whole: dict[str, Any], key: str) -> int:
    dot = tuple(whole["base"]["siblings"][key][0])
    return next(n for n, raw in enumerate(whole["log"]) if decode_edit(raw).dot == dot)


def test_a_forged_value_is_refused(scribe: Any) -> None:
    def tamper(whole: dict[str, Any]) -> None:
        forge(whole, live_place(whole, "defaults"), lambda e: e["changes"]["defaults"].update(x="forged"))

    assert "signature" in refused(scribe, grown(scribe), tamper)


def test_an_edit_signed_by_another_is_refused(scribe: Any) -> None:
    def tamper(whole: dict[str, Any]) -> None:
        forge(whole, live_place(whole, "defaults"), lambda e: None, lambda body: bytes(scribe.sign("n2", body)))

    assert "signature" in refused(scribe, grown(scribe), tamper)


def test_a_changed_author_is_refused(scribe: Any) -> None:
    def tamper(whole: dict[str, Any]) -> None:
        place = live_place(whole, "overrides")
        forge(whole, place, lambda e: e.update(author="n4"))

    assert "signature" in refused(scribe, grown(scribe), tamper)


def test_an_invented_admin_is_refused(scribe: Any) -> None:
    """Its admission is signed by nobody who may admit."""
    replica = grown(scribe)
    registration = scribe.registration("n2", scribe.member("mallory"), replica.fold.clock)

    def tamper(whole: dict[str, Any]) -> None:
        base, actor = whole["base"], scribe.actor("mallory")
        whole["log"].append(registration.raw)
        base["clock"][scribe.actor("n2")] += 1
        author = ["mallory", scribe.signing_key("mallory"), "admin", registration.edit.lamport, list(registration.dot), "x" * 40]
        base["authors"][actor] = [author]
        base["siblings"][MEMBER_PREFIX + "mallory"] = [list(registration.dot)]
        base["lamport"] = registration.edit.lamport

    assert "authors" in refused(scribe, replica, tamper)


def test_a_raised_role_is_refused(scribe: Any) -> None:
    def tamper(whole: dict[str, Any]) -> None:
        whole["base"]["authors"][scribe.actor("n2")][0][2] = "admin"

    assert "authors" in refused(scribe, grown(scribe), tamper)


@pytest.mark.parametrize("name", ["n1", "n2", "n5"])
def test_an_author_without_admission_is_refused(scribe: Any, name: str) -> None:
    replica = grown(scribe)

    def tamper(whole: dict[str, Any]) -> None:
        by = tuple(whole["base"]["authors"][scribe.actor(name)][0][4])
        whole["log"] = [raw for raw in whole["log"] if decode_edit(raw).dot != by]
        del whole["base"]["authors"][scribe.actor(name)]

    refused(scribe, replica, tamper)


@pytest.mark.parametrize("what", ["come back", "made gone"])
def test_departures_must_be_shown(scribe: Any, what: str) -> None:
    def tamper(whole: dict[str, Any]) -> None:
        endings = whole["base"]["endings"]
        if what == "come back":
            del endings[scribe.actor("n5")]
        else:
            endings[scribe.actor("n4")] = ["retired", endings[scribe.actor("n5")][1]]

    assert "departures" in refused(scribe, grown(scribe), tamper)


def test_a_whole_history_of_somebody_elses_making_is_refused_by_who_knows_a_member(scribe: Any) -> None:
    """Same cluster, same names, same actors: other keys."""
    other = scribe.replica(scribe.founding("n1"))
    data = make_snapshot(other)
    assert read(scribe, data)
    trusted = {scribe.actor("n1"): b"another key" * 3}
    with pytest.raises(SnapshotError, match="another key"):
        read(scribe, data, trusted)
    with pytest.raises(SnapshotError, match="knows none"):
        read(scribe, data, {scribe.actor("n7"): scribe.signing_key("n7")})
    with pytest.raises(SnapshotError, match="another cluster"):
        read_snapshot(data, "c2", scribe.verify, {})


def change_dot(whole: dict[str, Any], key: str, dot: Any) -> None:
    whole["base"]["siblings"][key] = [dot]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda w: w["base"]["siblings"].update(defaults=[[b"\x00" * 16, 1]]),
        lambda w: w["base"]["siblings"].update(defaults=[[w["base"]["siblings"]["defaults"][0][0], 1]]),
        lambda w: w["base"]["siblings"].update(defaults=[]),
        lambda w: w["base"]["siblings"].update(defaults=w["base"]["siblings"]["defaults"] * 2),
        lambda w: w["base"]["siblings"].update(nothing=w["base"]["siblings"]["defaults"]),
        lambda w: w["base"]["siblings"].pop("overrides"),
        lambda w: w["base"]["siblings"]["overrides"].pop(),
        lambda w: w["base"]["siblings"]["overrides"].reverse(),
        lambda w: w["base"]["clock"].update({b"\x07" * 16: 3}),
        lambda w: w["base"]["clock"].popitem(),
        lambda w: w["base"]["floor"].clear(),
        lambda w: w["base"].update(floor={**w["base"]["clock"], b"\x01" * 16: 1}),
        lambda w: w["base"].update(lamport=0),
        lambda w: w["base"].update(lamport=2**53),
        lambda w: w["base"].update(voids=[]),
        lambda w: w["base"].update(beyond={}),
        lambda w: w["base"].update(clock=5),
        lambda w: w["log"].pop(),
        lambda w: w["log"].pop(0),
        lambda w: w["log"].reverse(),
        lambda w: w["log"].append(w["log"][0]),
        lambda w: w["log"].append(b"garbage"),
        lambda w: w["log"].clear(),
        lambda w: w.update(version=2),
        lambda w: w.update(format="something-else"),
        lambda w: w.pop("log"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(scribe: Any, tamper: Tamper) -> None:
    refused(scribe, grown(scribe), tamper)


def test_a_value_that_was_replaced_is_not_made_live_again(scribe: Any) -> None:
    replica = scribe.replica(scribe.founding("n1"))
    for value in "12":
        replica.commit(scribe.edit("n1", {"defaults": {"x": value}}, replica.fold.clock))

    def tamper(whole: dict[str, Any]) -> None:
        whole["base"]["siblings"]["defaults"] = [[scribe.actor("n1"), 2]]

    assert "live" in refused(scribe, replica, tamper)


def test_what_nobody_would_take_is_not_taken_above_the_base_either(scribe: Any) -> None:
    replica = grown(scribe)
    replica.commit(scribe.edit("n1", {"defaults": {"x": "?"}}, replica.fold.clock, kind="later"))
    observed = scribe.edit("n3", {"defaults": {"x": "1"}}, replica.fold.clock)
    forged = scribe.edit("n4", {"defaults": {"x": "1"}}, replica.fold.clock, signer="n2")
    for bad in (observed, forged):

        def tamper(whole: dict[str, Any], bad: SignedEdit = bad) -> None:
            whole["log"].append(bad.raw)

        assert "nobody would take" in refused(scribe, replica, tamper)


def test_an_edit_of_a_later_kind_that_is_folded_already_is_refused(scribe: Any) -> None:
    replica = scribe.replica(scribe.founding("n1"))
    replica.commit(scribe.edit("n1", {LEVEL_KEY: level_value(LEVEL + 1)}, replica.fold.clock))
    later = scribe.edit("n1", {"defaults": {"x": "?"}}, replica.fold.clock, kind="later")

    def tamper(whole: dict[str, Any]) -> None:
        whole["log"].append(later.raw)
        whole["base"]["clock"][scribe.actor("n1")] = 3
        whole["base"]["lamport"] = 3

    assert "kind" in refused(scribe, replica, tamper)


def test_a_name_of_several_lines_is_told_in_one(scribe: Any) -> None:
    data = make_snapshot(grown(scribe)).replace(b"pathmesh-snapshot", b"pathmesh\nsnapsho\x1b")
    with pytest.raises(SnapshotError, match=r"pathmesh\\nsnapsho\\x1b"):
        read(scribe, data)


def test_the_size_is_bounded(scribe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_snapshot(grown(scribe))
    monkeypatch.setitem(limits.LIMITS, "snapshot_bytes", limits.Limit(len(data) - 1, "bytes", "", ""))
    with pytest.raises(SnapshotError, match="at most"):
        read(scribe, data)


def survives(scribe: Any, replica: Replica, data: bytes) -> None:
    """It is refused, or it changes nothing that could be proven."""
    try:
        snapshot = read(scribe, data, known(replica))
    except SnapshotError as fault:
        assert "\n" not in str(fault)
        return
    mine = {signed.dot: signed.raw for signed in replica.edits()}
    assert {signed.dot: signed.raw for signed in snapshot.log}.items() <= mine.items()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_are_refused_or_harmless(scribe: Any, damage: list[tuple[int, int]]) -> None:
    replica = _grown_once(scribe)
    data = bytearray(make_snapshot(replica))
    for position, value in damage:
        data[position % len(data)] = value
    survives(scribe, replica, bytes(data))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**20), st.binary(max_size=20))
def test_truncated_and_extended_bytes_are_refused(scribe: Any, cut: int, tail: bytes) -> None:
    replica = _grown_once(scribe)
    data = make_snapshot(replica)
    changed = data[: cut % len(data)] + tail
    if changed != data:
        with pytest.raises(SnapshotError):
            read(scribe, changed)
    if tail:
        with pytest.raises(SnapshotError):
            read(scribe, data + tail)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\x84\xa6format\xb1pathmesh-snapshot\xa3log\xdd\xff\xff\xff\xff")
@example(b"\x84\xa6format\xb1pathmesh-snapshot\xa4base\xc6\xff\xff\xff\xff")
@example(b"\x91" * 100_000)
def test_any_bytes_are_refused(scribe: Any, data: bytes) -> None:
    with pytest.raises(SnapshotError):
        read(scribe, data)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**60) | st.binary(max_size=20) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.binary(min_size=16, max_size=16), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*Base.__struct_fields__]), JSON_LIKE)
def test_a_base_with_any_field_replaced_is_refused_or_harmless(scribe: Any, name: str, value: Any) -> None:
    replica = _grown_once(scribe)
    whole = unpacked(make_snapshot(replica))
    whole["base"][name] = value
    survives(scribe, replica, packed(whole))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_base_with_one_dot_replaced_is_refused(scribe: Any, data: st.DataObject) -> None:
    replica = _grown_once(scribe)
    whole = unpacked(make_snapshot(replica))
    siblings = whole["base"]["siblings"]
    key = data.draw(st.sampled_from(sorted(siblings)))
    place = data.draw(st.integers(0, len(siblings[key]) - 1))
    actor = data.draw(st.sampled_from(sorted(replica.fold.clock)))
    dot = [actor, data.draw(st.integers(1, replica.fold.clock[actor] + 1))]
    if dot != siblings[key][place]:
        siblings[key][place] = dot
        with pytest.raises(SnapshotError):
            read(scribe, packed(whole))


_made: list[Replica] = []


def _grown_once(scribe: Any) -> Replica:
    if not _made:
        _made.append(grown(scribe))
    return _made[0]
