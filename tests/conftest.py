"""Shared by all tests.

Whatever a test renders goes through the real parser of multipath-tools once its module has ended: `apply.render.render` is wrapped here,
before anything that uses it is imported.
"""

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import apply.render
from scripts.hostlab import dropin
from scripts.hostlab.errors import LabError
from scripts.hostlab.rendered import objections
from store.base import Base
from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE, Edit, SignedEdit, encode_body, frozen_changes, seal, session_actor
from store.members import MEMBER_PREFIX, Member, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Replica


class Scribe:
    """Makes members and signed edits. Signatures are hashes over the public key, so they are quick and still cannot pass for another's."""

    cluster = "c1"

    @staticmethod
    def actor(name: str) -> bytes:
        return hashlib.sha256(b"actor " + name.encode()).digest()[:16]

    @classmethod
    def session(cls, name: str, life: str) -> bytes:
        """The actor under which one life of `name` writes."""
        return session_actor(cls.actor(name), cls.actor(f"nonce {life}"))

    @staticmethod
    def signing_key(name: str) -> bytes:
        return hashlib.sha256(b"key " + name.encode()).digest()

    @staticmethod
    def sign_with(key: bytes, data: bytes) -> bytes:
        return hashlib.sha512(key + data).digest()

    @classmethod
    def sign(cls, name: str, data: bytes) -> bytes:
        return cls.sign_with(cls.signing_key(name), data)

    @classmethod
    def verify(cls, key: bytes, data: bytes, signature: bytes) -> bool:
        return signature == cls.sign_with(key, data)

    @classmethod
    def member(cls, name: str, role: Role = Role.ADMIN, state: MemberState = MemberState.JOINED, *, actor: str = "") -> Member:
        """The registration of `name`; `actor` names whose keys it carries, if not its own."""
        who = actor or name
        curve = hashlib.sha256(b"curve " + who.encode()).hexdigest()[:40]
        return Member(name, cls.actor(who), curve, cls.signing_key(who), f"tcp://{name}:7946", role, state)

    @classmethod
    def edit(
        cls,
        author: str,
        changes: Mapping[str, Options | None],
        context: Mapping[bytes, int] | None = None,
        *,
        lamport: int = 0,
        kind: str = CHANGE,
        covers: Mapping[str, list[Dot]] | None = None,
        signer: str = "",
        name: str = "",
        wall: float = 1.0,
        reason: str = "",
        life: str = "",
    ) -> SignedEdit:
        """A signed edit by the actor `author`, or by the session actor of one `life`, with exactly this context.

        Its counter follows from the context.
        """
        seen = dict(context or {})
        actor = cls.session(author, life) if life else cls.actor(author)
        edit = Edit(
            actor=actor,
            counter=seen.get(actor, 0) + 1,
            context=seen,
            lamport=lamport or sum(seen.values()) + 1,
            author=name or author,
            wall=wall,
            changes=frozen_changes(changes),
            kind=kind,
            covers={key: [(d[0], d[1]) for d in dots] for key, dots in (covers or {}).items()},
            reason=reason,
            identity=cls.actor(author) if life else b"",
            nonce=cls.actor(f"nonce {life}") if life else b"",
        )
        body = encode_body(edit)
        return seal(edit, body, cls.sign(signer or author, body))

    @classmethod
    def founding(cls, name: str, role: Role = Role.ADMIN) -> SignedEdit:
        return cls.edit(name, {CLUSTER_KEY: {"id": cls.cluster}, MEMBER_PREFIX + name: member_value(cls.member(name, role))})

    @classmethod
    def registration(cls, sponsor: str, member: Member, context: Mapping[bytes, int]) -> SignedEdit:
        return cls.edit(sponsor, {MEMBER_PREFIX + member.name: member_value(member)}, context)

    @classmethod
    def replica(cls, *log: SignedEdit, base: Base | None = None) -> Replica:
        return Replica(cls.cluster, cls.verify, log, base)


@pytest.fixture(scope="session")
def scribe() -> type[Scribe]:
    return Scribe


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that the product runs on."""
    return "asyncio"


# -- the real parser --------------------------------------------------------------------------------------------------


class Renders:
    """The files that tests have rendered and the parser has not seen yet.

    Files that differ in their header alone are one. Of a test that renders very many (Hypothesis makes them up) the first count.
    """

    OF_A_TEST = 25
    BYTES = 1 << 20
    """A larger file is one of a test of scale, all of whose sections are alike."""

    def __init__(self) -> None:
        self.unseen: list[tuple[str, Mapping[str, bytes]]] = []
        """The test that rendered them first, and the files by name in conf.d."""
        self.unparsed = ""
        """Why the parser was not asked, if it could not be."""
        self._known: set[bytes] = set()
        self._of_test: Counter[str] = Counter()

    def take(self, files: Mapping[str, bytes]) -> None:
        """Take what the present test has rendered."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        bodies = [f"{name}\n".encode() + apply.render.body(content) for name, content in sorted(files.items())]
        known = hashlib.sha256(b"\0".join(bodies)).digest()
        if not files or known in self._known or self._of_test[test] >= self.OF_A_TEST or any(len(each) > self.BYTES for each in bodies):
            return
        self._known.add(known)
        self._of_test[test] += 1
        self.unseen.append((test, files))

    def collect(self, conf_dir: Path) -> None:
        """Take the drop-ins that a process of its own has rendered into this directory, and that are still there."""
        found = {path.name: path.read_bytes() for path in conf_dir.glob("*.conf") if path.is_file()}
        self.take({name: content for name, content in found.items() if apply.render.is_ours(content)})

    def faults(self) -> list[str]:
        """What the parser has to object to, each with the test that made it; all that was taken has been seen then."""
        taken, self.unseen = self.unseen, []
        if not taken or self.unparsed:
            return []
        self.unparsed = dropin.why_not()
        if self.unparsed:
            return [self.unparsed] if os.environ.get(dropin.REQUIRE) else []
        try:
            verdicts = dropin.check_each([{f"conf.d/{name}": content for name, content in files.items()} for _, files in taken])
            release = dropin.version()
        except LabError as fault:
            return [f"{fault.message}: rendered in {', '.join(sorted({test for test, _ in taken}))}"]
        return [
            f"rendered in {test}: {objection}"
            for (test, files), verdict in zip(taken, verdicts, strict=True)
            for objection in objections(files, verdict, release)
        ]


RENDERS = Renders()
_render = apply.render.render


@functools.wraps(_render)
def _watched(*words: Any, **named: Any) -> apply.render.Rendered:
    rendered = _render(*words, **named)
    RENDERS.take({name: file.content for name, file in rendered.files.items()})
    return rendered


apply.render.render = _watched


@pytest.fixture(scope="session")
def renders() -> Renders:
    return RENDERS


@pytest.fixture(scope="module", autouse=True)
def rendered_files_are_parsed() -> Iterator[None]:
    """The module's renders go through the parser when it has ended, all at once."""
    yield
    faults = RENDERS.faults()
    if faults:
        pytest.fail("the real parser objects:\n" + "\n".join(faults), pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if RENDERS.unparsed:
        terminalreporter.write_line(f"what tests rendered did not go through the real parser: {RENDERS.unparsed}")
