"""WWIDs and aliases: what passes, what is refused, what was meant."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apply.wwid import AliasType, check_wwid, device_path, suggest_wwid
from store.errors import UsageError

IN_THE_WILD = [
    "3624a9370e92ace0b12e941bf000cb4d5",
    "3600a098038314353763f505349676e35",
    "360a9800043346937686f456f59386741",
    "36006016040203100d2fba8d4190de711",
    "36000d310004142000000000000000f23",
    "3600c0ff0006e11816fa4f96501000000",
    "360002ac0000000000000001c00012157",
    "234f34cba7854dc666c9ce900418352ce",
    "360050768029b8168e000000000006247",
    "36005076303ffc56200000000000010aa",
    "3600000e00d0000000002161200120000",
    "3648bd4a100fa95b606ebb7880000041a",
    "36589cfc000000f837ab189f04d9f0584",
    "360014058ad8d5f6ff4a487bad6980c24",
    "3600140541f67c5d5e05470fb14394815",
    "36d4ae52000a2666a0000083751e90c16",
    "36d000774000045f655ea91cb4ea41d6f",
    "35000cca0bb7ca048",
    "350014ee20ce3848a",
    "28ce38e0000000000",
    "1STORAGE_server_target2",
    "1IET_00010001",
    "1Proware_FF010000333001EC",
    "SSDSCKKB240G8R_PHYH025200QF240J",
    "INTEL_SSDSC2BB080G6_BTWA5283088T080BGN",
    "0QEMU_QEMU_HARDDISK_drive-scsi0",
    "uuid.fedcba98-3579-4567-8765-123456789abc",
    "eui.0025388a81b4e1f6",
    "eui.00000000000000000025388a81b4e1f6",
    "nvme.1af4-37346430-51454d55204e564d65204374726c-00000001",
    "IBM.75000000092461.4d00.8a",
    "333333330000007d0",
    "8iqn.2005-10.org.freenas.ctl:vm",
    "t10.ATA_____Some_Disk________________0001",
    "a",
    "A+b=c@d,e",
]

PURE = "3624a9370e92ace0b12e941bf000cb4d5"
BARE = PURE[1:]


@pytest.mark.parametrize("wwid", [*IN_THE_WILD, "x" * 127])
def test_wwids_that_arrays_have_pass_unchanged(wwid):
    assert check_wwid(wwid) == wwid
    assert suggest_wwid(wwid) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (f"/dev/disk/by-id/dm-uuid-mpath-{PURE}", PURE),
        (f"/dev/disk/by-id/scsi-{PURE}-part1", PURE),
        (f"scsi-{PURE}", PURE),
        (f"dm-uuid-mpath-{PURE}", PURE),
        (f"wwn-0x{BARE}", PURE),
        (f"/dev/disk/by-id/wwn-0x{BARE}", PURE),
        (f"naa.{BARE}", PURE),
        (f"naa.{BARE.upper()}", PURE),
        (f"0x{BARE}", PURE),
        (BARE, PURE),
        (BARE.upper(), PURE),
        (PURE.upper(), PURE),
        (f" {PURE} ", PURE),
        ("5000cca0bb7ca048", "35000cca0bb7ca048"),
        ("nvme-eui.0025388a81b4e1f6", "eui.0025388a81b4e1f6"),
    ],
)
def test_other_notations_are_refused_with_what_was_meant(text, meant):
    with pytest.raises(UsageError) as caught:
        check_wwid(text)
    assert (caught.value.code, caught.value.hint) == ("bad-wwid", f"did you mean {meant}?")
    assert check_wwid(meant) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "global",
        "defaults",
        "sda",
        "sdaa1",
        "dm-12",
        "nvme0n1",
        "0:0:1:2",
        "mpatha",
        "mpathbc",
        "dm-name-data",
        "/dev/sda",
        "/dev/mapper/data",
        "/dev/disk/by-id/dm-name-data",
        "/dev/disk/by-id/wwn-0x12",
        "a b",
        "a/b",
        'a"b',
        "a#b",
        "a!b",
        "a{b",
        "größe",
        "a\n",
        "_a",
        ".a",
        "x" * 128,
        "\x00",
        "a�",
    ],
)
def test_what_no_wwid_can_be_has_a_reason_in_one_line(text):
    with pytest.raises(UsageError) as caught:
        check_wwid(text)
    assert caught.value.code == "bad-wwid" and "\n" not in caught.value.message and caught.value.hint


@given(st.text(max_size=140))
def test_what_passes_fits_into_every_file_and_message(text):
    try:
        wwid = check_wwid(text)
    except UsageError:
        return
    assert wwid == text and wwid.isascii() and 0 < len(wwid) < 128
    assert not set(wwid) & set(" \t\n/\"'#!{}\\")


@settings(deadline=None)
@given(st.text(max_size=140))
def test_a_suggestion_is_a_wwid(text):
    meant = suggest_wwid(text)
    if meant is not None:
        assert check_wwid(meant) == meant != text


@pytest.mark.parametrize("alias", ["a", "_x", "0day", "vm-pool_1.a:b+c@d=e", "mpath1", "mpathA", "Control", "x" * 127, "sda1x"])
def test_good_aliases(alias):
    assert AliasType().parse(alias) == alias


@pytest.mark.parametrize(
    "alias",
    [
        "",
        "control",
        "mpatha",
        "mpathzz",
        "dm-0",
        "sda",
        "sdbc",
        "nvme0n1",
        "8:0",
        "a/b",
        "a b",
        "größe",
        '"',
        "-a",
        ".a",
        "..",
        "a\\b",
        "a#b",
        "a!b",
        "a\n",
        "x" * 128,
    ],
)
def test_bad_aliases(alias):
    with pytest.raises(ValueError, match="a name of 1 to 127 letters") as caught:
        AliasType().parse(alias)
    assert "\n" not in str(caught.value)


def test_the_device_of_a_map():
    assert device_path(PURE) == f"/dev/disk/by-id/dm-uuid-mpath-{PURE}"
    assert device_path("a,b") == "/dev/disk/by-id/dm-uuid-mpath-a\\x2cb"
