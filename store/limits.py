"""Every bound of the program: its value, its reason, what happens at it, and the counter that counts it.

`docs/limits.md` is written from this table by `limits_markdown` and a test holds the two together.
"""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound. `unit` is what is counted, `effect` what happens at the bound, `counter` the counter that shows it (or empty)."""

    value: int
    unit: str
    reason: str
    effect: str
    counter: str = ""


LIMITS: dict[str, Limit] = {
    "members": Limit(2048, "members", "a digest lists every member", "join refused"),
    "config_bytes": Limit(4 * MIB, "bytes", "the folded document is held and rendered whole", "edit refused"),
    "wwid_sections": Limit(4096, "sections", "the LUNs that a host can carry", "edit refused"),
    "value_bytes": Limit(64 * KIB, "bytes", "one option's text", "edit refused"),
    "edit_bytes": Limit(768 * KIB, "bytes", "an edit travels whole in one bulk message", "edit refused"),
    "edit_keys": Limit(8192, "keys", "importing or emptying a whole document is one edit", "edit refused"),
    "luns_per_node": Limit(4096, "LUNs", "what one stream may list", "the others are not reported; the node's facts say how many"),
    "paths_per_lun": Limit(32, "paths", "what one cell may list", "the first are listed, all are counted"),
    "frame_bytes": Limit(MIB, "bytes", "what a socket accepts at all", "dropped by the socket"),
    "unread_bytes": Limit(
        32 * MIB,
        "bytes",
        "what came through one connection and was not read; an honest peer's answers are a third of it",
        "connection shut; the peer connects anew",
    ),
    "message_bytes": Limit(256 * KIB, "bytes", "a decoded message of an ordinary class", "dropped", "messages_oversized"),
    "bulk_message_bytes": Limit(MIB, "bytes", "a decoded message of a bulk class", "dropped", "messages_oversized"),
    "delta_bytes": Limit(896 * KIB, "bytes", "the budget of one delta; leaves room for its envelope", "the rest follows in the next delta"),
    "bad_messages": Limit(20, "messages", "a peer that sends garbage this often is not a peer", "peer disconnected", "peers_expelled"),
    "hold_back_edits": Limit(1024, "edits", "edits that wait for what they depend on", "dropped; pulled again", "hold_back_dropped"),
    "hold_back_bytes": Limit(8 * MIB, "bytes", "the same, by size", "dropped; pulled again", "hold_back_dropped"),
    "unstable_edits": Limit(
        100_000, "edits", "edits kept for members that lack them", "edit refused but resolve and retire", "writes_refused"
    ),
    "unstable_bytes": Limit(64 * MIB, "bytes", "the same, by size", "edit refused but resolve and retire", "writes_refused"),
    "void_edits": Limit(
        16,
        "edits",
        "what one author may add beyond its rights; an honest node adds none",
        "this edit and its author's later ones refused",
        "edits_refused",
    ),
    "pending_local_edits": Limit(64, "edits", "local edits that wait for the disk", "edit refused: busy", "writes_refused"),
    "api_clients": Limit(64, "connections", "local clients at a time", "503"),
    "request_head_bytes": Limit(64 * KIB, "bytes", "what of a request is not its body", "the connection is closed"),
    "request_head_seconds": Limit(10, "seconds", "from a connection's start or a request's first byte to its whole head", "closed"),
    "request_bytes": Limit(MIB, "bytes", "an ordinary request", "413"),
    "document_request_bytes": Limit(4 * MIB, "bytes", "a whole document", "413"),
    "traces": Limit(4096, "entries", "the ring of recent commit and health times", "oldest forgotten"),
    "stream_bytes": Limit(
        48 * MIB,
        "bytes",
        "one node's health: the most LUNs with the most paths take 32 MiB",
        "its node leaves out measures, then lists, then all detail, and says so; others refuse it",
        "health_oversized",
    ),
    "stream_cells": Limit(
        16_384,
        "cells",
        "the same by number, with cells that are gone",
        "those that are gone are forgotten; others refuse it",
        "health_oversized",
    ),
    "cell_bytes": Limit(64 * KIB, "bytes", "one health cell, which travels whole", "its detail is left out", "cells_oversized"),
    "forged_beats": Limit(
        8,
        "beats",
        "signatures that do not fit cost time; a node that runs twice explains a few",
        "the message's others dropped, its sender blamed",
        "beats_forged",
    ),
    "answer_parts": Limit(12, "messages", "health messages in answer to one digest", "the rest follows at the next digest"),
    "answer_gap_ms": Limit(100, "ms", "the least time between two answers to one peer's digests", "the newest digest waits"),
    "actors": Limit(
        14_000,
        "actors",
        "a full digest names each twice; there is one for each member, and for each process that wrote unvouched",
        "edit refused",
        "writes_refused",
    ),
    "full_mesh": Limit(65, "members", "up to here all are connected to all", "a bounded view: about log2 N + 7 connections a node"),
    "view_peers": Limit(64, "connections", "members that a node of a large cluster keeps connections to", "the others connect as guests"),
    "handed_on": Limit(8192, "edits", "others' edits that a node of a large cluster has handed on lately", "the oldest may go round again"),
    "farewells": Limit(8, "connections", "retired members that are told so at a time", "told at a later try", "farewells_dropped"),
    "farewell_gap_ms": Limit(30_000, "ms", "the least time between two times that one retired member is told", "not told"),
    "guests": Limit(
        32,
        "connections",
        "members outside the view that talk with this node at a time",
        "the longest silent one is dropped",
        "guests_dropped",
    ),
    "digest_streams": Limit(256, "streams", "health positions in one digest", "the others follow in the next digests, in turn"),
    "past_clocks": Limit(16, "clocks", "own clocks that a member's beat may name", "that member's clock is known at its next beat"),
    "refused_sessions": Limit(4, "sessions", "of one member that runs more than once", "the oldest is forgotten", "clone_messages"),
    "collect_edits": Limit(256, "edits", "edits since the last collection, before another is worth a transaction", "collected"),
    "collect_bytes": Limit(MIB, "bytes", "the same, by size", "collected"),
    "chunk_bytes": Limit(256 * KIB, "bytes", "one piece of a snapshot: health and edits get their turn between two", "the rest follows"),
    "snapshot_bytes": Limit(96 * MIB, "bytes", "the whole replicated configuration with its log", "refused", "snapshots_oversized"),
    "snapshots_served": Limit(2, "snapshots", "each is held in memory for the peer that fetches it", "the peer asks again later"),
    "snapshot_bytes_per_second": Limit(64 * MIB, "bytes/s", "snapshots leave room for other traffic", "the peer asks again later"),
    "repairs": Limit(4, "peers", "whose different states are compared at a time", "the oldest comparison is given up", "repairs_dropped"),
    "repair_ranges": Limit(256, "ranges or siblings", "what one message of a comparison asks", "the rest follows in the next"),
    "repair_message_bytes": Limit(256 * KIB, "bytes", "one answer in a comparison, unless one edit is larger", "the rest follows"),
    "repair_siblings": Limit(64, "siblings", "of one key that are compared", "the key is frozen"),
    "repair_keys": Limit(65_536, "keys", "that are compared with a peer", "not compared", "repairs_failed"),
    "repair_bytes": Limit(16 * MIB, "bytes", "edits and keys that one comparison gathers", "ended early; the next goes on", "repairs_cut"),
    "recording_bytes": Limit(4 * MIB, "bytes", "what the engine was told, for a replay", "oldest forgotten"),
    "history_answer_bytes": Limit(4 * MIB, "bytes", "one answer with edits of the history", "the rest is on the next page"),
    "applied_clock": Limit(256, "actors", "a node's apply cell tells up to which edits it applied", "not told: digests are compared"),
    "events_in_memory": Limit(1_000, "events", "what readers are answered from; older ones are read from the database", "oldest forgotten"),
    "events_at_once": Limit(64, "events", "of one kind, that one change brings about", "one event tells how many more there are"),
    "event_streams": Limit(16, "streams", "each holds one of the local connections", "503"),
    "event_send_seconds": Limit(
        20, "seconds", "a reader that takes nothing holds up nobody else", "its connection is closed; it goes on where it was"
    ),
    "matrix_rows_gone": Limit(
        4096, "rows", "rows that are no more, for readers that hold an older matrix", "a reader from before reads the whole"
    ),
    "web_links": Limit(16, "links", "one-time links to the web page", "the oldest of the user with the most is forgotten"),
    "web_link_seconds": Limit(300, "seconds", "a link is opened at once, or after setting up a tunnel", "the link is refused"),
    "web_sessions": Limit(32, "sessions", "open web sessions of one node", "the oldest of the user with the most ends"),
    "web_strangers": Limit(16, "connections", "to the page's port, of those that showed no session", "the oldest is closed"),
    "web_session_connections": Limit(8, "connections", "of one web session; a browser opens six", "the oldest is closed"),
    "web_session_seconds": Limit(12 * 3600, "seconds", "a working day with one login", "the session ends; a new link opens another"),
    "web_request_bytes": Limit(4 * KIB, "bytes", "a login, which is not authenticated yet", "413"),
    "history_edits": Limit(20_000, "edits", "collected edits that people can still look at", "oldest forgotten"),
    "history_bytes": Limit(32 * MIB, "bytes", "the same, by size", "oldest forgotten"),
    "events": Limit(10_000, "events", "what happened on a node, for people and followers", "oldest forgotten"),
    "receive_ms": Limit(
        5, "ms", "messages taken at a time before the loop's other work gets its turn", "the rest follows in the next turn"
    ),
    "expulsion_ms": Limit(10_000, "ms", "how long a peer that sent garbage is not heard", "its messages are dropped", "messages_expelled"),
    "overrides_line_bytes": Limit(1000, "bytes", "multipathd reads a line of 1,024 bytes and more as two lines", "overrides refused"),
    "overrides_findings": Limit(200, "findings", "what one check of the overrides tells; the errors come first", "the rest is counted"),
    "program_output_bytes": Limit(4 * MIB, "bytes", "what a program of the host says (lvm, iscsiadm)", "the rest is dropped"),
    "nvme_subsystems": Limit(256, "subsystems", "native NVMe subsystems that a node reports", "the others are not reported"),
    "nvme_namespaces": Limit(64, "namespaces", "of one subsystem, listed in its cell", "the first are listed, all are judged"),
    "initramfs_file_bytes": Limit(4 * MIB, "bytes", "one of multipath's files in the initramfs", "taken as absent there, so as stale"),
    "inferred_groups": Limit(512, "LUNs", "volume groups without a base that a node tells of, in one cell", "the others are not told"),
    "expression_states": Limit(4096, "states", "a regular expression of the overrides is checked against every LUN", "overrides refused"),
    "overrides_states": Limit(131_072, "states", "the same, all of them together", "overrides refused"),
}


def limit(name: str) -> int:
    """The value of the bound `name`; a name that is not in the table is a fault of the program."""
    return LIMITS[name].value


def web_connections() -> int:
    """How many connections to the page's port there may be: strangers and sessions have bounds of their own, and all of them fit."""
    return limit("web_strangers") + limit("web_sessions") * limit("web_session_connections")


def limits_markdown() -> str:
    """The table of docs/limits.md."""
    lines = ["| limit | value | unit | why | at the limit | counter |", "|--|--|--|--|--|--|"]
    for name, entry in LIMITS.items():
        lines.append(f"| `{name}` | {entry.value:,} | {entry.unit} | {entry.reason} | {entry.effect} | {entry.counter} |")
    return "\n".join(lines) + "\n"


assert limit("edit_bytes") < limit("delta_bytes") < limit("bulk_message_bytes") <= limit("frame_bytes")
assert limit("value_bytes") < limit("edit_bytes")
