"""What becomes of one map when its table is loaded, its paths fail or return, or time passes: the kernel's part and the daemon's."""

from collections.abc import Collection

from apply.simulated.maps import Group, Map, Path, Recovery, group_paths


def adopt(m: Map, groups: list[Group]) -> None:
    """Make these the map's groups; a path belongs to one map."""
    for path in m.paths:
        path.map = None
    m.groups = groups
    for path in m.paths:
        path.map = m
    if m.groups:
        m.hwhandler = m.paths[0].lun.hwhandler


def load(m: Map, paths: list[Path]) -> None:
    """Load a table with these paths: the kernel's fault counts start again and it uses the best group."""
    adopt(m, group_paths(m.options.policy, paths))
    use_best_group(m)
    m.counters.map_loads += 1
    m.table = m.shape()
    for path in paths:
        path.failures = 0


def use_best_group(m: Map) -> None:
    """Point the kernel at the group that the daemon holds best."""
    m.active = m.best()
    _leave_dead_group(m)


def lost_path(m: Map, now: float, check_seconds: int) -> None:
    """A path stopped being usable. Without any, the map queues for a bounded time if it is told to."""
    if m.usable:
        return
    _enter_recovery(m, now, check_seconds)
    if m.retry != "queue":
        m.counters.failures += 1


def regained_path(m: Map, now: float) -> None:
    """A map has a usable path again: queueing is armed anew."""
    if m.recovery:
        count_queueing(m, now)
        m.recovery = None
        m.queueing = True


def settle(m: Map, recovered: Collection[Path], now: float) -> None:
    """The kernel leaves a dead group when another one lives; the daemon then fails back if it is told to."""
    if not m.groups:
        return
    _leave_dead_group(m)
    best = m.best()
    failback = m.options.failback
    if best == m.active or not m.groups[best].enabled:
        m.failback_due = None
    elif failback == "immediate" or (failback == "followover" and m.groups[best].enabled == 1 and m.groups[best].paths[0] in recovered):
        switch_group(m)
    elif failback.isdigit() and (recovered or m.failback_due is None):
        m.failback_due = now + int(failback) + 1


def switch_group(m: Map) -> None:
    """Use the best group."""
    best = m.best()
    if best != m.active:
        m.active = best
        m.counters.switch_group += 1


def apply_retry(m: Map, now: float, check_seconds: int) -> None:
    """Bring the kernel's queueing flag in line with `no_path_retry`; unset leaves it as it is."""
    if not m.retry.isdigit():
        m.recovery = None
        if m.retry != "undef":
            m.queueing = m.retry == "queue"
    elif m.usable:
        m.recovery = None
        m.queueing = True
    else:
        _enter_recovery(m, now, check_seconds)


def disable_queueing(m: Map, now: float) -> None:
    """Queueing is off by hand, whatever the configuration says."""
    count_queueing(m, now)
    m.recovery = None
    m.queueing_disabled = True
    m.queueing = False


def advance(m: Map, now: float) -> None:
    """Let time pass."""
    count_queueing(m, now)
    if m.failback_due is not None and m.failback_due <= now:
        m.failback_due = None
        switch_group(m)


def count_queueing(m: Map, now: float) -> None:
    """Add the seconds that a map has queued since the last call; at the last tick the kernel stops queueing."""
    recovery = m.recovery
    if recovery is None or recovery.expired:
        return
    elapsed = min(int(now - recovery.since), recovery.ticks)
    m.counters.queueing_seconds += elapsed - recovery.counted
    recovery.counted = elapsed
    if elapsed == recovery.ticks:
        recovery.expired = True
        m.queueing = False
        m.counters.failures += 1


def _leave_dead_group(m: Map) -> None:
    if m.groups and not m.groups[m.active].alive:
        m.active = next((n for n, g in enumerate(m.groups) if g.alive), m.active)


def _enter_recovery(m: Map, now: float, check_seconds: int) -> None:
    if m.recovery is None and m.retry.isdigit():
        # One tick more than the retries take: the first may pass before the first retry.
        m.recovery = Recovery(now, int(m.retry) * check_seconds + 1)
        m.counters.queueing_timeouts += 1
