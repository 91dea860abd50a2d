"""The index of live keys: any range by count and hash, and its split or list."""

from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gossip.key_ranges import KeyIndex, shares
from gossip.messages import REPAIR_FAN, KeyRange
from store.replica import Replica

KEYS = st.dictionaries(st.text("ab\u00e4\U0001f600", min_size=1, max_size=4), st.sampled_from([None, {"v": "1"}, {"v": "2"}]), max_size=80)
BOUND = st.text("ab\u00e4\U0001f600c", max_size=4)
WHOLE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def replica_of(scribe: Any, values: dict[str, dict[str, str] | None]) -> Replica:
    found: Replica = scribe.replica(scribe.founding("n1"))
    if values:
        found.commit(scribe.edit("n1", values, found.fold.clock))
    return found


@WHOLE
@given(KEYS, BOUND, BOUND)
def test_a_range_is_its_live_keys(scribe: Any, values: dict[str, dict[str, str] | None], low: str, high: str) -> None:
    index = KeyIndex(replica_of(scribe, values))
    live = {k for k, v in values.items() if v is not None} | {"cluster/identity", "member/n1"}
    inside = sorted(k for k in live if k >= low and (not high or k < high))
    assert index.within(low, high) == inside
    found = index.between(low, high)
    assert (found.low, found.high, found.count) == (low, high, len(inside))
    total = sum(int.from_bytes(index.hash_of(k) or b"", "big") for k in inside) % 2**256
    assert found.hash == total.to_bytes(32, "big")
    part = index.part(3, KeyRange(low, high, len(inside) + 1, bytes(32)))
    assert (part.index, part.equal) == (3, False)
    assert index.part(3, found).equal
    if len(inside) <= REPAIR_FAN:
        assert [k.key for k in part.keys] == inside
    else:
        assert part.keys == ()
        assert [r.low for r in part.split] == [low, *(r.high for r in part.split[:-1])]
        assert part.split[-1].high == high
        assert all(r == index.between(r.low, r.high) for r in part.split)
        assert [r.count for r in part.split] == [b - a for a, b in pairwise(shares(len(inside)))]
        assert sum(r.count for r in part.split) == len(inside)


@WHOLE
@given(KEYS, KEYS)
def test_an_index_made_from_an_older_one_is_the_same(
    scribe: Any, before: dict[str, dict[str, str] | None], after: dict[str, dict[str, str] | None]
) -> None:
    replica = replica_of(scribe, before)
    old = KeyIndex(replica)
    assert old.fits(replica)
    if after:
        replica.commit(scribe.edit("n1", after, replica.fold.clock))
        assert not old.fits(replica)
    new, fresh = KeyIndex(replica, old), KeyIndex(replica)
    assert new.between("", "") == fresh.between("", "")
    assert [new.hash_of(key) for key in new.keys] == [fresh.hash_of(key) for key in fresh.keys]
    assert new.hash_of("no such key") is None


@WHOLE
@given(KEYS.filter(bool))
def test_a_deletion_that_stands_alone_counts_for_nothing(scribe: Any, values: dict[str, dict[str, str] | None]) -> None:
    replica = replica_of(scribe, values)
    whole = KeyIndex(replica).between("", "")
    collection = replica.collect(replica.fold.clock)
    if collection is not None:
        replica.collected(collection)
    assert KeyIndex(replica).between("", "") == whole
