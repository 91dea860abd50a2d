"""What a good configuration would rather not have: advice that refuses nothing."""

from collections.abc import Iterator, Mapping

from apply.groups import DEFAULT_POLLING_INTERVAL, SAN_PATH_ERR
from apply.hosts import NOBODY, Hosts
from apply.model import Lun, Model
from apply.option_model import Scope, Version
from apply.option_tables import TABLES
from apply.options import supported
from apply.problems import Problem, Severity
from apply.wwid import DM_WWID_LIMIT, AliasType
from store.document import DEFAULTS, WWID_PREFIX

_BY_KEYWORD = {scope: {option.keyword: option for option in TABLES[scope].values()} for scope in (Scope.DEFAULTS, Scope.WWID)}


def lint(model: Model) -> list[Problem]:
    """All advice about a model; stable, so that two models' advice can be compared."""
    found = [*_defaults(model)]
    for lun in model.luns.values():
        found += _lun(lun, model)
    return found


def advise_change(before: Model, after: Model, hosts: Hosts = NOBODY) -> list[Problem]:
    """Advice about the way from one model to another."""
    found: list[Problem] = []
    for wwid in sorted({*before.luns, *after.luns}):
        old, new = (model.luns.get(wwid) for model in (before, after))
        if old is not None and old.enabled:
            found += _renamed(old, new)
        elif new is not None and new.enabled:
            found += _taken_over(new, hosts)
    groups = [model.defaults.get("marginal_pathgroups") == "fpin" for model in (before, after)]
    if groups[0] != groups[1]:
        message = "a change to or from marginal-pathgroups fpin takes effect when multipathd is restarted"
        found.append(_warning("restart-required", DEFAULTS, message, "marginal-pathgroups"))
    return found


def _renamed(old: Lun, new: Lun | None) -> Iterator[Problem]:
    """What happens to the name of a map."""
    wwid, hint = old.wwid, "use /dev/disk/by-id/dm-uuid-mpath-<WWID>, which stays"
    if new is not None and new.enabled and old.alias != new.alias:
        message = f"LUN {wwid}: its map is renamed; what uses /dev/mapper/{old.alias or wwid} loses it"
        yield _warning("alias-changed", WWID_PREFIX + wwid, message, "alias", hint)
    elif old.alias is not None and (new is None or not new.enabled):
        message = f"LUN {wwid}: its map loses the name {old.alias!r} on each node as soon as nothing there uses it"
        yield _warning("alias-changed", WWID_PREFIX + wwid, message, "alias", hint)


def _taken_over(lun: Lun, hosts: Hosts) -> Iterator[Problem]:
    """The maps that nodes have already of a LUN that is new here."""
    wanted = lun.alias or lun.wwid
    present = {sighting.name: sighting.node for sighting in hosts.sightings(lun.wwid) if sighting.name not in ("", wanted)}
    for name, node in sorted(present.items()):
        message = f"LUN {lun.wwid}: node {node} has its map as {name!r}, which becomes {wanted!r}; where it is in use nothing is applied"
        yield _warning("alias-changed", WWID_PREFIX + lun.wwid, message, "alias", keeping_name(lun.wwid, name))


def keeping_name(wwid: str, name: str) -> str:
    """How a LUN that is not configured yet keeps the name of its map, as a hint; multipathd's own names cannot be kept."""
    if name == wwid:
        return f"add {wwid} without an alias"
    try:
        return f"add {wwid} with --alias {AliasType().parse(name)}"
    except ValueError:
        return f"the name {name!r} cannot be an alias: let go of the map before {wwid} is added"


def unsupported(model: Model, hosts: Hosts) -> list[Problem]:
    """What the oldest tools in the cluster do not know, and what is therefore left out on that node."""
    oldest = hosts.oldest_tools()
    if oldest is None:
        return []
    version, node = oldest
    sections = [(DEFAULTS, Scope.DEFAULTS, model.defaults)]
    sections += [(WWID_PREFIX + lun.wwid, Scope.WWID, lun.options) for lun in model.luns.values() if lun.enabled]
    found = []
    for key, scope, options in sections:
        for option, value in ((_BY_KEYWORD[scope][keyword], value) for keyword, value in options.items()):
            if supported(option, value, version) is None:
                message = f"multipath-tools {_release(version)} of node {node} knows no {option.name} {value}; it is left out there"
                found.append(_warning("unsupported-option", key, message, option.name))
    return found


def _defaults(model: Model) -> Iterator[Problem]:
    options = model.defaults
    yield from _queueing(DEFAULTS, options.get("no_path_retry"), options.get("features"))
    yield from _section(DEFAULTS, options, {})
    loss, fail = options.get("dev_loss_tmo", "infinity"), options.get("fast_io_fail_tmo", "5")
    if loss != "infinity" and fail != "off" and int(fail) >= int(loss):
        message = f"fast-io-fail-tmo {fail} is not below dev-loss-tmo {loss}, so it never acts"
        yield _warning("fast-io-fail-tmo", DEFAULTS, message, "fast-io-fail-tmo")
    retry = options.get("no_path_retry", "fail")
    if loss != "infinity" and retry.isdigit():
        seconds = int(retry) * int(options.get("polling_interval", DEFAULT_POLLING_INTERVAL))
        if int(loss) < seconds:
            message = f"dev-loss-tmo {loss} is shorter than the {seconds} s for which no-path-retry {retry} queues"
            yield _warning("dev-loss-tmo", DEFAULTS, message, "dev-loss-tmo", "paths are gone before queueing ends")
    if options.get("path_checker") == "readsector0":
        yield _warning("deprecated", DEFAULTS, "path-checker readsector0 is deprecated", "path-checker", "use tur or directio")
    if options.get("recheck_wwid") == "no":
        message = "recheck-wwid no: a path that comes back with another LUN behind it goes into the old map"
        yield _info("recheck-wwid", DEFAULTS, message, "recheck-wwid")
    yield from _too_many(DEFAULTS, model.settings.min_paths, model.settings.expected_paths)


def _lun(lun: Lun, model: Model) -> Iterator[Problem]:
    key = WWID_PREFIX + lun.wwid
    if len(lun.wwid) > DM_WWID_LIMIT:
        message = f"the WWID is longer than the {DM_WWID_LIMIT} characters that a device-mapper device can carry"
        yield _warning("wwid-too-long", key, message)
    if lun.alias is not None and lun.alias[-1].isdigit():
        message = f"alias {lun.alias!r} ends in a digit; its partitions get a 'p' before their number"
        yield _info("alias-digit", key, message, "alias")
    yield from _queueing(key, lun.options.get("no_path_retry"), lun.options.get("features"))
    yield from _section(key, lun.options, model.defaults)
    if lun.min_paths is not None or lun.expected_paths != "auto":
        least = model.settings.min_paths if lun.min_paths is None else lun.min_paths
        expected = model.settings.expected_paths if lun.expected_paths == "auto" else lun.expected_paths
        yield from _too_many(key, least, expected)


def _section(key: str, own: Mapping[str, str], defaults: Mapping[str, str]) -> Iterator[Problem]:
    """Advice about what may stand in `defaults` and in a LUN's section alike."""
    effective = {**defaults, **own}
    prio = effective.get("prio", "alua")
    by_tpg = effective.get("path_grouping_policy") == "group_by_tpg"
    if by_tpg and prio != "alua" and {"path_grouping_policy", "prio"} & own.keys():
        message = f"group_by_tpg works with prio alua only, not with {prio}"
        yield _warning("group-by-tpg", key, message, "path-grouping-policy")
    old = [name for name in SAN_PATH_ERR if own.get(name.replace("-", "_"), "no") != "no"]
    if old:
        message = f"{', '.join(old)}: the marginal-path options have taken their place"
        yield _info("deprecated", key, message, old[0])
    if "max_sectors_kb" in own:
        message = "max-sectors-kb takes effect only when a map is made, with multipath-tools 0.9.9 and later"
        yield _info("max-sectors-kb", key, message, "max-sectors-kb")


def _queueing(key: str, retry: str | None, features: str | None) -> Iterator[Problem]:
    hint = "a number of checks bounds it"
    if retry == "queue":
        message = "no-path-retry queue: while no path is left, I/O and all that waits for it hang without end"
        yield _warning("queueing", key, message, "no-path-retry", hint)
    if "queue_if_no_path" in (features or "").split():
        message = "features queue_if_no_path: while no path is left, I/O and all that waits for it hang without end"
        yield _warning("queueing", key, message, "features", "use no-path-retry with a number of checks")


def _too_many(key: str, least: int, expected: int | str) -> Iterator[Problem]:
    if isinstance(expected, int) and least > expected:
        message = f"min-paths {least} is above expected-paths {expected}, so the LUN is always degraded"
        yield _warning("min-paths", key, message, "min-paths")


def _warning(code: str, key: str, message: str, option: str = "", hint: str = "") -> Problem:
    return Problem(code, key, message, option, hint, Severity.WARNING)


def _info(code: str, key: str, message: str, option: str = "", hint: str = "") -> Problem:
    return Problem(code, key, message, option, hint, Severity.INFO)


def _release(version: Version) -> str:
    return ".".join(map(str, version))
