"""The edits as people see them, and undoing one: by what it had seen, refused where that could overwrite or invent something."""

import asyncio
from typing import Any

import msgspec
import pytest

from agent.history import ChangedSince, History
from agent.writes import ConflictOpen, Expected, StaleDigest
from store.clocks import Dot, parse_dot
from store.document import OVERRIDES, WWID_PREFIX, is_config_key
from store.edits import SignedEdit
from store.errors import PathmeshError, UsageError
from store.limits import limit
from store.members import MEMBER_PREFIX, MemberState, Role, member_value

pytestmark = pytest.mark.anyio

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "360014050000000100004000800000000"
KEY = WWID_PREFIX + A


class Shelf:
    """An archive in memory; a row is `(place, raw)`."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes]] = []

    def keep(self, *edits: SignedEdit) -> None:
        self.rows += [(len(self.rows) + n, signed.raw) for n, signed in enumerate(edits, 1)]

    async def history(self, before: int | None, limit: int) -> list[tuple[int, bytes]]:
        return [row for row in reversed(self.rows) if before is None or row[0] < before][:limit]


def history_of(node: Any, shelf: Shelf | None = None) -> History:
    return History(node.engine, node.picture, node.writer, shelf or Shelf())


async def write(node: Any, changes: Any, reason: str = "") -> str:
    written = await node.writer.change(changes, Expected(), reason=reason)
    assert written.edit is not None
    return str(written.edit)


async def listed(history: History, key: str | None = None, most: int = 50, cursor: str | None = None) -> list[dict[str, Any]]:
    page = await history.page(key, most, cursor)
    return [msgspec.json.decode(bytes(entry)) for entry in page["edits"]]


async def digest_of(history: History, edit: str) -> str:
    digest: str = (await history.one(edit))["digest"]
    return digest


def forget(node: Any, shelf: Shelf | None) -> tuple[Dot, ...]:
    """Collect all that is stable with everybody having all; what goes is put on the shelf, if there is one."""
    replica = node.engine.replica
    collection = replica.collect(dict(replica.fold.clock))
    assert collection is not None
    if shelf is not None:
        shelf.keep(*(replica.signed(dot) for dot in collection.gone))
    replica.collected(collection)
    return tuple(collection.gone)


# -- listing ----------------------------------------------------------------------------------------------------------


async def test_edits_are_told_newest_first_with_what_each_changed(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    history = history_of(node)
    first = await write(node, {KEY: {"alias": "a", "path-selector": "round-robin"}}, "new array")
    second = await write(node, {KEY: {"alias": "b"}, WWID_PREFIX + B: {"alias": "other"}})
    third = await write(node, {WWID_PREFIX + B: None})
    found = await listed(history)
    assert [entry["edit"] for entry in found][:3] == [third, second, first]
    assert found[-1]["keys"][0].startswith(("cluster/", MEMBER_PREFIX)), "the first edit of all is the last"
    assert [entry["state"] for entry in found[:3]] == ["applied", "partial", "superseded"]
    entry = found[1]
    assert (entry["author"], entry["kind"], entry["late"], entry["concurrent_with"]) == ("n1", "change", False, [])
    changes = {change["key"]: change for change in entry["changes"]}
    assert changes[KEY]["action"] == "changed" and changes[KEY]["state"] == "applied" and changes[KEY]["winner"]
    assert changes[KEY]["options"] == [
        {"option": "alias", "before": "a", "after": "b"},
        {"option": "path-selector", "before": "round-robin", "after": None},
    ]
    assert changes[WWID_PREFIX + B]["action"] == "added" and changes[WWID_PREFIX + B]["state"] == "superseded"
    assert found[0]["changes"][0]["action"] == "removed" and found[0]["changes"][0]["options"][0]["before"] == "other"
    assert found[2]["reason"] == "new array"


async def test_a_list_of_one_section_takes_its_key_its_wwid_and_its_alias(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    history = history_of(node)
    edit = await write(node, {KEY: {"alias": "vmpool"}})
    await write(node, {"defaults": {"polling-interval": "5"}})
    for name in (KEY, A, "vmpool"):
        page = await history.page(name, 50)
        assert page["key"] == KEY and [e["edit"] for e in await listed(history, name)] == [edit]
    await write(node, {KEY: None})
    assert len(await listed(history, KEY)) == 2 and len(await listed(history, A)) == 2
    assert len(await listed(history, "n1")) == 1, "a member"
    with pytest.raises(UsageError) as caught:
        await history.page("vmpool", 50)
    assert caught.value.code == "not-found" and "vmpool" in caught.value.message


async def test_a_long_list_comes_in_pages_without_overlap(memory_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = memory_cluster("n1")["n1"]
    history = history_of(node)
    edits = [await write(node, {"defaults": {"polling-interval": str(n)}}) for n in range(1, 8)]
    for budget in (limit("history_answer_bytes"), 1):  # with the smallest every answer holds one edit
        monkeypatch.setattr("agent.history.limit", lambda name, budget=budget: budget if name == "history_answer_bytes" else limit(name))
        found, cursor = [], None
        while True:
            page = await history.page("defaults", 3, cursor)
            found += [e["edit"] for e in await listed(history, "defaults", 3, cursor)]
            assert len(page["edits"]) == (1 if budget == 1 else min(3, 7 - len(found) + len(page["edits"])))
            cursor = page["next"]
            if cursor is None:
                break
        assert found == edits[::-1]
    for bad in ("", "x", "1.zz.1", "1." + "00" * 40 + ".1", "9" * 40):
        with pytest.raises(UsageError) as caught:
            await history.page(None, 3, bad)
        assert caught.value.code == "malformed"


async def test_an_edit_of_very_many_sections_is_cut_in_a_list_and_whole_by_itself(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    history = history_of(node)
    edit = await write(node, {f"{WWID_PREFIX}3{n:032x}": {"comment": str(n)} for n in range(40)})
    entry = (await listed(history))[0]
    assert len(entry["keys"]) == len(entry["changes"]) == 32 and entry["more_keys"] == 8
    whole = await history.one(edit)
    assert len(whole["changes"]) == 40 and whole["more_keys"] == 0 and whole["digest"] == node.picture.config.digest


async def test_concurrent_edits_name_each_other_and_their_conflict(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    edits = {name: await write(cluster[name], {KEY: {"alias": name}}) for name in ("n1", "n2")}
    cluster.network.heal_all()
    await cluster.converged()
    history = history_of(cluster["n1"])
    found = {e["author"]: e for e in await listed(history, KEY)}
    assert found["n1"]["concurrent_with"] == [edits["n2"]] and found["n2"]["concurrent_with"] == [edits["n1"]]
    assert {e["state"] for e in found.values()} == {"conflict"}
    assert sum(e["changes"][0]["winner"] for e in found.values()) == 1
    siblings = cluster["n2"].engine.replica.fold.siblings(KEY)
    await cluster["n2"].writer.resolve(KEY, [str(s.dot) for s in siblings], take=1, value=None, reason="")
    await cluster.converged()
    newest = (await listed(history, KEY))[0]
    assert newest["kind"] == "resolve" and newest["state"] == "applied" and newest["concurrent_with"] == []
    assert {e["state"] for e in (await listed(history, KEY))[1:]} == {"superseded"}


async def test_an_edit_that_its_authors_retirement_had_not_seen_is_late(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    before = await write(cluster["n2"], {"defaults": {"polling-interval": "5"}})
    await cluster.converged()
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    unseen = await write(cluster["n2"], {KEY: {"alias": "a"}})
    member = cluster["n1"].engine.replica.registry.by_name["n2"]
    retired = msgspec.structs.replace(member, state=MemberState.RETIRED)
    await cluster["n1"].writer.record({MEMBER_PREFIX + "n2": member_value(retired)})
    late = cluster["n2"].engine.replica.signed(parse_dot(unseen))
    cluster["n1"].engine.replica.commit(late)  # as a third member would bring it
    found = {e["edit"]: e["late"] for e in await listed(history_of(cluster["n1"]))}
    assert found[unseen] is True and found[before] is False and sum(found.values()) == 1


async def test_an_edit_beyond_its_authors_rights_is_void(memory_cluster: Any, scribe: Any) -> None:
    cluster = memory_cluster("n1", "n2", roles={"n2": Role.EDITOR})
    node = cluster["n1"]
    forbidden = scribe.edit("n2", {MEMBER_PREFIX + "n1": {}}, node.engine.replica.fold.clock)
    node.engine.replica.commit(forbidden)
    entry = (await listed(history_of(node)))[0]
    assert entry["state"] == "void" and entry["changes"][0]["state"] == "void" and not entry["changes"][0]["winner"]
    with pytest.raises(UsageError) as caught:
        await history_of(node).revert(entry["edit"], node.picture.config.digest)
    assert caught.value.code == "not-revertible"


# -- what was collected -----------------------------------------------------------------------------------------------


async def test_collected_edits_are_told_from_the_archive(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    shelf = Shelf()
    history = history_of(node, shelf)
    edits = [await write(node, {"defaults": {"polling-interval": str(n)}}) for n in range(1, 600)]
    before = await listed(history, "defaults", 1_000)
    gone = forget(node, shelf)
    assert len(gone) == 598 and len(node.engine.replica) == 2
    shelf.rows.insert(300, (shelf.rows[299][0], b"damaged"))
    after = await listed(history, "defaults", 1_000)
    assert [e["edit"] for e in after] == edits[::-1]
    assert after == before, "nothing is told otherwise because it was collected"
    bare = await listed(history_of(node), "defaults", 1_000)
    assert [e["edit"] for e in bare] == edits[-1:] and not bare[0]["changes"][0]["before_known"]
    assert bare[0]["changes"][0]["action"] == "set" and bare[0]["changes"][0]["options"][0]["before"] is None


async def test_an_edit_that_is_collected_while_the_list_is_read_is_in_it_once(memory_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = memory_cluster("n1")["n1"]
    shelf = Shelf()
    history = history_of(node, shelf)
    edits = [await write(node, {"defaults": {"polling-interval": str(n)}}) for n in range(1, 12)]
    monkeypatch.setattr("agent.history.PAGE", 3)
    reading = asyncio.ensure_future(listed(history, "defaults"))
    for _ in range(4):
        await asyncio.sleep(0)
    forget(node, shelf)
    assert [e["edit"] for e in await reading] == edits[::-1]


# -- names ------------------------------------------------------------------------------------------------------------


async def test_an_edit_is_named_by_a_beginning_that_only_it_has(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    await write(cluster["n1"], {KEY: {"alias": "a"}})
    edit = await write(cluster["n1"], {KEY: {}})
    only = await write(cluster["n2"], {"defaults": {"polling-interval": "5"}})
    await cluster.converged()
    history = history_of(cluster["n1"])
    actor, _, counter = edit.partition(":")
    for text in (edit, edit.upper(), f" {actor[:8]}:{counter} ", f"{actor[:4]}:{counter}"):
        assert str(history.resolve(text)) == edit
    assert str(history.resolve(only[:8])) == only, "the only one of its author"
    for text in (actor, actor[:8]):
        with pytest.raises(UsageError) as caught:
            history.resolve(text)
        assert caught.value.code == "ambiguous-edit" and f"{actor}:1" in caught.value.message
    for text in ("", ":", ":1", f"{actor}:0", f"{actor}:99", f"{actor}:{'9' * 30}", "zz:1", "n1:1", f"{actor}:٣", f"{actor}ff:1"):
        with pytest.raises(UsageError) as caught:
            history.resolve(text)
        assert caught.value.code == "not-found"


# -- undoing ----------------------------------------------------------------------------------------------------------


async def reverted(history: History, edit: str, **more: Any) -> Any:
    return await history.revert(edit, await digest_of(history, edit), **more)


async def refused(history: History, edit: str, kind: type[PathmeshError], code: str) -> Any:
    with pytest.raises(kind) as caught:
        await reverted(history, edit)
    assert caught.value.code == code, caught.value
    return caught.value


async def test_a_revert_gives_every_section_what_it_had_before(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    history = history_of(node)
    await write(node, {KEY: {"alias": "a"}, "defaults": {"polling-interval": "5"}, OVERRIDES: {"text": "# one\n"}})
    edit = await write(
        node, {KEY: {"alias": "b"}, "defaults": None, OVERRIDES: {"text": "# two\n"}, WWID_PREFIX + B: {"alias": "new"}}, "the move"
    )
    dry = await reverted(history, edit, dry_run=True)
    assert dry.dry_run and dry.edit is None and "+\talias a\n" in dry.diff and "-# two\n" in dry.diff
    assert node.picture.config.document[KEY] == {"alias": "b"}
    written = await reverted(history, edit)
    assert node.picture.config.document == {KEY: {"alias": "a"}, "defaults": {"polling-interval": "5"}, OVERRIDES: {"text": "# one\n"}}
    newest = (await listed(history))[0]
    assert newest["edit"] == str(written.edit) and newest["kind"] == "change"
    assert newest["reason"] == f"revert {edit[:8]}:{edit.partition(':')[2]}: the move"
    undone = await reverted(history, str(written.edit), reason="the other way after all")
    assert node.picture.config.document[KEY] == {"alias": "b"} and "defaults" not in node.picture.config.document
    assert (await listed(history))[0]["reason"] == "the other way after all" and undone.edit is not None


async def test_a_revert_is_guarded_by_the_digest_of_what_it_changes(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    history = history_of(node)
    config, text = await write(node, {KEY: {"alias": "a"}}), await write(node, {OVERRIDES: {"text": "# one\n"}})
    old = node.picture.config.digest
    await write(node, {"defaults": {"polling-interval": "5"}})
    with pytest.raises(StaleDigest):
        await history.revert(config, old)
    assert (await history.one(text))["digest"] == node.picture.config.overrides_digest
    with pytest.raises(StaleDigest):
        await history.revert(text, node.picture.config.digest)
    await reverted(history, text)
    assert node.picture.config.overrides == "" and KEY in node.picture.config.document


async def test_a_section_that_was_changed_since_is_not_reverted(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    history = history_of(node)
    edit = await write(node, {KEY: {"alias": "a"}, "defaults": {"polling-interval": "5"}})
    newer = await write(node, {KEY: {"alias": "b"}})
    before = dict(node.picture.config.document)
    fault = await refused(history, edit, ChangedSince, "changed-since")
    assert fault.key == KEY and fault.edit == newer and KEY in fault.message and KEY in fault.hint
    assert node.picture.config.document == before
    await reverted(history, newer)
    fault = await refused(history, edit, ChangedSince, "changed-since")
    assert fault.key == KEY, "the value is the same again, and still somebody else's"


async def test_a_section_in_conflict_is_not_reverted(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    edit = await write(cluster["n1"], {KEY: {"alias": "one"}, "defaults": {"polling-interval": "5"}})
    await write(cluster["n2"], {KEY: {"alias": "two"}})
    cluster.network.heal_all()
    await cluster.converged()
    fault = await refused(history_of(cluster["n1"]), edit, ConflictOpen, "conflict-open")
    assert fault.key == KEY and "defaults" in cluster["n1"].picture.config.document


async def test_an_equal_value_that_somebody_else_wrote_beside_it_is_not_taken_away(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    edits = [await write(cluster[name], {KEY: {"alias": "same"}}) for name in ("n1", "n2")]
    cluster.network.heal_all()
    await cluster.converged()
    assert cluster["n1"].picture.config.conflicts == ()
    fault = await refused(history_of(cluster["n1"]), edits[0], ChangedSince, "changed-since")
    assert fault.edit == edits[1]


async def test_the_end_of_a_conflict_is_reverted_to_what_was_in_effect(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    for name in ("n1", "n2"):
        await write(cluster[name], {KEY: {"alias": name}})
    cluster.network.heal_all()
    await cluster.converged()
    node = cluster["n1"]
    winner = dict(node.picture.config.document[KEY])
    dots = [str(s.dot) for s in node.engine.replica.fold.siblings(KEY)]
    written = await node.writer.resolve(KEY, dots, take=None, value={"alias": "both"}, reason="")
    await reverted(history_of(node), str(written.edit))
    assert node.picture.config.document[KEY] == winner and node.picture.config.conflicts == ()


async def test_a_value_before_that_is_no_longer_valid_is_refused_like_any_write(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    history = history_of(node)
    await write(node, {KEY: {"alias": "mine"}})
    edit = await write(node, {KEY: {"alias": "changed"}})
    await write(node, {WWID_PREFIX + B: {"alias": "mine"}})
    await refused(history, edit, UsageError, "duplicate-alias")
    assert node.picture.config.document[KEY] == {"alias": "changed"}


async def test_members_are_not_reverted_and_acknowledgements_are(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    node = cluster["n1"]
    history = history_of(node)
    for entry in await listed(history):
        await refused(history, entry["edit"], UsageError, "not-revertible")
    key = f"ack/n1/{A}"
    edit = str(await node.writer.record({key: {"paths": "a"}}))
    await reverted(history, edit)
    assert node.engine.replica.fold.value(key) is None and key not in node.picture.config.acks


async def test_what_was_before_a_collected_past_is_not_guessed(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    shelf = Shelf()
    await write(node, {KEY: {"alias": "a"}})
    edit = await write(node, {KEY: {"alias": "b"}})
    forget(node, shelf)
    fault = await refused(history_of(node), edit, UsageError, "history-gone")
    assert KEY in fault.message and fault.hint
    await reverted(history_of(node, shelf), edit)
    assert node.picture.config.document[KEY] == {"alias": "a"}
    first = (await listed(history_of(node, shelf), KEY))[-1]["edit"]
    with pytest.raises(UsageError) as caught:
        await history_of(node).one(first)
    assert caught.value.code == "history-gone"


async def test_the_newest_edit_may_be_a_removal_that_was_collected(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    shelf = Shelf()
    kept = await write(node, {WWID_PREFIX + B: {"alias": "b"}})
    await write(node, {KEY: {"alias": "a"}})
    removal = await write(node, {KEY: None})
    forget(node, shelf)
    assert str(await history_of(node, shelf).newest(is_config_key)) == removal
    assert str(await history_of(node).newest(is_config_key)) == kept, "of what nobody knows any more nothing is told"
    assert await history_of(node).newest(lambda key: key == OVERRIDES) is None


async def test_a_removal_that_was_collected_is_undone_if_nothing_came_after(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    shelf = Shelf()
    history = history_of(node, shelf)
    await write(node, {KEY: {"alias": "a"}})
    removal = await write(node, {KEY: None})
    forget(node, shelf)
    assert node.engine.replica.fold.siblings(KEY) == ()
    assert (await listed(history, KEY))[0]["state"] == "applied"
    await reverted(history, removal)
    assert node.picture.config.document[KEY] == {"alias": "a"}
    again = await write(node, {KEY: None})
    forget(node, shelf)
    fault = await refused(history, removal, ChangedSince, "changed-since")
    assert fault.edit == again
    assert [e["state"] for e in await listed(history, KEY)] == ["applied", "superseded", "superseded", "superseded"]
    shelf.rows = [row for row in shelf.rows if row[1] != shelf.rows[-1][1]]
    await refused(history, removal, ChangedSince, "changed-since")


async def test_a_collected_removal_is_left_alone_where_something_after_it_may_be_unknown(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    shelf = Shelf()
    await write(node, {KEY: {"alias": "a"}})
    removal = await write(node, {KEY: None})
    forget(node, shelf)
    for value in ({"alias": "b"}, None):
        await write(node, {KEY: value})
    await write(node, {"defaults": {"polling-interval": "5"}})
    forget(node, None)
    assert node.engine.replica.fold.siblings(KEY) == ()
    await refused(history_of(node, shelf), removal, UsageError, "history-gone")


async def test_a_write_that_comes_between_the_question_and_the_revert_is_seen(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    history = history_of(node)
    edit = str(await node.writer.record({f"ack/n1/{A}": {"paths": "a"}}))
    digest = await digest_of(history, edit)
    node.log.gate.clear()
    between = asyncio.ensure_future(node.writer.record({f"ack/n1/{A}": {"paths": "b"}}))
    await asyncio.sleep(0)
    undoing = asyncio.ensure_future(history.revert(edit, digest))  # no digest is of acknowledgements: the check of the values itself counts
    await asyncio.sleep(0)
    node.log.gate.set()
    newer = await between
    with pytest.raises(ChangedSince) as caught:
        await undoing
    assert caught.value.edit == str(newer)
