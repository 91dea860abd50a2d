"""The cells of a node, from captures of the real daemon and from made-up topologies."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import pytest

from apply.expected import Acceptance, Baseline, accept
from apply.health import Derived, Memory, View, derive
from apply.model import Lun, Model, Settings
from apply.outcome import ApplyError, ApplyOutcome, ApplyState
from apply.storages import ExpectedNodes
from apply.topology import Group, Map, Path, Topology, parse, parse_paths
from store.cells import Cell, content_hash

CAPTURES = FilePath(__file__).parents[1] / "data" / "captures"
W = "35000c500a0b00001"
PORTS = {"sda": "0xa", "sdb": "0xb", "sdc": "0xc", "sdd": "0xd"}


def fc(dev: str, **words: str) -> Path:
    usual = {"dm_st": "active", "chk_st": "ready", "dev_st": "running"}
    return Path(dev=dev, dev_t="8:0", host_wwpn=PORTS[dev], target_wwpn="0x" + PORTS[dev][-1] * 4, **{**usual, **words})  # type: ignore[arg-type]


def a_map(*paths: Path, wwid: str = W, **words: Any) -> Map:
    groups = tuple(Group(group=n, paths=(path,)) for n, path in enumerate(paths, 1))
    return Map(uuid=wwid, **{"name": wwid, "dm_st": "active", "sysfs": "dm-0", "path_groups": groups, **words})


def model(*luns: Lun, **settings: Any) -> Model:
    found = {lun.wwid: lun for lun in luns or (Lun(W),)}
    return Model(settings=Settings(**{"learn_window_seconds": 0, **settings}), luns=found, empty=False)


def view(maps: Sequence[Map] | None, now: float = 0.0, **changes: Any) -> View:
    given: dict[str, Any] = {
        "node": "n1",
        "now": now,
        "wall": 1e9 + now,
        "model": model(),
        "expected": {W: ExpectedNodes(frozenset({"n1", "n2"}), "explicit")},
        "topology": None if maps is None else Topology(tuple(maps)),
        **changes,
    }
    return View(**given)


def poll(*views: View, baselines: Mapping[str, Baseline] | None = None) -> list[Derived]:
    memory, known, result = Memory(), baselines or {}, []
    for one in views:
        derived = derive(one, memory, known)
        memory, known = derived.memory, derived.baselines
        result.append(derived)
    return result


def cell(derived: Derived, wwid: str = W) -> Cell:
    (found,) = [c for c in derived.cells if c.id == wwid]
    return found


def only(*views: View, baselines: Mapping[str, Baseline] | None = None) -> Cell:
    return cell(poll(*views, baselines=baselines)[-1])


LEARNED = {W: Baseline(("fc:0xa>0xaaaa", "fc:0xb>0xbbbb"))}


def captured(name: str, now: float, **changes: Any) -> View:
    folder = CAPTURES / name
    sizes = {W: 64 << 20}
    # The captured listing has the columns of the tools' own test format; ours are picked from it.
    rows = [line.split("|") for line in (folder / "paths_raw_format.out").read_text().splitlines()]
    seen = parse_paths("".join(f"{r[0]}|{r[1]}|{r[2]}|{r[9]}|{r[12]}|{r[10]}|{r[8]}\n" for r in rows))
    return dataclasses.replace(view([], now), topology=parse((folder / "maps.json.out").read_bytes()), seen=seen, sizes=sizes, **changes)


def test_a_healthy_map_in_full() -> None:
    found = only(captured("03_healthy_2paths", 0.0))
    names = ["other:->-,0:0:1", "other:->-,0:0:1#2"]
    row = {"class": "active", "chk": "ready", "dm": "active", "dev_state": "running"}
    assert (found.kind, found.state, found.reasons) == ("multipath.map", "healthy", ())
    assert found.detail == {
        "alias": None,
        "vendor": "LAB",
        "product": "SAN",
        "size_bytes": 64 << 20,
        "allowed": True,
        "redundancy": "full",
        "paths": {
            "usable": 2, "active": 2, "standby": 0, "marginal": 0, "failed": 0, "visible": 2, "expected": 2, "expected_source": "learned",
        },
        "missing_paths": [],
        "queueing": "none",
        "flags": [],
        "path_list": [{"id": names[0], "group": 1, **row}, {"id": names[1], "group": 2, **row}],
        "baseline": names,
        "acked": None,
    }  # fmt: skip
    assert found.measures["devs"] == {names[0]: "sdb", names[1]: "sdd"}
    assert found.measures["sysfs"] == "dm-0"


def test_the_captured_life_of_a_map() -> None:
    names = ["03_healthy_2paths", "04_one_path_offline", "05_path_restored", "05_path_restored"]
    names += ["06_one_path_removed", "08_all_paths_failed"]
    derived = poll(*(captured(name, 10.0 * n) for n, name in enumerate(names)))
    states = [(cell(d).state, cell(d).reasons) for d in derived]
    assert states == [
        ("healthy", ()),
        ("degraded", ("path-failed", "single-path")),
        ("degraded", ("path-failed", "single-path", "recovering")),
        ("healthy", ()),
        ("degraded", ("path-lost", "single-path")),
        ("failed", ("path-failed", "all-paths-failed", "flapping")),
    ]
    assert cell(derived[4]).detail["missing_paths"] == ["other:->-,0:0:1#2"]


def test_a_map_without_any_path_and_one_that_vanished() -> None:
    held = only(captured("03_healthy_2paths", 0.0), captured("14_all_paths_removed_map_open", 10.0))
    assert (held.state, held.reasons, held.detail["vendor"]) == ("failed", ("path-lost", "no-paths"), "")
    gone = only(captured("03_healthy_2paths", 0.0), captured("13_all_paths_removed", 10.0))
    assert (gone.state, gone.reasons) == ("missing", ("not-visible",))
    assert len(gone.detail["missing_paths"]) == 2


def test_queueing_is_flagged_when_it_hangs() -> None:
    found = only(captured("10_all_failed_queueing", 0.0))
    assert (found.state, found.detail["queueing"], found.detail["flags"]) == ("failed", "on", ["io-hangs"])


def test_only_standby_paths_degrade_although_the_daemon_counts_them() -> None:
    found = only(view([a_map(fc("sda", chk_st="ghost"), fc("sdb", chk_st="ghost"))]))
    assert (found.state, found.reasons) == ("degraded", ("no-optimized",))


def test_a_lost_path_is_named_and_renumbering_is_no_loss() -> None:
    both = view([a_map(fc("sda"), fc("sdb"))])
    renamed = view([a_map(Path("sdx", "8:1", "active", "running", "ready", host_wwpn="0xa", target_wwpn="0xaaaa"), fc("sdb"))], 10.0)
    lost = view([a_map(fc("sdb"))], 20.0)
    derived = poll(both, renamed, lost)
    assert cell(derived[1]).state == "healthy"
    assert content_hash(cell(derived[0])) == content_hash(cell(derived[1]))
    found = cell(derived[2])
    assert (found.state, found.reasons) == ("degraded", ("path-lost", "single-path"))
    assert found.detail["missing_paths"] == ["fc:0xa>0xaaaa"]
    assert found.detail["paths"]["expected"] == 2


def test_acceptance_clears_a_lost_path() -> None:
    accepted = {W: accept(LEARNED[W], Acceptance("dot", ("fc:0xb>0xbbbb",)), 0.0)}
    found = only(view([a_map(fc("sdb"))]), baselines=accepted)
    assert (found.state, found.reasons) == ("healthy", ())
    assert found.detail["paths"]["expected_source"] == "accepted"


def test_the_acceptance_in_force_is_told() -> None:
    given = Acceptance("n1/7", ("fc:0xb>0xbbbb",), 1e9 + 60.0, "two ports\nare enough", "n2")
    accepted = {W: accept(LEARNED[W], given, 0.0)}
    told = {"id": "n1/7", "by": "n2", "reason": "two ports\ufffdare enough", "expires": 1e9 + 60.0}
    there, gone = [a_map(fc("sdb"))], view([], 30.0)
    one, missing, late = poll(view(there), gone, view(there, 70.0), baselines=accepted)
    assert (cell(one).detail["acked"], cell(missing).state, cell(missing).detail["acked"]) == (told, "missing", told)
    assert (cell(late).detail["acked"], cell(late).detail["missing_paths"]) == (None, ["fc:0xa>0xaaaa"]), "it has run out"
    both = only(view([a_map(fc("sda"), fc("sdb"))]), baselines=accepted)
    assert (both.detail["acked"], both.detail["paths"]["expected"]) == (told, 2), "more was learned; the rest stays let go"
    assert only(view(there), baselines=LEARNED).detail["acked"] is None


def test_an_acceptance_without_end_is_told_as_one() -> None:
    endless = accept(Baseline(), Acceptance("dot", (), float("inf")), 0.0).told_acceptance()
    assert endless == {"id": "dot", "by": "", "reason": "", "expires": 0.0}, "a cell with an infinite number is refused by everybody"


@pytest.mark.parametrize(
    ("lun", "settings", "expected"),
    [
        (Lun(W, expected_paths=4), {}, (4, "configured", "degraded")),
        (Lun(W, expected_paths=1), {}, (1, "configured", "healthy")),
        (Lun(W, expected_paths="none", min_paths=1), {}, (None, "none", "healthy")),
        (Lun(W), {"expected_paths": 4}, (4, "defaults", "degraded")),
        (Lun(W, expected_paths="none", min_paths=1), {"expected_paths": 4}, (None, "none", "healthy")),
        (Lun(W), {"expected_paths": "none", "min_paths": 1}, (None, "none", "healthy")),
        (Lun(W, min_paths=1), {}, (2, "learned", "degraded")),
    ],
)
def test_the_sources_of_expectation(lun: Lun, settings: dict[str, Any], expected: tuple[int | None, str, str]) -> None:
    found = only(view([a_map(fc("sda"))], model=model(lun, **settings)), baselines=LEARNED)
    assert (found.detail["paths"]["expected"], found.detail["paths"]["expected_source"], found.state) == expected


def test_peers_that_know_more_paths_degrade() -> None:
    two = [a_map(fc("sda"), fc("sdb"))]
    assert only(view(two, peer_sizes={W: (4, 4)})).reasons == ("fewer-than-peers",)
    assert only(view(two, peer_sizes={W: (2, 4, 2)})).state == "healthy"


def test_more_paths_than_peers_have_are_a_flag() -> None:
    two = [a_map(fc("sda"), fc("sdb"))]
    found = only(view(two, peer_sizes={W: (1, 1)}))
    assert (found.state, found.detail["flags"]) == ("healthy", ["more-than-peers"])
    assert only(view(two, peer_sizes={W: (1,)})).detail["flags"] == []
    assert only(view(two, peer_sizes={W: (2, 2, 1)})).detail["flags"] == []
    accepted = {W: accept(Baseline(), Acceptance("dot", LEARNED[W].identities), 0.0)}
    assert only(view(two, peer_sizes={W: (1, 1)}), baselines=accepted).detail["flags"] == [], "a person said that it is right"


def test_a_lost_path_is_forgotten_after_the_days_that_were_set() -> None:
    def polled(present: Sequence[Map], **changes: Any) -> list[Derived]:
        return poll(*(view(present, 3600.0 * n, model=model(forget_after_days=1), **changes) for n in range(26)), baselines=LEARNED)

    one = polled([a_map(fc("sda"))])
    assert [cell(derived).detail["paths"]["expected"] for derived in one] == [2] * 24 + [1] * 2
    assert cell(one[-1]).reasons == ("single-path",) and cell(one[-1]).detail["missing_paths"] == [], "but one path is too few for ever"
    assert cell(polled([a_map(fc("sda"), fc("sdb", dm_st="failed"))])[-1]).detail["paths"]["expected"] == 2, "it is there, and failed"
    assert cell(polled([])[-1]).detail["paths"]["expected"] == 2, "the whole LUN is gone"
    assert cell(polled([a_map(fc("sda"))], learning=False)[-1]).detail["paths"]["expected"] == 2, "in maintenance"


def test_nothing_is_learned_while_not_learning_nor_of_strangers() -> None:
    (derived,) = poll(view([a_map(fc("sda"), fc("sdb")), a_map(fc("sdc"), wwid="36other")], learning=False))
    assert not derived.baselines
    (derived,) = poll(view([a_map(fc("sda"), fc("sdb")), a_map(fc("sdc"), wwid="36other")]))
    assert derived.baselines.keys() == {W}


def test_an_unexpected_map_shows_its_own_health() -> None:
    stranger = only(view([a_map(fc("sda", dm_st="failed"), fc("sdb"))], model=model(Lun("36other")), expected={}))
    assert (stranger.state, stranger.detail["health"], stranger.detail["allowed"]) == ("unexpected", "degraded", False)
    elsewhere = only(view([a_map(fc("sda"), fc("sdb"))], model=model(Lun(W, nodes=frozenset({"n2"}))), expected={}))
    assert (elsewhere.state, elsewhere.detail["health"]) == ("unexpected", "healthy")
    disabled = only(view([a_map(fc("sda"), fc("sdb"))], model=model(Lun(W, enabled=False)), expected={}))
    assert disabled.state == "unexpected"
    nobody = only(view([a_map(fc("sda"), fc("sdb"))], expected={W: ExpectedNodes(frozenset(), "none")}))
    assert nobody.state == "healthy"


def test_a_wwid_that_cannot_be_managed_is_shown() -> None:
    (derived,) = poll(view([a_map(fc("sda"), wwid="has space")], model=model(Lun("36other")), expected={}))
    found = cell(derived, "has space")
    assert (found.id, found.state, found.reasons[0]) == ("has space", "unexpected", "unmanageable-wwid")


def test_the_reasons_of_a_missing_map() -> None:
    orphan = parse_paths(f"{W}|0:0:0:1|sda|2.0T|[orphan]|SN1|PURE,FlashArray\n")
    failed = ApplyOutcome(ApplyState.FAILED, "d", errors=(ApplyError("wwid-create-failed", f"the paths of {W} are visible", wwid=W),))
    assert only(view([])).reasons == ("not-visible",)
    assert only(view([], seen=orphan)).reasons == ("not-assembled",)
    assert only(view([], seen=orphan, outcome=failed)).reasons == ("create-failed",)
    other = (ApplyError("wwid-create-failed", f"the paths of {W}0 are visible", wwid=f"{W}0"),)
    assert only(view([], seen=orphan, outcome=ApplyOutcome(ApplyState.FAILED, "d", errors=other))).reasons == ("not-assembled",)
    assert only(view([], attached=frozenset({W}))).reasons == ("blacklisted",)
    assert only(view([], seen=orphan)).detail["size_bytes"] == 2 << 40


def test_a_missing_map_is_pending_for_a_while() -> None:
    young = view([], allowed_since={W: 1e9 - 59.0})
    old = view([], allowed_since={W: 1e9 - 61.0})
    assert [only(v).state for v in (young, old)] == ["pending", "missing"]


HELD = ApplyError("prune-deferred", "something would be taken away")


@pytest.mark.parametrize(
    ("state", "age", "notes", "shown"),
    [
        (ApplyState.PENDING, 0.0, (), "pending"),
        (ApplyState.PENDING, 59.0, (ApplyError("wwid-not-visible", "no path"),), "pending"),
        (ApplyState.PENDING, 61.0, (), "missing"),
        (ApplyState.PENDING, -3600.0, (), "missing"),  # a clock that was set back does not hide a loss for an hour
        (ApplyState.PENDING, 0.0, (HELD,), "missing"),
        (ApplyState.IN_SYNC, 0.0, (), "missing"),
        (ApplyState.FAILED, 0.0, (), "missing"),
    ],
)
def test_an_apply_excuses_a_missing_map_for_a_while(state: ApplyState, age: float, notes: tuple[ApplyError, ...], shown: str) -> None:
    outcome = ApplyOutcome(state, "d", notes=notes, since=1e9 - age)
    assert only(view([], outcome=outcome)).state == shown


def test_a_map_that_is_missing_stays_so_whatever_is_applied() -> None:
    missing = view([], allowed_since={W: 0.0})
    applying = ApplyOutcome(ApplyState.PENDING, "d", since=1e9 + 10.0)
    edited = [view([], now, outcome=applying, allowed_since={W: 0.0}) for now in (10.0, 20.0, 30.0)]
    assert [cell(d).state for d in poll(missing, *edited)] == ["missing"] * 4


def test_a_daemon_that_starts_excuses_a_missing_map_for_a_while() -> None:
    polls = poll(*(view([], now, doing=doing) for now, doing in ((0.0, "configure"), (59.0, "startup"), (61.0, "configure"))))
    shown = [(cell(d).state, cell(d).reasons) for d in polls]
    assert shown == [("pending", ("daemon-starting",))] * 2 + [("missing", ("not-visible",))]
    for doing in ("idle", "running", "idle (pending reconfigure)", ""):
        assert only(view([], doing=doing)).state == "missing"
    assert only(view([a_map(fc("sda"), fc("sdb"))], doing="configure")).state == "healthy"


def test_a_map_that_is_missing_stays_so_while_the_daemon_reads_its_files() -> None:
    assert [cell(d).state for d in poll(view([]), view([], 10.0, doing="configure"))] == ["missing"] * 2


@pytest.mark.parametrize(("failure", "shown"), [("daemon-down", "pending"), ("not-installed", "pending"), ("daemon-timeout", "missing")])
def test_only_a_daemon_that_was_gone_has_its_time_to_start_anew(failure: str, shown: str) -> None:
    busy = view([], 0.0, doing="configure")
    polls = poll(busy, view(None, 50.0, failure=failure), dataclasses.replace(busy, now=61.0))
    assert [cell(d).state for d in polls] == ["pending", "unknown", shown]


def test_a_daemon_that_came_to_rest_has_its_time_anew() -> None:
    there = view([a_map(fc("sda"), fc("sdb"))], 50.0, doing="idle")
    polls = poll(view([], doing="configure"), there, view([], 61.0, doing="configure"))
    assert [cell(d).state for d in polls] == ["pending", "healthy", "pending"]


def test_a_map_is_not_missing_where_it_is_not_expected() -> None:
    (derived,) = poll(view([], node="n3"))
    assert derived.cells == []


@pytest.mark.parametrize("code", ["daemon-timeout", "daemon-garbage", "daemon-down", "not-installed"])
def test_all_is_unknown_when_the_daemon_cannot_be_asked(code: str) -> None:
    healthy = view([a_map(fc("sda"), fc("sdb")), a_map(fc("sdc"), wwid="36other")])
    derived = poll(healthy, view(None, 10.0, failure=code), view(None, 20.0, failure=code), dataclasses.replace(healthy, now=30.0))
    for one in derived[1:3]:
        assert [(c.id, c.state, c.reasons) for c in one.cells] == [(W, "unknown", (code,)), ("36other", "unknown", (code,))]
        assert cell(one).detail["last"]["state"] == "healthy"
        assert cell(one).detail["last"]["paths"]["usable"] == 2
        assert "last" not in cell(one).detail["last"]
    assert cell(derived[3]).state == "healthy"


def test_unknown_from_the_start_shows_what_is_expected() -> None:
    found = only(view(None, failure="not-installed", model=model(Lun(W, alias="pool"))))
    assert (found.state, found.detail) == ("unknown", {"alias": "pool", "allowed": True})


def test_unknown_from_the_start_shows_what_was_carried_before() -> None:
    """Also of a LUN that no storage names: without it, it would read as unused until the daemon is back."""
    down: dict[str, Any] = {"failure": "daemon-down", "expected": {}}
    found = only(view(None, **down), baselines=LEARNED)
    assert (found.state, found.reasons) == ("unknown", ("daemon-down",))
    stale = {**LEARNED, "36gone": LEARNED[W], "nqn.x": LEARNED[W]}
    assert [c.id for c in poll(view(None, **down), baselines=stale)[0].cells] == [W], "the others are in the configuration no more"
    for lun in (Lun(W, enabled=False), Lun(W, nodes=frozenset({"n2"}))):
        assert poll(view(None, **down, model=model(lun)), baselines=LEARNED)[0].cells == []
    assert poll(view(None, **down), baselines={W: Baseline()})[0].cells == [], "nothing was learned of it here"
    elsewhere = {**down, "expected": {W: ExpectedNodes(frozenset({"n2"}), "explicit")}}
    assert poll(view(None, **elsewhere), baselines=LEARNED)[0].cells == [], "the nodes that should have it tell of it"
    gone = poll(view([a_map(fc("sdc"), wwid="36other")], expected={}), view(None, 10.0, **down), baselines=LEARNED)
    assert [c.id for c in gone[1].cells] == ["36other"], "it was not there when the daemon last answered"
    back = poll(view(None, **down), view([], 10.0, expected={}), baselines=LEARNED)
    assert back[1].cells == [], "the daemon says that it is not there"


def test_a_cut_answer_makes_unknown_and_never_missing() -> None:
    both = view([a_map(fc("sda"), fc("sdb")), a_map(fc("sdc"), wwid="36other")])
    cut = dataclasses.replace(both, now=10.0, topology=Topology((a_map(fc("sdc"), wwid="36other"),), complete=False))
    derived = poll(both, cut)
    assert [(c.id, c.state) for c in derived[1].cells] == [(W, "unknown"), ("36other", "unexpected")]
    lost = dataclasses.replace(cut, topology=Topology((a_map(fc("sda"), fc("sdb")),), unreadable=frozenset({"36other"})))
    derived = poll(both, lost)
    assert [(c.id, c.state) for c in derived[1].cells] == [(W, "healthy"), ("36other", "unknown")]
    stranger_lost = dataclasses.replace(cut, topology=Topology((a_map(fc("sda"), fc("sdb")),), complete=False))
    derived = poll(both, stranger_lost)
    assert [(c.id, c.state) for c in derived[1].cells] == [(W, "healthy"), ("36other", "unknown")]


def test_a_path_being_checked_does_not_blink() -> None:
    checks = [("ready", 0.0), ("i/o pending", 10.0), ("i/o pending", 41.0)]
    polls = [view([a_map(fc("sda"), fc("sdb", chk_st=word))], now) for word, now in checks]
    derived = poll(*polls)
    assert [cell(d).state for d in derived] == ["healthy", "healthy", "degraded"]
    assert cell(derived[2]).reasons == ("path-suspect", "single-path")


def test_a_suspended_map() -> None:
    derived = poll(*(view([a_map(fc("sda"), fc("sdb"), dm_st="suspend")], now) for now in (0.0, 29.0, 30.0)))
    assert [(cell(d).state, cell(d).reasons) for d in derived] == [("healthy", ()), ("healthy", ()), ("degraded", ("suspended",))]


def test_flapping_is_said() -> None:
    good, bad = [a_map(fc("sda"), fc("sdb"))], [a_map(fc("sda"), fc("sdb", dm_st="failed"))]
    derived = poll(*(view(bad if n % 2 else good, 10.0 * n) for n in range(6)))
    assert cell(derived[-1]).reasons[-1] == "flapping"


def test_counters_and_countdowns_are_no_content() -> None:
    one = a_map(fc("sda"), fc("sdb"), queueing="25 sec", path_faults=1)
    two = a_map(fc("sda"), fc("sdb"), queueing="7 sec", path_faults=9, map_loads=3, sysfs="dm-7")
    assert content_hash(only(view([one]))) == content_hash(only(view([two], 5.0)))


def test_single_failure_domain_is_a_flag() -> None:
    same = Path("sdb", "8:1", "active", "running", "ready", host_wwpn="0xa", target_wwpn="0xbbbb")
    found = only(view([a_map(fc("sda"), same)]))
    assert (found.state, found.detail["flags"]) == ("healthy", ["single-failure-domain"])


def test_hostile_text_is_bounded() -> None:
    found = only(view([a_map(fc("sda"), fc("sdb"), vend="x" * 5000, prod="a\nb\x1b", name="n" * 5000)]))
    assert len(found.detail["vendor"]) == 256
    assert found.detail["product"] == "a\ufffdb\ufffd"
    assert len(found.detail["alias"]) == 256


def test_too_many_paths_and_maps_are_cut_and_counted() -> None:
    many = tuple(Path(f"sd{n}", "8:0", "active", "running", "ready", host_wwpn=f"0x{n:02x}", target_wwpn=f"0x{n:02x}") for n in range(40))
    found = only(view([Map(uuid=W, name=W, dm_st="active", path_groups=(Group(paths=many),))]))
    assert (len(found.detail["path_list"]), found.detail["paths"]["visible"]) == (32, 40)
    (derived,) = poll(view([Map(uuid=f"36{n:06}", name="x") for n in range(4100)], model=model(Lun("x")), expected={}))
    assert (len(derived.cells), derived.truncated) == (4096, 4)
