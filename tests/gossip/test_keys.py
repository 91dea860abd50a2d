"""Keys: made, kept in files that nobody else can read, loaded only when whole, used to sign."""

import os
import stat
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from gossip.keys import JOIN_FILE, MESH_FILE, SIGNING_FILE, NodeKeys, verify
from store.errors import UnavailableError, UsageError

FILES = (MESH_FILE, JOIN_FILE, SIGNING_FILE)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_saved_keys_load_equal_and_are_private(tmp_path: Path) -> None:
    keys = NodeKeys.generate()
    directory = tmp_path / "etc" / "keys"
    old = os.umask(0)
    try:
        keys.save(directory)
    finally:
        os.umask(old)
    assert NodeKeys.load(directory) == keys
    assert mode(directory) == 0o700
    assert {path.name: mode(path) for path in directory.iterdir()} == dict.fromkeys(FILES, 0o600)


def test_keys_are_distinct_pairs_and_secrets_stay_out_of_repr() -> None:
    one, two = NodeKeys.generate(), NodeKeys.generate()
    assert len({one.mesh_public, one.join_public, two.mesh_public, two.join_public}) == 4
    assert zmq.curve_public(one.mesh_secret.encode()).decode() == one.mesh_public
    assert zmq.curve_public(one.join_secret.encode()).decode() == one.join_public
    for secret in (one.mesh_secret, one.join_secret, repr(one.signing_secret)):
        assert secret not in repr(one)


def test_an_existing_looser_directory_is_tightened(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    directory.mkdir(mode=0o755)
    NodeKeys.generate().save(directory)
    assert mode(directory) == 0o700


@pytest.mark.parametrize("present", FILES)
def test_saving_never_overwrites_and_leaves_nothing_half_done(tmp_path: Path, present: str) -> None:
    (tmp_path / present).write_text("precious")
    with pytest.raises(UsageError) as caught:
        NodeKeys.generate().save(tmp_path)
    assert caught.value.code == "keys-exist"
    assert present in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == [present]
    assert (tmp_path / present).read_text() == "precious"


def test_saving_where_no_directory_can_be_is_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError) as caught:
        NodeKeys.generate().save(tmp_path / "file" / "keys")
    assert caught.value.code == "keys-not-written"
    assert "file" in caught.value.message


@pytest.mark.parametrize("name", FILES)
def test_each_missing_file_is_named(tmp_path: Path, name: str) -> None:
    NodeKeys.generate().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UsageError) as caught:
        NodeKeys.load(tmp_path)
    assert caught.value.code == "key-missing"
    assert str(tmp_path / name) in caught.value.message
    assert "pathmesh init" in caught.value.hint


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        NodeKeys.load(tmp_path / "nowhere")
    assert (caught.value.code, "nowhere" in caught.value.message) == ("key-missing", True)


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o601])
@pytest.mark.parametrize("name", FILES)
def test_a_file_open_to_others_is_refused_with_the_cure(tmp_path: Path, name: str, bits: int) -> None:
    NodeKeys.generate().save(tmp_path)
    (tmp_path / name).chmod(bits)
    with pytest.raises(UsageError) as caught:
        NodeKeys.load(tmp_path)
    assert caught.value.code == "key-mode"
    assert f"{bits:04o}" in caught.value.message
    assert caught.value.hint == f"chmod 600 {tmp_path / name}"


def test_a_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    NodeKeys.generate().save(tmp_path)
    tmp_path.chmod(0o750)
    with pytest.raises(UsageError) as caught:
        NodeKeys.load(tmp_path)
    assert (caught.value.code, caught.value.hint) == ("key-mode", f"chmod 700 {tmp_path}")


@pytest.mark.parametrize("name", FILES)
def test_keys_of_two_nodes_mixed_up_are_noticed(tmp_path: Path, name: str) -> None:
    for node in ("a", "b"):
        NodeKeys.generate().save(tmp_path / node)
    ours, theirs = tmp_path / "a" / name, tmp_path / "b" / name
    public = [line for line in theirs.read_text().splitlines() if line.startswith("public")]
    secret = [line for line in ours.read_text().splitlines() if line.startswith("secret")]
    ours.write_text("\n".join(public + secret) + "\n")
    with pytest.raises(UsageError) as caught:
        NodeKeys.load(tmp_path / "a")
    assert (caught.value.code, str(ours) in caught.value.message) == ("key-mismatch", True)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_kind_is_malformed(tmp_path: Path, name: str) -> None:
    NodeKeys.generate().save(tmp_path)
    other = MESH_FILE if name == SIGNING_FILE else SIGNING_FILE
    (tmp_path / name).write_bytes((tmp_path / other).read_bytes())
    with pytest.raises(UsageError) as caught:
        NodeKeys.load(tmp_path)
    assert (caught.value.code, name in caught.value.message) == ("key-malformed", True)


@given(content=st.binary(max_size=300), name=st.sampled_from(FILES))
def test_no_content_of_a_key_file_does_worse_than_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    directory = tmp_path_factory.mktemp("keys")
    directory.chmod(0o700)
    NodeKeys.generate().save(directory)
    (directory / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        NodeKeys.load(directory)
    assert caught.value.code == "key-malformed"


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    NodeKeys.generate().save(tmp_path)
    with (tmp_path / MESH_FILE).open("ab") as file:
        file.write(b"\n" * 10_000)
    with pytest.raises(UsageError) as caught:
        NodeKeys.load(tmp_path)
    assert caught.value.code == "key-malformed"


@given(data=st.binary(max_size=200))
def test_a_signature_is_of_these_bytes_and_this_key(data: bytes) -> None:
    keys, other = SIGNERS
    signature = keys.sign(data)
    assert verify(keys.signing_public, data, signature)
    assert not verify(other.signing_public, data, signature)
    assert not verify(keys.signing_public, data + b"\0", signature)
    assert not verify(keys.signing_public, data, bytes([signature[0] ^ 1]) + signature[1:])


SIGNERS = (NodeKeys.generate(), NodeKeys.generate())


@given(public=st.binary(max_size=40), data=st.binary(max_size=20), signature=st.binary(max_size=70))
def test_garbage_never_verifies_and_never_raises(public: bytes, data: bytes, signature: bytes) -> None:
    assert verify(public, data, signature) is False
    assert verify(SIGNERS[0].signing_public, data, signature) is False
