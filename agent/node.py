"""One running node: everything that its faces and loops share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.alarms import Alarms
from agent.birth import Birth
from agent.departure import Departure
from agent.event_log import EventLog
from agent.event_sources import EventSources
from agent.history import History
from agent.host import Host
from agent.levels import Levels
from agent.members import Members
from agent.picture import Picture
from agent.settings import Settings
from agent.skew import ClockSkew
from agent.web.service import WebService
from agent.writes import Writer
from gossip.runner import Runner


@dataclass(frozen=True, slots=True)
class Node:
    """Made once by the daemon, read by the API."""

    settings: Settings
    birth: Birth
    runner: Runner
    picture: Picture
    writer: Writer
    host: Host
    members: Members
    alarms: Alarms
    departure: Departure
    levels: Levels
    skew: ClockSkew
    counters: Callable[[], Mapping[str, int]]
    """The protocol's and the transport's counters."""
    history: History
    events: EventLog
    sources: EventSources
    web: WebService
