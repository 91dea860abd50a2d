"""Alembic's scripts: how the file of an older version becomes one of this version."""
