"""What multipathd would accept and then break on: refused at the edit or reported with its code, and no map is lost either way."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from scripts.cluster.nodes import wait_for
from scripts.hostlab.node import CONF_DIR, Node, make_cluster, wait_in_sync
from scripts.hostlab.san import lun

HELD, UNUSED = lun(1), lun(2)
NAMES = {HELD: "held", UNUSED: "unused"}
LOCAL = f"{CONF_DIR}/99-local.conf"

REFUSED_ALIASES = [
    "",
    "a" * 128,
    "a\\b",
    "a!b#c",
    'a"b',
    "my vol",
    "größe",
    "control",
    ".",
    "..",
    "unused",
    UNUSED,
    "a/b",
    "mpatha",
    "sda",
    "dm-0",
]
REFUSED_OPTIONS = [
    ("defaults", ["path-checker=nosuch"]),
    ("defaults", ["polling-interval=abc"]),
    ("defaults", ["polling-interval=0"]),
    ("defaults", ["max-polling-interval=99999999999"]),
    ("defaults", ["prio=nosuch"]),
    ("defaults", ["path-selector=no-such 0"]),
    ("defaults", ["features=1 bogus"]),
    ("defaults", ["uid-attribute=NOSUCH"]),
    ("defaults", ["find-multipaths=yes"]),
    ("defaults", ["user-friendly-names=yes"]),
    ("defaults", ["wwids-file=/tmp/w"]),
    ("defaults", ["no-such-option=1"]),
    ("lun", ["features=1 bogus"]),
    ("lun", ["path-selector=no-such 0"]),
    ("lun", ["no-path-retry=-1"]),
    ("lun", ["no-path-retry=99999999999"]),
    ("lun", ["reservation-key=zz"]),
    ("lun", ["path-checker=tur"]),
    ("lun", ["prio=weightedpath"]),
]


def of_device(line: str) -> str:
    return f'devices {{\n\tdevice {{\n\t\tvendor "LAB"\n\t\tproduct ".*"\n\t\t{line}\n\t}}\n}}\n'


DANGEROUS_OVERRIDES = {
    "an unknown checker": of_device("path_checker nosuch"),
    "an unknown prio": of_device("prio nosuch"),
    "an unknown selector": of_device('path_selector "no-such 0"'),
    "an unknown feature": of_device('features "1 bogus"'),
    "an unknown uid_attribute": of_device("uid_attribute NOSUCH"),
    "friendly names": of_device("user_friendly_names yes"),
    "a checker for all": "overrides {\n\tpath_checker nosuch\n}\n",
    "every device node hidden": 'blacklist {\n\tdevnode ".*"\n}\n',
    "its vendor hidden": 'blacklist {\n\tdevice {\n\t\tvendor "LAB"\n\t\tproduct ".*"\n\t}\n}\n',
    "a pattern that is none": 'blacklist {\n\twwid "("\n}\n',
    "find_multipaths": "defaults {\n\tfind_multipaths yes\n}\n",
    "an interval that is none": "defaults {\n\tpolling_interval abc\n}\n",
    "another allow-list": "defaults {\n\twwids_file /tmp/w\n}\n",
    "a section of LUNs": f'multipaths {{\n\tmultipath {{\n\t\twwid "{HELD}"\n\t\talias ""\n\t}}\n}}\n',
    "no closing brace": "overrides {\n\tno_path_retry 5\n",
    "a brace too many": "overrides {\n\tno_path_retry 5\n}\n}\n",
    "no closing quote": 'overrides {\n\tno_path_retry "5\n}\n',
    "a brace on the next line": "overrides\n{\n\tno_path_retry 5\n}\n",
    "a section on one line": "overrides { no_path_retry 5 }\n",
}


HARMLESS_OVERRIDES = {
    "a managed LUN hidden, but for our exception": f'blacklist {{\n\twwid "{HELD}"\n}}\n',
    "all WWIDs hidden, but for our exceptions": 'blacklist {\n\twwid ".*"\n}\n',
    "nothing but a comment": "# nothing\n",
}


class Host:
    """A node with one LUN that is held open and one that nobody uses, both managed and in sync."""

    def __init__(self, node: Node) -> None:
        self.node = node
        node.san.up(2)
        make_cluster([node])
        node.run("defaults", "set", "polling-interval=1", "max-polling-interval=2", "learn-window=0")
        for wwid, alias in NAMES.items():
            node.run("lun", "add", wwid, "--alias", alias)
        wait_in_sync([node])
        node.guest.run("udevadm settle")
        node.guest.start(["sh", "-c", "exec 3</dev/mapper/held; exec sleep 100000"], "/var/log/held.log")
        wait_for("it is held open", lambda: node.guest.run("dmsetup info -c --noheadings -o open held").out.strip() == "1")

    def unchanged(self) -> str:
        """What is not as it was; empty if all is."""
        maps = self.node.maps()
        if maps != NAMES:
            return f"the maps are {maps}"
        text = self.node.guest.run("multipath -ll").out
        return "" if text.count("active ready running") == 4 else f"paths are missing: {text}"

    def outcome(self) -> Any:
        """The outcome of applying what is wanted now."""
        config = self.node.get("/v1/status")["config"]
        wanted = hashlib.sha256(f"{config['digest']}\n{config['overrides_digest']}".encode()).hexdigest()

        def settled() -> Any:
            apply = self.node.apply()
            return apply if apply["desired"] == wanted and apply["state"] != "pending" else None

        return wait_for("it is applied, or not", settled, 60, 0.2)


@pytest.fixture
def host(guests: Callable[..., AbstractContextManager[list[Node]]]) -> Callable[[], AbstractContextManager[Host]]:
    @contextmanager
    def boot() -> Iterator[Host]:
        with guests("n1") as (node,):
            yield Host(node)

    return boot


def test_edits_that_would_break_maps(host: Callable[[], AbstractContextManager[Host]]) -> None:
    with host() as there:
        node, wrong = there.node, []
        before = node.get("/v1/status")["config"]
        for alias in REFUSED_ALIASES:
            done = node.run("lun", "set", HELD, f"alias={alias}", check=False)
            if done.code == 0 or not done.err.startswith("pathmesh: "):
                wrong.append(f"alias {alias!r}: {done}")
        for section, words in REFUSED_OPTIONS:
            target = ["defaults", "set"] if section == "defaults" else ["lun", "set", HELD]
            done = node.run(*target, *words, check=False)
            if done.code == 0 or not done.err.startswith("pathmesh: "):
                wrong.append(f"{section} {words}: {done}")
        assert not wrong, "\n".join(wrong)
        assert node.get("/v1/status")["config"] == before
        assert there.unchanged() == ""

        longest = "a" * 127
        node.run("lun", "set", HELD, f"alias={longest}")
        wait_in_sync([node])
        assert node.maps()[HELD] == longest, "the longest alias is a name like any other, also of a map in use"
        edits = [{"key": f"wwid/{HELD}", "set": {"alias": "unused"}}, {"key": f"wwid/{UNUSED}", "set": {"alias": longest}}]
        body = {"changes": edits, "reason": "swap"}
        answer = node.ask("POST", "/v1/config/edits", body, if_match=node.ask("GET", "/v1/config", accept="text/plain").digest)
        assert answer.status == 200, answer
        wait_in_sync([node])
        assert node.maps() == {HELD: "unused", UNUSED: longest}, "names are swapped on the live maps"


def test_overrides_that_would_break_maps(host: Callable[[], AbstractContextManager[Host]]) -> None:
    with host() as there:
        node, wrong, let_in = there.node, [], []
        for what, text in DANGEROUS_OVERRIDES.items():
            done = node.run("overrides", "set", "-", stdin=text, check=False)
            if done.code == 0:
                outcome = there.outcome()
                let_in.append(what)
                if not outcome["errors"]:
                    wrong.append(f"{what}: let in and applied without a word; {there.unchanged() or 'maps unchanged'}")
            if fault := there.unchanged():
                wrong.append(f"{what}: {fault}; {json.dumps(node.apply())[:600]}")
            if done.code == 0:
                node.run("overrides", "clear")
                wait_in_sync([node])
        print("let in and reported:", let_in)
        for what, text in HARMLESS_OVERRIDES.items():
            node.run("overrides", "set", "-", stdin=text)
            wait_in_sync([node])
            if fault := there.unchanged():
                wrong.append(f"{what}: {fault}")
        node.run("overrides", "clear")
        assert not wrong, "\n".join(wrong)
        wait_in_sync([node])
        assert there.unchanged() == ""


def test_files_of_others_beside_ours(host: Callable[[], AbstractContextManager[Host]]) -> None:
    """Nobody can refuse these. They are reported; a map in use survives them all, and they are got over when they go."""
    cases = {
        "another interval": ("defaults {\n\tpolling_interval 20\n}\n", "overridden-locally"),
        "friendly names": ("defaults {\n\tuser_friendly_names yes\n}\n", "overridden-locally"),
        "friendly names of a device": (of_device("user_friendly_names yes"), "overridden-locally"),
        "another alias": (f'multipaths {{\n\tmultipath {{\n\t\twwid "{HELD}"\n\t\talias "other"\n\t}}\n}}\n', "overridden-locally"),
        "every device node hidden": ('blacklist {\n\tdevnode "^sd"\n}\n', "wwid-blacklisted"),
        "every WWID hidden": ('blacklist {\n\twwid ".*"\n}\n', ""),
    }
    with host() as there:
        node, wrong = there.node, []
        for what, (text, code) in cases.items():
            node.guest.write(LOCAL, text)
            node.guest.run("multipathd reconfigure")
            node.run("apply", "--now", check=False)
            if code and code not in node.codes():
                wrong.append(f"{what}: {json.dumps(node.apply())[:900]}")
            if not code and (there.unchanged() or node.codes()):
                wrong.append(f"{what}: {there.unchanged()} {json.dumps(node.apply())[:900]}")
            if HELD not in node.guest.run("dmsetup info -c --noheadings -o uuid").out:
                wrong.append(f"{what}: the map in use is gone")
            node.guest.run(f"rm {LOCAL} && multipathd reconfigure")
            node.run("apply", "--now", check=False)
            wait_in_sync([node])
            try:
                wait_for("everything is as before", lambda: there.unchanged() == "", 45, 0.2)
            except AssertionError:
                wrong.append(f"{what}, gone again: {there.unchanged()}")
        assert not wrong, "\n".join(wrong)
