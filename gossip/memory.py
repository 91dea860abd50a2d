"""The transport within one process: the same port and the same promises, with a network between the ends that can be cut and reordered.

Messages between two ends keep their order, as on one TCP connection. Across pairs, delivery is first in, first out; with a seed it is a
random but repeatable interleaving. Nothing is delivered from within a call: either the owner steps the network, or it schedules its
own steps through `later` (an event loop's `call_later`).
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gossip.transport import Frames, MessageReceived, PeerDown, PeerUp, Sink, TransportEvent
from store.errors import UnavailableError
from store.limits import limit

SEND_BUFFER_MESSAGES = 32
"""On the way from one end to another; the sockets' own buffers on both sides come to this."""
RETRY_SECONDS = 0.05

Later = Callable[[float, Callable[[], object]], object]
Lane = tuple[str, str]


@dataclass(slots=True)
class _Link:
    """One end's connection to a peer."""

    endpoint: str
    up: bool = False


@dataclass(slots=True)
class Network:
    """The wires between `MemoryTransport`s; an endpoint is any text that is used once.

    seed: None delivers first in, first out; a number picks the next lane (ordered pair of ends) at random, repeatably.
    later: calls a function after some seconds, as `loop.call_later` does; None leaves every step to the caller.
    """

    seed: int | None = None
    later: Later | None = None
    _ends: dict[str, "MemoryTransport"] = field(default_factory=dict, init=False)
    _lanes: dict[Lane, deque[TransportEvent]] = field(default_factory=dict, init=False)
    _order: deque[Lane] = field(default_factory=deque, init=False)
    _cut: set[Lane] = field(default_factory=set, init=False)
    _random: random.Random = field(init=False)
    _step_scheduled: bool = field(default=False, init=False)
    _retry_scheduled: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def cut(self, a: str, b: str) -> None:
        """Cut the wire between two keys, both ways: connections go down, what is under way is lost."""
        self.cut_one_way(a, b)
        self.cut_one_way(b, a)

    def cut_one_way(self, source: str, target: str) -> None:
        """Cut only what `source` sends to `target`."""
        self._cut.add((source, target))
        self._break((source, target))

    def heal(self, a: str, b: str) -> None:
        """Mend the wire between two keys, both ways, and connect again."""
        self._cut -= {(a, b), (b, a)}
        self.retry()

    def heal_all(self) -> None:
        self._cut.clear()
        self.retry()

    def retry(self) -> None:
        """Try every connection that is down once more: what passing time does for real sockets."""
        for key, end in list(self._ends.items()):
            for peer in list(end.links):
                self.connect(key, peer)

    def step(self) -> bool:
        """Deliver one event. False: there was none."""
        while self._order:
            lane = self._next_lane()
            if self._deliver(lane, self._lanes[lane].popleft()):
                return True
        return False

    def run(self, most: int = 100_000) -> int:
        """Deliver until nothing is under way; returns how many events. RuntimeError past `most`: the ends chatter for ever."""
        for count in range(most):
            if not self.step():
                return count
        raise RuntimeError(f"the network is not quiet after {most} events")

    @property
    def under_way(self) -> int:
        """Events not yet delivered."""
        return len(self._order)

    # What the ends use.

    def attach(self, end: "MemoryTransport") -> None:
        if any(other.endpoint == end.endpoint or other.key == end.key for other in self._ends.values()):
            raise UnavailableError(f"{end.endpoint}: in use by another transport", code="address-in-use")
        self._ends[end.key] = end
        self.retry()

    def detach(self, end: "MemoryTransport") -> None:
        if self._ends.get(end.key) is not end:
            return
        del self._ends[end.key]
        for peer in end.links:
            self.disconnect(end.key, peer)
        for key in self._ends:
            self._break((key, end.key))

    def connect(self, source: str, target: str) -> None:
        """Bring the link up if its wire, its far end and that end's membership allow it; else try again later."""
        link = self._ends[source].links[target]
        if link.up:
            return
        far = self._ends.get(target)
        if far is None or far.endpoint != link.endpoint or (source, target) in self._cut or not far.admits(source):
            self._retry_later()
            return
        link.up = True
        self._put((source, target), PeerUp(target))

    def disconnect(self, source: str, target: str) -> None:
        """Forget what is under way in one lane."""
        if self._lanes.pop((source, target), None):
            self._order = deque(lane for lane in self._order if lane != (source, target))

    def tell_down(self, source: str, target: str) -> None:
        """Tell `source` that its connection to `target` is lost."""
        self._put((source, target), PeerDown(target))

    def send(self, source: str, target: str, frames: Frames) -> bool:
        """One message into its lane; False when that lane is full."""
        if len(self._lanes.get((source, target), ())) >= SEND_BUFFER_MESSAGES:
            return False
        self._put((source, target), MessageReceived(source, *frames))
        return True

    def _put(self, lane: Lane, event: TransportEvent) -> None:
        self._lanes.setdefault(lane, deque()).append(event)
        self._order.append(lane)
        if self.later is not None and not self._step_scheduled:
            self._step_scheduled = True
            self.later(0, self._scheduled_step)

    def _next_lane(self) -> Lane:
        if self.seed is not None:
            self._order.rotate(-self._random.randrange(len(self._order)))
        return self._order.popleft()

    def _deliver(self, lane: Lane, event: TransportEvent) -> bool:
        # A lane is forgotten as soon as its source end or that end's link is gone, so whatever is still in it counts.
        source, target = lane
        if not isinstance(event, MessageReceived):
            self._ends[source].sink(event)
            return True
        far = self._ends.get(target)
        if far is None or not far.admits(source):
            return False
        far.sink(event)
        return True

    def _break(self, lane: Lane) -> None:
        near = self._ends.get(lane[0])
        link = near.links.get(lane[1]) if near is not None else None
        if link is None or not link.up:
            return
        self.disconnect(*lane)
        link.up = False
        self.tell_down(*lane)
        self._retry_later()

    def _scheduled_step(self) -> None:
        self._step_scheduled = False
        try:
            self.step()
        finally:
            if self._order and self.later is not None and not self._step_scheduled:
                self._step_scheduled = True
                self.later(0, self._scheduled_step)

    def _retry_later(self) -> None:
        if self.later is not None and not self._retry_scheduled and self._ends:
            self._retry_scheduled = True
            self.later(RETRY_SECONDS, self._scheduled_retry)

    def _scheduled_retry(self) -> None:
        self._retry_scheduled = False
        self.retry()


class MemoryTransport:
    """The `Transport` of one end on a `Network`. `allowed(key)` is asked at each connection and for each message."""

    def __init__(self, network: Network, key: str, endpoint: str, allowed: Callable[[str], bool], sink: Sink) -> None:
        self.key = key
        self.endpoint = endpoint
        self.sink = sink
        self.links: dict[str, _Link] = {}
        self._network = network
        self._allowed = allowed
        self._removed: set[str] = set()
        self._closed = False
        network.attach(self)

    def admits(self, key: str) -> bool:
        """Whether messages of `key` are taken."""
        return key not in self._removed and self._allowed(key)

    def add_peer(self, key: str, endpoint: str) -> None:
        """See `Transport`."""
        self._removed.discard(key)
        link = self.links.get(key)
        if link is not None and link.endpoint == endpoint:
            return
        self._link_anew(key, endpoint)

    def remove_peer(self, key: str) -> None:
        """See `Transport`."""
        self._removed.add(key)
        if self.links.pop(key, None) is not None:
            self._network.disconnect(self.key, key)

    def remake(self, key: str) -> None:
        """Connect to the peer anew. Unknown keys are ignored."""
        link = self.links.get(key)
        if link is not None:
            self._link_anew(key, link.endpoint)

    def send(self, key: str, frames: Frames) -> bool:
        """See `Transport`. A frame above the limit `frame_bytes` is a fault of this program: ValueError."""
        if max(len(frame) for frame in frames) > limit("frame_bytes"):
            raise ValueError("a frame is longer than any peer accepts")
        link = self.links.get(key)
        return link is not None and link.up and self._network.send(self.key, key, frames)

    def close(self) -> None:
        """See `Transport`."""
        if not self._closed:
            self._closed = True
            self._network.detach(self)
            self.links.clear()

    def _link_anew(self, key: str, endpoint: str) -> None:
        before = self.links.get(key)
        self._network.disconnect(self.key, key)
        self.links[key] = _Link(endpoint)
        if before is not None and before.up:
            self._network.tell_down(self.key, key)
        self._network.connect(self.key, key)
