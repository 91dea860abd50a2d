"""The effective configuration: all files folded, and what the result means for one map or path."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from apply.ere import Rule, compile_rule
from apply.simulated.conf_keywords import (
    DEAD_INTERVAL,
    DEVICE,
    FILTER,
    INITIAL,
    MULTIPATH,
    OVERRIDES,
    PROTOCOL,
    READERS,
    UINT_MAX,
    Reader,
    Value,
)
from apply.simulated.conf_parser import Block, Complaint, ParsedFile, Setting
from apply.simulated.lun_file import Lun, LunPath

Options = Mapping[str, Value]

DEFAULT_INTERVAL = 5  # seconds between path checks, and the first value of max_polling_interval is four times this
QUEUE = "queue_if_no_path"

_BUILT_IN_DEVNODE = "!^(sd[a-z]|dasd[a-z]|nvme[0-9])"
_BUILT_IN_PROPERTY = "(SCSI_IDENT_|ID_WWN)"
_BUILT_IN_DEVICES = tuple(
    tuple(entry.split(":"))
    for entry in (
        "SGI:Universal Xport", "^DGC:LUNZ", "EMC:LUNZ", "DELL:Universal Xport", "FUJITSU:Universal Xport", "IBM:Universal Xport",
        "IBM:S/390", "LENOVO:Universal Xport", "(NETAPP|LSI|ENGENIO):Universal Xport", "STK:Universal Xport", "SUN:Universal Xport",
        "(Intel|INTEL):VTrak V-LUN", "Promise:VTrak V-LUN", "Promise:Vess V-LUN",
    )
)  # fmt: skip
FILTER_WORDS = ("devnode", "wwid", "property", "protocol")


class Filter(NamedTuple):
    """A blacklist or its exceptions: rules by what they look at, and (vendor, product) pairs of which one may be empty."""

    rules: Mapping[str, tuple[str, ...]]
    devices: tuple[tuple[str, str], ...]

    def hits(self, word: str, subject: str) -> bool:
        return any(_rule(r).matches(subject) for r in self.rules[word])

    def hits_device(self, vendor: str, product: str) -> bool:
        return any(_rule(v or ".*").matches(vendor) and _rule(p or ".*").matches(product) for v, p in self.devices)


@dataclass(frozen=True, slots=True)
class MapOptions:
    """What the configuration says of one map. `no_path_retry` is undef, fail, queue or a number of checks."""

    alias: str | None
    friendly_prefix: str | None
    selector: str
    policy: str
    features: tuple[str, ...]
    no_path_retry: str
    failback: str


@dataclass(frozen=True, slots=True)
class PathOptions:
    """What the configuration says of one path."""

    checker: str
    prio: str


@dataclass(frozen=True)
class Config:
    """The folded files. `multipaths` is by WWID; `discarded` are the WWIDs whose alias another WWID has taken."""

    defaults: Options
    blacklist: Filter
    exceptions: Filter
    devices: tuple[Options, ...]
    overrides: Options
    protocols: tuple[Options, ...]
    multipaths: Mapping[str, Options]
    warnings: tuple[str, ...]

    @property
    def polling_interval(self) -> int:
        return int(self.defaults["polling_interval"].text)

    @property
    def max_polling_interval(self) -> int:
        return int(self.defaults["max_polling_interval"].text)

    @property
    def checks_paths(self) -> bool:
        """False after a refused polling interval: the daemon then never looks at a path again."""
        return self.polling_interval < DEAD_INTERVAL

    @property
    def find_multipaths(self) -> str:
        return self.defaults["find_multipaths"].text

    def for_map(self, lun: Lun) -> MapOptions:
        """Precedence: multipaths, overrides, devices, defaults."""
        own = self.multipaths.get(lun.wwid, {})
        layers = (own, self.overrides, *self._devices(lun), self.defaults)

        def pick(keyword: str, default: str = "") -> str:
            return next((layer[keyword].text for layer in layers if keyword in layer), default)

        features = tuple(pick("features").split()[1:])
        retry = pick("no_path_retry", "queue" if QUEUE in features else "undef")
        alias = own.get("alias")
        return MapOptions(
            alias=alias.text if alias else None,
            friendly_prefix=pick("alias_prefix") if pick("user_friendly_names") == "yes" else None,
            selector=pick("path_selector"),
            policy=pick("path_grouping_policy"),
            features=tuple(w for w in features if w not in (QUEUE, "retain_attached_hw_handler")),
            no_path_retry=retry,
            failback=pick("failback"),
        )

    def for_path(self, lun: Lun) -> PathOptions:
        layers = (self.overrides, *self._devices(lun), self.defaults)
        checker, prio = (next(layer[k].text for layer in layers if k in layer) for k in ("path_checker", "prio"))
        return PathOptions(checker, prio)

    def blacklisted(self, lun: Lun, path: LunPath) -> bool:
        """Whether the daemon ignores the path. An exception rescues only from rules that look at the same thing."""
        subjects = {"devnode": path.dev, "wwid": lun.wwid, "protocol": path.protocol}
        if any(self.blacklist.hits(w, s) and not self.exceptions.hits(w, s) for w, s in subjects.items()):
            return True
        return self.blacklist.hits_device(lun.vendor, lun.product) and not self.exceptions.hits_device(lun.vendor, lun.product)

    def _devices(self, lun: Lun) -> list[Options]:
        return [d for d in reversed(self.devices) if device_matches(d, lun)]


def device_matches(device: Options, lun: Lun) -> bool:
    """Whether a `device` section is about this LUN: vendor, product and revision are expressions, an absent one matches."""
    subjects = (("vendor", lun.vendor), ("product", lun.product), ("revision", lun.rev))
    return all(_rule(device[k].text).matches(s) for k, s in subjects if k in device)


@lru_cache(maxsize=4096)
def _rule(text: str) -> Rule:
    rule = compile_rule(text)
    if rule is None:
        raise ValueError(text)  # the readers let only what compiles through
    return rule


def build(files: Iterable[ParsedFile]) -> Config:
    """Fold the files in the order in which the daemon reads them; later settings win, filters add up."""
    fold = _Fold()
    for parsed in files:
        fold.add(parsed)
    return fold.config()


class _Fold:
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._defaults: dict[str, Value] = {}
        self._filters: dict[str, tuple[dict[str, list[str]], list[tuple[str, str]]]] = {
            name: ({w: [] for w in FILTER_WORDS}, []) for name in ("blacklist", "blacklist_exceptions")
        }
        self._devices: list[dict[str, Value]] = []
        self._overrides: dict[str, Value] = {}
        self._protocols: dict[str, dict[str, Value]] = {}
        self._multipaths: list[dict[str, Value]] = []

    def add(self, parsed: ParsedFile) -> None:
        self._file = parsed.file
        self._complaints = list(parsed.complaints)
        self._end = parsed.lines + 1
        for block in parsed.blocks:
            if block.name == "defaults":
                self._read(block, READERS, self._defaults)
            elif block.name == "overrides":
                self._read(block, OVERRIDES, self._overrides)
                for inner in _blocks(block):
                    self._protocol(inner)
            elif block.name == "devices":
                for inner in _blocks(block):
                    self._device(inner)
            elif block.name == "multipaths":
                for inner in _blocks(block):
                    self._multipaths.append(self._read(inner, MULTIPATH, {}))
            else:
                self._filter(block)
        # A file is read in one go: what it says of its shape and of its values comes line by line.
        self.warnings += [c.text for c in sorted(self._complaints, key=lambda c: c.line)]

    def _complain(self, line: int, text: str) -> None:
        self._complaints.append(Complaint(line, text))

    def config(self) -> Config:
        return Config(
            defaults=self._settled_defaults(),
            blacklist=self._settled_filter("blacklist", _BUILT_IN_DEVNODE, "", _BUILT_IN_DEVICES),
            exceptions=self._settled_filter("blacklist_exceptions", "", _BUILT_IN_PROPERTY, ()),
            devices=tuple(self._devices),
            overrides=self._overrides,
            protocols=tuple(self._protocols.values()),
            multipaths=self._settled_multipaths(),
            warnings=tuple(self.warnings),
        )

    def _read(self, block: Block, readers: Mapping[str, Reader], into: dict[str, Value]) -> dict[str, Value]:
        for item in block.items:
            if isinstance(item, Setting):
                value = self._value(item, readers[item.keyword])
                keyword = "path_checker" if item.keyword == "checker" else item.keyword
                if value is not None:
                    into[keyword] = value
                elif keyword == "polling_interval":
                    into.setdefault(keyword, Value(str(DEAD_INTERVAL), quoted=False))
        return into

    def _value(self, setting: Setting, reader: Reader) -> Value | None:
        reading = reader(setting.keyword, setting.value)
        if reading.warning == "parsing failed":
            self._complain(setting.line, f"{self._file} line {setting.line}, parsing failed: {setting.source}")
        elif reading.warning.startswith("ignoring deprecated"):
            self._complain(setting.line, f"{self._file} line {setting.line}: {reading.warning}")
        elif reading.warning:
            self._complain(setting.line, f"{self._file} line {setting.line}, {reading.warning}")
        return reading.value

    def _protocol(self, block: Block) -> None:
        options = self._read(block, PROTOCOL, {})
        if "type" not in options:
            self._complain(self._end, "protocol section in overrides missing type")
            return
        self._protocols.setdefault(options["type"].text, {}).update(options)

    def _device(self, block: Block) -> None:
        options = self._read(block, DEVICE, {})
        if "vendor" not in options or "product" not in options:
            self._complain(self._end, f"device config in {self._file.rpartition('/')[2]} missing vendor or product parameter")
            return
        same = ("vendor", "product", "revision")
        earlier = next((d for d in self._devices if all(d.get(k) == options.get(k) for k in same)), None)
        if earlier is None:
            self._devices.append(options)
        else:
            earlier.update(options)

    def _filter(self, block: Block) -> None:
        rules, devices = self._filters[block.name]
        for item in block.items:
            if isinstance(item, Setting):
                value = self._value(item, FILTER[item.keyword])
                if value is not None:
                    rules[item.keyword].append(value.text)
            else:
                pair = self._read(item, {"vendor": FILTER["wwid"], "product": FILTER["wwid"]}, {})
                if pair:
                    devices.append((pair["vendor"].text if "vendor" in pair else "", pair["product"].text if "product" in pair else ""))

    def _settled_defaults(self) -> Options:
        given = self._defaults
        interval = int(given["polling_interval"].text) if "polling_interval" in given else None
        longest = int(given["max_polling_interval"].text) if "max_polling_interval" in given else None
        if longest is None:
            interval = DEFAULT_INTERVAL if interval is None else interval
            longest = min(4 * interval, UINT_MAX)
        elif interval is None:
            interval = longest // 4 if longest >= 4 else 1
        else:
            interval = min(interval, longest)
        settled = {"polling_interval": Value(str(interval), quoted=False), "max_polling_interval": Value(str(longest), quoted=False)}
        return {**INITIAL, **given, **settled}

    def _settled_filter(self, name: str, devnode: str, prop: str, devices: Sequence[tuple[str, ...]]) -> Filter:
        rules, pairs = self._filters[name]
        built_in = {"devnode": devnode, "property": prop}
        folded = {w: tuple(dict.fromkeys([*rules[w], *filter(None, [built_in.get(w)])])) for w in FILTER_WORDS}
        return Filter(folded, tuple(dict.fromkeys([*pairs, *((v, p) for v, p in devices)])))

    def _settled_multipaths(self) -> dict[str, Options]:
        merged: dict[str, dict[str, Value]] = {}
        for entry in self._multipaths:
            if "wwid" not in entry:
                self.warnings.append("multipaths config section missing wwid")
                continue
            wwid = entry["wwid"].text
            if wwid in merged:
                self.warnings.append(f"merge_mptable: duplicate multipath config section for {wwid}")
            merged.setdefault(wwid, {}).update(entry)
        return {wwid: merged[wwid] for wwid in sorted(merged)}


def without_duplicate_aliases(config: Config) -> tuple[Config, tuple[str, ...]]:
    """The configuration as the daemon uses it: of two WWIDs with one alias the first keeps it. Also what it logs of that."""
    owners: dict[str, str] = {}
    kept: dict[str, Options] = {}
    complaints = []
    for wwid, options in config.multipaths.items():
        alias = options["alias"].text if "alias" in options else None
        if alias is not None and owners.setdefault(alias, wwid) != wwid:
            complaints.append(f'ERROR: alias "{alias}" bound to multiple wwids in multipath.conf, discarding binding to {wwid}')
            options = {k: v for k, v in options.items() if k != "alias"}
        kept[wwid] = options
    return replace(config, multipaths=kept), tuple(complaints)


def _blocks(block: Block) -> list[Block]:
    return [item for item in block.items if isinstance(item, Block)]
