"""The cluster's feature level as operators see and raise it."""

from typing import Any

from agent.cell_view import said
from agent.picture import Picture
from agent.writes import Writer
from gossip.engine import Engine
from store import level
from store.clocks import Dot
from store.errors import PathmeshError, UsageError, listed
from store.members import Role


class Levels:
    """What members speak, and what is persisted."""

    def __init__(self, engine: Engine, writer: Writer, picture: Picture) -> None:
        self._engine = engine
        self._writer = writer
        self._picture = picture

    def present(self) -> int:
        """The persisted level."""
        return level.read_level(self._engine.replica.fold.value(level.LEVEL_KEY))

    def spoken(self) -> dict[str, int | None]:
        """The highest level that each active member reports; None for one that has not reported any."""
        found: dict[str, int | None] = {}
        for member in self._engine.replica.registry.active:
            own = member.name == self._engine.identity.name
            found[member.name] = level.LEVEL if own else said(self._picture.node_facts(member.name), "level", 0) or None
        return found

    def describe(self) -> dict[str, Any]:
        """The answer to what the level is."""
        spoken = self.spoken()
        known = [highest for highest in spoken.values() if highest is not None]
        return {
            "level": self.present(),
            "highest": min(known) if len(known) == len(spoken) and known else self.present(),
            "members": [{"name": name, "level": highest} for name, highest in sorted(spoken.items())],
        }

    async def raise_to(self, wanted: int, *, reason: str = "", dry_run: bool = False) -> Dot | None:
        """Persist a higher level: from then on older versions can take no full part. None in a dry run."""
        me, present = self._engine.member, self.present()
        if me is None or me.role is not Role.ADMIN or not me.active:
            raise PathmeshError("only a node with the role admin may raise the level", code="forbidden", hint="do it on an admin node")
        if wanted <= present:
            raise UsageError(
                f"the cluster is at level {present} already: a level is never taken back",
                code="exists" if wanted == present else "bad-level",
            )
        missing = level.not_speaking(wanted, self.spoken())
        if missing:
            raise UsageError(
                f"level {wanted} is not spoken by {listed(missing, 20)}",
                code="level-not-spoken",
                hint="upgrade them first; retire those that are gone for good",
            )
        if dry_run:
            return None
        return await self._writer.record({level.LEVEL_KEY: level.level_value(wanted)}, reason=reason or f"level {wanted}")
