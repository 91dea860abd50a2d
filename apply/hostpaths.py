"""Where things are on this host."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from apply.managed import NAMES
from apply.render import MAIN


@dataclass(frozen=True)
class HostPaths:
    """`etc_dir` is multipath's (with `wwids` and `conf.d`), `state_dir` ours; `mapper` and `sysfs` are the kernel's."""

    etc_dir: Path
    state_dir: Path
    mapper: Path = Path("/dev/mapper")
    sysfs: Path = Path("/sys")

    @property
    def conf_dir(self) -> Path:
        """Where the drop-ins go."""
        return self.etc_dir / "conf.d"

    @property
    def wwids(self) -> Path:
        """multipathd's allow-list."""
        return self.etc_dir / "wwids"

    @property
    def main_conf(self) -> Path:
        """The file that multipathd reads before the drop-ins: `/etc/multipath.conf` beside `/etc/multipath`."""
        return self.etc_dir.with_name(self.etc_dir.name + ".conf")

    @property
    def kept_dir(self) -> Path:
        """Copies of the drop-ins as they were last verified."""
        return self.state_dir / "dropins"

    def later_files(self) -> dict[str, str]:
        """Path and text of the drop-ins of others that are read after our main file, and so override it."""
        return {str(path): _text(path) for path in self._drop_ins() if path.name > MAIN and path.name not in NAMES}

    def files_of_others(self) -> dict[str, str]:
        """Path and text of every file that multipathd reads but ours, in its order."""
        return {str(path): _text(path) for path in (self.main_conf, *self._drop_ins()) if path.name not in NAMES}

    def fingerprint(self) -> str:
        """A hash over every file that multipathd reads; equal hashes = rereading would change nothing."""
        digest = hashlib.sha256()
        for path in (self.main_conf, *self._drop_ins()):
            digest.update(f"{path.name}\0{_text(path)}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _drop_ins(self) -> list[Path]:
        """As multipathd picks them: every name that ends in `.conf`, hidden ones too, in byte order."""
        try:
            return sorted(path for path in self.conf_dir.iterdir() if path.name.endswith(".conf"))
        except OSError:
            return []


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
