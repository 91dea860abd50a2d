"""Logging in to an iSCSI target with `iscsiadm`. Nothing here ever logs out."""

from collections.abc import Mapping

from apply.programs import Programs
from store.errors import UnavailableError

LOGIN_SECONDS = 150.0
"""A login that nobody answers ends after open-iscsi's own patience: 8 tries of 15 s with its defaults. It is never killed half-way."""
RECORD_SECONDS = 60.0
_SESSION_EXISTS = 15
_NO_RECORDS = 21
_ACCESS = "the target's name, and its access list: does it know this host's /etc/iscsi/initiatorname.iscsi?"

MEANINGS: Mapping[int, tuple[str, str, str]] = {
    4: ("portal-unreachable", "the portal cannot be reached", "the network between the two, and the target's own state"),
    5: ("login-refused", "the target refuses the login, or is not at this portal", _ACCESS),
    8: ("portal-unreachable", "the portal does not answer", "the network between the two, and the target's own state"),
    13: ("permission", "iscsiadm may not be used by the agent's user", "the agent must run as root"),
    18: ("iscsid-down", "iscsid does not answer", "systemctl start iscsid"),
    19: ("login-refused", "the target refuses the login, or is not at this portal", _ACCESS),
    20: ("iscsid-down", "iscsid does not run", "systemctl start iscsid"),
    24: ("login-refused", "the target refuses the credentials", "the CHAP settings of the node record: iscsiadm -m node --op update"),
}
"""What iscsiadm's exit status means (iscsiadm(8)): code, words, what to do."""


async def login(programs: Programs, target: str, at: str, interface: str) -> None:
    """Log in to a target at one portal through one interface; one that is logged in already is fine.

    If there is no record of this way one is made, and of this way alone: asking the target for its portals would make one of each that
    it offers, and where iscsid.conf says `node.startup = automatic` the host would log in to all of them at its next boot.
    UnavailableError says why not.
    """
    node = ("iscsiadm", "--mode", "node", "--targetname", target, "--portal", at, "--interface", interface)
    record = await programs.run(*node, seconds=RECORD_SECONDS)
    if record.status == _NO_RECORDS:
        output = await programs.change(*node, "--op", "new", seconds=RECORD_SECONDS)
        if output.status:
            raise _fault(output.status, output.complaint, target, at)
    output = await programs.change(*node, "--login", seconds=LOGIN_SECONDS)
    if output.status not in (0, _SESSION_EXISTS):
        raise _fault(output.status, output.complaint, target, at)


def _fault(status: int, complaint: str, target: str, at: str) -> UnavailableError:
    code, what, hint = MEANINGS.get(status, ("login-failed", complaint, "iscsiadm's own message says what is wrong"))
    return UnavailableError(f"{target} at {at}: {what}", code=code, hint=hint)
