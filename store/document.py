"""The folded configuration as plain data, which every other module reads.

A document maps a key (`defaults`, `wwid/<WWID>`, `storage/<id>`, `overrides`) to that section's options. Option names are kebab-case,
values are text as users write them; a storage's type is its option `type`; the overrides' text is the option `text`.
"""

from collections.abc import Iterable, Mapping

Options = Mapping[str, str]
Document = Mapping[str, Options]

DEFAULTS = "defaults"
OVERRIDES = "overrides"
WWID_PREFIX = "wwid/"
STORAGE_PREFIX = "storage/"


def is_config_key(key: str) -> bool:
    """Whether `key` is part of the `config` document (overrides have a document of their own; members, acks and cluster keys have none)."""
    return key == DEFAULTS or key.startswith((WWID_PREFIX, STORAGE_PREFIX))


def config_keys(keys: Iterable[str]) -> list[str]:
    """The keys of the `config` document in canonical order: defaults, LUNs by WWID, storages by id (plain code-point order)."""
    rank = {DEFAULTS: 0}
    return sorted((k for k in keys if is_config_key(k)), key=lambda k: (rank.get(k, 1 if k.startswith(WWID_PREFIX) else 2), k))
