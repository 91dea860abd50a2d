"""Whether this node knows enough of the cluster to take something away, or to write where others may: absence of knowledge does neither."""

from agent.applied_clock import AppliedClock
from agent.config_view import ConfigView
from apply.outcome import ApplyError
from gossip.engine import Engine
from store.clocks import dominates
from store.members import MemberState


class Knowledge:
    """What one node knows. `in_effect` is the clock of the configuration that its host last had."""

    def __init__(self, name: str, engine: Engine, in_effect: AppliedClock) -> None:
        self._name = name
        self._engine = engine
        self._in_effect = in_effect

    def held(self) -> ApplyError | None:
        """Why this host keeps what it has, whatever the configuration seems to be; None if it does not."""
        engine = self._engine
        if engine.member is not None and engine.member.state is MemberState.LEFT:
            return ApplyError("left", "this node has left the cluster: its host stays as it is", "pathmesh leave --purge takes it off")
        if engine.config_behind:
            message = "the configuration holds edits of a newer version, which this one cannot apply: the host stays as it is"
            return ApplyError("config-behind", message, "upgrade pathmesh on this node")
        if engine.frozen:
            keys = ", ".join(sorted(engine.frozen)[:5])
            message = f"this node and a peer differ beyond repair in {len(engine.frozen)} keys ({keys}): the host stays as it is"
            return ApplyError("frozen", message, "keep both state directories and report it; see pathmesh doctor")
        return None

    async def suffices(self, config: ConfigView, *, told: bool = False) -> bool:
        """Whether this node knows enough to take something away from its host.

        It must be a member, must have met a peer since it started that knew nothing more (or be alone in the cluster), and must know all
        that it knew when it last applied; and its state must not be the one that may be wrong of two that the same edits led to. Absence
        of knowledge never removes anything: a database that was restored may know no other member, where this node did. If nobody is left
        who could know more, somebody has to say so (`told`: apply was asked for by hand).
        """
        engine = self._engine
        remembered = engine.identity.bootstrap if engine.identity.restored else ()
        alone = len(config.members) <= 1 and all(member.name == self._name for member in remembered)
        if engine.member is None or not engine.member.active or engine.in_doubt or not (alone or engine.caught_up):
            return False
        if told:
            await self._in_effect.give_up(config.clock)
        return dominates(config.clock, await self._in_effect.read())
