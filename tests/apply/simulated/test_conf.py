"""The configuration's grammar, merging and text, against recorded runs of the real parser and by generated input."""

import difflib
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.simulated.conf_keywords import DEVICE, FILTER, MULTIPATH, OVERRIDES, READERS
from apply.simulated.conf_model import Config, build, without_duplicate_aliases
from apply.simulated.conf_parser import Block, Setting, parse
from apply.simulated.conf_text import LocalView, show_config
from apply.simulated.daemon import config_files
from apply.simulated.lun_file import Lun

CASES: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "captures" / "config_cases.json").read_text())

# What the recorded parser says that this one cannot: its built-in device table is part of the recorded text.
BUILT_IN_DEVICES = {"053_device_section"}


def load(*texts: str) -> Config:
    return build(parse(text.encode(), f"{n}.conf") for n, text in enumerate(texts))


def run_case(name: str, base: Path) -> Config:
    (base / "conf.d").mkdir(parents=True)
    for file, content in CASES[name]["files"].items():
        (base / file).write_bytes(content.encode("latin-1"))
    parsed = [parse(f.read_bytes(), f"/etc/multipath/{f.relative_to(base)}") for f in config_files(base)]
    return build(parsed)


@pytest.mark.parametrize("name", sorted(CASES.keys() - BUILT_IN_DEVICES))
def test_effective_configuration_differs_from_the_baseline_as_recorded(name: str, tmp_path: Path) -> None:
    baseline = show_config(run_case("000_baseline", tmp_path / "baseline")).splitlines()
    ours = show_config(run_case(name, tmp_path / "case")).splitlines()
    change = Counter(ours)
    change.subtract(baseline)
    recorded = Counter(line[2:] for line in CASES[name]["effective_diff"] if line.startswith("> "))
    recorded.subtract(line[2:] for line in CASES[name]["effective_diff"] if line.startswith("< "))
    assert {k: n for k, n in change.items() if n} == {k: n for k, n in recorded.items() if n}
    order = [line[2:] for line in difflib.ndiff(baseline, ours) if line.startswith("+ ") and line.strip("+ \t}{") != ""]
    assert order == [line[2:] for line in CASES[name]["effective_diff"] if line.startswith("> ") and line.strip("> \t}{") != ""]


@pytest.mark.parametrize("name", sorted(CASES))
def test_warnings_are_the_recorded_ones(name: str, tmp_path: Path) -> None:
    assert list(run_case(name, tmp_path).warnings) == CASES[name]["stderr"]


def test_device_sections_merge_by_vendor_product_and_revision_and_print_in_order() -> None:
    config = load(
        'devices {\n device {\n  vendor LAB\n  product "SAN.*"\n  no_path_retry 9\n }\n device {\n  product ONLY\n }\n}\n',
        'devices {\n device {\n  vendor LAB\n  product "SAN.*"\n  path_grouping_policy multibus\n }\n}\n',
    )
    assert config.warnings == ("device config in 0.conf missing vendor or product parameter",)
    section = '\tdevice {\n\t\tvendor "LAB"\n\t\tproduct "SAN.*"\n\t\tpath_grouping_policy "multibus"\n\t\tno_path_retry 9\n\t}\n'
    assert f"devices {{\n{section}}}\n" in show_config(config)
    assert f"devices {{\n{section}}}\n" in show_config(config, LocalView([], [a_lun("x", product="SAN7")]))
    assert "devices {\n}\n" in show_config(config, LocalView([], [a_lun("x", product="OTHER")]))


def a_lun(wwid: str, vendor: str = "LAB", product: str = "SAN") -> Lun:
    return Lun(wwid, vendor, product, "1.0", "", 512, "0", False, ())


def test_precedence_of_sections() -> None:
    text = "defaults {\n no_path_retry 1\n}\n"
    device = "devices {\n device {\n  vendor LAB\n  product SAN\n  no_path_retry 2\n }\n}\n"
    overrides = "overrides {\n no_path_retry 3\n}\n"
    own = "multipaths {\n multipath {\n  wwid w\n  no_path_retry 4\n }\n}\n"
    for count, layers in enumerate(([text], [text, device], [text, device, overrides], [own, overrides, device, text]), start=1):
        assert load(*layers).for_map(a_lun("w")).no_path_retry == str(count)
    assert load(text, device).for_map(a_lun("w", vendor="ACME")).no_path_retry == "1"


def test_queue_if_no_path_as_a_feature_is_no_path_retry_queue() -> None:
    options = load('defaults {\n features "1 queue_if_no_path"\n}\n').for_map(a_lun("w"))
    assert (options.no_path_retry, options.features) == ("queue", ())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('alias "a b"', "a b"),
        ('alias ""', ""),
        ('alias """"', '"'),
        ('alias "a""b"', 'a"b'),
        ("alias a#b", "a"),
        ("alias a!b", "a"),
        ('alias "a#!b{}"', "a#!b{}"),
        ("alias größe", "gr"),
        ('alias "größe"', "größe"),
        ("\ufeff\talias\tx", "x"),
        ("alias x\r", "x"),
    ],
)
def test_values(line: str, words: str) -> None:
    block = parse(f"multipaths {{\nmultipath {{\n{line}\n}}\n}}\n".encode(), "f").blocks[0].items[0]
    assert isinstance(block, Block)
    setting = block.items[0]
    assert isinstance(setting, Setting)
    assert setting.value == words


def test_a_long_line_is_read_in_pieces() -> None:
    line = "\talias " + "a" * 1100
    assert [s.value for b in parse(f"multipaths {{\nmultipath {{\n{line}\n}}\n}}".encode(), "f").blocks for i in b.items
            if isinstance(i, Block) for s in i.items if isinstance(s, Setting)] == ["a" * (1023 - 7)]  # fmt: skip


def test_files_are_read_in_byte_order_and_by_their_last_suffix(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for name in ("a.conf", "B.conf", "9.conf", "10.conf", ".x.conf", "50.conf.tmp", "50.conf~", "70.CONF", "50.conf.bak"):
        (tmp_path / "conf.d" / name).touch()
    assert [f.name for f in config_files(tmp_path)] == [".x.conf", "10.conf", "9.conf", "B.conf", "a.conf"]
    (tmp_path / "multipath.conf").touch()
    assert config_files(tmp_path)[0].name == "multipath.conf"


def test_the_second_of_two_equal_aliases_is_dropped_when_used() -> None:
    entry = " multipath {{\n  wwid {}\n  alias same\n }}\n"
    config, complaints = without_duplicate_aliases(load("multipaths {\n" + entry.format("w2") + entry.format("w1") + "}\n"))
    assert complaints == ('ERROR: alias "same" bound to multiple wwids in multipath.conf, discarding binding to w2',)
    assert config.for_map(a_lun("w1")).alias == "same"
    assert config.for_map(a_lun("w2")).alias is None


@given(st.binary(max_size=300))
def test_no_bytes_are_fatal(content: bytes) -> None:
    show_config(without_duplicate_aliases(build([parse(content, "f")]))[0])


SECTIONS = {"defaults": READERS, "overrides": OVERRIDES, "blacklist": FILTER, "blacklist_exceptions": FILTER}
WORDS = st.one_of(
    st.sampled_from(["yes", "no", "0", "1", "-1", "7", "99999999999", "queue", "fail", "infinity", "off", "max", "multibus", "immediate"]),
    st.sampled_from(["service-time 0", "1 queue_if_no_path", "2 pg_init_retries 50", "file", "0xAB:aptpl", "scsi:fcp", '"', "a\tb"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0", exclude_categories=("Cs",)), max_size=12),
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file of sections that mostly make sense. Two keywords are left out: the daemon prints users in octal and reads them in decimal."""

    def settings(keywords: Any) -> str:
        names = st.sampled_from(sorted(set(keywords) - {"uid", "gid"}))
        pairs = draw(st.lists(st.tuples(names, WORDS), max_size=4))
        return "".join(f'{name} "{value.replace(chr(34), chr(34) * 2)}"\n' for name, value in pairs)

    text = ""
    for name in draw(st.lists(st.sampled_from([*SECTIONS, "devices", "multipaths", "nonsense"]), max_size=4)):
        if name in SECTIONS:
            text += f"{name} {{\n{settings(SECTIONS[name])}}}\n"
        elif name == "devices":
            text += f'devices {{\ndevice {{\nvendor "{draw(st.sampled_from("AB"))}"\nproduct P\n{settings(DEVICE)}}}\n}}\n'
        elif name == "multipaths":
            text += f"multipaths {{\nmultipath {{\nwwid {draw(st.sampled_from(['w1', 'w2']))}\n{settings(MULTIPATH)}}}\n}}\n"
        else:
            text += f"{name} {{\n{settings(READERS)}}}\n"
    return text


@given(st.lists(files(), max_size=3))
def test_the_printed_configuration_reads_back_as_itself(texts: list[str]) -> None:
    printed = show_config(load(*texts))
    again = load(printed)
    assert show_config(again) == printed
    assert again.warnings == tuple(w for w in again.warnings if "deprecated" in w)


@given(files())
def test_unknown_keywords_change_nothing(text: str) -> None:
    junk = "defaults {\nno_such_keyword 1\n}\nno_such_section {\na b\n}\n"
    assert show_config(load(text, junk)) == show_config(load(text))


def test_warnings_go_to_the_log(host: Any, caplog: pytest.LogCaptureFixture) -> None:
    host.write_luns()
    host.conf("defaults {\n no_such 1\n}\n")
    with caplog.at_level(logging.WARNING):
        host.start()
    assert "line 2, invalid keyword in the defaults section: no_such" in caplog.text
