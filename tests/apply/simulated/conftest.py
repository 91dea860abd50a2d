"""A simulated host on a temporary directory with a clock of its own, driven only as a user can: files and commands."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from apply.simulated.commands import answer
from apply.simulated.daemon import Daemon


class Host:
    """`etc` is the configuration directory, `lun_file` the LUN file. Time stands still until `now` is set forward."""

    def __init__(self, base: Path) -> None:
        self.etc = base / "etc"
        (self.etc / "conf.d").mkdir(parents=True)
        self.lun_file = base / "luns.toml"
        self.luns: list[dict[str, Any]] = []
        self.now = 1000.0
        self._daemon: Daemon | None = None

    def start(self) -> "Host":
        self._daemon = Daemon(self.etc, self.lun_file, lambda: self.now)
        return self

    def ask(self, command: str, *, root: bool = True) -> str:
        assert self._daemon
        return answer(self._daemon, command, root=root)

    def reconfigure(self) -> None:
        assert self._daemon
        assert self.ask("reconfigure") == "ok\n"
        self._daemon.configure()

    def write_luns(self, *luns: Mapping[str, Any]) -> None:
        self.luns = [dict(lun) for lun in luns]
        self.save_luns()

    def save_luns(self) -> None:
        lines: list[str] = []
        for lun in self.luns:
            lines += ["[[lun]]", *(f"{k} = {_toml(v)}" for k, v in lun.items() if k != "path")]
            for path in lun.get("path", ()):
                lines += ["[[lun.path]]", *(f"{k} = {_toml(v)}" for k, v in path.items())]
        self.lun_file.write_text("\n".join(lines) + "\n")

    def path(self, dev: str) -> dict[str, Any]:
        return next(p for lun in self.luns for p in lun["path"] if p["dev"] == dev)

    def set_path(self, dev: str, **fields: Any) -> None:
        self.path(dev).update(fields)
        self.save_luns()

    def unplug(self, *devs: str) -> None:
        for lun in self.luns:
            lun["path"] = [p for p in lun["path"] if p["dev"] not in devs]
        self.save_luns()

    def conf(self, text: str, name: str = "conf.d/50.conf") -> None:
        (self.etc / name).write_text(text)

    def allow(self, wwids: Iterable[str]) -> None:
        (self.etc / "wwids").write_text("".join(f"/{w}/\n" for w in wwids))

    def wwids(self) -> str:
        return (self.etc / "wwids").read_text()

    def maps(self, form: str = "%n|%w|%d|%t|%N") -> list[str]:
        reply = self.ask(f'show maps raw format "{form}"')
        return [] if reply == "ok\n" else reply.splitlines()


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host that is not started yet."""
    return Host(tmp_path)


@pytest.fixture(scope="session")
def host_in() -> type[Host]:
    """Makes a host in a directory, for tests that need many."""
    return Host


@pytest.fixture(scope="session")
def lun_of() -> Callable[..., dict[str, Any]]:
    """The same as `lun`, for tests that need it many times."""
    return make_lun


@pytest.fixture
def lun() -> Callable[..., dict[str, Any]]:
    """Makes a LUN of two paths."""
    return make_lun


def make_lun(wwid: str, first: str, second: str, number: int = 1, **fields: Any) -> dict[str, Any]:
    """A LUN of two paths over two adapters; `fields` go into the LUN."""
    paths = [{"dev": dev, "hcil": f"{n}:0:0:{number}"} for n, dev in enumerate((first, second))]
    base = {"wwid": wwid, "vendor": "LAB", "product": "SAN", "rev": "1.0", "size_bytes": 64 << 20, "serial": f"LABSERIAL{number:04}"}
    return {**base, **fields, "path": paths}
