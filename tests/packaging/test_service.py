"""What the unit allows the agent is enough for what the agent does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "packaging" / "pathmesh.service"
NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give up capabilities")


def bounding_set() -> list[str]:
    """The capabilities that the unit leaves to the agent, as setpriv names them."""
    (line,) = (line for line in UNIT.read_text().splitlines() if line.startswith("CapabilityBoundingSet="))
    return [name.removeprefix("CAP_").lower() for name in line.partition("=")[2].split()]


def under(capabilities: list[str], *argv: str) -> "subprocess.CompletedProcess[str]":
    """Run a program as the service manager would: as root, with these capabilities and no others."""
    bound = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    options = ["--no-new-privs", f"--bounding-set={bound}", "--inh-caps=-all"]
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(["setpriv", *options, *argv], capture_output=True, text=True, timeout=30, check=False, env=environment)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A process of another user, and a file that it holds open."""
    held = tmp_path / "volume"
    held.write_text("x")
    with held.open() as file:
        process = subprocess.Popen(["sleep", "60"], pass_fds=(file.fileno(),), user=NOBODY, group=NOBODY, extra_groups=[])
    with process:
        yield process.pid, held
        process.kill()


def test_who_holds_a_volume_is_found_whoever_that_is(other: tuple[int, Path]) -> None:
    pid, held = other
    found = under(bounding_set(), "ls", "-l", f"/proc/{pid}/fd")
    assert found.returncode == 0, found.stderr
    assert f"-> {held}\n" in found.stdout


@pytest.mark.parametrize("name", ["sys_ptrace", "dac_read_search"])
def test_neither_capability_is_one_too_many(other: tuple[int, Path], name: str) -> None:
    pid, _ = other
    left = [each for each in bounding_set() if each != name]
    found = under(left, "ls", "-l", f"/proc/{pid}/fd")
    assert found.returncode != 0 and "Permission denied" in found.stderr, "without it they could not be read"


TAKE_A_PORT = """
import errno, socket
for port in range(400, 1024):
    try:
        socket.create_server(("127.0.0.1", port)).close()
        break
    except OSError as fault:
        if fault.errno != errno.EADDRINUSE:
            raise
"""


def test_a_port_that_no_other_user_can_take_may_be_the_web_pages() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
        pytest.skip("here everybody can take such a port")
    taken = under(bounding_set(), sys.executable, "-c", TAKE_A_PORT)
    assert taken.returncode == 0, taken.stderr
    left = [each for each in bounding_set() if each != "net_bind_service"]
    assert "PermissionError" in under(left, sys.executable, "-c", TAKE_A_PORT).stderr, "without it not even root gets one"
