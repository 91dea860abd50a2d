"""How writes become edits: checked against the digest, the open conflicts and the model, then one edit or none."""

import asyncio
from typing import Any

import pytest

from agent.writes import ConflictOpen, Expected, Refused, StaleDigest
from store.document import OVERRIDES, WWID_PREFIX
from store.errors import ConflictError, PathmeshError, UsageError
from store.limits import limit
from store.members import Role
from store.section_config import config_digest, text_digest

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "360014050000000100004000800000000"
KEY = WWID_PREFIX + A

pytestmark = pytest.mark.anyio


async def torn(memory_cluster: Any) -> Any:
    """Two nodes that wrote one LUN concurrently, and know it."""
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    await cluster["n1"].writer.change({KEY: {"alias": "one"}}, Expected(), reason="here")
    await cluster["n2"].writer.change({KEY: {"alias": "two"}}, Expected(), reason="there")
    cluster.network.heal_all()
    await cluster.converged()
    return cluster


async def test_a_write_is_one_durable_edit(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    written = await node.writer.change({KEY: {"alias": "a"}, "defaults": {"polling-interval": "5"}}, Expected(), reason="both")
    [edit] = [signed.edit for signed in node.log.edits]
    assert edit.dot == written.edit and edit.changes == {KEY: {"alias": "a"}, "defaults": {"polling-interval": "5"}}
    assert edit.reason == "both" and edit.author == "n1"
    assert written.changed == ("defaults", KEY)
    assert written.digest == node.picture.config.digest == config_digest(edit.changes)
    assert written.overrides_digest == text_digest("")


async def test_what_is_stored_is_canonical(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    await node.writer.change({KEY: {"no_path_retry": "012", "alias": "a", "comment": "", "disable": "0"}}, Expected())
    assert dict(node.picture.config.document[KEY]) == {"alias": "a", "no-path-retry": "12"}


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_dry_run_is_refused_as_the_write_would_be(memory_cluster: Any, dry_run: bool) -> None:
    node = memory_cluster("n1", "n2", roles={"n2": Role.OBSERVER})["n2"]
    with pytest.raises(PathmeshError) as caught:
        await node.writer.change({KEY: {"alias": "a"}}, Expected(), dry_run=dry_run)
    assert caught.value.code == "forbidden" and "role" in caught.value.message
    assert not node.log.edits


async def test_the_answer_waits_for_the_disk(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    node.log.gate.clear()
    write = asyncio.ensure_future(node.writer.change({KEY: {}}, Expected()))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not write.done() and KEY not in node.picture.config.document
    node.log.gate.set()
    await write
    assert KEY in node.picture.config.document


async def test_a_disk_that_refuses_is_told_and_the_next_write_may_work(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    node.log.broken = "the disk is full"
    with pytest.raises(PathmeshError, match="the disk is full") as caught:
        await node.writer.change({KEY: {}}, Expected())
    assert caught.value.code == "storage-failed"
    assert KEY not in node.picture.config.document
    node.log.broken = ""
    await node.writer.change({KEY: {}}, Expected())
    assert [signed.edit.counter for signed in node.log.edits] == [1], "the number of the one that was lost"


async def test_writes_are_taken_one_at_a_time(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    digest = node.picture.config.digest
    writes = [node.writer.change({WWID_PREFIX + B[:-1] + str(n): {}}, Expected(config=digest)) for n in range(5)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(r).__name__ for r in results] == ["Written"] + ["StaleDigest"] * 4


async def test_each_document_has_its_own_digest(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    config, overrides = node.picture.config.digest, node.picture.config.overrides_digest
    await node.writer.change({KEY: {}}, Expected(config=config))
    await node.writer.change({OVERRIDES: {"text": "devices {\n}\n"}}, Expected(overrides=overrides))
    with pytest.raises(StaleDigest) as stale:
        await node.writer.change({KEY: None}, Expected(config=config))
    assert stale.value.current == node.picture.config.digest
    with pytest.raises(StaleDigest) as stale:
        await node.writer.change({OVERRIDES: None}, Expected(overrides=overrides))
    assert stale.value.current == node.picture.config.overrides_digest == text_digest("devices {\n}\n")


async def test_a_refusal_names_every_fault_and_writes_nothing(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    with pytest.raises(Refused) as caught:
        await node.writer.change({KEY: {"alias": "a b", "no-path-retry": "never"}, "defaults": {"nonsense": "1"}}, Expected())
    assert len(caught.value.problems) == 3 and "and 2 more" in caught.value.message
    assert not node.log.edits


async def test_an_edit_that_can_not_travel_is_refused(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    text = "".join(f"# {n:090}\n" for n in range(limit("edit_bytes") // 90))
    with pytest.raises(PathmeshError) as caught:
        await node.writer.change({OVERRIDES: {"text": text}}, Expected())
    assert caught.value.code in ("edit-too-large", "overrides-too-large"), caught.value
    assert not node.log.edits


async def test_replacing_removes_what_is_not_there(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    await node.writer.change({KEY: {"alias": "a"}, "defaults": {"polling-interval": "5"}, OVERRIDES: {"text": "# mine\n"}}, Expected())
    written = await node.writer.replace({WWID_PREFIX + B: {}}, Expected())
    assert written.changed == ("defaults", WWID_PREFIX + A, WWID_PREFIX + B) or set(written.changed) == {"defaults", KEY, WWID_PREFIX + B}
    assert set(node.picture.config.document) == {WWID_PREFIX + B, OVERRIDES}
    assert len(node.log.edits) == 2


async def test_the_difference_shows_both_documents(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    dry = await node.writer.change({KEY: {"alias": "a"}, OVERRIDES: {"text": "# mine\n"}}, Expected(), dry_run=True)
    assert f"+wwid: {A}\n" in dry.diff and "+\talias a\n" in dry.diff and "+# mine\n" in dry.diff
    assert dry.edit is None and dry.dry_run and not node.log.edits
    assert dry.json()["changed"] == sorted([KEY, OVERRIDES])


async def test_an_unchanged_section_is_left_out_of_the_edit(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    await node.writer.change({KEY: {"alias": "a"}}, Expected())
    assert (await node.writer.change({KEY: {"alias": "a"}, "defaults": None}, Expected())).edit is None
    written = await node.writer.change({KEY: {"alias": "a"}, "defaults": {"polling-interval": "5"}}, Expected())
    assert written.changed == ("defaults",)


async def test_a_key_in_conflict_is_for_resolve_alone(memory_cluster: Any) -> None:
    cluster = await torn(memory_cluster)
    node = cluster["n1"]
    assert node.picture.config.conflicts == (KEY,)
    with pytest.raises(ConflictOpen) as caught:
        await node.writer.change({KEY: {"alias": "three"}, "defaults": {"polling-interval": "5"}}, Expected())
    assert caught.value.key == KEY and caught.value.code == "conflict-open" and f"resolve {KEY}" in caught.value.hint
    with pytest.raises(ConflictOpen):
        await node.writer.replace({}, Expected())
    assert "defaults" not in node.picture.config.document
    await node.writer.change({"defaults": {"polling-interval": "5"}}, Expected())


async def test_both_sides_show_one_winner_and_a_resolution_clears_both(memory_cluster: Any) -> None:
    cluster = await torn(memory_cluster)
    documents = {str(cluster[n].picture.config.document) for n in ("n1", "n2")}
    assert len(documents) == 1
    dots = [str(s.dot) for s in cluster["n2"].engine.replica.fold.siblings(KEY)]
    await cluster["n2"].writer.resolve(KEY, dots, take=None, value={"alias": "both"}, reason="talked")
    await cluster.converged()
    for name in ("n1", "n2"):
        assert cluster[name].picture.config.conflicts == ()
        assert cluster[name].picture.config.document[KEY] == {"alias": "both"}


async def test_concurrent_acceptances_can_be_resolved_too(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    key, before = f"ack/n1/{A}", cluster["n1"].picture.config.digest
    for name in ("n1", "n2"):
        await cluster[name].writer.record({key: {"paths": f"of {name}", "reason": "", "by": name, "expires": ""}})
    cluster.network.heal_all()
    await cluster.converged()
    node = cluster["n1"]
    siblings = node.engine.replica.fold.siblings(key)
    number = next(n for n, s in enumerate(siblings, 1) if s.author == "n2")
    written = await node.writer.resolve(key, [str(s.dot) for s in siblings], take=number, value=None, reason="")
    assert written.changed == (key,) and not node.engine.replica.fold.in_conflict(key)
    assert node.engine.replica.fold.value(key) == siblings[number - 1].value
    assert node.picture.config.digest == before == written.digest


async def test_a_resolution_of_an_older_picture_leaves_the_newcomer(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2", "n3")
    await cluster.converged()
    keys = {name: cluster[name].key for name in ("n1", "n2", "n3")}
    for a, b in (("n1", "n2"), ("n1", "n3"), ("n2", "n3")):
        cluster.network.cut(keys[a], keys[b])
    for name in keys:
        await cluster[name].writer.change({KEY: {"alias": name}}, Expected())
    cluster.network.heal_all()
    await cluster.converged()
    siblings = cluster["n1"].engine.replica.fold.siblings(KEY)
    shown = [str(s.dot) for s in siblings if s.author != "n3"]
    await cluster["n1"].writer.resolve(KEY, shown, take=1, value=None, reason="")
    await cluster.converged()
    for name in keys:
        left = cluster[name].engine.replica.fold.siblings(KEY)
        assert {s.author for s in left} == {"n1", "n3"} and cluster[name].picture.config.conflicts == (KEY,)


async def test_a_resolution_has_to_name_what_is_there(memory_cluster: Any) -> None:
    node = (await torn(memory_cluster))["n1"]
    dots = [str(s.dot) for s in node.engine.replica.fold.siblings(KEY)]
    for bad, kind, code in (
        ([], UsageError, "bad-dots"),
        ([dots[0], dots[0]], UsageError, "bad-dots"),
        (["nonsense"], UsageError, "bad-dots"),
        (["ff" * 16 + ":9"], ConflictError, "stale-digest"),
    ):
        with pytest.raises(kind) as caught:
            await node.writer.resolve(KEY, bad, take=1, value=None, reason="")
        assert caught.value.code == code
    with pytest.raises(UsageError, match="between 1 and 2"):
        await node.writer.resolve(KEY, dots, take=3, value=None, reason="")
    with pytest.raises(UsageError, match="no open conflict"):
        await node.writer.resolve("defaults", dots, take=1, value=None, reason="")


async def test_a_node_without_the_right_is_refused(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2", roles={"n2": Role.OBSERVER})
    with pytest.raises(PathmeshError) as caught:
        await cluster["n2"].writer.change({KEY: {}}, Expected())
    assert caught.value.code == "forbidden" and not cluster["n2"].log.edits


async def test_after_the_stop_nothing_is_taken(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    node.log.gate.clear()
    held = asyncio.ensure_future(node.writer.change({KEY: {}}, Expected()))
    await asyncio.sleep(0)
    stopping = asyncio.ensure_future(node.runner.stop())
    await asyncio.sleep(0)
    node.log.gate.set()
    await stopping
    assert (await held).edit is not None, "the commit in flight is waited for"
    with pytest.raises(PathmeshError, match="stopping"):
        await node.writer.change({"defaults": {}}, Expected())


async def test_a_conflict_of_acknowledgements_is_refused_and_resolved_like_any_other(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    key = f"ack/n1/{A}"
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    await cluster["n1"].writer.record({key: {"paths": "one"}})
    await cluster["n2"].writer.record({key: {"paths": "two"}})
    cluster.network.heal_all()
    await cluster.converged()
    node = cluster["n2"]
    assert node.picture.config.conflicts == (key,)
    with pytest.raises(ConflictOpen):
        await node.writer.record({key: {"paths": "three"}})
    dots = [str(s.dot) for s in node.runner.engine.replica.fold.siblings(key)]
    with pytest.raises(UsageError):
        await node.writer.resolve(key, dots, take=None, value={"paths": "made up"}, reason="")
    await node.writer.resolve(key, dots, take=1, value=None, reason="")
    await cluster.converged()
    assert all(cluster[name].picture.config.conflicts == () for name in ("n1", "n2"))


async def test_a_change_is_made_from_the_document_as_it_is_then(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    first = asyncio.ensure_future(node.writer.change({KEY: {"alias": "a"}}, Expected()))
    second = asyncio.ensure_future(node.writer.change(lambda document: {KEY: {**document[KEY], "comment": "b"}}, Expected()))
    await asyncio.gather(first, second)
    assert node.picture.config.document[KEY] == {"alias": "a", "comment": "b"}


async def test_a_storage_on_a_node_that_nobody_knows_is_warned_of(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    written = await node.writer.change({"storage/san": {"type": "multipath", "nodes": "n1,nX"}}, Expected())
    assert ["nX" in warning.message for warning in written.warnings] == [True]
    unrelated = await node.writer.change({KEY: {"alias": "a"}}, Expected())
    assert unrelated.warnings == ()
