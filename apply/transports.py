"""Which paths a LUN should have by the transport that its storage names: one for each portal of an iSCSI target.

A path's identity is `iscsi:<initiator>><portal>,<tpgt>,<target name>` (see `apply.paths`); a path that is missing is named
`iscsi:*><portal>,*,<target name>`, for nobody knows by which initiator address it would have come.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from apply.model import Model, Storage
from apply.option_model import Scope
from apply.option_types import split_list
from apply.portals import DEFAULT_INTERFACE, canonical_portal

_IDENTITY = re.compile(r"iscsi:[^>]*>(?P<portal>[^,]+),[^,]*,(?P<target>[^,#]+)(?:#[0-9]+)?")


class Target(NamedTuple):
    """The target of an `iscsi` storage. `interfaces` are names of open-iscsi's interface records."""

    name: str
    portals: tuple[str, ...]
    interfaces: tuple[str, ...]

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """Each portal by each interface: as many sessions as there should be."""
        return tuple((portal, interface) for portal in self.portals for interface in self.interfaces)


def target_of(storage: Storage) -> Target | None:
    """The target of a storage, None if it has none (another type, or its options are not whole)."""
    name, portals = storage.options.get("target", ""), split_list(storage.options.get("portals", ""))
    if storage.type != Scope.ISCSI or not name or not portals:
        return None
    return Target(name, portals, split_list(storage.options.get("ifaces", "")) or (DEFAULT_INTERFACE,))


def is_on(storage: Storage, node: str) -> bool:
    """Whether a storage is to be used on a node."""
    return storage.enabled and (storage.nodes is None or node in storage.nodes)


def expected_portals(model: Model, node: str, wwid: str, known: Collection[str] = ()) -> Mapping[str, tuple[str, ...]]:
    """The portals by which a LUN should be reached from a node, by target name; a portal is there once for each interface.

    A LUN is on an iSCSI storage that lists it in `wwids`, or that something else stands on with this LUN as its volume. On a storage that
    lists nothing it is if one of its paths, present or learned (`known`, identities), leads to the storage's target.
    """
    found: dict[str, tuple[str, ...]] = {}
    for storage in model.storages.values():
        target = target_of(storage)
        if target is None or not is_on(storage, node) or not storage.exposes(wwid):
            continue
        if storage.wwids is not None or _stood_on(model, storage, wwid) or _leads_to(target.name, known):
            found[target.name] = tuple(portal for portal, _ in target.ways)
    return found


def missing_portals(expected: Mapping[str, Iterable[str]], known: Iterable[str]) -> tuple[str, ...]:
    """A name for each expected path that none of the identities `known` accounts for; sorted."""
    there: Counter[tuple[str, str]] = Counter()
    for identity in known:
        found = _IDENTITY.fullmatch(identity)
        if found is not None:
            there[found["target"].lower(), canonical_portal(found["portal"])] += 1
    missing = []
    for name, portals in expected.items():
        for portal, count in Counter(portals).items():
            lacking = count - there[name.lower(), portal]
            missing += [f"iscsi:*>{portal},*,{name}" + (f"#{n}" if n > 1 else "") for n in range(1, lacking + 1)]
    return tuple(sorted(missing))


def leads_to_session(missing: Iterable[str], sessions: Collection[tuple[str, str]]) -> bool:
    """Whether a path that is missing (an identity) would come through one of the iSCSI `sessions`: target and portal, in lower case."""
    for identity in missing if sessions else ():
        found = _IDENTITY.fullmatch(identity)
        if found is not None and (found["target"].lower(), canonical_portal(found["portal"])) in sessions:
            return True
    return False


def _stood_on(model: Model, storage: Storage, wwid: str) -> bool:
    return any(other.enabled and other.base == (storage.id, wwid) for other in model.storages.values())


def _leads_to(target: str, known: Iterable[str]) -> bool:
    matches = (_IDENTITY.fullmatch(identity) for identity in known)
    return any(found is not None and found["target"].lower() == target.lower() for found in matches)
