"""What multipathd would accept and then break on: refused at the edit or reported with its code, and no map is lost either way."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.cluster.client import Answer
from scripts.cluster.nodes import wait_for
from scripts.hostlab.node import CONF_DIR, Node, begin, wait_in_sync
from scripts.hostlab.san import lun

HELD, UNUSED = lun(1), lun(2)
NAMES = {HELD: "held", UNUSED: "unused"}
LOCAL = f"{CONF_DIR}/99-local.conf"
LONGEST = "a" * 127
CASES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "captures" / "config_cases.json").read_text())
"""Drop-ins that were given to the parser of the real tools."""
CASE_LUNS = {"35000c500a0b00001": HELD, "35000c500a0b00002": UNUSED}

REFUSED_ALIASES = {
    "a" * 128: "bad-value",
    "a\\b": "bad-value",
    "a!b#c": "bad-value",
    'a"b': "bad-value",
    "my vol": "bad-value",
    "größe": "bad-value",
    "control": "bad-value",
    ".": "bad-value",
    "..": "bad-value",
    "a/b": "bad-value",
    "mpatha": "bad-value",
    "sda": "bad-value",
    "dm-0": "bad-value",
    "unused": "duplicate-alias",
    UNUSED: "alias-is-wwid",
}
REFUSED_DEFAULTS = {
    "path-checker=nosuch": "bad-value",
    "polling-interval=abc": "bad-value",
    "polling-interval=0": "bad-value",
    "max-polling-interval=99999999999": "bad-value",
    "prio=nosuch": "bad-value",
    "path-selector=no-such 0": "bad-value",
    "features=1 bogus": "bad-value",
    "uid-attribute=NOSUCH": "refused-option",
    "find-multipaths=yes": "pinned-option",
    "user-friendly-names=yes": "pinned-option",
    "wwids-file=/tmp/w": "refused-option",
    "no-such-option=1": "unknown-option",
}
REFUSED_OF_A_LUN = {
    "features=1 bogus": "bad-value",
    "path-selector=no-such 0": "bad-value",
    "no-path-retry=-1": "bad-value",
    "no-path-retry=99999999999": "bad-value",
    "reservation-key=zz": "bad-value",
    "path-checker=tur": "not-per-lun",
    "prio=weightedpath": "prio-args",
}


def of_device(line: str) -> str:
    return f'devices {{\n\tdevice {{\n\t\tvendor "LAB"\n\t\tproduct ".*"\n\t\t{line}\n\t}}\n}}\n'


def of_lun(wwid: str, line: str) -> str:
    return f'multipaths {{\n\tmultipath {{\n\t\twwid "{wwid}"\n\t\t{line}\n\t}}\n}}\n'


REFUSED_OVERRIDES = {
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
    "a section of LUNs": of_lun(HELD, 'alias ""'),
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

OVERRIDDEN, BROKEN = "overridden-locally", "local-file-broken"
LOCAL_FILES = {
    "another interval": ("defaults {\n\tpolling_interval 20\n}\n", OVERRIDDEN),
    "friendly names": ("defaults {\n\tuser_friendly_names yes\n}\n", OVERRIDDEN),
    "friendly names of a device": (of_device("user_friendly_names yes"), OVERRIDDEN),
    "another alias": (of_lun(HELD, 'alias "other"'), OVERRIDDEN),
    "an alias with blanks": (of_lun(HELD, 'alias "my vol"'), OVERRIDDEN),
    "an alias that is too long": (of_lun(HELD, f'alias "{LONGEST}a"'), OVERRIDDEN),
    "an empty alias": (of_lun(HELD, 'alias ""'), OVERRIDDEN),
    "the other's WWID as alias": (of_lun(HELD, f'alias "{UNUSED}"'), OVERRIDDEN),
    "the other's alias": (of_lun(HELD, 'alias "unused"'), OVERRIDDEN),
    "both aliases swapped": (of_lun(HELD, 'alias "unused"') + of_lun(UNUSED, 'alias "held"'), OVERRIDDEN),
    "an unknown checker": (of_device("path_checker nosuch"), BROKEN),
    "an unknown selector": (of_lun(HELD, 'path_selector "no-such 0"'), BROKEN),
    "an unknown feature": (of_lun(HELD, 'features "1 bogus"'), BROKEN),
    "another allow-list": ("defaults {\n\twwids_file /tmp/w\n}\n", OVERRIDDEN),
    "every multipath device": ("defaults {\n\tfind_multipaths yes\n}\n", OVERRIDDEN),
    "every device node hidden": ('blacklist {\n\tdevnode "^sd"\n}\n', "wwid-blacklisted"),
    "every WWID hidden": ('blacklist {\n\twwid ".*"\n}\n', ""),
    "one WWID hidden": (f'blacklist {{\n\twwid "{HELD}"\n}}\n', ""),
    "an interval that is none": ("defaults {\n\tpolling_interval abc\n}\n", BROKEN),
}


class Host:
    """A node with one LUN that is held open and one that nobody uses, both managed and in sync."""

    def __init__(self, node: Node) -> None:
        self.node = node
        node.san.up(2)
        begin([node], *(("lun", "add", wwid, "--alias", alias) for wwid, alias in NAMES.items()))
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

    def set(self, section: str, option: str, value: str) -> Answer:
        """One option, asked for as every client asks."""
        path = f"/v1/config/{section}"
        digest = self.node.ask("GET", "/v1/config", accept="text/plain").digest
        return self.node.ask("PATCH", path, {"set": {option: value}}, if_match=digest)

    def override(self, text: str) -> Answer:
        """The free-form overrides."""
        return self.node.ask("PUT", "/v1/overrides", text, if_match=self.node.ask("GET", "/v1/overrides").digest)


@pytest.fixture
def host(guests: Callable[..., AbstractContextManager[list[Node]]]) -> Callable[[], AbstractContextManager[Host]]:
    @contextmanager
    def boot() -> Iterator[Host]:
        with guests("n1") as (node,):
            yield Host(node)

    return boot


def codes(answer: Answer) -> set[str]:
    """What a refused edit is refused for."""
    return {problem["code"] for problem in answer.json.get("problems", ())} | {answer.json["code"]}


def test_edits_that_would_break_maps(host: Callable[[], AbstractContextManager[Host]]) -> None:
    with host() as there:
        node, wrong = there.node, []
        before = node.get("/v1/status")["config"]
        edits = [(f"wwids/{HELD}", "alias", alias, code) for alias, code in REFUSED_ALIASES.items()]
        edits += [("defaults", *option.split("=", 1), code) for option, code in REFUSED_DEFAULTS.items()]  # type: ignore[misc]
        edits += [(f"wwids/{HELD}", *option.split("=", 1), code) for option, code in REFUSED_OF_A_LUN.items()]  # type: ignore[misc]
        for section, option, value, code in edits:
            answer = there.set(section, option, value)
            if answer.status != 422 or code not in codes(answer):
                wrong.append(f"{section} {option}={value!r}: {answer.status} {answer.body.decode()[:300]}, not {code}")
        assert not wrong, "\n".join(wrong)
        for alias in ("", "a\\b"):
            done = node.run("lun", "set", HELD, f"alias={alias}", check=False)
            assert done.code in (1, 2) and done.err.startswith("pathmesh: "), done
        assert node.get("/v1/status")["config"] == before
        assert there.unchanged() == ""

        node.run("lun", "set", HELD, f"alias={LONGEST}")
        wait_in_sync([node])
        assert node.maps()[HELD] == LONGEST, "the longest alias is a name like any other, also of a map in use"
        swap = [{"key": f"wwid/{HELD}", "set": {"alias": "unused"}}, {"key": f"wwid/{UNUSED}", "set": {"alias": LONGEST}}]
        body = {"changes": swap, "reason": "swap"}
        answer = node.ask("POST", "/v1/config/edits", body, if_match=node.ask("GET", "/v1/config", accept="text/plain").digest)
        assert answer.status == 200, answer
        wait_in_sync([node])
        assert node.maps() == {HELD: "unused", UNUSED: LONGEST}, "names are swapped on the live maps"


def test_overrides_that_would_break_maps(host: Callable[[], AbstractContextManager[Host]]) -> None:
    """Those of the list are all refused; of the recorded ones each is refused, or applied without harm."""
    recorded = {}
    for name, case in CASES.items():
        text = "".join(text.encode("latin-1").decode() for file, text in case["files"].items() if file.startswith("conf.d/"))
        for was, now in CASE_LUNS.items():
            text = text.replace(was, now)
        recorded[name] = text
    with host() as there:
        node, wrong, let_in = there.node, [], []
        before = node.get("/v1/status")["config"]
        for what, text in REFUSED_OVERRIDES.items():
            answer = there.override(text)
            if answer.status != 422:
                wrong.append(f"{what}: {answer}")
        assert not wrong and node.get("/v1/status")["config"] == before, "\n".join(wrong)
        assert there.unchanged() == ""
        done = node.run("overrides", "set", "-", stdin=REFUSED_OVERRIDES["no closing brace"], check=False)
        assert done.code == 1 and done.err.startswith("pathmesh: "), done

        for what, text in {**HARMLESS_OVERRIDES, **recorded}.items():
            answer = there.override(text)
            if answer.status == 422 and what not in HARMLESS_OVERRIDES:
                continue
            assert answer.status == 200, f"{what}: {answer}"
            let_in.append(what)
            if errors := there.outcome()["errors"]:
                wrong.append(f"{what}: {json.dumps(errors)[:600]}")
            if fault := there.unchanged():
                wrong.append(f"{what}: {fault}")
        assert 10 <= len(let_in) - len(HARMLESS_OVERRIDES) < len(recorded) - 20, let_in
        assert not wrong, "\n".join(wrong)
        node.run("overrides", "clear")
        wait_in_sync([node])
        assert there.unchanged() == ""


def test_files_of_others_beside_ours(host: Callable[[], AbstractContextManager[Host]]) -> None:
    """Nobody can refuse these. They are reported; a map in use survives them all, and they are got over when they go."""
    with host() as there:
        node, wrong = there.node, []
        for what, (text, code) in LOCAL_FILES.items():
            node.guest.write(LOCAL, text)
            node.reconfigure()
            said = node.ask("POST", "/v1/apply").json["apply"]
            found = {told["code"] for told in (*said["errors"], *said["notes"])}
            if code not in found if code else found or there.unchanged():
                wrong.append(f"{what}: {there.unchanged()} {json.dumps(said)[:900]}")
            if f"mpath-{HELD}" not in node.guest.run("dmsetup info -c --noheadings -o uuid").out.split():
                wrong.append(f"{what}: the map in use is gone")
            node.guest.run(f"rm {LOCAL}")
            node.reconfigure()
            node.ask("POST", "/v1/apply")
            try:
                wait_in_sync([node])
                wait_for("everything is as before", lambda: there.unchanged() == "", 45, 0.2)
            except AssertionError as fault:
                wrong.append(f"{what}, gone again: {there.unchanged()} {fault}")
        assert not wrong, "\n".join(wrong)
