"""The HTTP API on the local unix socket: reads from memory, writes as edits, errors as problem documents (RFC 9457)."""
