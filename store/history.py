"""Edits that leave the log go to the history, which is bounded: the SQL of one rebase.

Runs inside the caller's transaction. Whatever is durable of it is durable as a whole, so base and log always fit together.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, func, insert, select, text
from sqlalchemy.dialects.sqlite import insert as upsert

from store.clocks import Dot
from store.edits import decode_edit
from store.limits import limit
from store.schema import base, edits, history

_CHOOSE = text("CREATE TEMP TABLE IF NOT EXISTS chosen (actor BLOB NOT NULL, counter INTEGER NOT NULL, PRIMARY KEY (actor, counter))")
_MOVE = text(
    "INSERT OR REPLACE INTO history (position, actor, counter, raw)"
    " SELECT position, actor, counter, raw FROM edits WHERE (actor, counter) IN (SELECT actor, counter FROM chosen)"
)
_REMOVE = text("DELETE FROM edits WHERE (actor, counter) IN (SELECT actor, counter FROM chosen)")


def next_position(connection: Connection) -> int:
    """The first position that no edit ever had, neither in the log nor in the history."""
    return 1 + max(connection.execute(select(func.max(table.c.position))).scalar() or 0 for table in (edits, history))


def write_base(connection: Connection, body: bytes) -> None:
    """Put this base in the place of the present one."""
    row = upsert(base).values(id=1, body=body)
    connection.execute(row.on_conflict_do_update(index_elements=[base.c.id], set_={"body": row.excluded.body}))


def retire(connection: Connection, gone: Iterable[Dot]) -> None:
    """Move these edits from the log to the history; those that are not in the log are passed over."""
    rows = [{"actor": dot.actor, "counter": dot.counter} for dot in gone]
    if not rows:
        return
    connection.execute(_CHOOSE)
    connection.execute(text("DELETE FROM chosen"))
    connection.execute(text("INSERT OR IGNORE INTO chosen (actor, counter) VALUES (:actor, :counter)"), rows)
    connection.execute(_MOVE)
    connection.execute(_REMOVE)
    _trim(connection)


def replace_log(connection: Connection, log: Iterable[bytes]) -> int:
    """Make the log exactly this one; what is not in it goes to the history. Returns the next free position."""
    wanted = {signed.dot: signed.raw for signed in map(decode_edit, log)}
    rows = connection.execute(select(edits.c.actor, edits.c.counter, edits.c.raw))
    retire(connection, [Dot(row.actor, row.counter) for row in rows if wanted.get(Dot(row.actor, row.counter)) != row.raw])
    position = next_position(connection)
    connection.execute(delete(edits))
    if wanted:
        again = [{"actor": dot.actor, "counter": dot.counter, "raw": raw} for dot, raw in wanted.items()]
        connection.execute(text("DELETE FROM history WHERE actor = :actor AND counter = :counter AND raw = :raw"), again)
        connection.execute(
            insert(edits),
            [{"position": position + n, "actor": d.actor, "counter": d.counter, "raw": raw} for n, (d, raw) in enumerate(wanted.items())],
        )
    return position + len(wanted)


def past(connection: Connection, before: int | None, most: int) -> list[tuple[int, bytes]]:
    """Collected edits below a position, newest first."""
    query = select(history.c.position, history.c.raw).order_by(history.c.position.desc()).limit(most)
    if before is not None:
        query = query.where(history.c.position < before)
    return [(row.position, row.raw) for row in connection.execute(query)]


def _trim(connection: Connection) -> None:
    used = 0
    sizes = select(history.c.position, func.length(history.c.raw)).order_by(history.c.position.desc())
    for number, (position, size) in enumerate(connection.execute(sizes), 1):
        used += size
        if number > limit("history_edits") or used > limit("history_bytes"):
            connection.execute(delete(history).where(history.c.position <= position))
            return
