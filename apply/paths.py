"""The identity of a path: what stays the same when the kernel numbers its devices anew.

    fc:<host WWPN>><target WWPN>
    iscsi:<initiator address>><portal address>:<port>,<tpgt>,<target name>
    sas:<host adapter>><target SAS address>
    nvme:<transport>:<host_traddr>><traddr>:<trsvcid>
    other:<where the path hangs in the device tree>[,<target port>]

Identities of one map are a multiset: equal ones (several sessions to one portal, or a transport that tells nothing) are told apart by a
count, `#2`, `#3`. Which of the equal ones is which means nothing; how many there are does.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from apply.path_facts import NoFacts, PathFacts
from apply.topology import Path, clean

_UNKNOWN = ("", "[undef]", "(null)", "-")


def identity(path: Path, facts: PathFacts, hcil: str = "") -> str:
    """The identity of one path, without the count. `hcil` is its H:C:T:L if known."""
    if _known(path.host_wwpn) and _known(path.target_wwpn):
        return f"fc:{path.host_wwpn.lower()}>{path.target_wwpn.lower()}"
    if path.dev.startswith("nvme"):
        return _nvme(path, facts)
    if path.target_wwnn.startswith(("iqn.", "eui.", "naa.")):
        return _iscsi(path, facts)
    if _known(path.target_wwnn):
        return f"sas:{_word(path.host_adapter)}>{path.target_wwnn.lower()}"
    return _other(path, facts, hcil)


def identities(
    paths: Iterable[Path],
    facts: PathFacts | None = None,
    hcil: Mapping[str, str] | None = None,
    gone: Callable[[str], bool] = lambda _dev: False,
    known: Iterable[str] = (),
) -> list[tuple[str, Path]]:
    """Each path of one map with its identity, counted where equal, in the order of the identities.

    `hcil` maps a device to its H:C:T:L. Phantoms (`-`) have no identity of their own and count as `phantom`. A path whose device is `gone`
    is left out; that is asked after its facts were read, for without them it would take a lesser identity that no path ever had. `known`
    are the identities that this map's paths have had: one of them is a path's while the kernel tells less of it.
    """
    facts = facts or NoFacts()
    places = hcil or {}
    named = [(clean(identity(p, facts, places.get(p.dev, ""))) if p.dev not in ("", "-") else "phantom", p) for p in paths]
    named = [(name, p) for name, p in named if name == "phantom" or not gone(p.dev)]
    counts: Counter[str] = Counter()
    result = []
    for name, path in sorted(_recognised(named, known), key=lambda item: (item[0], len(item[1].dev), item[1].dev)):
        counts[name] += 1
        result.append((name if counts[name] == 1 else f"{name}#{counts[name]}", path))
    return result


def single_failure_domain(names: Iterable[str]) -> bool:
    """Whether two or more paths share one initiator port or one target port; only of transports that name both."""
    ends = [name.partition(":")[2].split("#")[0].split(">", 1) for name in names if name.startswith(("fc:", "sas:", "nvme:", "iscsi:"))]
    pairs = [end for end in ends if len(end) == 2 and all(_known(part.rpartition(":")[2]) for part in end)]
    return len(pairs) >= 2 and (len({pair[0] for pair in pairs}) == 1 or len({pair[1] for pair in pairs}) == 1)


def _recognised(named: list[tuple[str, Path]], known: Iterable[str]) -> list[tuple[str, Path]]:
    """The paths with their whole identities, where the kernel tells only a part for now and a known one that no other path has fits it.

    Of an iSCSI session that lost its connection the kernel does not know the initiator's address, and at its end not even the portal.
    """
    free = Counter(name.partition("#")[0] for name in sorted(set(known)))
    free.subtract(name for name, _ in named)
    result = []
    for name, path in sorted(named, key=lambda item: (len(item[1].dev), item[1].dev)):
        whole = next((other for other in free if free[other] > 0 and _is_part(name, other)), name)
        free[whole] -= 1
        result.append((whole, path))
    return result


def _is_part(name: str, whole: str) -> bool:
    """Whether `name` is what is left of the iSCSI identity `whole` without its initiator, its portal, or both."""
    if not (name.startswith("iscsi:") and whole.startswith("iscsi:")):
        return False
    (start, _, end), (whole_start, _, whole_end) = (text.removeprefix("iscsi:").partition(">") for text in (name, whole))
    lesser = start == "-" or "," not in end
    return lesser and start in ("-", whole_start) and (end == whole_end or ("," not in end and whole_end.endswith(f",{end}")))


def _iscsi(path: Path, facts: PathFacts) -> str:
    portal = facts.iscsi_portal(path.dev)
    if portal is None:
        return f"iscsi:{_word(path.host_adapter)}>{path.target_wwnn}"
    address = f"[{portal.address}]" if ":" in portal.address else portal.address
    return f"iscsi:{_word(path.host_adapter)}>{address}:{portal.port},{portal.tpgt},{path.target_wwnn}"


def _nvme(path: Path, facts: PathFacts) -> str:
    address = facts.nvme_address(path.dev)
    if address is None:
        return f"nvme:{_word(path.host_adapter)}>{_word(path.target_wwnn)}"
    service = f":{address.trsvcid}" if address.trsvcid else ""
    return f"nvme:{address.transport}:{address.host_traddr or '-'}>{address.traddr}{service}"


def _other(path: Path, facts: PathFacts, hcil: str) -> str:
    ancestry = facts.ancestry(path.dev)
    if ancestry is not None:
        port = facts.target_port(path.dev)
        return f"other:{ancestry},{port}" if port else f"other:{ancestry}"
    place = hcil.partition(":")[2] if "#" not in hcil else ""
    return f"other:{_word(path.host_adapter)}>{_word(path.target_wwnn)},{place or path.lun_hex or '-'}"


def _known(text: str) -> bool:
    return text not in _UNKNOWN


def _word(text: str) -> str:
    return text if _known(text) else "-"
