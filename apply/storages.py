"""Which nodes should see a LUN, derived from the storages that stand on it.

A storage without `nodes` is on all members. What stands on a volume of another storage needs that storage too, so it is on
the nodes that all storages down to the LUN share. (As in Proxmox VE's storage.cfg.)
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from apply.model import Lun, Model, Problem, Severity, Storage
from store.document import STORAGE_PREFIX, WWID_PREFIX

NOTHING: Mapping[str, frozenset[str]] = MappingProxyType({})


@dataclass(frozen=True)
class Consumer:
    """A storage that uses a LUN, and the storage through which it does ("" if the LUN itself is listed there)."""

    storage: str
    type: str
    via: str


@dataclass(frozen=True)
class ExpectedNodes:
    """The members that should see a LUN, and why.

    `source`, the first that fits: explicit (set by hand), storage-chain (its consumers), inferred (nodes found a volume group on it),
    fallback (every node that has a multipath storage), none (nobody uses it).
    """

    nodes: frozenset[str]
    source: str
    consumers: tuple[Consumer, ...] = ()


def expected_nodes(
    model: Model, members: Collection[str], inferred: Mapping[str, frozenset[str]] = NOTHING
) -> tuple[Mapping[str, ExpectedNodes], tuple[Problem, ...]]:
    """The expected nodes of every LUN, by WWID, and warnings about nodes that are no members.

    `inferred` is what nodes report: by WWID the names of the volume groups that stand on the map somewhere. It counts for
    `lvm` storages that name no base.
    """
    everyone = frozenset(members)
    chains = _chains(model, everyone)
    result = {}
    for wwid, lun in model.luns.items():
        found = _expected(lun, model, everyone, chains.get(wwid, {}), inferred.get(wwid, frozenset()))
        result[wwid] = found if lun.enabled else ExpectedNodes(frozenset(), "none", found.consumers)
    return result, tuple(_strangers(model, everyone))


def _expected(
    lun: Lun, model: Model, everyone: frozenset[str], chains: Mapping[Consumer, frozenset[str]], groups: frozenset[str]
) -> ExpectedNodes:
    consumers = tuple(sorted(chains, key=lambda consumer: consumer.storage))
    if lun.nodes is not None:
        return ExpectedNodes(lun.nodes & everyone, "explicit", consumers)
    if consumers:
        return ExpectedNodes(frozenset().union(*chains.values()), "storage-chain", consumers)
    enabled = [storage for storage in model.storages.values() if storage.enabled]
    standing = [storage for storage in enabled if storage.base is None and storage.options.get("vgname") in groups]
    if standing:  # who is known to need it goes before all who might
        consumers = tuple(Consumer(storage.id, storage.type, "") for storage in standing)
        return ExpectedNodes(_union(standing, everyone), "inferred", consumers)
    fallback = [storage for storage in enabled if storage.exposes(lun.wwid)]
    if fallback:
        return ExpectedNodes(_union(fallback, everyone), "fallback")
    return ExpectedNodes(frozenset(), "none")


def _chains(model: Model, everyone: frozenset[str]) -> dict[str, dict[Consumer, frozenset[str]]]:
    """By WWID: each storage that names the LUN or stands on it, with the nodes on which it does."""
    chains: dict[str, dict[Consumer, frozenset[str]]] = {}
    for storage in model.storages.values():
        if not storage.enabled:
            continue
        if storage.offers_maps:
            for wwid in storage.wwids or ():
                chains.setdefault(wwid, {})[Consumer(storage.id, storage.type, "")] = _nodes(storage, everyone)
        if storage.base is not None:
            wwid, nodes = _down(storage, model, everyone)
            if wwid:
                chains.setdefault(wwid, {})[Consumer(storage.id, storage.type, storage.base[0])] = nodes
    return chains


def nodes_of(storage: Storage, model: Model, members: Collection[str]) -> frozenset[str]:
    """The members on which a storage may be used: those that it shares with its bases."""
    return _down(storage, model, frozenset(members))[1]


def _down(storage: Storage, model: Model, everyone: frozenset[str]) -> tuple[str, frozenset[str]]:
    """The LUN at the end of a storage's chain of bases ("" if it ends elsewhere), and the nodes that all of it shares."""
    nodes = _nodes(storage, everyone)
    seen = {storage.id}
    while storage.base is not None:
        name, volume = storage.base
        base = model.storages.get(name)
        if base is None or not base.enabled or base.id in seen:
            break
        nodes &= _nodes(base, everyone)
        if base.offers_maps:
            return (volume if base.exposes(volume) else ""), nodes
        seen.add(base.id)
        storage = base
    return "", nodes


def _nodes(storage: Storage, everyone: frozenset[str]) -> frozenset[str]:
    return everyone if storage.nodes is None else storage.nodes & everyone


def _union(storages: Collection[Storage], everyone: frozenset[str]) -> frozenset[str]:
    return frozenset().union(*(_nodes(storage, everyone) for storage in storages))


def _strangers(model: Model, everyone: frozenset[str]) -> list[Problem]:
    named = [(WWID_PREFIX + lun.wwid, f"LUN {lun.wwid}", lun.nodes) for lun in model.luns.values()]
    named += [(STORAGE_PREFIX + s.id, f"storage {s.id}", s.nodes) for s in model.storages.values()]
    return [
        Problem(
            "unknown-node",
            key,
            f"{title}: {', '.join(sorted(nodes - everyone))} is no member of this cluster",
            "nodes",
            severity=Severity.WARNING,
        )
        for key, title, nodes in named
        if nodes is not None and nodes - everyone
    ]
