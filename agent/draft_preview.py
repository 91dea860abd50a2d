"""What a draft of the configuration would make the nodes write, before anybody commits it.

The files depend on the release of a node's multipath-tools alone, so nodes with the same release have one preview. What a host has of its
own beside them only that host knows.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from agent.hosts_seen import read_version
from agent.picture import Picture
from agent.writes import problem_json
from apply.diff import render_diff
from apply.model import build
from apply.option_model import Version
from apply.render import allow_list, render
from store.document import OVERRIDES, Options
from store.section_config import apply_digest, config_digest, text_digest

_WHERE = PurePosixPath("/etc/multipath/conf.d")


def preview_json(picture: Picture, after: Mapping[str, Options]) -> dict[str, Any]:
    """What the documents as they would be make of the files: per release of the tools its nodes, the difference, and what is left out.

    A node that never told its release counts as one with the newest, as it does when files are written. Who has left is not told of.
    """
    config = picture.config
    model = build(after, config.order)
    digest = apply_digest(config_digest(after), text_digest(after.get(OVERRIDES, {}).get("text", "")))
    groups: dict[Version | None, list[str]] = {}
    for name in sorted(config.members):
        groups.setdefault(read_version(picture.node_facts(name).get("tools_version")), []).append(name)
    told = []
    for version, nodes in sorted(groups.items(), key=lambda item: item[1]):
        # One digest in both headers: it always differs, and says nothing about what is to change.
        old, new = (render(each, digest=digest, tools_version=version) for each in (config.model, model))
        present = {name: file.content for name, file in old.files.items()}
        told.append(
            {
                "nodes": nodes,
                "tools_version": None if version is None else ".".join(map(str, version)),
                "diff": render_diff(_WHERE, present, new),
                "skipped": [problem_json(problem) for problem in new.skipped],
            }
        )
    before, wanted = allow_list(config.model), allow_list(model)
    return {"nodes": told, "allow_list": {"append": sorted(wanted - before), "disable": sorted(before - wanted)}}
