"""The LUN file: what it means, what is derived, and how each mistake is named."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.simulated.lun_file import Lun, LunFile, PathState, parse_luns
from store.errors import UsageError

LUN = 'wwid = "w"\nvendor = "V"\nproduct = "P"\nrev = "1"\nsize_bytes = 1024\n'


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "luns.toml"
    file.write_text(text)
    return file


def read_luns(file: Path) -> tuple[Lun, ...]:
    return LunFile(file).luns


def test_what_is_left_out_is_derived(tmp_path: Path) -> None:
    paths = '[[lun.path]]\ndev = "sda"\n[[lun.path]]\ndev = "sdaa"\ntarget_wwnn = "iqn.2024-01.lab:t1"\nhcil = "3:0:1:300"\n'
    (lun,) = read_luns(write(tmp_path, f"[[lun]]\n{LUN}{paths}"))
    first, second = lun.paths
    assert (lun.serial, lun.hwhandler, lun.open) == ("", "0", False)
    assert (first.dev_t, first.hcil, first.lun_hex) == ("8:0", (0, 0, 0, 1), "0x0001000000000000")
    assert (first.protocol, first.prio) == ("scsi:unspec", 1)
    assert (second.dev_t, second.lun_hex, second.protocol) == ("65:160", "0x412c000000000000", "scsi:iscsi")
    assert first.host_wwpn == "[undef]"


@pytest.mark.parametrize(("dev", "number"), [("sdp", "8:240"), ("sdq", "65:0"), ("sdiv", "135:240"), ("sdiw", "8:256")])
def test_device_numbers_follow_the_kernel(tmp_path: Path, dev: str, number: str) -> None:
    assert read_luns(write(tmp_path, f'[[lun]]\n{LUN}[[lun.path]]\ndev = "{dev}"\n'))[0].paths[0].dev_t == number


def test_alua_priorities_follow_the_state(tmp_path: Path) -> None:
    paths = "".join(f'[[lun.path]]\ndev = "sd{c}"\nstate = "{s}"\n' for c, s in zip("abc", ("ready", "ghost", "faulty"), strict=True))
    (lun,) = read_luns(write(tmp_path, f'[[lun]]\n{LUN}hwhandler = "1 alua"\n{paths}'))
    assert [p.prio for p in lun.paths] == [50, 1, 50]
    assert lun.paths[1].state is PathState.GHOST


def test_the_documented_example_is_a_valid_file(tmp_path: Path) -> None:
    from apply import simulated

    assert simulated.__doc__
    example = "\n".join(line[4:] for line in simulated.__doc__.splitlines() if line.startswith("    "))
    assert tomllib.loads(example)["lun"][0]["path"]
    assert read_luns(write(tmp_path, example))[0].paths[0].protocol == "scsi:fcp"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lun = 3", "lun: must be an array of tables, as in [[lun]]"),
        ("luns = 3", "luns: unknown field"),
        ("[[lun]]\n" + LUN.replace('wwid = "w"\n', ""), "lun[0].wwid: is missing"),
        ("[[lun]]\n" + LUN.replace('"w"', '"a/b"'), "lun[0].wwid: must be 1 to 127 bytes without a slash, not 'a/b'"),
        ("[[lun]]\n" + LUN.replace("1024", "1000"), "lun[0].size_bytes: must be an integer 512.."),
        ("[[lun]]\n" + LUN.replace("1024", "true"), "lun[0].size_bytes: must be an integer 512.."),
        ("[[lun]]\n" + LUN + 'open = "yes"', "lun[0].open: must be true or false, not 'yes'"),
        ("[[lun]]\n" + LUN + 'vendro = "x"', "lun[0].vendro: unknown field"),
        ("[[lun]]\n" + LUN + "path = [3]", "lun[0].path: must be an array of tables"),
        ("[[lun]]\n" + LUN + '[[lun.path]]\nstate = "ready"', "lun[0].path[0].dev: is missing"),
        ("[[lun]]\n" + LUN + '[[lun.path]]\ndev = "/dev/sda"', "lun[0].path[0].dev: must be a kernel device name such as sda"),
        ("[[lun]]\n" + LUN + '[[lun.path]]\ndev = "nvme0n1"', "lun[0].path[0].dev_t: is missing"),
        ("[[lun]]\n" + LUN + '[[lun.path]]\ndev = "sda"\nstate = "broken"', "lun[0].path[0].state: must be one of ready, ghost, faulty"),
        ("[[lun]]\n" + LUN + '[[lun.path]]\ndev = "sda"\nhcil = "0:0:1"', "lun[0].path[0].hcil: must be host:channel:id:lun"),
        ("[[lun]]\n" + LUN + '[[lun.path]]\ndev = "sda"\n' * 2, "lun[0].path[1].dev: sda is already lun[0].path[0].dev"),
        ("[[lun]]\n" + LUN + "[[lun", "not TOML: "),
    ],
)
def test_mistakes_are_named_by_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_luns(file)
    assert caught.value.message.startswith(f"{file}: {message}")
    assert "\n" not in caught.value.message


def test_an_unknown_field_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_luns(write(tmp_path, f'[[lun]]\n{LUN}vendro = "x"\n'))
    assert caught.value.hint == "did you mean `vendor`?"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.toml: No such file or directory"):
        LunFile(tmp_path / "absent.toml")


def test_each_change_is_seen_even_within_one_tick_of_the_file_time(tmp_path: Path) -> None:
    file = write(tmp_path, f"[[lun]]\n{LUN}")
    source = LunFile(file)
    for word in ("P", "Q", "R", "S") * 20:
        file.write_text(f"[[lun]]\n{LUN.replace('P', word)}")
        source.reread()
        assert source.luns[0].product == word
        assert not source.reread()


def test_a_settled_file_is_not_read_again(tmp_path: Path) -> None:
    file = write(tmp_path, f"[[lun]]\n{LUN}")
    os.utime(file, (1, 1))
    source = LunFile(file)
    file.write_text(f"[[lun]]\n{LUN.replace('P', 'Q')}")
    os.utime(file, (1, 1))
    assert not source.reread(), "same time, size and identity"
    os.utime(file, (2, 2))
    assert source.reread()


def test_a_bad_content_is_reported_once(tmp_path: Path) -> None:
    file = write(tmp_path, f"[[lun]]\n{LUN}")
    source = LunFile(file)
    for spoil in (lambda: file.write_text("[[lun"), file.unlink):
        spoil()
        with pytest.raises(UsageError):
            source.reread()
        assert not source.reread()
        assert source.luns[0].wwid == "w"
    write(tmp_path, f"[[lun]]\n{LUN}")
    assert source.reread()


@given(st.binary(max_size=200))
def test_no_content_does_worse_than_a_usage_error(content: bytes) -> None:
    try:
        parse_luns(content, Path("f"))
    except UsageError as error:
        assert "\n" not in error.message
