"""The tables of a node's SQLite file.

The log of edits is the whole truth about the configuration: clock, sibling sets and members follow from it and are never stored
beside it, so no two of them can disagree after a crash.
"""

from sqlalchemy import Column, Float, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint

REVISION = "0001"
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
"""Every committed edit, in commit order, which is a causal order."""

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
