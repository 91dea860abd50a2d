"""The recording of a running agent: for writers alone, and its run can be repeated."""

from random import Random
from typing import Any

from agent.api.app import OPERATIONS
from agent.api.routes import Access
from gossip.events import Committed, LocalEdit, LocalSnapshot
from gossip.keys import NodeKeys, verify
from gossip.recording import load, start
from store.cells import Cell


def test_it_is_for_writers() -> None:
    (operation,) = [o for o in OPERATIONS if o.path == "/v1/recording"]
    assert operation.method == "GET"
    assert operation.access is Access.WRITE


def test_the_run_can_be_repeated(api: Any) -> None:
    changes = {"changes": [{"key": "defaults", "set": {"polling-interval": "7"}}]}
    assert api.write("POST", "/v1/config/edits", changes).status == 200
    api.observe(Cell("node.facts", "node", "healthy"))
    answer = api.ask("GET", "/v1/recording")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    ((image, inputs),) = load(answer.body)
    assert image.name == "n1"
    assert {Committed, LocalEdit, LocalSnapshot} <= {type(event) for _, event in inputs}
    engine, _ = start(image, Random(), verify)
    for at_ms, event in inputs:
        engine.handle(event, at_ms)
    live = api.node.runner.engine
    assert engine.replica.fold.clock == live.replica.fold.clock
    assert engine.replica.fold.value("defaults") == {"polling-interval": "7"}
    assert engine.exchange.own.stream.signature in image.signatures.values()


def test_a_recording_holds_no_key(api: Any) -> None:
    body = api.ask("GET", "/v1/recording").body
    keys = NodeKeys.load(api.settings.node.keys_dir)
    assert keys.signing_public.hex().encode() in body
    for secret in (keys.mesh_secret, keys.join_secret, keys.signing_secret.hex()):
        assert secret.encode() not in body
        assert len(secret) < 64 or bytes.fromhex(secret) not in body
