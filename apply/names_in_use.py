"""The names of maps in use outlive their LUNs in the configuration: a line of fstab that has one is read again at the next boot."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from apply.inuse import InUse
from apply.plan import Desired, leaving_names
from apply.render import RenderedFile


async def with_names_in_use(
    desired: Desired, verified: Mapping[str, RenderedFile], owned: Collection[str], in_use: InUse
) -> tuple[Desired, Mapping[str, tuple[str, str]]]:
    """What is wanted together with the names that have to stay: each by WWID, with what uses it.

    `verified` are the files that were in effect last, `owned` the LUNs whose lines in the allow-list are ours.
    """
    if desired.rendering is None:
        return desired, {}
    names = {}
    for wwid, name in leaving_names(desired, verified, owned).items():
        if use := await in_use.reason(wwid, name):
            names[wwid] = (name, use)
    if not names:
        return desired, {}
    return replace(desired, rendered=desired.rendering({wwid: name for wwid, (name, _) in names.items()})), names
