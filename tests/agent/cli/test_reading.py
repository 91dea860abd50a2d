"""The commands that show something: tables, TSV and JSON."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from agent.cli.session import problem_text

Run = Callable[..., Result]

LUN_A = "3624a9370e92ace0b12e941bf000cb4d5"
LUN_B = "360014050000000100004000800000000"


def test_the_status_screen_names_what_is_wrong(run: Run, fake_agent: Any) -> None:
    result = run("status")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "cluster san  degraded",
        f"2 of 2 nodes online, seen from n1; config {fake_agent.digest[:12]}, 42 edits; 2026-07-03T12:46:00Z",
        "",
        "NODE  STATE                 ROLE    APPLY    MULTIPATHD     TOOLS  MAPS                   AGE",
        "n1    online                admin   in-sync  running        0.9.4  2 healthy              0.1 s",
        "n2    online (maintenance)  editor  failed   not-installed  -      1 degraded, 1 healthy  0.4 s",
        "",
        "LUNS  1 degraded, 1 healthy",
        f"  degraded  vmpool-a  {LUN_A}  2 TiB   PURE FlashArray",
        "      n2: degraded redundancy single, 1/2 paths (path-lost)",
        "        lost path iscsi:10.0.2.5>10.0.2.10:3260,1,iqn.2001-05.com.example:a",
        f"  healthy   -         {LUN_B}  64 MiB  LIO-ORG disk\\x1b[2J",
        "",
        "CONFLICTS  1 conflict is open: pathmesh conflicts",
        "",
        "PROBLEMS",
        f"  warning: wwid/{LUN_B} alias: alias vmpool-a is taken",
        "    hint: give it another alias",
        "  error: n2: not-installed: multipathd is not installed",
        "    hint: apt install multipath-tools",
        "  note: n2: clock-skew: 31 s",
    ]


def test_failed_paths_are_named_as_lost_ones_are(run: Run, fake_agent: Any) -> None:
    name = "iscsi:10.0.3.5>10.0.3.10:3260,1,iqn.2001-05.com.example:a"
    (lun,) = (lun for lun in fake_agent.status["luns"] if lun["alias"])
    lun["nodes"]["n2"] = {**lun["nodes"]["n2"], "missing_paths": [], "failed_paths": [name]}
    lines = run("status").stdout.splitlines()
    assert f"        failed path {name}" in lines and not any("lost path" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "accepted by n3 until 2026-07-10T00:00:00Z: new switch, port 2"),
        ({"expires": None}, "accepted by n3: new switch, port 2"),
        ({"expires": None, "reason": "", "by": ""}, "accepted by ?"),
    ],
)
def test_who_accepted_the_paths_is_said(run: Run, fake_agent: Any, changes: dict[str, Any], words: str) -> None:
    acked = {"id": "9f3a/7", "by": "n3", "reason": "new switch,\nport 2", "expires": "2026-07-10T00:00:00Z"}
    (lun,) = (lun for lun in fake_agent.status["luns"] if lun["alias"])
    lun["nodes"]["n2"] = {**lun["nodes"]["n2"], "acked": acked | changes}
    line = next(line for line in run("status").stdout.splitlines() if line.strip().startswith("n2: degraded"))
    assert line.endswith(words)
    lun["nodes"]["n2"]["acked"] = None
    assert "accepted" not in run("status").stdout


def test_many_luns_still_fit_one_screen_and_verbose_shows_all(run: Run, fake_agent: Any) -> None:
    healthy, degraded = fake_agent.status["luns"]
    fake_agent.status["luns"] = [{**healthy, "wwid": f"good{n}"} for n in range(60)]
    fake_agent.status["luns"] += [{**degraded, "wwid": f"bad{n:02}", "alias": None} for n in range(30)]
    short = run("status").stdout
    assert "bad19" in short
    assert "bad20" not in short
    assert "good" not in short
    assert "and 10 more with trouble, 60 more healthy or unused: pathmesh matrix, or pathmesh status -v" in short
    full = run("status", "-v").stdout
    assert "bad29" in full
    assert "good59" in full


def test_an_empty_cluster_has_a_status_too(run: Run, fake_agent: Any) -> None:
    fake_agent.status.update(luns=[], nodes=[], counts={}, config={"conflicts": 0, "problems": []})
    result = run("status")
    assert result.exit_code == 0
    assert "LUNS  none" in result.stdout
    assert "PROBLEMS" not in result.stdout


def test_json_is_the_body_of_the_api(run: Run, fake_agent: Any) -> None:
    body = json.loads(run("status", "--json").stdout)
    assert body["config"]["digest"] == fake_agent.digest
    assert body["luns"] == fake_agent.status["luns"]


def test_chunked_answers_are_read(run: Run, fake_agent: Any) -> None:
    fake_agent.chunked = True
    assert json.loads(run("status", "--json").stdout)["node"] == "n1"


def test_status_as_tsv(run: Run) -> None:
    lines = run("status", "-o", "tsv").stdout.splitlines()
    assert lines[0] == "kind\tname\tstate\tdetail"
    assert f"lun\t{LUN_A}\tdegraded\tn2=degraded" in lines
    assert "apply-error\tn2\tnot-installed\tmultipathd is not installed" in lines


def test_colours_only_where_they_are_wanted(run: Run) -> None:
    assert "\x1b[" not in run("status").stdout


def on_a_terminal(fake_agent: Any, *args: str, until: str, **environment: str) -> str:
    """What a command writes on a terminal, with `until` in it; one that watches is ended with Ctrl-C then."""
    master, slave = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "PATHMESH_SOCKET": fake_agent.socket, **environment}
    environ = {name: value for name, value in environ.items() if value}
    process = subprocess.Popen([sys.executable, "-m", "agent.cli", *args], stdout=slave, stderr=slave, env=environ)
    os.close(slave)
    seen = ""
    deadline = time.monotonic() + 20
    while until not in seen and time.monotonic() < deadline:
        if select.select([master], [], [], 1)[0]:
            try:
                seen += os.read(master, 65536).decode()
            except OSError:
                break
    if "--watch" in args:
        process.send_signal(signal.SIGINT)
    while select.select([master], [], [], 10)[0]:
        try:
            seen += os.read(master, 65536).decode()
        except OSError:
            break
    os.close(master)
    assert process.wait(10) == 0
    assert until in seen
    return seen


def test_a_terminal_gets_colours_and_indented_json(fake_agent: Any) -> None:
    assert "\x1b[33mdegraded\x1b[0m" in on_a_terminal(fake_agent, "status", until="clock-skew", NO_COLOR="")
    assert "\x1b[" not in on_a_terminal(fake_agent, "status", until="clock-skew", NO_COLOR="1")
    assert "\x1b[" not in on_a_terminal(fake_agent, "status", "--no-color", until="clock-skew", NO_COLOR="")
    assert '\r\n  "schema": 1' in on_a_terminal(fake_agent, "status", "--json", until='"notes"', NO_COLOR="")


def test_an_escape_of_an_array_never_reaches_the_terminal(fake_agent: Any) -> None:
    seen = on_a_terminal(fake_agent, "status", until="clock-skew", NO_COLOR="1")
    assert "\\x1b[2J" in seen
    assert "\x1b[2J" not in seen


def test_the_matrix_joins_all_pages_worst_first(run: Run, fake_agent: Any) -> None:
    fake_agent.document = {f"wwid/{LUN_A}": {"alias": "vmpool-a"}}
    assert run("matrix").stdout.splitlines() == [
        f"KIND           RESOURCE{' ' * 27}ALIAS     STATE     n1           n2",
        f"multipath.map  {LUN_A}  vmpool-a  degraded  healthy 2/2  degraded 1/2 single",
        f"multipath.map  {LUN_B}  -         healthy   healthy 2/2  healthy 2/2",
    ]
    body = json.loads(run("matrix", "--json").stdout)
    assert len(body["resources"]) == 2
    assert body["next"] is None


def test_the_matrix_passes_its_filters_on(run: Run, fake_agent: Any) -> None:
    assert run("matrix", "--state", "healthy", "-o", "tsv").stdout.splitlines()[1:] == [
        f"multipath.map\t{LUN_B}\thealthy\t{node}\thealthy\tfull\t2\t2\t\t" for node in ("n1", "n2")
    ]
    run("matrix", "--kind", "multipath.map", "--node", "n 1", "--resource", LUN_A)
    assert ("GET", f"/v1/matrix?kind=multipath.map&node=n%201&resource={LUN_A}") in fake_agent.requests


def flagged(fake_agent: Any, *flags: str) -> None:
    for lun in fake_agent.status["luns"]:
        lun["nodes"]["n2"] = {**lun["nodes"]["n2"], "flags": [*flags, *(["single-failure-domain"] if lun["wwid"] == LUN_A else [])]}


def test_flags_are_marked_in_the_matrix_and_told_below_it(run: Run, fake_agent: Any) -> None:
    fake_agent.document = {f"wwid/{LUN_A}": {"alias": "vmpool-a"}}
    flagged(fake_agent, "merged-luns", "of-a-newer-version\x1b[2J")
    lines = run("matrix").stdout.splitlines()
    assert [line.split("  ")[-1] for line in lines[1:3]] == ["degraded 1/2 single !", "healthy 2/2 !"]
    assert [line.partition(":")[0] for line in lines[3:]] == [
        "",
        "! merged-luns",
        f"  {LUN_B} on n2",
        "  vmpool-a on n2",
        "",
        "! single-failure-domain",
        "  vmpool-a on n2",
        "",
        "! of-a-newer-version\\x1b[2J",
        f"  {LUN_B} on n2",
        "  vmpool-a on n2",
    ]
    assert "sizes or serial numbers differ" in lines[4]
    row = run("matrix", "-o", "tsv").stdout.splitlines()[2].split("\t")
    assert row[9] == "merged-luns,of-a-newer-version\\x1b[2J"


def test_the_flags_of_a_lun_are_told_in_words(run: Run, fake_agent: Any) -> None:
    assert "!" not in run("lun", "show", LUN_A).stdout
    flagged(fake_agent, "more-than-peers")
    lines = run("lun", "show", LUN_A).stdout.splitlines()
    assert [line.split(": ")[:2] for line in lines[-2:]] == [["! on n2", "more-than-peers"], ["! on n2", "single-failure-domain"]]
    assert "node\tn2\tflag\tmore-than-peers" in run("lun", "show", LUN_A, "-o", "tsv").stdout.splitlines()


def test_watching_redraws_in_place_on_a_terminal(fake_agent: Any) -> None:
    seen = on_a_terminal(fake_agent, "matrix", "--watch", "--interval", "0.1", until="Ctrl-C ends\x1b[K\r\n\x1b[0J\x1b[H", NO_COLOR="1")
    assert seen.startswith("\x1b[?7l\x1b[2J\x1b[HKIND")
    assert seen.endswith("\x1b[?7h")


def test_watching_without_a_terminal_prints_each_change_and_outlives_the_agent(fake_agent: Any) -> None:
    command = [sys.executable, "-m", "agent.cli", "--socket", fake_agent.socket]
    command += ["matrix", "--watch", "--interval", "0.1", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert '"degraded"' in process.stdout.readline()
    fake_agent.status["luns"][1] = {**fake_agent.status["luns"][1], "state": "failed"}
    assert '"state": "failed"' in process.stdout.readline()
    away = Path(fake_agent.socket).rename(f"{fake_agent.socket}.away")
    time.sleep(0.3)
    away.rename(fake_agent.socket)
    fake_agent.status["luns"][1] = {**fake_agent.status["luns"][1], "state": "partial"}
    assert '"state": "partial"' in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    process.stdout.close()


def test_lun_ls_joins_options_and_health(run: Run, fake_agent: Any) -> None:
    fake_agent.document = {
        f"wwid/{LUN_A}": {"alias": "vmpool-a", "comment": "VM pool"},
        f"wwid/{LUN_B}": {"disable": "1"},
    }
    assert run("lun", "ls").stdout.splitlines() == [
        "WWID                               ALIAS     STATE     SIZE    ARRAY                EXPECTED ON  COMMENT",
        f"{LUN_B}  -         disabled  64 MiB  LIO-ORG disk\\x1b[2J  n1,n2        -",
        f"{LUN_A}  vmpool-a  degraded  2 TiB   PURE FlashArray      n1,n2        VM pool",
    ]
    assert f"{LUN_A}\tvmpool-a\tdegraded\t2199023255552\t" in run("lun", "ls", "-o", "tsv").stdout
    assert json.loads(run("lun", "ls", "--json").stdout)["digest"] == fake_agent.digest


def test_an_empty_list_says_what_to_do_and_tsv_keeps_its_header(run: Run) -> None:
    result = run("lun", "ls")
    assert result.stdout == ""
    assert "pathmesh lun add" in result.stderr
    assert run("lun", "ls", "-o", "tsv").stdout == "wwid\talias\tstate\tsize\tarray\texpected_on\tcomment\n"


def test_lun_show(run: Run, fake_agent: Any) -> None:
    fake_agent.document = {f"wwid/{LUN_A}": {"alias": "vmpool-a"}}
    text = run("lun", "show", LUN_A).stdout
    assert "degraded, allow-listed" in text
    assert re.search(r"alias\s+vmpool-a", text)
    assert "lost iscsi:10.0.2.5>10.0.2.10:3260,1,iqn.2001-05.com.example:a" in text
    assert "not allow-listed" in run("lun", "show", LUN_B).stdout
    body = json.loads(run("lun", "show", LUN_A, "--json").stdout)
    assert body["options"] == {"alias": "vmpool-a"}
    assert body["health"]["state"] == "degraded"
    assert run("lun", "show", "vmpool-a").stdout == text
    assert run("lun", "show", "3600").exit_code == 1


def test_lun_show_as_tsv_carries_options_and_health(run: Run, fake_agent: Any) -> None:
    fake_agent.document = {f"wwid/{LUN_A}": {"alias": "vmpool-a"}}
    lines = run("lun", "show", "vmpool-a", "-o", "tsv").stdout.splitlines()
    assert lines[0] == "kind\tnode\tname\tvalue"
    assert {
        "option\t\talias\tvmpool-a",
        "lun\t\tstate\tdegraded",
        "lun\t\tsize_bytes\t2199023255552",
        "lun\t\tused_by\tsan-lvm",
        "node\tn1\tstate\thealthy",
        "node\tn1\treasons\t",
        "node\tn2\tredundancy\tsingle",
        "node\tn2\tusable_paths\t1",
        "node\tn2\texpected_paths\t2",
        "node\tn2\tmissing_path\tiscsi:10.0.2.5>10.0.2.10:3260,1,iqn.2001-05.com.example:a",
    } <= set(lines)
    assert all(line.count("\t") == 3 for line in lines)


def test_lun_show_as_tsv_of_a_lun_that_nobody_sees(run: Run, fake_agent: Any) -> None:
    fake_agent.document = {"wwid/3600": {"alias": "x"}}
    assert run("lun", "show", "3600", "-o", "tsv").stdout.splitlines()[1:] == ["option\t\talias\tx"]


@pytest.mark.parametrize(
    ("command", "column"),
    [("lun ls", 1), ("lun ls", 6), ("node ls", 5), ("node ls", 3), ("storage ls", 3), ("storage status", 4), ("lun scan", 1)],
)
def test_missing_values_are_empty_in_tsv(run: Run, fake_agent: Any, command: str, column: int) -> None:
    fake_agent.document = {f"wwid/{LUN_B}": {}, "storage/san": {"type": "multipath"}}
    fake_agent.status["nodes"][1]["apply"] = None
    storage: dict[str, Any] = {"id": "san", "type": "multipath", "nodes": None, "base": None, "state": "unused", "luns": [], "problems": []}
    scanned: dict[str, Any] = {"luns": [{"wwid": LUN_B, "vendor": " ", "product": None, "size_bytes": None, "nodes": {}}]}
    fake_agent.answers = {"/v1/storages": {"storages": [storage]}, "/v1/luns/scan": scanned}
    last = run(*command.split(), "-o", "tsv").stdout.splitlines()[-1].split("\t")
    assert last[column] == ""
    assert "-" not in last


def test_a_dash_that_is_a_value_stays_in_tsv(run: Run, fake_agent: Any) -> None:
    fake_agent.document = {"defaults": {"partition-delimiter": "-"}}
    assert run("defaults", "show", "-o", "tsv").stdout.splitlines()[1] == "partition-delimiter\t-"


@pytest.mark.parametrize(
    ("key", "option", "message", "printed"),
    [
        ("defaults", "find-multipaths", "defaults: it is pinned", ": defaults: it is pinned"),
        ("storage/xx", "vgname", "storage xx: vgname is missing", ": storage xx: vgname is missing"),
        ("storage/xx", "base", "storage xxl: no", ": storage/xx base: storage xxl: no"),
        ("storage/a", "", "a base is needed", ": storage/a: a base is needed"),
        (f"wwid/{LUN_A}", "alias", f"LUN {LUN_A}: alias is bad", f": LUN {LUN_A}: alias is bad"),
        (f"wwid/{LUN_A}", "alias", f"LUN {LUN_A}0: alias is bad", f": wwid/{LUN_A} alias: LUN {LUN_A}0: alias is bad"),
        ("defaults", "prio-args", "defaults are odd", ": defaults prio-args: defaults are odd"),
        ("", "", "no place", ": no place"),
    ],
)
def test_a_problem_names_its_place_once(key: str, option: str, message: str, printed: str) -> None:
    assert problem_text({"key": key, "option": option, "message": message}) == (printed, "")


def test_a_state_that_is_not_known_shows_what_it_was_and_claims_no_paths(run: Run, fake_agent: Any) -> None:
    cell = fake_agent.status["luns"][1]["nodes"]["n2"]
    gone = {**cell, "state": "unknown", "reasons": ["offline"], "missing_paths": [], "last": {"state": "degraded"}}
    fake_agent.status["luns"][1]["nodes"] = {"n1": fake_agent.status["luns"][0]["nodes"]["n1"], "n2": gone}
    assert "      n2: unknown (offline) was degraded" in run("status").stdout.splitlines()
    assert run("matrix").stdout.splitlines()[1].endswith("healthy 2/2  unknown (was degraded)")


def test_the_problems_of_storages_are_messages(run: Run) -> None:
    assert run("storage", "status").stderr == "warning: storage/san-lvm: n2 is not in san\n"


def test_lun_scan(run: Run) -> None:
    assert run("lun", "scan").stdout.splitlines()[1] == f"{LUN_B}  LIO-ORG  disk     64 MiB  n1:2, n2:1"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("node ls", "n2    online (maintenance)  editor  failed   not-installed  -      0.4 s"),
        ("node maps", "    sdb  active  ready  active  fc:a>b"),
        ("member ls", "n1      admin  joined  online    9f3a21c0  0.2 s  tcp://10.0.0.1:7946"),
        ("storage status", f"san-lvm  lvm    degraded  n1     san:{LUN_A}  1 degraded, 1 healthy"),
        ("render", "# 90-pathmesh.conf"),
        ("render --diff", "+new"),
        ("apply", "state    in-sync"),
        ("node maps n2 -o tsv", f"n2\t{LUN_A}\tvmpool-a\thealthy\t1\tfc:a>b\tsdb\tactive\tready\tactive"),
        ("render -o tsv", "90-pathmesh.conf\t1\tdefaults {"),
        ("apply -o tsv", "in-sync\td\td\t2026-07-03T12:45:00Z\t"),
    ],
)
def test_other_tables(run: Run, command: str, line: str) -> None:
    result = run(*command.split())
    assert result.exit_code == 0
    assert line in result.stdout.splitlines()


def test_what_render_skipped_is_a_message(run: Run) -> None:
    assert run("render").stderr == "warning: defaults max-retries: needs 0.9.7\n"


def test_apply_now_that_fails_is_status_1(run: Run) -> None:
    result = run("apply", "--now")
    assert result.exit_code == 1
    assert "not-installed: multipathd is not installed (3 times since" in result.stdout
    assert json.loads(run("apply", "--now", "--json").stdout)["apply"]["state"] == "failed"


def test_dump_and_its_sections(run: Run) -> None:
    assert set(json.loads(run("dump").stdout)) == {"status", "members", "matrix"}
    assert json.loads(run("dump", "--section", "members").stdout) == {"members": []}
    unknown = run("dump", "--section", "nope")
    assert unknown.exit_code == 2
    assert "it has matrix, members, status" in unknown.stderr
