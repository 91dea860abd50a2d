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
    "luns_per_node": Limit(4096, "LUNs", "what one stream may list", "producer truncates and notes it"),
    "paths_per_lun": Limit(32, "paths", "what one cell may list", "producer truncates and notes it"),
    "frame_bytes": Limit(MIB, "bytes", "what a socket accepts at all", "dropped by the socket"),
    "message_bytes": Limit(256 * KIB, "bytes", "a decoded message of an ordinary class", "dropped", "messages_oversized"),
    "bulk_message_bytes": Limit(MIB, "bytes", "a decoded delta or digest", "dropped", "messages_oversized"),
    "delta_bytes": Limit(896 * KIB, "bytes", "the budget of one delta; leaves room for its envelope", "the rest follows in the next delta"),
    "bad_messages": Limit(20, "messages", "a peer that sends garbage this often is not a peer", "peer disconnected", "peers_expelled"),
    "hold_back_edits": Limit(1024, "edits", "edits that wait for what they depend on", "dropped; pulled again", "hold_back_dropped"),
    "hold_back_bytes": Limit(8 * MIB, "bytes", "the same, by size", "dropped; pulled again", "hold_back_dropped"),
    "unstable_edits": Limit(100_000, "edits", "edits kept for members that lack them", "edit refused but resolve and retire"),
    "unstable_bytes": Limit(64 * MIB, "bytes", "the same, by size", "edit refused but resolve and retire"),
    "void_edits": Limit(
        16,
        "edits",
        "what one author may add beyond its rights; an honest node adds none",
        "this edit and its author's later ones refused",
        "edits_refused",
    ),
    "pending_local_edits": Limit(64, "edits", "local edits that wait for the disk", "edit refused: busy"),
    "api_clients": Limit(64, "connections", "local clients at a time", "503"),
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
    "receive_ms": Limit(
        5, "ms", "messages taken at a time before the loop's other work gets its turn", "the rest follows in the next turn"
    ),
    "expulsion_ms": Limit(10_000, "ms", "how long a peer that sent garbage is not heard", "its messages are dropped", "messages_expelled"),
}


def limit(name: str) -> int:
    """The value of the bound `name`; a name that is not in the table is a fault of the program."""
    return LIMITS[name].value


def limits_markdown() -> str:
    """The table of docs/limits.md."""
    lines = ["| limit | value | unit | why | at the limit | counter |", "|--|--|--|--|--|--|"]
    for name, entry in LIMITS.items():
        lines.append(f"| `{name}` | {entry.value:,} | {entry.unit} | {entry.reason} | {entry.effect} | {entry.counter} |")
    return "\n".join(lines) + "\n"


assert limit("edit_bytes") < limit("delta_bytes") < limit("bulk_message_bytes") <= limit("frame_bytes")
assert limit("value_bytes") < limit("edit_bytes")
