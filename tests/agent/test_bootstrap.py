"""Making nodes: `init` and `join`, which do all of it or leave nothing behind."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.birth import decode_birth
from agent.bootstrap import advertised, check_names, init, join
from agent.daemon import opened
from gossip.join import request_join
from gossip.join_messages import JoinRequest
from gossip.keys import NodeKeys
from gossip.tokens import Token
from store.database import Database
from store.edits import decode_edit
from store.errors import PathmeshError, UnavailableError, UsageError
from store.level import LEVEL
from store.replica import CLUSTER_KEY


def loaded(settings: Any) -> Any:
    """All that the node's database holds."""

    async def load() -> Any:
        database = await Database.open(settings.node.state_dir)
        try:
            return await database.load()
        finally:
            await database.close()

    return asyncio.run(load())


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "pathmesh.toml"}


def refusal(settings: Any, token: str, name: str = "n2") -> PathmeshError:
    """Why joining is refused; nothing may be left of it."""
    directory = settings.node.state_dir.parent
    before = files(directory)
    with pytest.raises(PathmeshError) as caught:
        join(settings, token, name)
    assert files(directory) == before
    assert "\n" not in caught.value.message
    return caught.value


# -- init -------------------------------------------------------------------------------------------------------------


def test_the_first_node_is_the_admin_of_a_new_cluster(tmp_path: Path, settings_in: Any) -> None:
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    found = loaded(settings)
    birth = decode_birth(found.meta["node"], settings)
    assert (birth.name, birth.cluster_name, len(birth.actor), len(birth.cluster_id)) == ("n1", "san", 16, 32)
    [edit] = [decode_edit(raw).edit for raw in found.log]
    assert edit.changes[CLUSTER_KEY] == {"id": birth.cluster_id, "name": "san"}
    member = edit.changes["member/n1"]
    mesh_public = NodeKeys.load(settings.node.keys_dir).mesh_public
    assert member["role"] == "admin" and member["curve-key"] == mesh_public and member["endpoint"] == settings.gossip.listen
    assert settings.node.state_dir.stat().st_mode & 0o777 == 0o700
    assert (settings.node.state_dir / "pathmesh.db").stat().st_mode & 0o777 == 0o600


def test_two_clusters_are_never_the_same(tmp_path: Path, settings_in: Any) -> None:
    births = []
    for name in ("a", "b"):
        settings = settings_in(tmp_path / name)
        init(settings, "n1", "san")
        births.append(decode_birth(loaded(settings).meta["node"], settings))
    assert births[0].cluster_id != births[1].cluster_id and births[0].actor != births[1].actor


def test_a_node_is_made_once(tmp_path: Path, settings_in: Any) -> None:
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    before = files(tmp_path)
    for attempt in (lambda: init(settings, "n1", "san"), lambda: join(settings, some_token(), "n1")):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.code == "already-member" and str(tmp_path) in caught.value.message
    assert files(tmp_path) == before


def test_an_agent_that_was_started_too_early_is_in_nobodys_way(tmp_path: Path, settings_in: Any) -> None:
    settings = settings_in(tmp_path)

    async def start() -> None:
        async with opened(settings):
            pytest.fail("it belongs to no cluster")

    with pytest.raises(UsageError) as caught:
        asyncio.run(start())
    assert caught.value.code == "not-a-member"
    assert not settings.node.state_dir.exists()
    settings.node.state_dir.mkdir()
    (settings.node.state_dir / "pathmesh.db").touch()
    init(settings, "n1", "san")
    assert decode_birth(loaded(settings).meta["node"], settings).name == "n1"


def test_keys_alone_are_enough_to_refuse(tmp_path: Path, settings_in: Any) -> None:
    settings = settings_in(tmp_path)
    NodeKeys.generate().save(settings.node.keys_dir)
    with pytest.raises(UsageError, match=r"mesh\.key"):
        init(settings, "n1", "san")
    assert not settings.node.state_dir.exists()


@pytest.mark.parametrize("name", ["", "-x", "x-", "a b", "n1.example", "x" * 64, "ü"])
def test_a_name_that_no_node_can_have(tmp_path: Path, settings_in: Any, name: str) -> None:
    settings = settings_in(tmp_path)
    with pytest.raises(UsageError) as caught:
        init(settings, name, "san")
    assert caught.value.code == "bad-name" and not files(tmp_path)


@pytest.mark.parametrize("cluster", ["", "a\nb", "x" * 64])
def test_a_name_that_no_cluster_can_have(cluster: str) -> None:
    with pytest.raises(UsageError, match="cluster name"):
        check_names("n1", cluster)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, settings_in: Any) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    settings = settings_in(tmp_path)
    with pytest.raises(UnavailableError) as caught:
        init(settings, "n1", "san")
    assert caught.value.code == "state-dir" and str(settings.node.state_dir) in caught.value.message
    assert set(files(tmp_path)) == {tmp_path / "state"}
    (tmp_path / "state").unlink()
    init(settings, "n1", "san")


def test_a_directory_that_another_process_holds_is_left_as_it_is(tmp_path: Path, settings_in: Any) -> None:
    async def meanwhile() -> None:
        database = await Database.open(settings.node.state_dir)
        (settings.node.state_dir / "pathmesh.db").rename(tmp_path / "aside")  # as if it were only about to make it
        try:
            with pytest.raises(UnavailableError) as caught:
                await asyncio.to_thread(init, settings, "n1", "san")
            assert caught.value.code == "already-running"
            assert (settings.node.state_dir / "lock").exists() and not list(settings.node.keys_dir.iterdir())
        finally:
            await database.close()

    settings = settings_in(tmp_path)
    asyncio.run(meanwhile())


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen", "advertise", "told"),
    [
        ("tcp://10.1.2.3:7946", None, "tcp://10.1.2.3:7946"),
        ("tcp://[fd00::1]:7946", None, "tcp://[fd00::1]:7946"),
        ("tcp://0.0.0.0:7946", "tcp://san1.example:99", "tcp://san1.example:99"),
    ],
)
def test_peers_are_told_where_to_connect(listen: str, advertise: str | None, told: str) -> None:
    assert advertised(listen, advertise) == told


@pytest.mark.parametrize("listen", ["tcp://0.0.0.0:7946", "tcp://*:7946", "tcp://[::]:7946"])
def test_nobody_is_told_a_wildcard(listen: str) -> None:
    told = advertised(listen, None)
    assert told.endswith(":7946") and told != listen and "0.0.0.0" not in told and "*" not in told


# -- join -------------------------------------------------------------------------------------------------------------


def some_token(expires: float | None = None) -> str:
    """A token of nobody."""
    keys = NodeKeys.generate()
    return Token.create(["tcp://127.0.0.1:9"], keys.join_public, "c" * 32, int(expires or time.time() + 60)).text()


@pytest.fixture(scope="module")
def sponsor(tmp_path_factory: pytest.TempPathFactory, live_node: Any, settings_in: Any) -> Iterator[Any]:
    settings = settings_in(tmp_path_factory.mktemp("sponsor"))
    init(settings, "n1", "san")
    with live_node(settings) as node:
        yield node


def made(sponsor: Any, **body: Any) -> str:
    answer = sponsor.ask("POST", "/v1/members/tokens", body)
    assert answer.status == 200, answer
    return str(answer.json["token"])


def test_a_node_joins_and_keeps_what_it_was_told(tmp_path: Path, settings_in: Any, sponsor: Any) -> None:
    settings = settings_in(tmp_path / "first")
    token = made(sponsor, uses=2, role="observer")
    join(settings, f" {token[:30]}\n  {token[30:]}\n", "n2")
    found = loaded(settings)
    birth = decode_birth(found.meta["node"], settings)
    assert birth.name == "n2" and birth.cluster_name == "san" and found.log == ()
    assert birth.cluster_id == sponsor.node.birth.cluster_id
    assert {m.name: m.endpoint for m in birth.bootstrap} == {"n1": sponsor.settings.gossip.listen, "n2": settings.gossip.listen}
    members = {m["name"]: m for m in sponsor.get("/v1/members")["members"]}
    assert members["n2"]["role"] == "observer" and members["n2"]["public_key"] == NodeKeys.load(settings.node.keys_dir).mesh_public
    assert refusal(settings, token, "n2").code == "already-member"
    other = settings_in(tmp_path / "other")
    assert refusal(other, token, "n2").code == "name-taken"
    join(other, token, "n3")
    assert refusal(settings_in(tmp_path / "third"), token, "n4").code == "token-used"


def test_tokens_that_let_nobody_in(tmp_path: Path, settings_in: Any, sponsor: Any) -> None:
    settings = settings_in(tmp_path)
    revoked = made(sponsor)
    sponsor.ask("DELETE", f"/v1/members/tokens/{Token.parse(revoked).id}")
    assert refusal(settings, revoked).code == "token-revoked"
    real = Token.parse(made(sponsor))
    forged = Token(real.endpoints, real.join_key, real.id, b"x" * 32, real.expires, real.cluster)
    assert refusal(settings, forged.text()).code == "token-unknown"
    assert refusal(settings, some_token(time.time() - 5)).code == "token-expired"
    assert refusal(settings, some_token()).code == "join-unreachable"
    other_key = Token(real.endpoints, NodeKeys.generate().join_public, real.id, real.secret, real.expires, real.cluster)
    assert refusal(settings, other_key.text()).code == "join-bad-key"
    for text, code in (("", "token-malformed"), ("pmj9.abc", "token-version"), (real.text()[:-9], "token-truncated")):
        assert refusal(settings, text).code == code
    join(settings, real.text(), "n9")


def test_a_lost_answer_is_asked_for_again(tmp_path: Path, settings_in: Any, sponsor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sponsor has let the node in, the answer did not arrive: the same command goes on as the same node."""
    settings = settings_in(tmp_path)
    token = made(sponsor)

    async def lost(*arguments: Any) -> Any:
        assert arguments[1].level == LEVEL
        await request_join(*arguments)
        raise UnavailableError("no answer", code="join-timeout")

    with monkeypatch.context() as patched:
        patched.setattr("agent.bootstrap.request_join", lost)
        with pytest.raises(UnavailableError):
            join(settings, token, "late")
    with pytest.raises(UsageError) as caught:
        init(settings, "late", "other")
    assert caught.value.code == "already-member"
    assert refusal(settings, some_token(), "late").code == "join-unreachable", "and nothing of it is lost by another failure"
    join(settings, token, "late")
    birth = decode_birth(loaded(settings).meta["node"], settings)
    (member,) = [m for m in sponsor.get("/v1/members")["members"] if m["name"] == "late"]
    assert member["actor"] == birth.actor.hex()


async def _asked_at_once(token: Token, name: str, count: int) -> list[Any]:
    def request() -> JoinRequest:
        keys = NodeKeys.generate()
        return JoinRequest(
            version_min=1,
            version_max=1,
            token_id=token.id,
            secret=token.secret,
            name=name,
            actor=secrets.token_bytes(16),
            curve_key=keys.mesh_public,
            signing_key=keys.signing_public,
            endpoint="tcp://127.0.0.1:9",
        )

    return await asyncio.gather(*(request_join(token, request(), 15) for _ in range(count)), return_exceptions=True)


def test_of_two_joiners_with_one_name_one_is_let_in(sponsor: Any) -> None:
    answers = asyncio.run(_asked_at_once(Token.parse(made(sponsor, uses=2)), "twin", 2))
    assert sorted(getattr(a, "code", "?") for a in answers) == ["name-taken", "ok"]
