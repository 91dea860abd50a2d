"""How a user's write becomes an edit: digest, conflict and validity checked, difference shown, then one edit, all or nothing.

Writes are taken one at a time. The check and the making of the edit happen without giving way in between, so the edit's context is exactly
the state that was checked; what other nodes write meanwhile is concurrent, and conflict detection finds it.
"""

import asyncio
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.hosts_seen import HostsSeen
from agent.picture import Picture
from apply.model import Problem, Severity, build
from apply.storages import expected_nodes
from apply.validate import canonical, check_edit
from gossip.engine import Engine
from gossip.runner import Runner
from store.clocks import Dot, parse_dot
from store.document import OVERRIDES, Options, is_config_key
from store.edits import CHANGE, RESOLVE
from store.errors import ConflictError, PathmeshError, UsageError
from store.section_config import text_digest, write

Changes = Mapping[str, Options | None]
Change = Callable[[Mapping[str, Options]], Changes]
"""Makes the changes from the document as it is at the moment of the write."""


class Refused(UsageError):
    """The edit would make something invalid; `problems` say all of it."""

    def __init__(self, problems: list[Problem]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{first.message}{more}", code=first.code, hint=first.hint)
        self.problems = problems


class StaleDigest(ConflictError):
    """The write names a digest that is no longer the present one; `current` is."""

    def __init__(self, which: str, current: str) -> None:
        super().__init__(
            f"the {which} changed since it was read",
            code="stale-digest",
            hint="read it again, look at what changed, and repeat the write",
        )
        self.current = current


class ConflictOpen(ConflictError):
    """The write touches a key with concurrent values that nobody has resolved."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key} has concurrent values: nothing was written",
            code="conflict-open",
            hint=f"look at `pathmesh conflicts`, then `pathmesh resolve {key} --take N`",
        )
        self.key = key


@dataclass(frozen=True, slots=True)
class Expected:
    """The digests that a write was made from; None for the document that it does not touch."""

    config: str | None = None
    overrides: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did, or would do."""

    digest: str
    overrides_digest: str
    edit: Dot | None
    changed: tuple[str, ...]
    warnings: tuple[Problem, ...]
    diff: str
    dry_run: bool
    after: Mapping[str, Options]
    """Both documents as they are then, by key."""

    def json(self) -> dict[str, Any]:
        """The answer's body."""
        return {
            "digest": self.digest,
            "overrides_digest": self.overrides_digest,
            "edit": str(self.edit) if self.edit else None,
            "changed": list(self.changed),
            "warnings": [problem_json(p) for p in self.warnings],
            "diff": self.diff,
            "dry_run": self.dry_run,
        }


def problem_json(problem: Problem) -> dict[str, Any]:
    """A problem as users and scripts see it; one that is about a place in a text has its line and column."""
    return {
        "code": problem.code,
        "key": problem.key,
        "option": problem.option,
        "message": problem.message,
        "hint": problem.hint,
        "severity": problem.severity.name.lower(),
        **({"line": problem.line, "column": problem.column} if problem.line else {}),
    }


class Writer:
    """Takes the writes of this node."""

    def __init__(self, engine: Engine, runner: Runner, picture: Picture) -> None:
        self._engine = engine
        self._runner = runner
        self._picture = picture
        self.hosts = HostsSeen(picture)
        self._lock = asyncio.Lock()

    async def change(self, change: Changes | Change, expected: Expected, *, reason: str = "", dry_run: bool = False) -> Written:
        """Make one edit of configuration keys: of these, or of what `change` makes of the document whose digests were just checked.

        Raises StaleDigest, ConflictOpen, Refused, or the engine's refusal; then nothing has changed.
        """
        async with self._lock:
            self._check_digests(expected)
            changes = change(self._picture.config.document) if callable(change) else change
            return await self._write(changes, reason=reason, dry_run=dry_run)

    async def replace(self, document: Mapping[str, Options], expected: Expected, *, reason: str = "", dry_run: bool = False) -> Written:
        """Make the `config` document this one, in one edit: what is not in it goes."""
        async with self._lock:
            self._check_digests(expected)
            present = self._picture.config.document
            changes: dict[str, Options | None] = {key: None for key in present if is_config_key(key) and key not in document}
            return await self._write(changes | dict(document), reason=reason, dry_run=dry_run)

    async def resolve(
        self, key: str, dots: list[str], *, take: int | None, value: Options | None, reason: str, dry_run: bool = False
    ) -> Written:
        """End a conflict: replace exactly the siblings named by `dots` with one value (the 1-based `take`th of them, or `value`)."""
        async with self._lock:
            siblings = {str(s.dot): s for s in self._engine.replica.fold.siblings(key)}
            if not self._engine.replica.fold.in_conflict(key):
                raise UsageError(f"{key} has no open conflict", code="no-conflict")
            if not dots or len(set(dots)) != len(dots):
                raise UsageError("name the edits that were shown, each once", code="bad-dots", hint="see `pathmesh conflicts`")
            for dot in dots:
                _dot(dot)
                if dot not in siblings:
                    raise ConflictError(
                        f"{key}: edit {dot} is not among its present values", code="stale-digest", hint="read `pathmesh conflicts` again"
                    )
            if take is not None:
                if not 1 <= take <= len(dots):
                    raise UsageError(f"take: {take} is not between 1 and {len(dots)}", code="bad-take")
                value = siblings[dots[take - 1]].value
            elif not _is_document_key(key):
                raise UsageError(f"{key}: take one of its values", code="bad-take", hint=f"pathmesh resolve {key} --take N")
            covers = {key: tuple(_dot(dot) for dot in dots)}
            return await self._write({key: value}, reason=reason, dry_run=dry_run, covers=covers)

    async def record(self, changes: Changes, *, reason: str = "") -> Dot:
        """Make one edit of keys that are in no document (members, acknowledgements). Raises ConflictOpen, or the engine's refusal."""
        async with self._lock:
            for key in changes:
                if self._engine.replica.fold.in_conflict(key):
                    raise ConflictOpen(key)
            return await self._runner.submit(changes, reason=reason)

    # -- inside the lock ----------------------------------------------------------------------------------------------

    def _check_digests(self, expected: Expected) -> None:
        config = self._picture.config
        if expected.config is not None and expected.config != config.digest:
            raise StaleDigest("configuration", config.digest)
        if expected.overrides is not None and expected.overrides != config.overrides_digest:
            raise StaleDigest("overrides", config.overrides_digest)

    async def _write(self, changes: Changes, *, reason: str, dry_run: bool, covers: Mapping[str, tuple[Dot, ...]] | None = None) -> Written:
        fold, before = self._engine.replica.fold, self._picture.config.document
        values = canonical({key: value for key, value in changes.items() if value is not None and _is_document_key(key)})
        changes = {key: values.get(key) if _is_document_key(key) else value for key, value in changes.items()}
        if covers is None:
            for key in changes:
                if fold.in_conflict(key):
                    raise ConflictOpen(key)
            changes = {key: value for key, value in changes.items() if fold.value(key) != value}
        after = {key: value for key, value in (dict(before) | dict(changes)).items() if value is not None and _is_document_key(key)}
        problems = check_edit(before, after, self.hosts)
        errors = [p for p in problems if p.severity is Severity.ERROR]
        if errors:
            raise Refused(errors)
        text, old_text = write(after), self._picture.config.text
        dot = None
        kind = CHANGE if covers is None else RESOLVE
        if changes and dry_run:
            refusal = self._engine.refusal(changes, kind)
            if refusal is not None:
                raise PathmeshError(refusal[1], code=refusal[0])
        elif changes:
            dot = await self._runner.submit(changes, reason=reason, kind=kind, covers=covers)
        diff = _difference(old_text, text, before, after)  # after the edit went out: nobody but the writer waits for it
        return Written(
            text_digest(text),
            text_digest(after.get(OVERRIDES, {}).get("text", "")),
            dot,
            tuple(sorted(changes)),
            (*problems, *self._expectations(after, changes)),
            diff,
            dry_run,
            after,
        )

    def _expectations(self, after: Mapping[str, Options], changed: Changes) -> tuple[Problem, ...]:
        """What the changed sections say about nodes that makes no sense in this cluster (an unknown node, a base on other nodes)."""
        members = [member.name for member in self._engine.replica.registry.active]
        _, problems = expected_nodes(build(after, {}), members)
        return tuple(p for p in problems if p.key in changed)


def _is_document_key(key: str) -> bool:
    """Whether the key is part of a document; members, acknowledgements and the cluster's own keys are not."""
    return is_config_key(key) or key == OVERRIDES


def _difference(old: str, new: str, before: Mapping[str, Options], after: Mapping[str, Options]) -> str:
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), "config (now)", "config (after)", lineterm=""))
    first, second = (d.get(OVERRIDES, {}).get("text", "").splitlines() for d in (before, after))
    lines += difflib.unified_diff(first, second, "overrides (now)", "overrides (after)", lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _dot(text: str) -> Dot:
    try:
        return parse_dot(text)
    except ValueError as fault:
        raise UsageError(str(fault), code="bad-dots") from None
