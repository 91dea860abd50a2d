"""A model of what an agent does to its host: it adds at once, and takes away only when its node knows enough.

`apply.plan` does this on a real host; here the files are a map from section to options, so that the checker sees what goes, and why it may.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from scripts.simulation.disk import has
from scripts.simulation.machine import Machine
from store.document import OVERRIDES, is_config_key

if TYPE_CHECKING:
    from scripts.simulation.checks import Checker


def apply_config(machine: Machine, check: "Checker", *, told: bool = False) -> bool:
    """Bring the host to what its node knows; whether nothing is left to do. `told`: an operator says that what it lacks is lost."""
    engine = machine.running
    wanted = document(machine)
    host = machine.host
    for key, value in wanted.items():
        if host.get(key) != value:
            host[key] = value
    surplus = sorted(host.keys() - wanted.keys())
    clock = engine.replica.fold.clock
    remembered = engine.identity.bootstrap if engine.identity.restored else ()
    alone = len(engine.replica.registry.active) <= 1 and all(member.name == machine.name for member in remembered)
    met = engine.member is not None and (alone or engine.caught_up)
    if met and told:
        machine.guard.settle(clock, clock.get(machine.member.actor, 0))
    knows = met and has(clock, machine.disk.applied) and has(clock, machine.guard.applied)
    if knows:
        for key in surplus:
            check.removing(machine, key)
            del host[key]
        machine.disk.applied, machine.guard.applied = dict(clock), dict(clock)
    return knows or not surplus


def document(machine: Machine) -> dict[str, Mapping[str, str]]:
    """The configuration as the machine's engine folds it, keys sorted."""
    fold = machine.running.replica.fold
    found = {}
    for key in sorted(fold):
        if (is_config_key(key) or key == OVERRIDES) and (value := fold.value(key)) is not None:
            found[key] = value
    return found
