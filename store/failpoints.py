"""Places at which a test can kill the process, to prove that every interruption is survived.

Each place that must survive a crash calls `reach` with its name; the names live in `FAILPOINTS` and nowhere else, so a test can
enumerate them. In a normal run a call costs one comparison.
"""

import os
import signal

FAILPOINTS: dict[str, str] = {
    "store.commit.before": "a transaction with edits is written, not committed",
    "store.commit.after": "a transaction with edits is committed, nobody has been told",
    "store.rebase.before": "a transaction with a new base is written, not committed",
    "store.rebase.after": "a transaction with a new base is committed, nobody has been told",
    "apply.journal.written": "the intent is journalled; the host is untouched",
    "apply.wwids.owned": "ownership rows are written; the allow-list is untouched",
    "apply.wwids.appended": "the allow-list has the new lines; the rows are not confirmed",
    "apply.install.temporary": "a drop-in's temporary file is written and synced, not renamed",
    "apply.install.renamed": "one drop-in is renamed into place; the next one may not be",
    "apply.installed": "all drop-ins are in place; multipathd has not been told",
    "apply.reconfigured": "multipathd was told; nothing is verified",
    "apply.verified": "the host was read back and is right; the journal is still open",
    "apply.pruned": "managed lines were taken from the allow-list; the rows are still there",
    "apply.rollback.restored": "the previous files are back after a failure; multipathd has not been told",
    "apply.done": "the outcome is recorded and the journal closed",
}

_armed = os.environ.get("PATHMESH_FAILPOINT", "")


def reach(name: str) -> None:
    """Kill this process here (SIGKILL, as a power cut would) if `PATHMESH_FAILPOINT` names this place."""
    if name not in FAILPOINTS:
        raise LookupError(f"failpoint {name!r} is not in the table store/failpoints.py")
    if _armed == name:
        os.kill(os.getpid(), signal.SIGKILL)
