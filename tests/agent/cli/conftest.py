"""A small agent API in a thread, on a unix socket, with real digests, and two ways to run the command line against it."""

import difflib
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from click.testing import CliRunner, Result

from agent.cli.root import root
from store import section_config

LUN_A = "3624a9370e92ace0b12e941bf000cb4d5"
LUN_B = "360014050000000100004000800000000"
ACTOR = "9f3a21c04b6d4f0e8a2b7c1d5e6f7081"

CELL_BAD = {
    "state": "degraded",
    "redundancy": "single",
    "reasons": ["path-lost"],
    "paths": {"usable": 1, "active": 1, "standby": 0, "marginal": 0, "failed": 0, "visible": 1, "expected": 2},
    "missing_paths": ["iscsi:10.0.2.5>10.0.2.10:3260,1,iqn.2001-05.com.example:a"],
    "queueing": "off",
    "age_seconds": 7.1,
    "acked": None,
}
CELL_GOOD = {
    "state": "healthy",
    "redundancy": "full",
    "reasons": [],
    "paths": {"usable": 2, "active": 2, "standby": 0, "marginal": 0, "failed": 0, "visible": 2, "expected": 2},
    "missing_paths": [],
    "queueing": "off",
    "age_seconds": 0.3,
    "acked": None,
}
STATUS: dict[str, Any] = {
    "schema": 1,
    "generated": "2026-07-03T12:46:00Z",
    "node": "n1",
    "cluster": "san",
    "cluster_state": "degraded",
    "config": {
        "edits": 42,
        "conflicts": 1,
        "problems": [
            {
                "code": "alias-taken",
                "key": f"wwid/{LUN_B}",
                "option": "alias",
                "message": "alias vmpool-a is taken",
                "hint": "give it another alias",
                "severity": "warning",
            }
        ],
    },
    "counts": {"healthy": 1, "degraded": 1, "partial": 0, "failed": 0, "unknown": 0, "pending": 0, "unused": 0},
    "luns": [
        {
            "wwid": LUN_B,
            "alias": None,
            "configured": True,
            "vendor": "LIO-ORG",
            "product": "disk\x1b[2J",
            "size_bytes": 67108864,
            "device": f"/dev/disk/by-id/dm-uuid-mpath-{LUN_B}",
            "state": "healthy",
            "expected_nodes": ["n1", "n2"],
            "expected_source": "fallback",
            "consumers": [],
            "nodes": {"n1": CELL_GOOD, "n2": CELL_GOOD},
        },
        {
            "wwid": LUN_A,
            "alias": "vmpool-a",
            "configured": True,
            "vendor": "PURE",
            "product": "FlashArray",
            "size_bytes": 2199023255552,
            "device": f"/dev/disk/by-id/dm-uuid-mpath-{LUN_A}",
            "state": "degraded",
            "expected_nodes": ["n1", "n2"],
            "expected_source": "storage-chain",
            "consumers": [{"storage": "san-lvm", "type": "lvm", "via": "san"}],
            "nodes": {"n1": CELL_GOOD, "n2": CELL_BAD},
        },
    ],
    "nodes": [
        {
            "node": "n1",
            "state": "online",
            "role": "admin",
            "maintenance": False,
            "age_seconds": 0.1,
            "tools_version": "0.9.4",
            "daemon": "running",
            "apply": {"state": "in-sync", "desired": "d", "applied": "d", "at": "2026-07-03T12:45:00Z", "errors": []},
            "cells": {"healthy": 2},
            "notes": [],
        },
        {
            "node": "n2",
            "state": "online",
            "role": "editor",
            "maintenance": True,
            "age_seconds": 0.4,
            "tools_version": None,
            "daemon": "not-installed",
            "apply": {
                "state": "failed",
                "desired": "d",
                "applied": None,
                "at": "2026-07-03T12:45:00Z",
                "errors": [
                    {
                        "code": "not-installed",
                        "message": "multipathd is not installed",
                        "hint": "apt install multipath-tools",
                        "since": "2026-07-03T12:40:00Z",
                        "count": 3,
                    }
                ],
            },
            "cells": {"healthy": 1, "degraded": 1},
            "notes": ["clock-skew: 31 s"],
        },
    ],
}


class Refused(Exception):
    """A problem document to answer with."""

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.document = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail, **more}


@dataclass
class FakeAgent:
    """The state behind the socket: a document with digests, and everything that was asked."""

    socket: str
    document: dict[str, dict[str, str]] = field(default_factory=dict)
    overrides: str = ""
    counter: int = 0
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    members: list[str] = field(default_factory=lambda: ["n1", "n2"])
    requests: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    chunked: bool = False
    before_write: Callable[["FakeAgent"], None] | None = None
    status: dict[str, Any] = field(default_factory=lambda: deepcopy(STATUS))
    last_reason: str | None = None
    answers: dict[str, Any] = field(default_factory=dict)
    """What a path answers in place of its handler."""
    """Rows of the matrix beside those of LUNs."""

    @property
    def text(self) -> str:
        return section_config.write(self.document)

    @property
    def digest(self) -> str:
        return section_config.config_digest(self.document)

    @property
    def overrides_digest(self) -> str:
        return section_config.text_digest(self.overrides)

    def writes(self) -> list[tuple[str, str]]:
        return [request for request in self.requests if request[0] != "GET"]


def _options_check(document: dict[str, dict[str, str]]) -> None:
    for key, options in document.items():
        if options.get("no-path-retry") == "banana":
            problem = {
                "code": "invalid-value",
                "key": key,
                "option": "no-path-retry",
                "message": "expected fail, queue or a number",
                "hint": "queue hangs when all paths are gone",
                "severity": "error",
            }
            raise Refused(422, "invalid", "the edit is refused", problems=[problem])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeAgent

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "unix"

    def _serve(self) -> None:
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_json = (self.headers.get("Content-Type") or "").startswith("application/json")
        body = json.loads(raw) if is_json else raw.decode()
        self.fake.requests.append((self.command, self.path))
        if self.command != "GET":
            self.fake.bodies.append(body)
        parts = [unquote(part) for part in split.path.strip("/").split("/")]
        try:
            answer = self._route(parts, query, body)
        except Refused as refused:
            self._send(refused.status, json.dumps(refused.document), "application/problem+json")
            return
        if isinstance(answer, str):
            self._send(200, answer, "text/plain; charset=utf-8", self._etag(parts))
        else:
            self._send(200, json.dumps(answer), "application/json", self._etag(parts))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _etag(self, parts: list[str]) -> str:
        return self.fake.overrides_digest if parts[1:2] == ["overrides"] else self.fake.digest

    def _send(self, status: int, text: str, kind: str, etag: str = "") -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if etag:
            self.send_header("ETag", f'"{etag}"')
        if self.fake.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(data), 100):
                piece = data[start : start + 100]
                self.wfile.write(f"{len(piece):x};x=y\r\n".encode() + piece + b"\r\n")
            self.wfile.write(b"0\r\nTrailer: 1\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        self.close_connection = True

    def _plain(self) -> bool:
        return (self.headers.get("Accept") or "").startswith("text/plain")

    def _guard(self, current: str) -> None:
        if self.fake.before_write:
            change, self.fake.before_write = self.fake.before_write, None
            change(self.fake)
            current = self.fake.digest
        given = self.headers.get("If-Match")
        if given is None:
            raise Refused(428, "digest-required", "a write names the digest it was made from")
        if given.strip('"') != current:
            raise Refused(412, "stale-digest", "the configuration has changed", digest=current)

    def _commit(self, after: dict[str, dict[str, str]], query: dict[str, str], reason: str | None) -> dict[str, Any]:
        fake = self.fake
        after = {key: options for key, options in after.items() if options or key.startswith("wwid/")}
        _options_check(after)
        open_keys = {conflict["key"] for conflict in fake.conflicts}
        changed = sorted(k for k in {*fake.document, *after} if fake.document.get(k) != after.get(k))
        for key in changed:
            if key in open_keys:
                raise Refused(409, "conflict-open", f"{key} has an open conflict")
        old, new = (section_config.write(d).splitlines(keepends=True) for d in (fake.document, after))
        diff = "".join(difflib.unified_diff(old, new, "before", "after"))
        dry = query.get("dry_run") == "true"
        if changed and not dry:
            fake.document, fake.last_reason = after, reason
            fake.counter += 1
        warnings = [
            {"code": "queue", "key": k, "option": "no-path-retry", "message": "processes hang", "severity": "warning"}
            for k in changed
            if after.get(k, {}).get("no-path-retry") == "queue"
        ]
        return {
            "digest": fake.digest,
            "overrides_digest": fake.overrides_digest,
            "edit": f"{ACTOR}:{fake.counter}" if changed and not dry else None,
            "changed": changed,
            "warnings": warnings,
            "diff": diff,
            "dry_run": dry,
        }

    def _patched(self, key: str, body: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        self._guard(self.fake.digest)
        after = deepcopy(self.fake.document)
        section = after.setdefault(key, {})
        section.update(body["set"])
        for name in body["delete"]:
            section.pop(name, None)
        return self._commit(after, query, body.get("reason"))

    def _route(self, parts: list[str], query: dict[str, str], body: Any) -> Any:
        if self.path in self.fake.answers:
            return self.fake.answers[self.path]
        if parts[0] != "v1":
            raise Refused(404, "not-found", "no such address")
        handler = getattr(self, f"_{self.command.lower()}_{parts[1].replace('-', '_')}", None)
        if handler is None:
            raise Refused(404, "not-found", "no such address")
        return handler(parts[2:], query, body)

    # config -------------------------------------------------------------------------------------------------

    def _get_config(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        fake = self.fake
        if not rest:
            if self._plain():
                return fake.text
            sections = [{"type": s.type, "id": s.id, "options": s.options} for s in section_config.parse(fake.text).sections]
            conflicts = [conflict["key"] for conflict in fake.conflicts]
            return {
                "digest": fake.digest,
                "sections": sections,
                "problems": fake.status["config"]["problems"],
                "conflicts": conflicts,
            }
        if rest == ["defaults"]:
            return {"digest": fake.digest, "options": fake.document.get("defaults", {})}
        kind = {"wwids": "wwid", "storages": "storage"}[rest[0]]
        if len(rest) == 2:
            key = f"{kind}/{rest[1]}"
            if key not in fake.document:
                raise Refused(404, "unknown-section", f"there is no {key}")
            return {"digest": fake.digest, kind: rest[1], "options": fake.document[key]}
        found = [(k.partition("/")[2], v) for k, v in sorted(fake.document.items()) if k.startswith(f"{kind}/")]
        if kind == "wwid":
            return {"digest": fake.digest, "wwids": [{"wwid": w, "options": o} for w, o in found]}
        return {"digest": fake.digest, "storages": [{"id": i, "type": o["type"], "options": o} for i, o in found]}

    def _put_config(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        self._guard(self.fake.digest)
        parsed = section_config.parse(body)
        if parsed.issues:
            first = parsed.issues[0]
            raise Refused(400, "invalid-text", f"line {first.line}: {first.message}")
        return self._commit(section_config.to_document(parsed), query, query.get("reason"))

    def _post_config(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        self._guard(self.fake.digest)
        after = deepcopy(self.fake.document)
        if rest == ["import"]:
            return self._imported(query, body)
        if rest == ["edits"]:
            for change in body["changes"]:
                if change["key"] not in after:
                    raise Refused(404, "unknown-section", f"there is no {change['key']}")
                assert change["remove"] is True
                del after[change["key"]]
        elif rest == ["wwids"]:
            key = f"wwid/{body['wwid']}"
            if key in after:
                raise Refused(409, "exists", f"{key} exists already", hint="change it with PATCH")
            after[key] = dict(body["options"])
        else:
            key = f"storage/{body['id']}"
            if key in after:
                raise Refused(409, "exists", f"{key} exists already", hint="change it with PATCH")
            after[key] = {**body["options"], "type": body["type"]}
        return self._commit(after, query, body.get("reason"))

    def _imported(self, query: dict[str, str], text: str) -> Any:
        """One format is read for real; of the other the lines alone are told."""
        if "{" in text:
            message = f"line 2, column 9: {text.splitlines()[1].strip()} is pinned"
            notes = [{"line": 2, "column": 9, "severity": "warning", "message": message}]
            return self._commit(self.fake.document, query, query.get("reason")) | {"format": "multipath.conf", "notes": notes}
        parsed = section_config.parse(text, lenient=True)
        notes = [{"line": n.line, "column": 0, "severity": "warning", "message": f"line {n.line}: {n.message}"} for n in parsed.notes]
        answer = self._commit(section_config.to_document(parsed), query, query.get("reason"))
        return answer | {"format": "section-config", "notes": notes}

    def _patch_config(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        kind = {"wwids": "wwid/", "storages": "storage/", "defaults": "defaults"}[rest[0]]
        key = kind + (rest[1] if len(rest) > 1 else "")
        if len(rest) > 1 and key not in self.fake.document:
            raise Refused(404, "unknown-section", f"there is no {key}")
        return self._patched(key, body, query)

    # overrides ----------------------------------------------------------------------------------------------

    def _get_overrides(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        text = self.fake.overrides
        return text if self._plain() else {"digest": self.fake.overrides_digest, "text": text}

    def _put_overrides(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        self._guard(self.fake.overrides_digest)
        if "multipaths" in body:
            raise Refused(422, "overrides-section", "line 1: multipaths belongs to the structured configuration")
        if query.get("dry_run") != "true":
            self.fake.overrides, self.fake.last_reason = body, query.get("reason")
        return self._commit(self.fake.document, query, None) | {
            "edit": f"{ACTOR}:9",
            "changed": ["overrides"],
            "diff": "+x\n",
        }

    def _delete_overrides(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        return self._put_overrides(rest, query, "")

    def _post_overrides(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        assert rest == ["check"]
        if "multipaths" in body:
            message = "multipaths belongs to the structured configuration"
            return {"problems": [{"code": "section", "key": "overrides", "message": message, "severity": "error"}]}
        if "bogus" in body:
            place = {"line": 1, "column": body.index("bogus") + 1}
            message = f"line 1, column {place['column']}: unknown keyword bogus"
            return {"problems": [{"code": "unknown", "key": "overrides", "message": message, "severity": "warning", **place}]}
        return {"problems": []}

    # the rest -----------------------------------------------------------------------------------------------

    def _get_status(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        config = {"digest": self.fake.digest, "overrides_digest": self.fake.overrides_digest}
        return {**self.fake.status, "config": {**self.fake.status["config"], **config}}

    def _get_matrix(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        resources = [
            {"kind": "multipath.map", "id": lun["wwid"], "state": lun["state"], "nodes": lun["nodes"]}
            for lun in self.fake.status["luns"]
            if query.get("state") in (None, lun["state"]) and query.get("resource") in (None, lun["wwid"], lun["alias"])
        ]
        at = int(query.get("cursor", "0"))  # one resource a page
        following = str(at + 1) if at + 1 < len(resources) else None
        return {"version": 1, "kinds": ["multipath.map"], "resources": resources[at : at + 1], "next": following}

    def _get_luns(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if rest != ["scan"]:
            for lun in self.fake.status["luns"]:
                if rest[0] in (lun["wwid"], lun["alias"]):
                    return lun
            raise Refused(404, "not-found", f"LUN {rest[0]}: nobody sees it")
        seen = {"n1": {"paths": 2}, "n2": {"paths": 1}}
        entry = {"wwid": LUN_B, "vendor": "LIO-ORG", "product": "disk", "size_bytes": 67108864, "nodes": seen}
        return {"luns": [entry]}

    def _post_luns(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        assert rest[1] == "accept"
        if rest[0] == "nothing-usable":
            raise Refused(422, "nothing-usable", "n2: no path of it is usable, of 2 that are visible")
        accepted = [{"node": n, "paths": ["p1"], "given_up": ["p2"]} for n in body["nodes"] or ["n1", "n2"]]
        left_out = [] if body["nodes"] else [{"node": "n3", "code": "cell-unknown"}]
        dry = query.get("dry_run") == "true"
        return {"accepted": accepted, "left_out": left_out, "edit": None if dry else f"{ACTOR}:7", "dry_run": dry}

    def _get_conflicts(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        return {"conflicts": self.fake.conflicts}

    def _post_conflicts(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        conflict = next(c for c in self.fake.conflicts if c["key"] == rest[0])
        assert body["dots"] == [sibling["dot"] for sibling in conflict["siblings"]]
        value = conflict["siblings"][body["take"] - 1]["value"] if "take" in body else body["value"]
        self.fake.conflicts.remove(conflict)
        after = {k: v for k, v in self.fake.document.items() if k != rest[0]}
        return self._commit(after | ({rest[0]: value} if value is not None else {}), query, body.get("reason"))

    def _get_members(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if rest == ["tokens"]:
            return {"tokens": self.fake.tokens}
        members = [
            {
                "name": name,
                "role": "admin",
                "state": "joined",
                "liveness": "online",
                "actor": ACTOR,
                "public_key": "k",
                "endpoints": ["tcp://10.0.0.1:7946"],
                "age_seconds": 0.2,
            }
            for name in self.fake.members
        ]
        return {"members": members}

    def _post_members(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        assert rest == ["tokens"]
        entry = {"id": f"t{len(self.fake.tokens) + 1}", "expires": "2026-07-03T13:46:00Z"}
        self.fake.tokens.append({**entry, "role": body["role"], "uses_left": body["uses"], "state": "open"})
        return {**entry, "token": "pm1.secret"}

    def _delete_members(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if rest[0] == "tokens":
            self.fake.tokens = [token for token in self.fake.tokens if token["id"] != rest[1]]
            return {}
        if rest[0] not in self.fake.members:
            raise Refused(404, "unknown-member", f"no member {rest[0]}")
        self.fake.members.remove(rest[0])
        return {"retired": rest[0]}

    def _get_nodes(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if not rest:
            return {"nodes": self.fake.status["nodes"]}
        paths = [{"id": "fc:a>b", "dev": "sdb", "class": "active", "chk": "ready", "dm": "active"}]
        entry = {
            "wwid": LUN_A,
            "alias": "vmpool-a",
            "state": "healthy",
            "path_groups": [{"group": 1, "paths": paths}],
        }
        return {"node": rest[0], "age_seconds": 0.1, "maps": [entry]}

    def _get_storages(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if rest[1:] == ["volumes"]:
            return self._volumes(rest[0], query.get("node", "n1"))
        group = {"name": "vm", "size_bytes": 2**40, "free_bytes": 2**39, "active": True, "missing_pvs": 0, "on": [LUN_A]}
        here = {"state": "healthy", "reasons": [], "age_seconds": 0.0, "vg": group | {"volumes": 7, "active_volumes": 3}}
        lvm = {"id": "san-lvm", "type": "lvm", "enabled": True, "nodes": ["n1"], "base": f"san:{LUN_A}", "state": "degraded"}
        lvm["status"] = {"n1": here, "n2": {"state": "degraded", "reasons": ["pv-on-path"], "age_seconds": 0.4}}
        fault = {"code": "portal-unreachable", "message": "the portal does not answer", "hint": "look at the network"}
        lost = {"there": 1, "expected": 2, "missing": ["10.0.2.10:3260"], "errors": [fault]}
        iscsi = {"state": "degraded", "reasons": ["session-missing"], "age_seconds": 0.0, "sessions": lost}
        tgt = {"id": "tgt", "type": "iscsi", "enabled": True, "nodes": None, "base": None, "state": "degraded", "status": {"n1": iscsi}}
        luns = [{"wwid": LUN_B, "state": "healthy"}, {"wwid": LUN_A, "state": "degraded"}]
        problem = {"code": "base-not-on-node", "key": "storage/san-lvm", "message": "n2 is not in san", "severity": "warning"}
        others = [{**tgt, "luns": [], "problems": []}]
        return {"digest": self.fake.digest, "storages": [{**lvm, "luns": luns, "problems": [problem]}, *others]}

    @staticmethod
    def _volumes(storage: str, node: str) -> Any:
        nodes = {"n1": {"state": "healthy", "used_by": ["pv:vm"]}, "n2": {"state": "healthy", "used_by": ["mount:/srv"]}}
        volume = {"volid": f"{storage}:{LUN_A}", "wwid": LUN_A, "alias": "vmpool-a", "path": f"/dev/disk/by-id/dm-uuid-mpath-{LUN_A}"}
        volume |= {"size_bytes": 2**40, "format": "raw", **nodes[node], "nodes": nodes}
        return {"storage": storage, "node": node, "volumes": [volume]}

    def _post_storages(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        storage, verb = rest
        path = f"/dev/disk/by-id/dm-uuid-mpath-{LUN_A}"
        told = {"storage": storage, "node": "n1"}
        if verb == "create-vg":
            return {**told, "vg": "vm", "wwid": LUN_A, "path": path, "dry_run": query.get("dry_run") == "true", "asked": body}
        if verb == "deactivate" or storage == "san-lvm":
            return {**told, "vg": "vm", "volumes": body["volumes"], "active": verb == "activate"}
        if "gone" in body["volumes"]:
            raise Refused(422, "no-such-volume", "the storage san has no volume 'gone'")
        return {**told, "volumes": [{"volid": f"{storage}:{LUN_A}", "wwid": LUN_A, "path": path}]}

    def _get_render(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        skipped = [{"code": "old", "key": "defaults", "option": "max-retries", "message": "needs 0.9.7"}]
        return {"files": {"90-pathmesh.conf": "defaults {\n}\n"}, "diff": "-old\n+new\n", "skipped": skipped}

    def _get_apply(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        return {"apply": self.fake.status["nodes"][0]["apply"]}

    def _post_apply(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        return {"apply": self.fake.status["nodes"][1]["apply"]}

    def _get_dump(self, rest: list[str], query: dict[str, str], body: Any) -> Any:
        return {"status": self.fake.status, "members": [], "matrix": []}


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = False  # server_close waits for them, so that no connection is left behind


@pytest.fixture
def fake_agent(tmp_path: Path) -> Iterator[FakeAgent]:
    path = str(tmp_path / "agent.sock")
    fake = FakeAgent(path)
    server = _Server(path, type("BoundHandler", (Handler,), {"fake": fake}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(fake_agent: FakeAgent) -> Callable[..., Result]:
    """Run the command line in this process against the fake agent."""

    def invoke(*args: str, input: str | None = None, env: dict[str, str] | None = None) -> Result:
        environment = {"PATHMESH_SOCKET": fake_agent.socket, "PATHMESH_CONFIG": None, "NO_COLOR": None, **(env or {})}
        result = CliRunner().invoke(root, args, input=input, env=environment, prog_name="pathmesh")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def spawn(fake_agent: FakeAgent) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the command line as a process of its own against the fake agent."""

    def start(*args: str, input: str | None = None) -> "subprocess.CompletedProcess[str]":
        environment = {k: v for k, v in os.environ.items() if not re.match(r"PATHMESH_|NO_COLOR", k)}
        environment["PATHMESH_SOCKET"] = fake_agent.socket
        command = [sys.executable, "-m", "agent.cli", *args]
        return subprocess.run(command, input=input, capture_output=True, text=True, env=environment, timeout=30, check=False)

    return start
