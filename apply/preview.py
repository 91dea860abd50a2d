"""What an apply would do to this host now, beyond its files: lines of the allow-list, and maps. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from apply.live import Live
from apply.outcome import ApplyError


@dataclass(frozen=True)
class Preview:
    """`append` and `disable` are lines of the allow-list by WWID; `deferred` says which lines stay, and why.

    `renamed` are maps that get another name (WWID to old and new name), `made` visible LUNs that get a map, `released` maps that may go
    once they are unused. `refused` says why nothing would be written at all. `daemon` is False if it could not be asked: then nothing is
    known of maps. `kept_names` are names in use that stay, by WWID, though their LUNs are configured no more.
    """

    append: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    deferred: tuple[ApplyError, ...] = ()
    renamed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    made: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    refused: tuple[ApplyError, ...] = ()
    daemon: bool = True
    kept_names: Mapping[str, str] = field(default_factory=dict)


def preview(
    append: Sequence[str],
    disable: Sequence[str],
    names: Mapping[str, str],
    live: Live | None,
    *,
    deferred: Sequence[ApplyError] = (),
    refused: Sequence[ApplyError] = (),
) -> Preview:
    """`names` are the wanted map names of all allow-listed LUNs by WWID."""
    there = live.names if live is not None else {}
    seen = live.seen if live is not None else {}
    return Preview(
        tuple(append),
        tuple(disable),
        tuple(deferred),
        {wwid: (there[wwid], name) for wwid, name in sorted(names.items()) if there.get(wwid, name) != name},
        tuple(wwid for wwid in sorted(names) if wwid in seen and wwid not in there),
        tuple(wwid for wwid in disable if wwid in there),
        tuple(refused),
        live is not None,
    )
