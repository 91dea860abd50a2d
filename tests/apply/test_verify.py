"""Reading back: what is broken, what somebody overrides, what is merely absent; and what must not be touched at all."""

from pathlib import Path
from typing import Any

import pytest

from apply.confsyntax import parse
from apply.live import Live
from apply.preflight import foreign_maps, taken_names
from apply.topology import Group, Map, Seen, Topology
from apply.topology import Path as DevPath
from apply.verify import MAX_ERRORS, Wanted, verify, working_maps

STRICT = 'defaults {\n\tfind_multipaths "strict"\n\tuser_friendly_names "no"\n\tpolling_interval 5\n}\n'
MAIN = parse('defaults {\n\tfind_multipaths "strict"\n\tpolling_interval "5"\n\tuser_friendly_names "no"\n}\n')


def a_map(wwid: str, name: str = "", paths: int = 2, checked: str = "ready") -> Map:
    rows = tuple(DevPath(dev=f"{wwid}{n}", dev_t="8:0", dm_st="active", dev_st="running", chk_st=checked) for n in range(paths))
    return Map(uuid=wwid, name=name or wwid, path_groups=(Group(paths=rows),))


def live(*maps: Map, config: str = STRICT, orphans: tuple[str, ...] = ()) -> Live:
    seen = {wwid: Seen(wwid, {f"{wwid}0": "0:0:0:1"}, wwid not in orphans, "", "", None) for wwid in [m.uuid for m in maps] + list(orphans)}
    return Live(7, parse(config), Topology(maps), seen)


def codes(errors: Any) -> list[str]:
    return [error.code for error in errors]


def test_all_is_right() -> None:
    findings = verify(Wanted(MAIN, {"361": "a"}), live(a_map("361", "a")))
    assert (findings.errors, findings.notes) == ((), ())


def test_a_knob_that_is_not_effective_names_the_file_that_sets_it() -> None:
    config = STRICT.replace("polling_interval 5", "polling_interval 9")
    wanted = Wanted(MAIN, {}, local_files={"/etc/multipath/conf.d/99-local.conf": "defaults {\n\tpolling_interval 9\n}\n"})
    (error,) = verify(wanted, live(config=config)).overridden
    assert error.code == "overridden-locally"
    assert "polling_interval is '9' instead of '5', set by /etc/multipath/conf.d/99-local.conf" in error.message
    missing = verify(Wanted(MAIN, {}), live(config='defaults {\n\tfind_multipaths "strict"\n\tuser_friendly_names "no"\n}\n')).overridden
    assert "not set" in missing[0].message


def test_what_our_own_overrides_set_is_free() -> None:
    overrides = parse("defaults {\n\tpolling_interval 9\n}\n")
    assert not verify(Wanted(MAIN, {}, overrides=overrides), live(config=STRICT.replace("5", "9"))).errors


def test_friendly_names_may_come_from_elsewhere() -> None:
    config = STRICT + 'overrides {\n\tuser_friendly_names "yes"\n}\n'
    assert codes(verify(Wanted(MAIN, {}), live(config=config)).overridden) == ["overridden-locally"]
    config = STRICT + 'devices {\n\tdevice {\n\t\tvendor "X"\n\t\tuser_friendly_names "yes"\n\t}\n}\n'
    assert codes(verify(Wanted(MAIN, {}), live(config=config)).overridden) == ["overridden-locally"]


def test_knobs_of_a_lun_count_where_its_map_is() -> None:
    main = parse('multipaths {\n\tmultipath {\n\t\tno_path_retry "18"\n\t\twwid "361"\n\t}\n}\n')
    assert not verify(Wanted(main, {"361": "361"}), live(orphans=())).overridden
    config = 'defaults {\n}\nmultipaths {\n\tmultipath {\n\t\twwid "361"\n\t\tno_path_retry 3\n\t}\n}\n'
    (error,) = verify(Wanted(main, {"361": "361"}), live(a_map("361"), config=config)).overridden
    assert "no_path_retry of 361 is '3'" in error.message


def test_wrong_names_missing_maps_and_absent_luns() -> None:
    names = {"361": "a", "362": "b", "363": "363", "364": "364"}
    findings = verify(Wanted(MAIN, names, attached={"363"}), live(a_map("361", "x"), orphans=("362",)))
    assert codes(findings.luns) == ["alias-conflict", "wwid-create-failed", "wwid-blacklisted"]
    assert "362" in findings.luns[1].message
    assert codes(findings.notes) == ["wwid-not-visible"]
    assert "364" in findings.notes[0].message


def test_maps_that_did_not_survive_are_broken() -> None:
    unplugged = "3600140541f67c5d5e05470fb14394815"
    before = live(a_map("361"), a_map("362"), a_map("363"), a_map("364", paths=0), a_map(unplugged), a_map("366"), a_map("367"))
    after = live(a_map("362", paths=0), a_map("366", checked="undef"), a_map("367", checked="faulty"), orphans=("361", "363", "364"))
    findings = verify(Wanted(MAIN, {}, working={w: n for w, n in working_maps(before).items() if w != "363"}), after)
    assert [error.message.split(" when ")[0] for error in findings.broken] == [
        "map 361 (361) lost its device",
        "map 362 (362) lost all its paths",
        "map 366 (366) has no path any more that multipathd can check",
    ]
    assert set(codes(findings.broken)) == {"reconfigure-failed"}
    assert [error.wwid for error in findings.broken] == ["361", "362", "366"]
    assert not verify(Wanted(MAIN, {}), after).broken


@pytest.mark.parametrize(
    ("wwid", "attached", "broken"),
    [
        ("3600140541f67c5d5e05470fb14394815", True, True),
        ("3600140541f67c5d5e05470fb14394815", False, False),  # unplugged
        ("234f34cba7854dc66", False, False),
        ("35000cca0bb7ca048", True, True),
        ("0QEMU_QEMU_HARDDISK_drive-scsi0", False, True),  # the kernel does not tell such WWIDs
        ("eui.00253885910026cd", False, True),
    ],
)
def test_a_map_that_is_not_seen_any_more_is_broken_if_its_disks_are_there(wwid: str, attached: bool, broken: bool) -> None:
    wanted = Wanted(MAIN, {}, working={wwid: "a"}, attached={wwid} if attached else ())
    assert codes(verify(wanted, live()).broken) == ["reconfigure-failed"] * broken


def test_overrides_that_a_later_file_beats() -> None:
    config = STRICT + 'devices {\n\tdevice {\n\t\tvendor "V"\n\t\tproduct "P"\n\t\tpath_checker "tur"\n\t\tfailback 5\n\t}\n}\n'
    ours = 'devices {\n\tdevice {\n\t\tvendor "V"\n\t\tproduct "P"\n\t\tchecker directio\n\t\tfailback 6\n\t}\n}\n'
    theirs = 'devices {\n\tdevice {\n\t\tvendor "V"\n\t\tproduct "P"\n\t\tpath_checker "tur"\n\t}\n}\n'

    def told(**files: str) -> list[str]:
        paths = {f"/c/{name[1:]}.conf": text for name, text in files.items()}
        return [error.message for error in verify(Wanted(MAIN, {}, parse(ours), local_files=paths), live(config=config)).overridden]

    assert told(_99=theirs) == ["path_checker of device V P of the overrides is 'tur' instead of 'directio', set by /c/99.conf"]
    assert told(_91=theirs) == [], "ours is read after it"
    assert told(_99=theirs.replace("P", "Q")) == [], "another device"
    assert told() == [], "no file of others: the release may not know it, or leaves it out"


def test_thousands_of_errors_are_summed_up() -> None:
    names = {f"36{n:04}": f"36{n:04}" for n in range(200)}
    luns = verify(Wanted(MAIN, names), live(orphans=tuple(names))).luns
    assert len(luns) == MAX_ERRORS + 1
    assert luns[-1].message == "and 150 more of the kind"


FRIENDLY = 'defaults {\n\tfind_multipaths "strict"\n\tuser_friendly_names "yes"\n}\n'
GREEDY = 'defaults {\n\tfind_multipaths "greedy"\n\tuser_friendly_names "no"\n}\n'


@pytest.mark.parametrize(
    ("config", "managed", "allowed", "message"),
    [
        (STRICT, set(), set(), ""),
        (FRIENDLY, set(), {"361", "362"}, "renamed to their WWIDs: mpatha (361)"),
        (FRIENDLY, {"361"}, {"361", "362"}, ""),
        (GREEDY, set(), {"362"}, "dropped as soon as they are unused: mpatha (361)"),
        (GREEDY, set(), {"361", "362"}, ""),
        (GREEDY, {"361", "362"}, set(), ""),
        (FRIENDLY + 'multipaths {\n\tmultipath {\n\t\twwid "361"\n\t\talias "mpatha"\n\t}\n}\n', set(), {"361", "362"}, ""),
        (FRIENDLY + 'multipaths {\n\tmultipath {\n\t\twwid "361"\n\t\t# alias "mpatha"\n\t}\n}\n', set(), {"361", "362"}, "mpatha (361)"),
    ],
)
def test_maps_of_others_that_the_pins_would_affect(config: str, managed: set[str], allowed: set[str], message: str) -> None:
    errors = foreign_maps(live(a_map("361", "mpatha"), a_map("362"), config=config), managed, allowed)
    if not message:
        assert errors == []
    else:
        assert codes(errors) == ["foreign-map-affected"]
        assert message in errors[0].message
        assert "accept_renames" in errors[0].hint


def test_names_that_are_taken(tmp_path: Path) -> None:
    mapper, sysfs = tmp_path / "mapper", tmp_path / "sys"
    for name, device, uuid in [("vg-lv", "dm-1", "LVM-abc"), ("mine", "dm-2", "mpath-361")]:
        (sysfs / "block" / device / "dm").mkdir(parents=True)
        (sysfs / "block" / device / "dm" / "uuid").write_text(uuid + "\n")
        mapper.mkdir(exist_ok=True)
        (tmp_path / device).touch()
        (mapper / name).symlink_to(tmp_path / device)
    now = live(a_map("361", "x"), a_map("362", "y"), a_map("369", "foreign"))

    def messages(names: dict[str, str]) -> list[str]:
        return [error.message for error in taken_names(names, now, mapper, sysfs)]

    assert messages({"361": "free", "362": "y"}) == []
    assert messages({"361": "y", "362": "x"}) == []
    assert messages({"361": "mine"}) == []
    assert messages({"361": "foreign"}) == ["alias 'foreign' of 361 is taken on this host by the map of 369"]
    assert messages({"361": "y", "362": "y"}) == ["alias 'y' of 361 is taken on this host by the map of 362"]
    assert messages({"361": "vg-lv"}) == [f"alias 'vg-lv' of 361 is taken on this host by {mapper / 'vg-lv'} (LVM-abc)"]


def test_another_allow_list_is_told() -> None:
    config = STRICT.replace("}\n", '\twwids_file "/tmp/w"\n}\n')
    local = {"/etc/multipath/conf.d/99.conf": "defaults {\n\twwids_file /tmp/w\n}\n"}
    (error,) = verify(Wanted(MAIN, {"361": "361"}, local_files=local), live(a_map("361"), config=config)).errors
    assert error.code == "overridden-locally"
    assert "wwids_file is '/tmp/w' instead of '/etc/multipath/wwids', set by /etc/multipath/conf.d/99.conf" in error.message
    same = Wanted(MAIN, {"361": "361"}, allow_list="/tmp/w")
    assert not verify(same, live(a_map("361"), config=config)).errors
    assert not verify(Wanted(MAIN, {}), live(config=config)).errors, "nothing is allowed here"


def test_a_name_from_somebodys_own_file_is_no_refusal_of_multipathd() -> None:
    main = parse('multipaths {\n\tmultipath {\n\t\talias "a"\n\t\twwid "361"\n\t}\n}\n')
    config = STRICT + 'multipaths {\n\tmultipath {\n\t\twwid "361"\n\t\talias "other"\n\t}\n}\n'
    assert codes(verify(Wanted(main, {"361": "a"}), live(a_map("361", "other"), config=config)).errors) == ["overridden-locally"]
    config = STRICT + 'multipaths {\n\tmultipath {\n\t\twwid "361"\n\t\talias "a"\n\t}\n}\n'
    assert codes(verify(Wanted(main, {"361": "a"}), live(a_map("361", "other"), config=config)).errors) == ["alias-conflict"]
