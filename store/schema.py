"""The tables of a node's SQLite file.

The base and the log of edits are the whole truth about the configuration, and are only changed together: clock, sibling values and
members follow from them and are never stored beside them, so no two can disagree after a crash.
"""

from sqlalchemy import Column, Float, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint

REVISION = "0002"
"""The schema that this version reads and writes; the newest file in store/migrations/versions."""

metadata = MetaData()

meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", LargeBinary, nullable=False))

edits = Table(
    "edits",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("actor", LargeBinary, nullable=False),
    Column("counter", Integer, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    UniqueConstraint("actor", "counter", name="one_edit_per_dot"),
)
"""Every kept edit, in commit order, which is a causal order. A position is never used twice, not even one that moved to the history."""

base = Table("base", metadata, Column("id", Integer, primary_key=True), Column("body", LargeBinary, nullable=False))
"""What the log stands on, in one row; none while nothing was ever collected."""

history = Table(
    "history",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("actor", LargeBinary, nullable=False),
    Column("counter", Integer, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    UniqueConstraint("actor", "counter", name="one_past_edit_per_dot"),
)
"""The newest of the edits that are not in the log any more: only for people to look at."""

events = Table(
    "events",
    metadata,
    Column("cursor", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""The newest of what happened on this node."""

health = Table(
    "health",
    metadata,
    Column("node", Text, primary_key=True),
    Column("stream", LargeBinary, nullable=False),
    Column("saved_at", Float, nullable=False),
)
"""The newest stream of each node, one blob a node."""

records = Table(
    "records",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""What single modules keep (journal, ownership, learned paths, tokens)."""
