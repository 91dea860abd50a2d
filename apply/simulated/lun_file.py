"""The LUN file: which LUNs and paths the simulated host sees, read from TOML and checked field by field."""

import difflib
import re
import time
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from store.errors import UsageError

UNDEFINED = "[undef]"
SECTOR_BYTES = 512
_RACY_NS = 100_000_000
"""How fresh a file may be, in nanoseconds, for its time not to tell the next write from the last one: several timer ticks."""

_SD_MAJORS = (8, 65, 66, 67, 68, 69, 70, 71, 128, 129, 130, 131, 132, 133, 134, 135)  # Linux: 16 disks each, then high minors


class PathState(Enum):
    """What the checker, sysfs and the kernel say of a path in one condition.

    `checker` and `device` are the words of the listings, `status` that of `show status`. A `usable` path counts in a map's `paths`; an
    `alive` one is not failed in the kernel's table.
    """

    READY = ("ready", "running", "up", True, True)
    GHOST = ("ghost", "running", "ghost", True, True)
    FAULTY = ("faulty", "running", "down", False, False)
    OFFLINE = ("faulty", "offline", "down", False, False)
    SHAKY = ("shaky", "running", "shaky", False, False)
    PENDING = ("i/o pending", "running", "pending", False, True)
    TIMEOUT = ("i/o timeout", "running", "timeout", False, False)
    DELAYED = ("delayed", "running", "delayed", False, False)
    DISCONNECTED = ("disconnected", "running", "disconnected", False, False)

    def __init__(self, checker: str, device: str, status: str, usable: bool, alive: bool) -> None:
        self.checker = checker
        self.device = device
        self.status = status
        self.usable = usable
        self.alive = alive


STATE_WORDS: Mapping[str, PathState] = {s.name.lower(): s for s in PathState} | {"failed": PathState.FAULTY}


@dataclass(frozen=True, slots=True)
class LunPath:
    """One path as the file describes it; the names of ports are as the listings print them."""

    dev: str
    dev_t: str
    hcil: tuple[int, int, int, int]
    host_wwnn: str
    host_wwpn: str
    target_wwnn: str
    target_wwpn: str
    host_adapter: str
    lun_hex: str
    protocol: str
    state: PathState
    prio: int
    marginal: bool


@dataclass(frozen=True, slots=True)
class Lun:
    """One LUN and its paths. `open` means that something uses the map."""

    wwid: str
    vendor: str
    product: str
    rev: str
    serial: str
    size_bytes: int
    hwhandler: str
    open: bool
    paths: tuple[LunPath, ...]


class LunFile:
    """The file and what it said when it was last good.

    A file time is as coarse as a timer tick, so one that was written just before it was read is looked into again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._content: bytes | None = None
        self._signature: tuple[int, int, int] | None = None
        self.luns: tuple[Lun, ...] = ()
        self.reread()

    def reread(self) -> bool:
        """Read the file if it changed, and say whether it did; `UsageError`, once for each content, leaves `luns` as it was."""
        try:
            status = self._file.stat()
            signature = (status.st_mtime_ns, status.st_size, status.st_ino)
            if signature == self._signature:
                return False
            content = self._file.read_bytes()
            self._signature = signature if abs(time.time_ns() - status.st_mtime_ns) > _RACY_NS else None
        except OSError as error:
            known, self._content = self._content, b""
            if known == b"":
                return False
            raise UsageError(f"{self._file}: {error.strerror}", code="luns-unreadable", hint="give a readable TOML file of LUNs") from None
        if content == self._content:
            return False
        self._content = content
        self.luns = parse_luns(content, self._file)
        return True


def parse_luns(content: bytes, file: Path) -> tuple[Lun, ...]:
    """Check what the file says; `UsageError` names the file and the field (`lun[0].path[1].state`)."""
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: not TOML: {error}", code="luns-invalid") from None
    top = _Table(file, "", document, ("lun",))
    luns = tuple(_lun(top.table("lun", n, raw), n) for n, raw in enumerate(top.tables("lun")))
    seen: dict[str, str] = {}
    for n, lun in enumerate(luns):
        for m, path in enumerate(lun.paths):
            where = f"lun[{n}].path[{m}].dev"
            if path.dev in seen:
                raise UsageError(f"{file}: {where}: {path.dev} is already {seen[path.dev]}", code="luns-invalid")
            seen[path.dev] = where
    return luns


_LUN_FIELDS = ("wwid", "vendor", "product", "rev", "serial", "size_bytes", "hwhandler", "open", "path")
_PATH_FIELDS = (
    "dev", "dev_t", "hcil", "host_wwnn", "host_wwpn", "target_wwnn", "target_wwpn", "host_adapter", "lun_hex", "protocol", "state",
    "prio", "marginal",
)  # fmt: skip


class _Table:
    """A TOML table with its place in the file, whose getters refuse what does not fit and say where."""

    def __init__(self, file: Path, place: str, raw: Mapping[str, Any], known: Collection[str]) -> None:
        self._file = file
        self._place = place
        self._raw = raw
        for name in raw:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise self.error(name, "unknown field", hint=f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}")

    def error(self, name: str, problem: str, hint: str = "") -> UsageError:
        place = f"{self._place}.{name}" if self._place else name
        return UsageError(f"{self._file}: {place}: {problem}", code="luns-invalid", hint=hint)

    def tables(self, name: str) -> list[Any]:
        raw = self._raw.get(name, [])
        if not isinstance(raw, list):
            raise self.error(name, f"must be an array of tables, as in [[{name}]]")
        return raw

    def table(self, name: str, index: int, raw: Any) -> "_Table":
        place = f"{self._place}.{name}[{index}]" if self._place else f"{name}[{index}]"
        if not isinstance(raw, dict):
            raise self.error(name, f"must be an array of tables, as in [[{place.split('[')[0]}]]")
        return _Table(self._file, place, raw, _LUN_FIELDS if name == "lun" else _PATH_FIELDS)

    def text(self, name: str, default: str | None = None, check: Callable[[str], bool] | None = None, what: str = "text") -> str:
        value = self._raw.get(name, default)
        if value is None:
            raise self.error(name, "is missing")
        if not isinstance(value, str) or any(c < " " for c in value) or (name in self._raw and check and not check(value)):
            raise self.error(name, f"must be {what}, not {value!r}")
        return value

    def integer(self, name: str, default: int | None, low: int, high: int, step: int = 1) -> int:
        value = self._raw.get(name, default)
        if value is None:
            raise self.error(name, "is missing")
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high or value % step:
            raise self.error(name, f"must be an integer {low}..{high}{f', a multiple of {step}' if step > 1 else ''}, not {value!r}")
        return value

    def boolean(self, name: str) -> bool:
        value = self._raw.get(name, False)
        if not isinstance(value, bool):
            raise self.error(name, f"must be true or false, not {value!r}")
        return value


def _lun(table: _Table, index: int) -> Lun:
    wwid = table.text("wwid", check=lambda v: 1 <= len(v.encode()) <= 127 and "/" not in v, what="1 to 127 bytes without a slash")
    hwhandler = table.text("hwhandler", "0")
    return Lun(
        wwid=wwid,
        vendor=table.text("vendor"),
        product=table.text("product"),
        rev=table.text("rev", default="0001"),
        serial=table.text("serial", ""),
        size_bytes=table.integer("size_bytes", None, SECTOR_BYTES, 2**63 - SECTOR_BYTES, SECTOR_BYTES),
        hwhandler=hwhandler,
        open=table.boolean("open"),
        paths=tuple(_path(table.table("path", n, raw), index, n, hwhandler) for n, raw in enumerate(table.tables("path"))),
    )


def _path(table: _Table, lun: int, index: int, hwhandler: str) -> LunPath:
    dev = table.text("dev", check=_shaped(r"[a-z][a-z0-9]*"), what="a kernel device name such as sda")
    hcil = table.text("hcil", f"{index}:0:0:{lun + 1}", _shaped(r"\d{1,9}(:\d{1,9}){3}"), "host:channel:id:lun")
    host, channel, target, number = (int(part) for part in hcil.split(":"))
    dev_t = table.text("dev_t", _device_number(dev), _shaped(r"\d+:\d+"), "major:minor")
    lun_hex = table.text("lun_hex", _lun_hex(number), _shaped(r"0x[0-9a-f]{1,16}"), "0x and up to 16 hex digits")
    word = table.text("state", "ready", lambda v: v in STATE_WORDS, f"one of {', '.join(STATE_WORDS)}")
    state = STATE_WORDS[word]
    host_wwpn = table.text("host_wwpn", UNDEFINED)
    target_wwnn = table.text("target_wwnn", UNDEFINED)
    usual_prio = (1 if state is PathState.GHOST else 50) if "alua" in hwhandler else 1
    return LunPath(
        dev=dev,
        dev_t=dev_t,
        hcil=(host, channel, target, number),
        host_wwnn=table.text("host_wwnn", UNDEFINED),
        host_wwpn=host_wwpn,
        target_wwnn=target_wwnn,
        target_wwpn=table.text("target_wwpn", UNDEFINED),
        host_adapter=table.text("host_adapter", UNDEFINED),
        lun_hex=lun_hex,
        protocol=table.text("protocol", _protocol(host_wwpn, target_wwnn)),
        state=state,
        prio=table.integer("prio", usual_prio, -1, 2**31 - 1),
        marginal=table.boolean("marginal"),
    )


def _shaped(pattern: str) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(pattern, value, re.ASCII) is not None


def _device_number(dev: str) -> str | None:
    """`major:minor` of an sd device (Linux Documentation/admin-guide/devices.txt); no answer for other drivers."""
    match = re.fullmatch(r"sd([a-z]{1,5})", dev)
    if match is None:
        return None
    index = 0
    for letter in match[1]:
        index = index * 26 + ord(letter) - ord("a") + 1
    index -= 1
    return f"{_SD_MAJORS[index >> 4 & 15]}:{(index & 15) << 4 | index & 0xFFF00}"


def _lun_hex(number: int) -> str:
    """The SAM LUN field: peripheral addressing below 256, flat addressing above."""
    return f"0x{(number if number < 256 else 0x4000 | number & 0x3FFF) << 48:016x}"


def _protocol(host_wwpn: str, target_wwnn: str) -> str:
    if host_wwpn != UNDEFINED:
        return "scsi:fcp"
    return "scsi:iscsi" if target_wwnn.startswith(("iqn.", "eui.", "naa.")) else "scsi:unspec"
