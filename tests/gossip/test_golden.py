"""What nodes of earlier versions and of this one send and sign: every later version reads it, and it says what it always said.

The files in tests/data/golden are never made anew (scripts/golden.py made them). A change of what is written makes a new protocol version,
with directories of its own beside the old ones.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gossip import codec
from gossip.keys import verify
from gossip.messages import CLASSES, Digest, MessageClass
from gossip.stability import clock_hash
from scripts import golden, golden_frames
from store import snapshot
from store.cells import Cell
from store.edits import decode_edit, encode_body, seal
from store.health import CellEntry, Head, HealthStream, head_body, hold_own, map_hash, mark
from store.level import KIND_LEVELS
from store.replica import Admission, Replica

DIRECTORY = Path(__file__).parents[1] / "data" / "golden"
KEPT = {
    "edits-1.0": "3d3034f0c67c36472ea8f42c14fcb3b0fd9f9277301357afdbeefdc95ad66391",
    "frames-1.0": "3ab0944b2d6fc0abf2ae7fb5b78b1b36a8bcdd76ba6544c42f7354c07d7abf31",
    "heads-1.0": "2caf01f82bedbd8207b2b8e33f6b3ab3ca39a7fde43f81613d3ca5f36849e40f",
    "snapshots-1": "daac00f78ca9efcd7f614192e84a0ad0c0da5128808202cbd2d43057b8f93161",
}
"""The hash of all that each directory holds."""
PRESENT = f"{codec.MAJOR}.{codec.MINOR}"


def files(what: str, suffix: str) -> list[Path]:
    """The golden files of every version."""
    return sorted(path for directory in DIRECTORY.glob(f"{what}-*") for path in directory.glob(f"*{suffix}"))


def content(path: Path) -> Any:
    """What the file says, as JSON."""
    return msgspec.json.decode(path.with_suffix(".json").read_bytes())


def differences(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """Where a value is not what the JSON says. A field that the JSON does not have is of a later version: then it has its default."""
    if isinstance(found, msgspec.Struct):
        fields = {field.name: field for field in msgspec.structs.fields(found)}
        yield from (f"{where}.{name}: gone" for name in expected if name not in fields)
        for name, field in fields.items():
            value = getattr(found, name)
            if name in expected:
                yield from differences(expected[name], value, f"{where}.{name}")
            elif value != field.default:
                yield f"{where}.{name}: {value!r} out of nothing"
    elif isinstance(found, dict):
        plain = {name.hex() if isinstance(name, bytes) else name: value for name, value in found.items()}
        yield from (f"{where}[{name}]" for name in plain.keys() ^ expected.keys())
        for name in plain.keys() & expected.keys():
            yield from differences(expected[name], plain[name], f"{where}[{name}]")
    elif isinstance(found, list | tuple):
        if len(found) != len(expected):
            yield f"{where}: {len(found)} where {len(expected)} were"
        for n, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from differences(one, other, f"{where}[{n}]")
    elif (found.hex() if isinstance(found, bytes) else found) != expected or isinstance(found, bool) is not isinstance(expected, bool):
        yield f"{where}: {found!r} where {expected!r} was"


def test_differences_are_found() -> None:
    ping = golden_frames.messages()["hello"]
    told = msgspec.json.decode(golden_frames.told(ping))
    assert not list(differences(told, ping))
    assert list(differences(told | {"name": "n2"}, ping)) == [".name: 'n1' where 'n2' was"]
    assert list(differences(told | {"more": 1}, ping)) == [".more: gone"]
    assert list(differences(told | {"features": ["a-feature"]}, ping)) == [".features: 2 where 1 were"]
    assert list(differences({k: v for k, v in told.items() if k != "hears"}, ping)) == [".hears: b'hears-it' out of nothing"]
    assert list(differences({k: v for k, v in told.items() if k != "ask"}, ping)) == []
    assert list(differences({"a": 1}, {"a": True})) == ["[a]: True where 1 was"]


# -- the files themselves ---------------------------------------------------------------------------------------------------


def test_no_golden_file_was_changed_and_none_is_without_a_hash() -> None:
    found = {path.name for path in DIRECTORY.iterdir() if not path.name.startswith("database-")}
    assert found == KEPT.keys()
    for name, expected in KEPT.items():
        total = hashlib.sha256()
        for path in sorted((DIRECTORY / name).iterdir()):
            total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        assert total.hexdigest() == expected, f"{name}: golden files are kept as they are; what is new goes beside them"


def test_this_version_has_golden_files_of_every_class_and_kind() -> None:
    named = {content(path)["class"] for path in files("frames", ".frames") if path.parent.name == golden_frames.FRAMES}
    assert named == {number.name for number in MessageClass}, "a new class, or a new version, needs golden frames of its own"
    kinds = {content(path)["edit"]["kind"] for path in files("edits", ".edit") if path.parent.name == golden_frames.EDITS}
    assert kinds == KIND_LEVELS.keys() | {"merge-9"}
    assert all(list((DIRECTORY / name).glob("*.json")) for name in golden_frames.DIRECTORIES)


@pytest.mark.parametrize("name", golden_frames.DIRECTORIES)
def test_this_version_writes_what_it_always_wrote(name: str) -> None:
    """Byte for byte, hashes and signatures among it. If a change is meant, it is a new version with a directory of its own."""
    made = dict(golden_frames.DIRECTORIES[name]())
    kept = {path.name: path.read_bytes() for path in (DIRECTORY / name).iterdir()}
    assert made.keys() == kept.keys()
    assert [file for file in made if made[file] != kept[file]] == []


def test_a_golden_file_is_never_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in golden_frames.DIRECTORIES:
        (tmp_path / name).mkdir()
    golden.main(["frames", str(tmp_path)])
    assert not list(tmp_path.glob("*/*"))
    assert capsys.readouterr().out.count("left as it is") == len(golden_frames.DIRECTORIES)
    with pytest.raises(SystemExit, match="usage"):
        golden.main(["all"])


# -- messages ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", files("frames", ".frames"), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_frames_say_what_they_always_said(path: Path) -> None:
    told, data = content(path), path.read_bytes()
    header, body = data[: codec.HEADER_BYTES], data[codec.HEADER_BYTES :]
    message = codec.decode(header, body)
    assert CLASSES[type(message)].name == told["class"]
    assert codec.session_of(header).hex() == told["session"]
    assert list(differences(told["message"], message)) == []
    if isinstance(message, Digest) and message.full:
        assert clock_hash(message.clock) == message.clock_hash
    if path.parent.name == golden_frames.FRAMES:
        assert codec.encode(message, codec.session_of(header)) == (header, body)


# -- edits ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", files("edits", ".edit"), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_edit_says_what_it_always_said_and_its_signature_holds(path: Path) -> None:
    told, signed = content(path), decode_edit(path.read_bytes())
    assert list(differences(told["edit"], signed.edit)) == []
    assert signed.signature.hex() == told["signature"]
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["signed_by"])).verify(signed.signature, signed.body)
    assert verify(bytes.fromhex(told["signed_by"]), signed.body, signed.signature)
    unknown = {name: value for name, value in msgspec.msgpack.decode(signed.body).items() if name not in told["edit"]}
    assert unknown == told["unknown"]
    if path.parent.name == golden_frames.EDITS and not unknown:
        assert encode_body(signed.edit) == signed.body
        assert seal(signed.edit, signed.body, signed.signature).raw == path.read_bytes()


@pytest.mark.parametrize("name", [name for name in KEPT if name.startswith("edits-")])
def test_all_edits_of_a_version_are_taken(name: str) -> None:
    edits = sorted((decode_edit(path.read_bytes()) for path in (DIRECTORY / name).glob("*.edit")), key=lambda signed: signed.edit.wall)
    replica = Replica(golden.CLUSTER, verify)
    for signed in edits:
        assert replica.admit(signed) is Admission.READY
        replica.commit(signed)
    assert list(replica.raws()) == [signed.raw for signed in edits]


# -- health -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", files("heads", ".head"), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_a_node_signs_of_its_health_is_what_it_always_was(path: Path) -> None:
    told = content(path)
    head = told["head"]
    position = Head(bytes.fromhex(head["actor"]), head["epoch"], head["seq"], head["beat"], bytes.fromhex(head["clock_tag"]))
    entries = [CellEntry(entry["seq"], msgspec.convert(entry["cell"], Cell)) for entry in told["entries"]]
    marks = [mark(entry) for entry in entries]
    assert map_hash(marks).hex() == told["map_hash"]
    assert sum(each.size for each in marks) == told["size"]
    signature = bytes.fromhex(told["signature"])
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["signed_by"])).verify(signature, path.read_bytes())
    assert head_body(told["node"], position, bytes.fromhex(told["map_hash"]), told["size"]) == path.read_bytes()
    stream = HealthStream(told["node"], position)
    stream.hold({entry.cell.key: hold_own(entry) for entry in entries})
    assert stream.delta(None, 0).body == path.read_bytes()


# -- snapshots --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", files("snapshots", ".snapshot"), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_snapshot_leads_to_the_state_that_it_always_led_to(path: Path) -> None:
    told = content(path)
    trusted = {bytes.fromhex(who): bytes.fromhex(key) for who, key in told["trusted"].items()}
    found = snapshot.read_snapshot(path.read_bytes(), golden.CLUSTER, verify, trusted)
    replica = Replica(golden.CLUSTER, verify, found.log, found.base)
    assert list(differences(told["clock"], replica.fold.clock)) == list(differences(told["floor"], dict(replica.floor))) == []
    assert len(replica) == told["kept"]
    assert replica.fold.state_hash.hex() == told["state_hash"]
    assert {key: [s.value for s in replica.fold.siblings(key)] for key in replica.fold} == told["values"]
