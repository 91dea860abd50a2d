"""From a model to the drop-in files of /etc/multipath/conf.d, byte for byte the same on every node with the same tools.

There is no time, host name or other local fact in them, so that an unchanged configuration is an unchanged file. The digest
in the header changes with every edit, also with one that means nothing to multipathd: compare `body` to tell these apart.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from apply.model import Model, Problem, Severity
from apply.option_model import Option, Scope, Version
from apply.option_tables import PINNED, TABLES
from apply.options import supported
from apply.tokens import quote
from store.document import DEFAULTS, WWID_PREFIX

MAIN = "90-pathmesh.conf"
OVERRIDES = "95-pathmesh-overrides.conf"
SCHEMA_REVISION = 1

_MARKER = "# Written by pathmesh."
_HEADER = f"""\
{_MARKER} Do not edit: change the cluster's configuration instead, with 'pathmesh'.
# schema {SCHEMA_REVISION}
# digest {{digest}}

"""
_SPECIAL_IN_ERE = re.compile(r"[.\[\](){}\\*+?^$|]")


_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class RenderedFile:
    """One file: its bytes and its permissions."""

    content: bytes
    mode: int


@dataclass(frozen=True)
class Rendered:
    """The files by name; one that is not wanted is absent. `skipped` tells what these tools do not know."""

    files: Mapping[str, RenderedFile]
    skipped: tuple[Problem, ...]


def render(model: Model, *, digest: str, tools_version: Version | None, kept: Mapping[str, str] = _NOTHING) -> Rendered:
    """The files that a node should have.

    `digest` names what they were made from. `tools_version` is the multipath-tools release of the node, by which options are
    left out or spelled otherwise; without it everything is written as the newest release takes it. `kept` are names of maps by WWID that
    stay though the LUN is configured no more, with its exception from blacklists; of a LUN that is configured it says nothing.
    """
    if model.empty and not kept:
        return Rendered({}, ())
    skipped: list[Problem] = []
    header = _HEADER.format(digest=digest)
    files = {MAIN: _file(header + _main(model, tools_version, skipped, kept), _holds_key(model))}
    if model.overrides:
        text = model.overrides if model.overrides.endswith("\n") else model.overrides + "\n"
        files[OVERRIDES] = _file(header + text, "reservation_key" in text)
    return Rendered(files, tuple(skipped))


def allow_list(model: Model) -> frozenset[str]:
    """The WWIDs that may become maps: those of the enabled LUNs."""
    return frozenset(wwid for wwid, lun in model.luns.items() if lun.enabled)


def is_ours(content: bytes) -> bool:
    """Whether a file carries the marker of files that are written here."""
    return content.startswith(_MARKER.encode())


def body(content: bytes) -> bytes:
    """What multipathd reads of one of our files: all behind the header. Another file is returned as it is."""
    return content.partition(b"\n\n")[2] if is_ours(content) else content


def text_of(file: RenderedFile | None) -> str:
    """A file as text; empty if there is none."""
    return file.content.decode("utf-8", "replace") if file else ""


def _file(text: str, secret: bool) -> RenderedFile:
    return RenderedFile(text.encode(), 0o600 if secret else 0o644)


def _holds_key(model: Model) -> bool:
    enabled = [lun.options for lun in model.luns.values() if lun.enabled]
    return any("reservation_key" in options for options in [model.defaults, *enabled])


def _main(model: Model, version: Version | None, skipped: list[Problem], kept: Mapping[str, str]) -> str:
    lines: list[str] = []
    if not model.empty:
        pinned = {name.replace("-", "_"): value for name, value in PINNED.items()}
        lines += _section("defaults", _supported(DEFAULTS, Scope.DEFAULTS, model.defaults, version, skipped) | pinned, "")
    blocks = {wwid: {"wwid": wwid} | ({} if name == wwid else {"alias": name}) for wwid, name in kept.items()}
    for wwid in sorted(allow_list(model)):
        lun = model.luns[wwid]
        options = _supported(WWID_PREFIX + wwid, Scope.WWID, lun.options, version, skipped)
        blocks[wwid] = options | {"wwid": wwid} | ({} if lun.alias is None else {"alias": lun.alias})
    if blocks:
        lines += ["blacklist_exceptions {", *(f"\twwid {quote(_exactly(wwid))}" for wwid in sorted(blocks)), "}", "multipaths {"]
        lines += [line for _, block in sorted(blocks.items()) for line in _section("multipath", block, "\t")]
        lines.append("}")
    return "\n".join(lines) + "\n"


def _section(name: str, options: Mapping[str, str], indent: str) -> list[str]:
    lines = [f"{indent}\t{keyword} {quote(value)}" for keyword, value in sorted(options.items())]
    return [f"{indent}{name} {{", *lines, f"{indent}}}"]


def _exactly(wwid: str) -> str:
    """An extended regular expression for this WWID alone: multipathd searches for it anywhere in the string."""
    return "^" + _SPECIAL_IN_ERE.sub(lambda match: "\\" + match[0], wwid) + "$"


_OPTIONS: Mapping[Scope, Mapping[str, Option]] = {
    scope: {option.keyword: option for option in TABLES[scope].values()} for scope in (Scope.DEFAULTS, Scope.WWID)
}


def _supported(key: str, scope: Scope, options: Mapping[str, str], version: Version | None, skipped: list[Problem]) -> dict[str, str]:
    """The options as this release takes them, without those that it does not know."""
    result: dict[str, str] = {}
    for keyword, value in sorted(options.items()):
        option = _OPTIONS[scope][keyword]
        spelled = supported(option, value, version)
        if spelled is not None:
            result[keyword] = spelled
            continue
        release = ".".join(map(str, version or ()))
        skipped.append(
            Problem(
                "render-unsupported-option",
                key,
                f"multipath-tools {release} knows no {option.name} {value}; left out on this node",
                option.name,
                f"it needs {'.'.join(map(str, max(option.since, option.values_since.get(value, option.since))))}",
                Severity.WARNING,
            )
        )
    return result
