"""Processor time of one poll: reading the daemon's answer and judging every path; and a poll that finds nothing new, from socket to stream.

The answers are as the daemon prints them; sysfs is a tree of files. Nothing here waits, so it is processor time alone that counts.
"""

import asyncio
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from apply.collect import Context, HealthCollector
from apply.health import Memory, View, derive
from apply.model import Lun, Model, Settings
from apply.storages import ExpectedNodes
from apply.sysfs import Sysfs
from apply.topology import PATHS_COMMAND, SIZES_COMMAND, parse, parse_paths, parse_sizes
from scripts.benchmarks.rig import say, scratch
from scripts.benchmarks.table import Judged, Row, Target
from store.health import OwnStream
from store.records import MemoryRecords

MANY, LARGEST, USUAL = (500, 8), (1024, 16), (100, 4)
EVERYBODY = frozenset({"n1", "n2", "n3"})


def measure(quick: bool) -> list[Row]:
    """Three rows: a large host, the largest, and a poll of a usual one that finds nothing new."""
    rounds = 5 if quick else 20
    large = [_judged(*MANY) for _ in range(rounds)]
    most = [_judged(*LARGEST) for _ in range(max(2, rounds // 4))]
    megabytes, size = _peak(*LARGEST)
    say(f"parse: the answer of {LARGEST[0]} x {LARGEST[1]} has {size / 1e6:.1f} MB")
    with scratch() as directory:
        polls, sent = asyncio.run(_polls(directory, *USUAL, rounds=rounds * 5))
    assert not sent, "an unchanged poll has news"
    return [
        Row(f"parse and classify {MANY[0]} x {MANY[1]}", "ms CPU", tuple(large), Target(Judged.MEDIAN, 250)),
        Row(f"parse and classify {LARGEST[0]:,} x {LARGEST[1]}", "ms CPU", tuple(most), note=f"{size / 1e6:.0f} MB of JSON"),
        Row(f"memory for that of {LARGEST[0]:,} x {LARGEST[1]}, at its peak", "MB", (megabytes,), Target(Judged.MEDIAN, 256)),
        Row(f"an unchanged poll of {USUAL[0]} x {USUAL[1]}", "ms CPU", tuple(polls), Target(Judged.MEDIAN, 20), note="nothing is sent"),
    ]


class Answers:
    """What the daemon of a host with so many LUNs by so many paths each says."""

    def __init__(self, luns: int, paths: int) -> None:
        self.wwids = [f"3624a9370{n:024x}" for n in range(luns)]
        rows = [(wwid, f"sd{_letters(n * paths + p)}", n, p) for n, wwid in enumerate(self.wwids) for p in range(paths)]
        self.devices = [(dev, wwid, n, p) for wwid, dev, n, p in rows]
        maps = ",".join(_map(wwid, n, rows[n * paths : (n + 1) * paths]) for n, wwid in enumerate(self.wwids))
        self.maps = f'{{\n   "major_version": 0,\n   "minor_version": 1,\n   "maps": [{maps}]\n}}\n'
        self.paths = "".join(f"{wwid}|{p}:0:0:{n}|{dev}|2.0T|{wwid}|SN{n:08}|PURE,FlashArray,8888\n" for wwid, dev, n, p in rows)
        self.sizes = "".join(f"{wwid}|2.0T\n" for wwid in self.wwids)
        self.model = Model(settings=Settings(learn_window_seconds=0), luns={wwid: Lun(wwid) for wwid in self.wwids}, empty=False)
        self.expected = {wwid: ExpectedNodes(EVERYBODY, "explicit") for wwid in self.wwids}

    async def ask(self, command: str) -> str:
        known = {"show daemon": "pid 801 idle\n", "show maps json": self.maps, PATHS_COMMAND: self.paths, SIZES_COMMAND: self.sizes}
        return known.get(command, "multipath-tools v0.9.4 (12/19, 2022)\n")


def _map(wwid: str, number: int, rows: list[tuple[str, str, int, int]]) -> str:
    """As the daemon prints it: a line for each field, a blank before the colon."""
    document = {
        "name": wwid, "uuid": wwid, "sysfs": f"dm-{number}", "failback": "immediate", "queueing": "off", "paths": len(rows),
        "write_prot": "rw", "dm_st": "active", "features": "0", "hwhandler": "1 alua", "action": "", "path_faults": 0, "vend": "PURE",
        "prod": "FlashArray", "rev": "8888", "switch_grp": 0, "map_loads": 1, "total_q_time": 0, "q_timeouts": 0,
        "path_groups": [_group(dev, n, p) for _, dev, n, p in rows],
    }  # fmt: skip
    return json.dumps(document, indent=3, separators=(",", " : "))


def _group(dev: str, lun: int, port: int) -> dict[str, object]:
    path = {
        "dev": dev, "dev_t": f"8:{lun}", "dm_st": "active", "dev_st": "running", "chk_st": "ready", "checker": "tur", "pri": 50,
        "host_wwnn": f"0x20000090fa1b2c{port:02x}", "target_wwnn": f"0x524a9370000000{port:02x}",
        "host_wwpn": f"0x10000090fa1b2c{port:02x}", "target_wwpn": f"0x524a937a1b2c3d{port:02x}",
        "host_adapter": f"0000:3b:00.{port % 2}", "lun_hex": f"0x{lun:016x}", "marginal_st": "normal",
    }  # fmt: skip
    return {"selector": "service-time 0", "pri": 50, "dm_st": "active", "marginal_st": "normal", "group": port + 1, "paths": [path]}


def _letters(number: int) -> str:
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(97 + digit) + text
    return text


def _judge(answers: Answers) -> int:
    topology, seen, sizes = parse(answers.maps), parse_paths(answers.paths), parse_sizes(answers.sizes)
    view = View("n1", 0.0, 1e9, answers.model, answers.expected, topology, seen=seen, sizes=sizes)
    derived = derive(view, Memory(), {})
    assert len(derived.cells) == len(answers.wwids) and {cell.state for cell in derived.cells} == {"healthy"}
    return len(derived.cells)


def _judged(luns: int, paths: int) -> float:
    answers = Answers(luns, paths)
    return _milliseconds(lambda: _judge(answers))


def _milliseconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * 1000


def _peak(luns: int, paths: int) -> tuple[float, int]:
    """The peak of memory while it is judged, in megabytes, beside the answer itself; and the answer's size in bytes."""
    answers = Answers(luns, paths)
    tracemalloc.start()
    try:
        _judge(answers)
        return tracemalloc.get_traced_memory()[1] / 1e6, len(answers.maps)
    finally:
        tracemalloc.stop()


async def _polls(directory: Path, luns: int, paths: int, *, rounds: int) -> tuple[list[float], int]:
    """Milliseconds of each poll after the first few, and how many of them had news."""
    answers = Answers(luns, paths)
    _grow(directory / "sys", answers)
    collector = HealthCollector(
        answers, MemoryRecords(), lambda: Context("n1", answers.model, answers.expected), devices=Sysfs(directory / "sys"), notes=tuple
    )
    own = OwnStream("n1", b"n" * 16, 1, lambda body: b"s" * 64, 0)
    for _ in range(3):
        own.report(await collector.poll(), 0)
    spent, news = [], 0
    for number in range(rounds):
        begun = time.process_time()
        news += own.report(await collector.poll(), number)
        spent.append((time.process_time() - begun) * 1000)
    return spent, news


def _grow(root: Path, answers: Answers) -> None:
    """A sysfs with these maps and disks."""
    (root / "block").mkdir(parents=True)
    for number, wwid in enumerate(answers.wwids):
        device = root / "block" / f"dm-{number}"
        (device / "dm").mkdir(parents=True)
        (device / "dm" / "uuid").write_text(f"mpath-{wwid}\n")
        (device / "size").write_text("4294967296\n")
    for dev, wwid, n, p in answers.devices:
        place = root / f"devices/pci0000:3a/0000:3b:00.{p % 2}/host{p}/rport-{p}:0-1/target{p}:0:0/{p}:0:0:{n}"
        (place / "block" / dev).mkdir(parents=True)
        (place / "block" / dev / "device").symlink_to("../..")
        (root / "block" / dev).symlink_to(place / "block" / dev)
        (place / "wwid").write_text(f"naa.{wwid[1:]}\n")
