"""The loop that makes this host what the converged configuration says."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog

from agent.applied_clock import AppliedClock
from agent.config_view import ConfigView
from agent.knowledge import Knowledge
from agent.picture import Picture
from agent.woken import woken
from apply.backoff import Backoff
from apply.facts import Version
from apply.model import build
from apply.multipathd import MultipathdError
from apply.outcome import APPLIED_CLOCK, ApplyError, ApplyOutcome, ApplyState, apply_cell, awaiting, carry_on, told_clock
from apply.plan import Desired
from apply.preview import Preview
from apply.reconcile import Reconciler
from apply.render import allow_list, render
from gossip.engine import Engine
from gossip.events import Publish
from store.document import OVERRIDES, WWID_PREFIX, is_config_key
from store.errors import PathmeshError, UnavailableError
from store.records import Records
from store.section_config import apply_digest, config_digest, text_digest

CHECK_SECONDS = 60.0
"""How often a host that is in sync is read back, so that a change by hand is seen."""
QUIET_SECONDS = 0.15
HELD_SECONDS = 10.0
"""How often a host that may not be changed now looks whether it may."""
_HOST = "host"
_PURGE = "purge"

log = structlog.get_logger("host")


class ApplyLoop:
    """Applies when something moved, when the host may have been changed by hand, and again after a failure."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        records: Records,
        applied_clock: AppliedClock,
        picture: Picture,
        engine: Engine,
        knowledge: Knowledge,
        *,
        debounce: float,
        polled: asyncio.Event,
        tools_version: Callable[[], Awaitable[Version | None]],
        told: Callable[[], None],
    ) -> None:
        """`debounce` in seconds. `polled`: this host was looked at. `told()` is called when the outcome is another one."""
        self.outcome: ApplyOutcome | None = None
        """What the last reconcile came to; None before the first."""
        self._name = name
        self._reconciler = reconciler
        self._records = records
        self._in_effect = applied_clock
        self._picture = picture
        self._engine = engine
        self._knowledge = knowledge
        self._debounce_seconds = debounce
        self._polled = polled
        self._tools_version = tools_version
        self._told = told
        self._backoff = Backoff()
        self._now = asyncio.Event()
        self._applied: asyncio.Future[None] | None = None
        self._force = False
        self._purging = False
        """Everything of ours is to go from this host, whatever the configuration says."""
        self._applied_clock: Mapping[str, int] = {}
        self._moved = True
        """Whether the configuration moved since the clock that was last applied."""
        self._behind = False

    def wake(self) -> None:
        """Look at once whether there is something to do."""
        self._now.set()

    def news(self, change: Publish) -> None:
        """Wake up when the configuration moved, or can be known no more."""
        behind, self._behind = self._behind, self._engine.config_behind
        if change.settled or any(is_config_key(key) or key == OVERRIDES for key in change.keys):
            self.wake()
            self._moved = True
        elif behind is not self._behind:
            self.wake()

    def stopped(self) -> None:
        """The loop has ended: nobody need wait for it any more."""
        if self._applied is not None and not self._applied.done():
            self._applied.set_exception(UnavailableError("the agent is stopping", code="stopping"))

    async def apply_now(self) -> dict[str, Any]:
        """Apply again at once, whatever the last outcome was; returns the new one, as the apply cell will tell it."""
        if self._applied is None or self._applied.done():
            self._applied = asyncio.get_running_loop().create_future()
        self._force = True
        self.wake()
        await asyncio.shield(self._applied)
        assert self.outcome is not None
        detail = apply_cell(self.outcome, time.time()).detail
        return {name: value for name, value in detail.items() if name != APPLIED_CLOCK}

    async def purge(self) -> dict[str, Any]:
        """Take everything of ours from this host, for good; returns the outcome, as the apply cell will tell it.

        What is in use stays until it is free. UnavailableError `purge-failed` if the host refuses: then it is as it was.
        """
        await self._records.change(_HOST, {_PURGE: b"1"})
        self._purging = True
        outcome = await self.apply_now()
        if outcome["state"] == ApplyState.FAILED.value:
            await self.keep()
            first = outcome["errors"][0]
            raise UnavailableError(f"not everything could be removed: {first['message']}", code="purge-failed", hint=first["hint"])
        return outcome

    async def keep(self) -> None:
        """Take a purge back: the host gets what the configuration says."""
        await self._records.change(_HOST, {}, (_PURGE,))
        self._purging = False
        self.wake()

    async def preview(self) -> Preview:
        """What an apply would do to this host now, beyond its files."""
        return await self._reconciler.preview(await self._desired(self._picture.config, told=False))

    async def run(self) -> None:
        """Apply until cancelled."""
        await self._polled.wait()
        await self._recover()
        wait = 0.0
        while True:
            if await woken(self._now, wait) and not self._force:
                await self._debounce()
            self._now.clear()
            wait = await self._apply_once()

    async def _debounce(self) -> None:
        """Let further edits come in; meanwhile everybody sees that there is something to do.

        Nothing is said in the first moment: then the edit itself is still on its way to others, and it goes first.
        """
        whole = self._debounce_seconds
        quiet = min(whole, QUIET_SECONDS)
        await asyncio.sleep(quiet)
        config = self._picture.config
        if self.outcome is not None and self.outcome.desired != config.apply_digest:
            self.outcome = awaiting(self.outcome, config.apply_digest, time.time())
            self._told()
        await asyncio.sleep(whole - quiet)

    async def _recover(self) -> None:
        try:
            self._purging = _PURGE in await self._records.load(_HOST)
            self.outcome = await self._reconciler.recover()
            self._applied_clock = told_clock(await self._in_effect.read())
            if self.outcome is not None:
                self.outcome = msgspec.structs.replace(self.outcome, applied_clock=self._applied_clock)
        except PathmeshError as fault:
            log.error("an interrupted apply could not be settled", code=fault.code, why=fault.message)

    async def _apply_once(self) -> float:
        """One reconcile; returns the seconds until the next one is due by itself."""
        config = self._picture.config
        force, self._force = self._force, False
        moved, self._moved = self._moved, False
        waiting = self._applied if force else None
        digest = config.apply_digest
        self._backoff = self._backoff.wanted(digest)
        held = None if self._purging else self._knowledge.held()
        try:
            outcome = (
                self._unchanged(digest, held)
                if held is not None
                else await self._reconciler.converge(await self._desired(config, told=force), force=force)
            )
            if outcome.state is ApplyState.IN_SYNC and held is None and not self._purging:
                await self._in_effect.reached(config.clock, lambda: self._picture.config.clock)
        except Exception as fault:  # the host is not in our hands; its last good state stays, and the next try comes
            log.error("apply failed", why=str(fault), exc_info=not isinstance(fault, PathmeshError))
            outcome = self._failed(digest, fault)
        if held is not None or self._purging or outcome.state not in (ApplyState.IN_SYNC, ApplyState.NOT_APPLICABLE):
            self._moved |= moved
        elif moved:  # else other edits alone moved the clock, which is no news of this host
            self._applied_clock = told_clock(config.clock)
        outcome = msgspec.structs.replace(outcome, applied_clock=self._applied_clock)
        self._tell(outcome)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        if held is not None or outcome.state in (ApplyState.IN_SYNC, ApplyState.NOT_APPLICABLE):
            self._backoff = self._backoff.succeeded(digest)
            return CHECK_SECONDS if held is None else HELD_SECONDS
        self._backoff = self._backoff.failed(digest)
        waits = outcome.state is ApplyState.TEARDOWN  # nothing failed: something is in use, and may be no more at any time
        return min(self._backoff.seconds, CHECK_SECONDS) if waits else self._backoff.seconds

    def _unchanged(self, digest: str, why: ApplyError) -> ApplyOutcome:
        """The outcome when nothing is applied."""
        before = self.outcome or ApplyOutcome(ApplyState.PENDING, digest)
        notes = carry_on([why], before.notes, time.time(), counted=False)
        if before.state is ApplyState.IN_SYNC and before.desired != digest:
            before = awaiting(before, digest, time.time())
        return msgspec.structs.replace(before, desired=digest, notes=notes, changed=False)

    def _failed(self, digest: str, fault: Exception) -> ApplyOutcome:
        code, message, hint = (
            (fault.code, fault.message, fault.hint)
            if isinstance(fault, PathmeshError)
            else ("internal", f"a fault of pathmesh: {type(fault).__name__}", "the agent's log has the details")
        )
        before = self.outcome or ApplyOutcome(ApplyState.FAILED, digest)
        errors = carry_on([ApplyError(code, message, hint)], before.errors, time.time(), counted=True)
        return msgspec.structs.replace(before, state=ApplyState.FAILED, desired=digest, errors=errors, changed=False)

    def _tell(self, outcome: ApplyOutcome) -> None:
        before = self.outcome
        self.outcome = outcome
        if before is None or (before.state, before.desired) != (outcome.state, outcome.desired):
            log.info("apply", state=outcome.state.value, errors=[e.code for e in outcome.errors], desired=outcome.desired[:12])
        self._told()

    async def _desired(self, config: ConfigView, *, told: bool) -> Desired:
        if self._purging:
            nothing = build({}, {})
            digest = apply_digest(config_digest({}), text_digest(""))
            rendered = render(nothing, digest=digest, tools_version=None)
            return Desired(
                digest,
                rendered,
                frozenset(),
                may_remove=True,
                empty=True,
                needed=False,
                rendering=lambda kept: render(nothing, digest=digest, tools_version=None, kept=kept),
            )
        model = config.model
        version, fault = None, None
        if not model.empty:
            try:
                version = await self._tools_version()
            except MultipathdError as error:
                fault = error
        return Desired(
            digest=config.apply_digest,
            rendered=render(model, digest=config.apply_digest, tools_version=version),
            allow_list=allow_list(model),
            may_remove=await self._knowledge.suffices(config, told=told),
            kept=_kept(config),
            empty=model.empty,
            needed=any(self._name in expected.nodes for expected in config.expected.values()),
            fault=fault,
            rendering=lambda kept: render(model, digest=config.apply_digest, tools_version=version, kept=kept),
        )


def _kept(config: ConfigView) -> dict[str, str]:
    """WWIDs that stay in the allow-list even if they are not configured any more, and why."""
    kept: dict[str, str] = {}
    for storage in config.model.storages.values():
        if storage.enabled:
            used = set(storage.wwids or ()) | ({storage.base[1]} if storage.base else set())
            if storage.base is None and (group := storage.options.get("vgname")):
                used |= {wwid for wwid, groups in config.inferred.items() if group in groups}
            kept.update(dict.fromkeys(used, f"the storage {storage.id} uses it"))
    kept.update(
        (key.removeprefix(WWID_PREFIX), "its configuration is in conflict") for key in config.conflicts if key.startswith(WWID_PREFIX)
    )
    return kept
