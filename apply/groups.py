"""Options that need or exclude each other within one section.

multipathd takes such combinations and then does without one of the options, or without what they were for; so an edit that
makes one is refused, and where edits met to make one, the option named in the problem is left out.
"""

from collections.abc import Iterator, Mapping

from apply.problems import Problem, Severity
from store.document import DEFAULTS

MARGINAL = (
    "marginal-path-double-failed-time",
    "marginal-path-err-sample-time",
    "marginal-path-err-rate-threshold",
    "marginal-path-err-recheck-gap-time",
)
SAN_PATH_ERR = ("san-path-err-threshold", "san-path-err-forget-rate", "san-path-err-recovery-time")
PRIO_NEEDS_ARGS = frozenset({"weightedpath", "path_latency", "datacore", "iet"})
DEV_LOSS_WITHOUT_FAST_FAIL = 600
"""The longest dev_loss_tmo (seconds) that the kernel takes while fast_io_fail_tmo is off."""
DEFAULT_POLLING_INTERVAL = 5


def check_section(key: str, options: Mapping[str, str], defaults: Mapping[str, str]) -> list[Problem]:
    """What cannot stand together in a section's good options; each problem names one option to leave out.

    `defaults` are the options that hold where a LUN says nothing (empty for `defaults` itself).
    """
    problems = [*_prio(key, options), *_path_errors(key, options, defaults)]
    if key == DEFAULTS:
        problems += [*_polling(options), *_timeouts(options)]
    return problems


def switched_on(options: Mapping[str, str], names: tuple[str, ...]) -> list[str]:
    """Which of some no-or-number options have a number."""
    return [name for name in names if options.get(name, "no") != "no"]


def _prio(key: str, options: Mapping[str, str]) -> Iterator[Problem]:
    prio = options.get("prio")
    if prio is None and "prio-args" in options:
        yield Problem("prio-args", key, "prio-args need a prio in the same section", "prio-args", "set prio as well")
    if prio in PRIO_NEEDS_ARGS and "prio-args" not in options:
        yield Problem("prio-args", key, f"prio {prio} needs prio-args in the same section", "prio", "set prio-args as well")


def _path_errors(key: str, options: Mapping[str, str], defaults: Mapping[str, str]) -> Iterator[Problem]:
    effective = {**defaults, **options}
    mine = [name for name in MARGINAL if name in options]
    lacking = [name for name in MARGINAL if name not in effective]
    if mine and lacking and switched_on(effective, MARGINAL):
        message = f"the marginal-path options work only all four together; {', '.join(lacking)} missing"
        yield from _each("marginal-path-incomplete", key, mine, message)
        mine = []
    old = switched_on(options, SAN_PATH_ERR)
    if switched_on(options, tuple(mine)) and old:
        yield from _each("marginal-path-excludes", key, old, "san-path-err and marginal-path options exclude each other")
        old = []
    if effective.get("marginal-pathgroups") == "fpin":
        message = "marginal-pathgroups fpin excludes the marginal-path and san-path-err options"
        yield from _each("marginal-path-excludes", key, [*switched_on(options, tuple(mine)), *old], message)


def _polling(options: Mapping[str, str]) -> Iterator[Problem]:
    interval = int(options.get("polling-interval", DEFAULT_POLLING_INTERVAL))
    longest = options.get("max-polling-interval")
    if longest is not None and int(longest) < interval:
        message = f"max-polling-interval {longest} is below polling-interval {interval}"
        yield Problem("polling-interval", DEFAULTS, message, "max-polling-interval", "raise it, or leave it out")


def _timeouts(options: Mapping[str, str]) -> Iterator[Problem]:
    loss = options.get("dev-loss-tmo")
    if options.get("fast-io-fail-tmo") != "off" or loss is None:
        return
    if loss == "infinity" or int(loss) > DEV_LOSS_WITHOUT_FAST_FAIL:
        message = f"dev-loss-tmo {loss} is above {DEV_LOSS_WITHOUT_FAST_FAIL}, the most with fast-io-fail-tmo off"
        yield Problem("dev-loss-tmo", DEFAULTS, message, "dev-loss-tmo", "set fast-io-fail-tmo to a number")


def _each(code: str, key: str, names: list[str], message: str) -> Iterator[Problem]:
    for name in names:
        yield Problem(code, key, message, name, severity=Severity.ERROR)
