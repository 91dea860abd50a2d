"""One pass of a reconcile: what it wants, what it found, what it did, and what it comes to. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import msgspec

from apply.confsyntax import multipaths, without_aliases
from apply.journal import KNOWN_HASHES, Journal, Remembered
from apply.live import Live
from apply.managed import NAMES, hashes_of, is_managed, sha256
from apply.outcome import ApplyError, ApplyOutcome, ApplyState, carry_on
from apply.plan import Desired, Plan, names_to_free
from apply.render import MAIN, RenderedFile
from apply.verify import Findings, working_maps
from apply.wwids_file import AllowList
from store.errors import PathmeshError


@dataclass
class Attempt:
    """One pass of `converge`: what is wanted, what was found, and what was done so far.

    `saved` is what a roll-back puts back. `kept_names` are names of maps whose LUNs are configured no more, by WWID, and what
    uses each.
    """

    desired: Desired
    remembered: Remembered
    plan: Plan
    names: Mapping[str, str]
    saved: Mapping[str, RenderedFile]
    force: bool
    kept_names: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    journal: Journal | None = None
    before: Live | None = None
    restart_pid: int = 0
    ready: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    deferred: tuple[ApplyError, ...] = ()
    notes: list[ApplyError] = field(default_factory=list)
    changed: bool = False

    @property
    def open(self) -> Journal:
        """The open journal; every step that needs it comes after it was written."""
        assert self.journal is not None
        return self.journal

    @property
    def main(self) -> RenderedFile | None:
        """The wanted main file."""
        return self.desired.rendered.files.get(MAIN)

    @property
    def waiting(self) -> tuple[ApplyError, ...]:
        """What has to stay as yet: an error for each line, and for each name whose line is not told of."""
        told_of = {error.wwid for error in self.deferred}
        hint = "it goes by itself once that is over"
        names = (
            ApplyError("prune-deferred", f"{wwid} keeps its name {name!r}: in use: {use}", hint, wwid=wwid)
            for wwid, (name, use) in self.kept_names.items()
            if wwid not in told_of
        )
        return (*self.deferred, *names)

    @property
    def frees(self) -> bool:
        """Whether a LUN has the name that another one is to have: then names are taken away first, though all files may be as they should.

        So it is after names were swapped while the daemon still dealt with something else: it refused them, and does not try again. A
        name that somebody's own file gives is not given up, whatever ours says.
        """
        if self.main is None or self.before is None:
            return False
        names, given = self.before.names, multipaths(self.before.config)
        waiting = names_to_free(self.names, names)
        return any(self.plan.loads or given.get(wwid, {}).get("alias") != names[wwid] for wwid in waiting)

    @property
    def must_tell(self) -> bool:
        """Whether the daemon has to read its files, for what this attempt writes or for what an interrupted one may have."""
        return self.plan.loads or self.remembered.journal is not None or bool(self.remembered.pruning) or self.frees


def neutral_main(attempt: Attempt, main: RenderedFile) -> bytes:
    """The main file in which the LUNs whose names others take have none."""
    live = attempt.before.names if attempt.before else {}
    return without_aliases(main.content, names_to_free(attempt.names, live))


def intent(attempt: Attempt, present: Mapping[str, bytes], allowed: AllowList) -> Journal:
    """The journal to open, with all of an open one that still matters. `present` are our files as they are on the disk."""
    old = attempt.remembered.journal
    takes_lines = attempt.desired.empty and not allowed.active.isdisjoint(attempt.ready)
    changes = attempt.plan.loads or takes_lines or attempt.frees
    heard = old is not None and old.told and old.desired == attempt.desired.digest and not changes
    leaving = set(attempt.ready)  # what waits is still in use
    worked = {**(working_maps(attempt.before) if attempt.before else {}), **(old.working if old else {})}
    return Journal(
        attempt.desired.digest,
        {name: _known_hashes(attempt, name, present.get(name)) for name in NAMES},
        told=heard or not (attempt.must_tell or takes_lines),
        working={wwid: name for wwid, name in worked.items() if wwid not in leaving},
        saved=hashes_of(attempt.saved),
    )


def _known_hashes(attempt: Attempt, name: str, present: bytes | None) -> tuple[str, ...]:
    """The newest hashes of one file. The one that is on the disk now is among them, however many attempts ago it was written."""
    known = [*attempt.remembered.known_hashes(name)]
    if present is not None and is_managed(present, known):
        known.append(sha256(present))
    wanted = attempt.desired.rendered.files.get(name)
    if wanted is not None:
        known.append(sha256(wanted.content))
        if name == MAIN:
            known.append(sha256(neutral_main(attempt, wanted)))
    return tuple(reversed([*dict.fromkeys(reversed(known))][:KNOWN_HASHES]))


def told(error: PathmeshError) -> ApplyError:
    """An error as the outcome tells it."""
    return ApplyError(error.code, error.message, error.hint)


def judged(attempt: Attempt, findings: Findings, now: float) -> ApplyOutcome:
    """The outcome after the host was read back. What waits for a line to go is an error that fails nothing."""
    notes = [*attempt.notes, *findings.notes]
    if attempt.restart_pid:
        notes.append(ApplyError("restart-required", "marginal_pathgroups fpin changed", "systemctl restart multipathd, when it suits"))
    attempt.notes = list(dict.fromkeys(notes))
    state = ApplyState.FAILED if findings.errors else ApplyState.IN_SYNC
    if attempt.desired.empty and attempt.waiting and not findings.errors:
        state = ApplyState.TEARDOWN
    applied = not findings.broken and not findings.overridden
    return finished(attempt, state, [*findings.errors, *attempt.waiting], now, applied=applied)


def finished(attempt: Attempt, state: ApplyState, errors: Collection[ApplyError], now: float, *, applied: bool = False) -> ApplyOutcome:
    """The outcome of an attempt that ends here; `applied` if what it wants is in effect."""
    outcome = outcome_of(attempt.desired, attempt.remembered, state, errors, attempt.notes, applied=applied, now=now)
    return msgspec.structs.replace(outcome, added=attempt.added, removed=attempt.removed, changed=attempt.changed)


def outcome_of(
    desired: Desired,
    remembered: Remembered,
    state: ApplyState,
    errors: Collection[ApplyError],
    notes: Collection[ApplyError] = (),
    *,
    applied: bool = False,
    now: float,
) -> ApplyOutcome:
    """An outcome that carries on the one before: what was applied when, and which faults are old. `now` is in unix seconds."""
    last = remembered.outcome or ApplyOutcome(state, desired.digest)
    digest, at = (desired.digest, now) if applied and last.applied != desired.digest else (last.applied, last.at)
    return ApplyOutcome(
        state,
        desired.digest,
        digest,
        at,
        carry_on(list(errors), last.errors, now, counted=state is ApplyState.FAILED),
        carry_on(list(notes), last.notes, now, counted=False),
        since=last.since if last.state is state and remembered.outcome else now,
    )
