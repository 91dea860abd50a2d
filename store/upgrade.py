"""Bring a database file to this version's schema; Alembic is loaded only when there is something to do."""

import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from store.errors import UnavailableError
from store.schema import REVISION


def present_revision(connection: Connection) -> str | None:
    """The schema revision that the file carries; None for a new file."""
    found = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'")).scalar()
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if found else None


def bring_up_to_date(engine: Engine, path: Path) -> None:
    """Upgrade the file if it is older, after a backup beside it; refuse it if it is newer.

    Raises UnavailableError `database-newer`: the file was written by a later version, and nothing was changed.
    """
    with engine.connect() as connection:
        present = present_revision(connection)
    if present == REVISION:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if present is not None and present not in known:
        raise UnavailableError(
            f"{path}: the database has schema {present}, this version knows up to {REVISION}",
            code="database-newer",
            hint="install the version of pathmesh that wrote it; nothing was changed",
        )
    if present is not None:
        backup_file(path, path.with_name(f"{path.name}.before-{REVISION}"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def backup_file(source: Path, target: Path) -> None:
    """A consistent copy of a database that may be in use."""
    temporary = target.with_name(target.name + ".tmp")
    temporary.unlink(missing_ok=True)
    with sqlite3.connect(source) as original, sqlite3.connect(temporary) as copy:
        original.backup(copy)
    copy.close()
    original.close()
    shutil.copymode(source, temporary)
    temporary.replace(target)
