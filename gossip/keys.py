"""The secret keys of a node: made once, kept in files that nobody else can read, used to authenticate and to sign.

Three files in one directory, each a few lines of text: `mesh.key` and `join.key` (CURVE, Z85) and `signing.key` (Ed25519, hex). Each
holds the public half beside the secret one, so that an administrator can read it off and a damaged file is noticed.
"""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import zmq
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gossip.addresses import is_curve_key
from store.errors import UnavailableError, UsageError

MESH_FILE = "mesh.key"
JOIN_FILE = "join.key"
SIGNING_FILE = "signing.key"

_PURPOSE = {
    MESH_FILE: "authenticates this node to its peers (CURVE)",
    JOIN_FILE: "authenticates this node's join socket (CURVE)",
    SIGNING_FILE: "signs this node's edits and health (Ed25519)",
}
_FILE_MAX_BYTES = 4096
_PUBLIC_KEY_CACHE = 4096  # two for each member of the largest cluster, so rotation fits too


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """One node's key pairs. CURVE keys are Z85 text of 40 characters, signing keys 32 raw bytes. Secrets stay out of `repr`."""

    mesh_public: str
    mesh_secret: str = field(repr=False)
    join_public: str
    join_secret: str = field(repr=False)
    signing_public: bytes
    signing_secret: bytes = field(repr=False)
    _signer: Ed25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_signer", Ed25519PrivateKey.from_private_bytes(self.signing_secret))

    @classmethod
    def generate(cls) -> "NodeKeys":
        """Make new keys from the operating system's random source."""
        mesh_public, mesh_secret = zmq.curve_keypair()
        join_public, join_secret = zmq.curve_keypair()
        signer = Ed25519PrivateKey.generate()
        return cls(
            mesh_public.decode(),
            mesh_secret.decode(),
            join_public.decode(),
            join_secret.decode(),
            signer.public_key().public_bytes_raw(),
            signer.private_bytes_raw(),
        )

    def save(self, directory: Path) -> None:
        """Write the three files (0600) into `directory` (0700), durable before return.

        Raises UsageError (`keys-exist`) if any of them is there already, UnavailableError (`keys-not-written`) if the disk
        refuses; in both cases nothing is left behind that was not there before.
        """
        pairs = {
            MESH_FILE: (self.mesh_public, self.mesh_secret),
            JOIN_FILE: (self.join_public, self.join_secret),
            SIGNING_FILE: (self.signing_public.hex(), self.signing_secret.hex()),
        }
        written: list[Path] = []
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            for name, (public, secret) in pairs.items():
                path = directory / name
                _write_new(path, _render(name, public, secret), written)
            _sync_directory(directory)
            _sync_directory(directory.parent)
        except OSError as error:
            for path in written:
                with suppress(OSError):
                    path.unlink()
            if isinstance(error, FileExistsError):
                raise UsageError(
                    f"{error.filename}: exists already; keys are never overwritten",
                    code="keys-exist",
                    hint="this node has keys; move them away first if a new identity is really wanted",
                ) from None
            raise UnavailableError(
                f"{error.filename or directory}: keys cannot be written: {error.strerror}", code="keys-not-written"
            ) from None

    @classmethod
    def load(cls, directory: Path) -> "NodeKeys":
        """Read what `save` wrote.

        Raises UsageError naming the file: `key-missing`, `key-unreadable`, `key-mode` (group or others have access),
        `key-malformed`, `key-mismatch` (the public half does not belong to the secret one).
        """
        _check_mode(directory, 0o700)
        mesh_public, mesh_secret = _load_curve(directory / MESH_FILE)
        join_public, join_secret = _load_curve(directory / JOIN_FILE)
        signing_public, signing_secret = _load_signing(directory / SIGNING_FILE)
        return cls(mesh_public, mesh_secret, join_public, join_secret, signing_public, signing_secret)

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of `data` (64 bytes; deterministic, RFC 8032)."""
        return self._signer.sign(data)


def verify(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` is `public`'s Ed25519 signature of `data`; any malformed argument is simply False."""
    try:
        _public_key(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=_PUBLIC_KEY_CACHE)
def _public_key(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


def _render(name: str, public: str, secret: str) -> bytes:
    return (f"# Pathmesh key: {_PURPOSE[name]}. Secret: never copy it to another node.\npublic = {public}\nsecret = {secret}\n").encode()


def _write_new(path: Path, content: bytes, written: list[Path]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    written.append(path)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_mode(path: Path, wanted: int) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if mode & 0o077:
        raise UsageError(
            f"{path}: mode {mode:04o} gives others access to secret keys",
            code="key-mode",
            hint=f"chmod {wanted:o} {path}",
        )


def _read_pair(path: Path) -> tuple[str, str]:
    _check_mode(path, 0o600)
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    fields: dict[str, str] = {}
    for number, line in enumerate(content.decode("ascii", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, separator, value = line.partition(" = ")
        if not separator or name not in ("public", "secret") or name in fields:
            raise _malformed(path, f"line {number} is neither 'public = …' nor 'secret = …'")
        fields[name] = value.strip()
    if len(content) > _FILE_MAX_BYTES or fields.keys() != {"public", "secret"}:
        raise _malformed(path, "it must hold one line 'public = …' and one line 'secret = …'")
    return fields["public"], fields["secret"]


def _load_curve(path: Path) -> tuple[str, str]:
    public, secret = _read_pair(path)
    if not (is_curve_key(public) and is_curve_key(secret)):
        raise _malformed(path, "a CURVE key is 40 characters of Z85")
    if zmq.curve_public(secret.encode()).decode() != public:
        raise _mismatch(path)
    return public, secret


def _load_signing(path: Path) -> tuple[bytes, bytes]:
    public_text, secret_text = _read_pair(path)
    try:
        public, secret = bytes.fromhex(public_text), bytes.fromhex(secret_text)
    except ValueError:
        public = secret = b""
    if len(public) != 32 or len(secret) != 32:
        raise _malformed(path, "an Ed25519 key is 64 hexadecimal digits")
    if Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() != public:
        raise _mismatch(path)
    return public, secret


def _missing(path: Path) -> UsageError:
    return UsageError(f"{path}: missing", code="key-missing", hint="run 'pathmesh init' or 'pathmesh join TOKEN' first")


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: cannot be read: {error.strerror}", code="key-unreadable")


def _malformed(path: Path, what: str) -> UsageError:
    return UsageError(
        f"{path}: malformed key file: {what}",
        code="key-malformed",
        hint="bring the file back from a backup; without it this node must join again under a new name",
    )


def _mismatch(path: Path) -> UsageError:
    return UsageError(
        f"{path}: the public key does not belong to the secret key",
        code="key-mismatch",
        hint="bring the file back from a backup; it was edited or mixed up with another node's",
    )
