"""The clock of the configuration that this host last had in effect: who knows less than that must take nothing away from the host."""

import msgspec

from store.clocks import Vector, meet
from store.records import Records

_KIND = "applied"
_ID = "clock"


async def applied_clock(records: Records) -> Vector:
    """What was last in effect; empty if nothing ever was."""
    stored = (await records.load(_KIND)).get(_ID)
    return msgspec.msgpack.decode(stored, type=dict[bytes, int]) if stored else {}


async def set_applied_clock(records: Records, clock: Vector) -> None:
    """The configuration of this clock is in effect now; durable."""
    await records.change(_KIND, {_ID: msgspec.msgpack.encode(dict(clock))})


async def lower_applied_clock(records: Records, clock: Vector) -> None:
    """The log was replaced by one with this clock. What it has not was written anew, under other names: nobody waits for the old ones."""
    stored = await applied_clock(records)
    common = meet(stored, clock)
    if common != dict(stored):
        await set_applied_clock(records, common)
