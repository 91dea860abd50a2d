"""Members as users manage them: tokens, the join socket's answers, retirement."""

import asyncio
import time
from typing import Any

import msgspec

from agent.birth import Birth
from agent.cell_view import iso
from agent.maintenance import PREFIX, maintenance_reason, maintenance_value
from agent.picture import Picture
from agent.writes import Writer
from gossip.codec import VERSION_MAX, VERSION_MIN
from gossip.engine import Engine
from gossip.join_messages import JoinCode, JoinMember, JoinReply, JoinRequest
from gossip.runner import boottime_ms
from gossip.tokens import TokenBook
from store.clocks import Dot
from store.errors import PathmeshError, UsageError
from store.level import LEVEL_KEY, read_level
from store.limits import limit
from store.members import MEMBER_PREFIX, Member, MemberState, Role, is_node_name, member_value


class Members:
    """The registry's administration on this node."""

    def __init__(self, engine: Engine, writer: Writer, picture: Picture, tokens: TokenBook, birth: Birth) -> None:
        self._engine = engine
        self._writer = writer
        self._picture = picture
        self._tokens = tokens
        self._birth = birth
        self._sponsoring = asyncio.Lock()
        self.join_endpoint = ""
        self.join_key = ""

    def describe(self) -> list[dict[str, Any]]:
        """All members, with what this node thinks of each."""
        now, maintenance = boottime_ms(), self._picture.maintenance()
        return [
            {
                "name": m.name,
                "role": m.role.value,
                "state": m.state.value,
                "liveness": self.standing(m.name, now),
                "maintenance": maintenance[m.name].json() if m.name in maintenance else None,
                "connected": m.name == self._birth.name or self._engine.connected(m.name),
                "actor": m.actor.hex(),
                "public_key": m.curve_key,
                "endpoints": [m.endpoint],
                "age_seconds": self._picture.age_seconds(m.name),
            }
            for _, m in sorted(self._engine.replica.registry.by_name.items())
        ]

    def standing(self, name: str, now_ms: int) -> str:
        """`online`, `suspect`, `offline`, `left` or `retired`."""
        member = self._engine.replica.registry.by_name.get(name)
        if member is None or member.state is MemberState.LEFT:
            return "left"
        if member.state is MemberState.RETIRED:
            return "retired"
        return "online" if name == self._engine.identity.name else self._engine.liveness.opinion(name).value

    async def create_token(self, role: str, uses: int, ttl_seconds: int) -> dict[str, Any]:
        """A new join token; its secret is in the answer and nowhere else."""
        self._require_admin("make join tokens")
        if role not in {r.value for r in Role}:
            raise UsageError(f"role {role!r}: expected one of {', '.join(Role)}", code="bad-role")
        token = await self._tokens.create(
            (self.join_endpoint,),
            self.join_key,
            self._birth.cluster_id,
            role=Role(role),
            uses=uses,
            ttl_seconds=ttl_seconds,
            now=time.time(),
        )
        return {"token": token.text(), "id": token.id, "expires": iso(token.expires)}

    async def list_tokens(self) -> list[dict[str, Any]]:
        """The tokens that this node made and still knows."""
        now = time.time()
        return [
            {"id": r.id, "role": r.role.value, "uses_left": r.uses_left, "expires": iso(r.expires), "state": r.state(now).value}
            for r in await self._tokens.list(now)
        ]

    async def revoke_token(self, token_id: str) -> None:
        """End a token before its time."""
        await self._tokens.revoke(token_id, time.time())

    async def sponsor(self, request: JoinRequest) -> JoinReply:
        """Answer one joiner: redeem its token and write its registration. The join socket answers what is raised.

        A joiner that comes again because the first answer was lost (same actor, same token) gets the same answer.
        """
        if request.version_max < VERSION_MIN or request.version_min > VERSION_MAX:
            raise UsageError(f"this cluster speaks protocol {VERSION_MIN} to {VERSION_MAX}", code=JoinCode.VERSION_MISMATCH)
        level = read_level(self._engine.replica.fold.value(LEVEL_KEY))
        if request.level < level:
            raise UsageError(
                f"this cluster is at feature level {level}, and the joiner speaks up to {request.level}: it would lack what the others do",
                code=JoinCode.VERSION_MISMATCH,
            )
        if not is_node_name(request.name):
            raise UsageError(f"{request.name!r} is no node name", code="bad-name")
        self._require_admin("let nodes in")
        async with self._sponsoring:
            return await self._sponsor(request)

    async def _sponsor(self, request: JoinRequest) -> JoinReply:
        """One joiner at a time: between the look at the name and the edit that takes it, nobody else may."""
        record = await self._tokens.check(request.token_id, request.secret, request.actor, time.time())
        registry = self._engine.replica.registry
        held = registry.by_name.get(request.name)
        if held is None or held.actor != request.actor:
            if held is not None and held.active:
                raise UsageError(
                    f"a node named {request.name!r} is registered already",
                    code=JoinCode.NAME_TAKEN,
                    hint=f"join with another --name, or retire the old one first: pathmesh member retire {request.name}",
                )
            self._refuse_known_keys(request)
            if len(registry.by_name) >= limit("members"):
                raise UsageError(f"the cluster has {limit('members'):,} members", code=JoinCode.CLUSTER_FULL)
            record = await self._tokens.redeem(request.token_id, request.secret, request.actor, time.time())
            joiner = Member(
                name=request.name,
                actor=request.actor,
                curve_key=request.curve_key,
                signing_key=request.signing_key,
                endpoint=request.endpoint,
                role=record.role,
                state=MemberState.JOINED,
            )
            await self._writer.record({MEMBER_PREFIX + joiner.name: member_value(joiner)}, reason=f"joined with token {record.id}")
        return JoinReply(
            ok=True,
            code=JoinCode.OK,
            cluster=self._birth.cluster_id,
            cluster_name=self._birth.cluster_name,
            role=record.role,
            sponsor=self._birth.name,
            members=tuple(
                JoinMember(name=m.name, actor=m.actor, curve_key=m.curve_key, signing_key=m.signing_key, endpoint=m.endpoint)
                for m in self._engine.replica.registry.active
            ),
        )

    def _refuse_known_keys(self, request: JoinRequest) -> None:
        """A joiner proves that it has the token, not that it owns the keys it names: another member's are never taken."""
        for member in self._engine.replica.registry.by_name.values():
            same = (member.actor, member.curve_key, member.signing_key)
            if request.actor in same or request.curve_key in same or request.signing_key in same:
                raise UsageError(
                    f"the keys of {request.name!r} belong to the member {member.name!r}",
                    code=JoinCode.FAILED,
                    hint="was the keys directory copied from there? every node makes its own",
                )

    async def retire(self, name: str, *, reason: str = "", dry_run: bool = False) -> None:
        """Take a member out of the cluster for good: it takes effect on every node as soon as the edit arrives there."""
        self._require_admin("retire members")
        member = self._engine.replica.registry.by_name.get(name)
        if member is None:
            raise UsageError(f"no member named {name!r}", code="not-found", hint="see `pathmesh member ls`")
        if member.state is MemberState.RETIRED:
            raise UsageError(f"{name} is retired already", code="exists")
        if name == self._birth.name:
            raise UsageError("a node cannot retire itself", code="not-self", hint="run it on another node")
        retired = msgspec.structs.replace(member, state=MemberState.RETIRED)
        if not dry_run:
            await self._writer.record({MEMBER_PREFIX + name: member_value(retired)}, reason=reason or f"retired {name}")

    async def set_maintenance(
        self, name: str, on: bool, *, reason: str = "", expires_seconds: int | None = None, dry_run: bool = False
    ) -> Dot | None:
        """Begin (or change) a member's maintenance, or end it; None if nothing is to be written."""
        member = self._engine.replica.registry.by_name.get(name)
        if member is not None and member.state is MemberState.LEFT:
            raise UsageError(f"{name} has left the cluster", code="not-found", hint="see `pathmesh member ls`")
        if member is None or not member.active:
            raise UsageError(f"no member named {name[:80]!r}", code="not-found", hint="see `pathmesh member ls`")
        if not on and name not in self._picture.config.maintenance:
            return None
        now = time.time()
        expires = None if expires_seconds is None else now + expires_seconds
        if dry_run:
            return None
        value = maintenance_value(reason, now, expires) if on else None
        return await self._writer.record({PREFIX + name: value}, reason=reason or maintenance_reason(name, on=on))

    def _require_admin(self, what: str) -> None:
        me = self._engine.member
        if me is None or not me.active or me.role is not Role.ADMIN:
            raise PathmeshError(f"only a node with the role admin may {what}", code="forbidden", hint="do it on an admin node")
