"""WWIDs and aliases: what they may look like, and what somebody who wrote something else probably meant.

A WWID is the exact string that multipathd shows as a map's `uuid`, case included. Nothing is rewritten silently: a form of it
that other tools show (scsi_id, /dev/disk/by-id, naa., 0x…) is refused with the WWID that it stands for.
"""

import re
from dataclasses import dataclass

from apply.option_types import WWID
from store.errors import UsageError

RESERVED = frozenset({"global", "defaults"})
DM_WWID_LIMIT = 122
"""Device-mapper uuids hold 128 characters, of which `mpath-` and the end take 6: a longer WWID never becomes a map."""

_BY_ID_PREFIXES = ("dm-uuid-mpath-", "scsi-", "nvme-", "ata-", "virtio-", "usb-")
_DEVICE = re.compile(r"sd[a-z]+\d*|dm-\d+|nvme\d+(c\d+)?n\d+(p\d+)?|vd[a-z]+\d*|dasd[a-z]+\d*")
_HCTL = re.compile(r"\d+:\d+:\d+:\d+")
_FRIENDLY = re.compile(r"mpath[a-z]+")
_ALIAS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+@=-]{0,126}")
_ALIAS_OF_DEVICE = re.compile(r"dm-\d+|sd[a-z]+|nvme\d+.*|\d+:\d+")
_NAA = re.compile(r"(?:wwn-0x|naa\.|0x)([0-9a-fA-F]{16}|[0-9a-fA-F]{32})|([56][0-9a-fA-F]{15}|[56][0-9a-fA-F]{31})")
_HEX_WWID = re.compile(r"[23][0-9a-fA-F]{16,}")
_UNSAFE_IN_DM_NAMES = re.compile(r"[^A-Za-z0-9#+.:=@_-]")


def check_wwid(text: str) -> str:
    """`text` itself if it is a WWID; raises UsageError, with the WWID that was probably meant as its hint."""
    meant = suggest_wwid(text)
    if meant is not None:
        raise UsageError(f"{_shown(text)} is not a WWID as multipathd shows it", code="bad-wwid", hint=f"did you mean {meant}?")
    why = _wwid_fault(text)
    if why:
        raise UsageError(
            f"{_shown(text)} is not a WWID: {why}",
            code="bad-wwid",
            hint="'multipathd show paths format \"%d %w\"' lists the WWIDs of a node's devices",
        )
    return text


def suggest_wwid(text: str) -> str | None:
    """The WWID that another notation stands for; None if `text` is no such notation."""
    candidate = re.sub(r"-part\d+$", "", text.strip().removeprefix("/dev/disk/by-id/"))
    for prefix in _BY_ID_PREFIXES:
        candidate = candidate.removeprefix(prefix)
    number = _NAA.fullmatch(candidate)
    if number is not None:
        candidate = "3" + (number[1] or number[2])
    if _HEX_WWID.fullmatch(candidate):
        candidate = candidate.lower()
    return candidate if candidate != text and not _wwid_fault(candidate) else None


def device_path(wwid: str) -> str:
    """The path of a map's device that neither its alias nor a path device can take away.

    udev makes this link from the device-mapper uuid, in which libdevmapper writes characters outside its own set as `\\xNN`.
    """
    mangled = _UNSAFE_IN_DM_NAMES.sub(lambda match: f"\\x{ord(match[0]):02x}", wwid)
    return f"/dev/disk/by-id/dm-uuid-mpath-{mangled}"


@dataclass(frozen=True)
class AliasType:
    """The name of a map. Another one is mangled by libdevmapper and sends multipathd into a loop, or costs the map."""

    @property
    def text(self) -> str:
        return "a name of 1 to 127 letters, digits and _ . : + @ = -, beginning with a letter, digit or _"

    def parse(self, value: str) -> str:
        why = _alias_fault(value)
        if why:
            raise ValueError(f"{self.text} ({why})")
        return value


def _wwid_fault(text: str) -> str:
    """What is wrong with a WWID, or nothing."""
    if not text:
        return "it is empty"
    if text in RESERVED:
        return "the word is reserved"
    if _DEVICE.fullmatch(text) or text.startswith("/dev/"):
        return "it is the name of a device, which changes from boot to boot"
    if _HCTL.fullmatch(text):
        return "it is the address of a path, which changes from boot to boot"
    if _FRIENDLY.fullmatch(text) or text.startswith("dm-name-"):
        return "it is the name of a map, which every node may give differently"
    if len(text) > 127:
        return "it is longer than 127 characters"
    if not WWID.fullmatch(text):
        return "it may hold letters, digits and . _ : + = @ , - only, and begins with a letter or digit"
    return ""


def _alias_fault(text: str) -> str:
    """What is wrong with an alias, or nothing."""
    if text == "control":
        return "device-mapper keeps this name for itself"
    if _FRIENDLY.fullmatch(text):
        return "multipathd gives names like this by itself"
    if _ALIAS_OF_DEVICE.fullmatch(text):
        return "the kernel names devices like this"
    if len(text) > 127:
        return "it is longer than 127 characters"
    if not _ALIAS.fullmatch(text):
        return "it holds a character that device-mapper cannot have in a name" if text else "it is empty"
    return ""


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
