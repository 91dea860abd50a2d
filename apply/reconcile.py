"""Bringing this host to the wanted configuration, all or nothing, from any point at which the last attempt was cut off.

    names      those of maps in use stay, though their LUNs are configured no more
    preflight  nothing of others is renamed, dropped or hidden, every name is free
    intent     the journal says what is about to be written
    allow      rows of ownership, then the lines, then the rows' confirmation
    install    each file atomically; a LUN whose name another one takes gets a neutral name first
    tell       `reconfigure`, then wait until the daemon is idle
    verify     read the daemon's configuration and maps back
    commit     close the journal with the outcome and the hashes of the verified files, then keep copies of them
    prune      take our unwanted lines out of the allow-list, guarded, and read back what multipathd put in again

A failure before the commit puts the verified files back, from copies that were made sure of before the first write; lines that were added
stay, for they are ours and harm nobody. An attempt that was killed leaves its journal open, and so does one whose roll-back the daemon was
not told of: the next one settles whose the lines are, writes what is missing, and tells the daemon again unless the journal says that this
was done.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace

import msgspec

from apply.attempt import Attempt, finished, intent, judged, neutral_main, outcome_of, told
from apply.confsyntax import parse
from apply.daemon import Daemon, ReconfigureFailed, ReconfigurePending, Timing
from apply.dropins import DropIns, Reach, WriteFailed
from apply.facts import Asks
from apply.hostpaths import HostPaths
from apply.inuse import InUse, NothingInUse
from apply.journal import Committed, Ledger, Remembered
from apply.live import Live
from apply.local_files import broken_files
from apply.managed import hashes_of
from apply.multipathd import DaemonTimeout, MultipathdError, NotInstalled
from apply.names_in_use import with_names_in_use
from apply.outcome import ApplyError, ApplyOutcome, ApplyState
from apply.ownership import Ownership
from apply.plan import Desired, Hold, going_back, listens_to_fabric, make_plan, names_to_free, recognised, wanted_names
from apply.preflight import refusals
from apply.preview import Preview, preview
from apply.render import MAIN, OVERRIDES, RenderedFile, text_of
from apply.threads import uninterrupted
from apply.udev import COMMAND, NOT_TOLD, NoUdev, Triggers
from apply.verify import Findings, Wanted, verify
from apply.wwids import read
from store.errors import PathmeshError
from store.failpoints import reach as real_reach
from store.records import Records

UNCHANGED_PATIENCE = 0.2
"""The share of the time to settle that a host gets whose files nobody touched: most of what is wrong there stays wrong."""


class Reconciler:
    """The host side of one node. One `converge` runs at a time.

    `clock` gives unix seconds, for stamps. `accept_renames` lets our pins rename or drop maps of others. `in_use`, `attached` (WWIDs that
    the kernel has) and `udev` look at the real host; their defaults fit a simulated one.
    """

    def __init__(
        self,
        paths: HostPaths,
        client: Asks,
        records: Records,
        clock: Callable[[], float] = time.time,
        *,
        in_use: InUse | None = None,
        attached: Callable[[], Collection[str]] = frozenset,
        udev: Triggers | None = None,
        accept_renames: bool = False,
        timing: Timing | None = None,
        reach: Reach = real_reach,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._paths = paths
        self._clock = clock
        self._reach = reach
        self._attached = attached
        self._udev = udev or NoUdev()
        self._untold: frozenset[str] = frozenset()
        """The LUNs of whose paths udev could not be told."""
        self._accept_renames = accept_renames
        self._daemon = Daemon(client, timing or Timing(), sleep)
        self._ledger = Ledger(records)
        self._in_use = in_use or NothingInUse()
        self._ownership = Ownership(paths.wwids, self._ledger, clock, self._in_use, reach)
        self._dropins = DropIns(paths.conf_dir, paths.kept_dir)
        self._one_at_a_time = asyncio.Lock()

    async def recover(self) -> ApplyOutcome | None:
        """Settle whose the lines of an interrupted attempt are, without asking the daemon; returns the last recorded outcome.

        Its journal stays open: the next `converge` finishes or undoes the rest. Raises PathmeshError if the host's files cannot be read.
        """
        async with self._one_at_a_time:
            self._dropins.clear_temporaries()
            return (await self._ownership.settled()).outcome

    async def converge(self, desired: Desired, *, force: bool = False) -> ApplyOutcome:
        """Bring the host to `desired` and say how it went; what people can act on is in the outcome and never raised.

        If all is as it should be, nothing is written and multipathd is told nothing; it is read back even so. `force` retries at once what
        was left alone because multipathd had put it back.
        """
        async with self._one_at_a_time:
            remembered = Remembered()
            try:
                remembered = await self._ownership.settled()
                attempt = await self._begin(desired, remembered, force=force)
                outcome = await self._attempt(attempt)
            except PathmeshError as error:
                state = ApplyState.PENDING if isinstance(error, ReconfigurePending) else ApplyState.FAILED
                outcome = outcome_of(desired, remembered, state, [told(error)], now=self._clock())
            if outcome != remembered.outcome:
                await self._ledger.record(outcome)
            return outcome

    async def preview(self, desired: Desired) -> Preview:
        """What `converge` would do now. Nothing is written, and nobody is told anything. Raises PathmeshError for unreadable host files."""
        attempt = await self._begin(desired, await self._ledger.load(), force=False)
        with contextlib.suppress(MultipathdError):
            attempt.before = await self._daemon.read()
        await self._guard(attempt)
        refused: list[ApplyError] = []
        if attempt.plan.hold is not Hold.NOTHING:
            held = self._held(attempt)
            refused = [*held.errors, *held.notes]
        elif attempt.before is not None:
            refused = await self._preflight(attempt, attempt.before)
        found = preview(attempt.plan.append, attempt.ready, attempt.names, attempt.before, deferred=attempt.waiting, refused=refused)
        return replace(found, kept_names={wwid: name for wwid, (name, _) in attempt.kept_names.items()})

    async def _begin(self, desired: Desired, remembered: Remembered, *, force: bool) -> Attempt:
        kept, present = self._dropins.kept(), self._dropins.present()
        remembered = recognised(remembered, kept, present)
        saved = going_back(remembered, kept, present)
        desired, names = await with_names_in_use(desired, saved, remembered.owned, self._in_use)
        plan = make_plan(desired, {name: file.content for name, file in present.items()}, read(self._paths.wwids), remembered)
        attempt = Attempt(desired, remembered, plan, wanted_names(desired), saved, force, names)
        attempt.notes.extend(ApplyError("render-unsupported-option", problem.message, problem.hint) for problem in desired.rendered.skipped)
        attempt.notes.extend(broken_files(self._paths.files_of_others()))
        return attempt

    async def _attempt(self, attempt: Attempt) -> ApplyOutcome:
        if attempt.desired.fault is not None and not attempt.desired.empty:
            return await self._without_version(attempt, attempt.desired.fault)
        if attempt.plan.hold is not Hold.NOTHING:
            return self._held(attempt)
        try:
            attempt.before = await self._daemon.read()
        except NotInstalled as error:
            return await self._without_tools(attempt, error)
        attempt.restart_pid = self._restart_pid(attempt, attempt.before.pid)
        before = attempt.remembered.outcome
        if self._untold or (before is not None and any(note.code == NOT_TOLD for note in before.notes)):
            await self._trigger(attempt, self._untold or attempt.before.seen)  # after a restart nobody knows which: then all
        await self._guard(attempt)
        if not (attempt.plan.touches or attempt.must_tell or attempt.ready) and self._is_kept(attempt):
            return await self._check(attempt)
        refusals = await self._preflight(attempt, attempt.before)
        if refusals:
            return finished(attempt, ApplyState.FAILED, refusals, self._clock())
        return await self._write(attempt)

    def _held(self, attempt: Attempt) -> ApplyOutcome:
        if attempt.plan.hold is Hold.FOREIGN:
            paths = ", ".join(str(self._paths.conf_dir / name) for name in attempt.plan.foreign)
            hint = "move the file away; put what it should add into the overrides, or into a file of another name"
            error = ApplyError("foreign-or-edited-file", f"{paths}: not what was last written here", hint)
            return finished(attempt, ApplyState.FAILED, [error], self._clock())
        message = "something would be taken away from this host, which may not know yet all that it once knew"
        attempt.notes.append(ApplyError("prune-deferred", message, "it goes on by itself once the peers have been heard"))
        return finished(attempt, ApplyState.PENDING, [], self._clock())

    def _is_kept(self, attempt: Attempt) -> bool:
        """Whether the wanted files are the verified ones; a file that merely happens to have the right bytes is verified first."""
        return attempt.remembered.committed.hashes == hashes_of(attempt.desired.rendered.files) == hashes_of(self._dropins.kept())

    async def _check(self, attempt: Attempt) -> ApplyOutcome:
        """Everything is written: read back. The daemon is told again only if another file of its configuration changed meanwhile.

        It may have read that file already: a name that it had given to another map is not free to it at the same time.
        """
        await self._ownership.named(attempt.remembered.owned, attempt.names)
        findings = await self._verify(attempt, patience=UNCHANGED_PATIENCE)
        fingerprint = self._paths.fingerprint()
        if findings.errors and fingerprint != attempt.remembered.committed.fingerprint:
            await self._daemon.tell()
            await self._daemon.idle()
            findings = await self._verify(attempt)
            await self._ledger.commit(judged(attempt, findings, self._clock()), self._committed(attempt, attempt.desired.rendered.files))
        return judged(attempt, findings, self._clock())

    async def _write(self, attempt: Attempt) -> ApplyOutcome:
        attempt.changed = True
        await self._open_journal(attempt)
        await self._allow(attempt)
        if attempt.desired.empty:
            return await self._tear_down(attempt)
        try:
            await self._install(attempt)
            await self._tell(attempt)
            findings = await self._verify(attempt)
        except DaemonTimeout as error:
            raise ReconfigurePending(error.message) from error
        except (WriteFailed, ReconfigureFailed, MultipathdError) as error:
            return await self._roll_back(attempt, [told(error)])
        if findings.broken:
            return await self._roll_back(attempt, findings.errors)
        self._reach("apply.verified")
        return await self._commit(attempt, findings)

    async def _commit(self, attempt: Attempt, findings: Findings) -> ApplyOutcome:
        files = attempt.desired.rendered.files
        await self._ownership.named(attempt.remembered.owned, attempt.names)
        await self._guard(attempt)
        ready = () if findings.overridden else attempt.ready
        await self._ledger.commit(judged(attempt, findings, self._clock()), self._committed(attempt, files), ready)
        await uninterrupted(self._dropins.keep, files)
        if ready:
            others = await self._ownership.disable(ready)
            await self._daemon.tell()
            await self._daemon.idle()
            await self._forget(attempt, ready, others)
        outcome = judged(attempt, findings, self._clock())
        await self._ledger.record(outcome, pruned=True)
        self._reach("apply.done")
        return outcome

    async def _tear_down(self, attempt: Attempt) -> ApplyOutcome:
        """Everything of ours goes: lines first, then the files, and one `reconfigure` for both. What fails is tried again, not undone."""
        others = await self._ownership.disable(attempt.ready)
        await self._install(attempt)
        await self._tell(attempt)
        await self._forget(attempt, attempt.ready, others)
        findings = await self._verify(attempt)
        self._reach("apply.verified")
        return await self._torn_down(attempt, judged(attempt, findings, self._clock()))

    async def _torn_down(self, attempt: Attempt, outcome: ApplyOutcome) -> ApplyOutcome:
        files = attempt.desired.rendered.files
        await self._ledger.commit(outcome, self._committed(attempt, files))
        await uninterrupted(self._dropins.keep, files)
        self._reach("apply.done")
        return outcome

    async def _without_version(self, attempt: Attempt, fault: PathmeshError) -> ApplyOutcome:
        """What was rendered may not be what these tools take, so it is neither compared nor written."""
        if isinstance(fault, NotInstalled):
            return await self._without_tools(attempt, fault)
        raise fault

    async def _without_tools(self, attempt: Attempt, error: NotInstalled) -> ApplyOutcome:
        """No package. With an empty configuration what is left of ours goes without a daemon; else it is a fault if it matters here."""
        if not attempt.desired.empty:
            if attempt.desired.needed:
                raise error
            attempt.notes.append(told(error))
            return finished(attempt, ApplyState.NOT_APPLICABLE, [], self._clock())
        await self._guard(attempt)
        if attempt.plan.touches or attempt.must_tell or attempt.ready:
            attempt.changed = True
            await self._open_journal(attempt)
            others = await self._ownership.disable(attempt.ready)
            await self._install(attempt)
            await self._forget(attempt, attempt.ready, others)
            await self._torn_down(attempt, finished(attempt, ApplyState.NOT_APPLICABLE, attempt.waiting, self._clock()))
        attempt.notes.append(told(error))
        return finished(attempt, ApplyState.NOT_APPLICABLE, attempt.waiting, self._clock())

    async def _preflight(self, attempt: Attempt, live: Live) -> list[ApplyError]:
        return await refusals(attempt, live, self._paths, self._in_use, accept_renames=self._accept_renames)

    async def _open_journal(self, attempt: Attempt) -> None:
        """Before any of our files is written: keep what a roll-back puts back, and record the intent."""
        if self._dropins.kept() != attempt.saved:
            await uninterrupted(self._dropins.keep, attempt.saved)
        attempt.journal = intent(attempt, self._dropins.current(), read(self._paths.wwids))
        await self._ledger.open(attempt.journal)
        self._reach("apply.journal.written")

    async def _allow(self, attempt: Attempt) -> None:
        attempt.added = await self._ownership.allow(attempt.open, attempt.desired.allow_list, attempt.names)
        await self._trigger(attempt, attempt.added)

    async def _install(self, attempt: Attempt) -> None:
        files, main = dict(attempt.plan.install), attempt.main
        if main is not None and attempt.frees:
            files[MAIN] = main
            await uninterrupted(self._dropins.install, MAIN, RenderedFile(neutral_main(attempt, main), main.mode), self._reach)
            await self._daemon.tell()
            await self._daemon.idle()
            await self._names_freed(attempt)
        for name, file in files.items():
            await uninterrupted(self._dropins.install, name, file, self._reach)
        await self._remove(attempt)

    async def _remove(self, attempt: Attempt) -> None:
        for name in attempt.plan.remove:
            await uninterrupted(self._dropins.remove, name)
        self._reach("apply.installed")

    async def _names_freed(self, attempt: Attempt) -> None:
        before = attempt.before.names if attempt.before else {}
        waiting = names_to_free(attempt.names, before)

        def still_held(live: Live) -> list[str]:
            return sorted(wwid for wwid in waiting if live.names.get(wwid) == before[wwid])

        held = await self._daemon.settled(still_held, lambda held: not held)
        if held:
            raise ReconfigureFailed(f"multipathd did not give up the name of {', '.join(held)}")

    async def _tell(self, attempt: Attempt) -> None:
        """Have the daemon read the files, unless the journal says that it did; the journal knows as soon as it was told."""
        if not attempt.open.told:
            await self._daemon.tell()
            attempt.journal = msgspec.structs.replace(attempt.open, told=True)
            await self._ledger.open(attempt.journal)
        await self._daemon.idle()
        self._reach("apply.reconfigured")

    async def _verify(self, attempt: Attempt, *, patience: float = 1.0) -> Findings:
        files = attempt.desired.rendered.files
        wanted = Wanted(
            main=parse(text_of(attempt.main)),
            names=attempt.names,
            overrides=parse(text_of(files.get(OVERRIDES))),
            allow_list=str(self._paths.wwids),
            working=attempt.journal.working if attempt.journal else {},
            attached=await asyncio.to_thread(self._attached),
            local_files=self._paths.later_files(),
        )
        return await self._daemon.settled(lambda live: verify(wanted, live), lambda found: not found.errors, patience=patience)

    async def _roll_back(self, attempt: Attempt, errors: Collection[ApplyError]) -> ApplyOutcome:
        """Put the verified files back and tell the daemon; lines that were added stay.

        The journal is closed only once the daemon has read them: until then it runs the bad configuration, and has to be told whatever
        comes next.
        """
        try:
            await uninterrupted(self._dropins.restore, attempt.saved)
            self._reach("apply.rollback.restored")
            await self._daemon.tell()
            await self._daemon.idle()
        except (WriteFailed, MultipathdError, ReconfigureFailed, ReconfigurePending) as error:
            await self._ledger.open(msgspec.structs.replace(attempt.open, told=False))
            return finished(attempt, ApplyState.FAILED, [*errors, told(error)], self._clock())
        outcome = finished(attempt, ApplyState.FAILED, errors, self._clock())
        await self._ledger.commit(outcome, self._committed(attempt, attempt.saved))
        return outcome

    async def _guard(self, attempt: Attempt) -> None:
        guarded = await self._ownership.guarded(attempt.plan, attempt.remembered.owned, force=attempt.force)
        attempt.ready, attempt.deferred = guarded.ready, guarded.deferred

    async def _forget(self, attempt: Attempt, wwids: Collection[str], others: Collection[str]) -> None:
        attempt.removed, back = await self._ownership.forget(attempt.remembered.owned, wwids, others)
        attempt.deferred = (*attempt.deferred, *back)
        await self._trigger(attempt, attempt.removed)

    async def _trigger(self, attempt: Attempt, wwids: Collection[str]) -> None:
        """Have udev look again at the paths of these LUNs; if it cannot be told it is tried again with the next attempt."""
        seen = attempt.before.seen if attempt.before else {}
        why = await self._udev.changed(dev for wwid in wwids if wwid in seen for dev in seen[wwid].hcil)
        self._untold = self._untold.union(wwids) if why else self._untold.difference(wwids)
        note = ApplyError(NOT_TOLD, f"udev could not be told to look again at the paths of LUNs: {why}", COMMAND)
        if why and note not in attempt.notes:
            attempt.notes.append(note)

    def _committed(self, attempt: Attempt, files: Mapping[str, RenderedFile]) -> Committed:
        return Committed(hashes_of(files), self._paths.fingerprint(), attempt.restart_pid)

    def _restart_pid(self, attempt: Attempt, pid: int) -> int:
        """The daemon's pid if it has to be restarted, which is left to a person: I/O may depend on it."""
        before = attempt.saved.get(MAIN)
        listened = listens_to_fabric(before.content if before else None)
        if listened != listens_to_fabric(attempt.main.content if attempt.main else None):
            return pid
        return pid if pid == attempt.remembered.committed.restart_pid else 0
