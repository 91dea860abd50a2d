"""The configuration as readers see it."""

from typing import Any

from agent.config_view import ConfigView
from store.document import OVERRIDES
from store.section_config import apply_digest, config_digest, text_digest

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "360014050000000100004000800000000"


def view(scribe: Any, *edits: Any, members: tuple[str, ...] = ("n1", "n2")) -> ConfigView:
    return ConfigView(scribe.replica(*edits).fold, members, {})


def edits_of(scribe: Any, *changes: Any) -> list[Any]:
    founding = scribe.founding("n1")
    return [founding, *(scribe.edit("n1", each, {scribe.actor("n1"): n}) for n, each in enumerate(changes, 1))]


def test_an_empty_configuration(scribe: Any) -> None:
    config = view(scribe)
    assert config.document == {} and config.text == "" and config.overrides == ""
    assert config.digest == config_digest({}) == text_digest("") and config.overrides_digest == text_digest("")
    assert config.apply_digest == apply_digest(config.digest, config.overrides_digest)
    assert config.problems == () and config.expected == {} and config.model.empty


def test_members_and_acks_are_in_no_document(scribe: Any) -> None:
    ack = {"paths": "a\nb", "reason": "why"}
    config = view(scribe, *edits_of(scribe, {f"wwid/{A}": {"alias": "a"}}, {f"ack/n1/{A}": ack}, {OVERRIDES: {"text": "# x\n"}}))
    assert set(config.document) == {f"wwid/{A}", OVERRIDES}
    [(key, (dot, value))] = config.acks.items()
    assert key == f"ack/n1/{A}" and value == ack and dot == f"{scribe.actor('n1').hex()}:3"
    assert config.text == f"wwid: {A}\n\talias a\n\n"
    assert config.digest == text_digest(config.text) and config.overrides == "# x\n"


def test_what_was_deleted_is_gone(scribe: Any) -> None:
    config = view(scribe, *edits_of(scribe, {f"wwid/{A}": {"alias": "a"}, OVERRIDES: {"text": "x"}}, {f"wwid/{A}": None, OVERRIDES: None}))
    assert config.document == {} and config.order == {} and config.digest == config_digest({})


def test_conflicts_are_shown_and_do_not_depend_on_the_order(scribe: Any) -> None:
    first, second = scribe.founding("n1"), scribe.registration("n1", scribe.member("n2"), {scribe.actor("n1"): 1})
    seen = {scribe.actor("n1"): 2}
    keys = (f"wwid/{A}", OVERRIDES, f"ack/n1/{A}")
    concurrent = [scribe.edit(n, {key: {"text": n} for key in keys}, seen) for n in ("n1", "n2")]
    config = view(scribe, first, second, *concurrent)
    assert set(config.conflicts) == set(keys)
    other = view(scribe, first, second, *reversed(concurrent))
    assert (other.conflicts, other.document, other.acks) == (config.conflicts, config.document, config.acks)


def test_of_two_equal_aliases_the_later_one_is_left_out(scribe: Any) -> None:
    config = view(scribe, *edits_of(scribe, {f"wwid/{A}": {"alias": "same"}}, {f"wwid/{B}": {"alias": "same"}}))
    assert (config.model.luns[A].alias, config.model.luns[B].alias) == ("same", None)
    assert [p.code for p in config.problems] == ["duplicate-alias"]
    assert "same" in config.text, "the digest is of what was written"


def test_expected_nodes_follow_the_storages(scribe: Any) -> None:
    changes = {
        f"wwid/{A}": {},
        "storage/san": {"type": "multipath"},
        "storage/vg": {"type": "lvm", "base": f"san:{A}", "vgname": "v", "nodes": "n2"},
    }
    config = view(scribe, *edits_of(scribe, changes))
    assert config.expected[A].nodes == {"n2"} and config.expected[A].source == "storage-chain"


def test_a_view_is_of_one_moment(scribe: Any) -> None:
    replica = scribe.replica(*edits_of(scribe, {f"wwid/{A}": {"alias": "a"}}))
    config = ConfigView(replica.fold, ["n1"], {})
    clock = dict(config.clock)
    replica.commit(scribe.edit("n1", {f"wwid/{A}": None}, {scribe.actor("n1"): 2}))
    assert config.clock == clock and f"wwid/{A}" in config.document and A in config.text
