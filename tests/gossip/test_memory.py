"""The in-process transport keeps the port's promises, and its network can be cut, healed and reordered repeatably."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.memory import SEND_BUFFER_MESSAGES, MemoryTransport, Network
from gossip.transport import MessageReceived, PeerDown, PeerUp, Transport, TransportEvent
from store.errors import UnavailableError
from store.limits import limit


class End:
    """One end and everything it was told."""

    def __init__(self, network: Network, name: str, allowed: set[str]) -> None:
        self.events: list[TransportEvent] = []
        self.transport = MemoryTransport(network, name, f"mem://{name}", lambda key: key in allowed, self.events.append)

    @property
    def bodies(self) -> list[bytes]:
        return [event.body for event in self.events if isinstance(event, MessageReceived)]

    def links(self) -> list[TransportEvent]:
        return [event for event in self.events if not isinstance(event, MessageReceived)]


def mesh(network: Network, names: str = "ab") -> list[End]:
    """Ends that all know each other, connected."""
    ends = [End(network, name, set(names)) for name in names]
    for end in ends:
        for other in ends:
            if other is not end:
                end.transport.add_peer(other.transport.key, other.transport.endpoint)
    network.run()
    return ends


def test_it_is_a_transport_and_carries_bytes_with_the_senders_key() -> None:
    network = Network()
    a, b = mesh(network)
    port: Transport = a.transport
    assert port.send("b", (b"header", b"body"))
    assert b.bodies == []
    assert network.under_way == 1
    network.run()
    assert b.events == [PeerUp("a"), MessageReceived("a", b"header", b"body")]


def test_sending_is_false_while_down_and_nothing_is_kept() -> None:
    network = Network()
    a = End(network, "a", {"b"})
    assert not a.transport.send("b", (b"", b""))
    a.transport.add_peer("b", "mem://b")
    assert not a.transport.send("b", (b"", b""))
    b = End(network, "b", {"a"})
    network.run()
    assert a.events == [PeerUp("b")]
    assert a.transport.send("b", (b"", b"x"))
    network.run()
    assert b.bodies == [b"x"]


def test_the_buffer_is_bounded_and_frees_up() -> None:
    network = Network()
    a, _b = mesh(network)
    sent = [a.transport.send("b", (b"", b"x")) for _ in range(SEND_BUFFER_MESSAGES + 1)]
    assert sent == [True] * SEND_BUFFER_MESSAGES + [False]
    network.step()
    assert a.transport.send("b", (b"", b"x"))


def test_an_oversized_frame_is_a_fault_of_the_sender() -> None:
    network = Network()
    a, _b = mesh(network)
    with pytest.raises(ValueError, match="frame"):
        a.transport.send("b", (b"", bytes(limit("frame_bytes") + 1)))


def test_a_cut_takes_both_links_down_and_loses_what_is_under_way() -> None:
    network = Network()
    a, b = mesh(network)
    assert a.transport.send("b", (b"", b"lost"))
    network.cut("a", "b")
    assert not a.transport.send("b", (b"", b"no"))
    network.run()
    assert (a.events[-1], b.events[-1], b.bodies) == (PeerDown("b"), PeerDown("a"), [])
    network.retry()
    network.run()
    assert a.events[-1] == PeerDown("b")
    network.heal("a", "b")
    network.run()
    assert (a.events[-1], b.events[-1]) == (PeerUp("b"), PeerUp("a"))


def test_a_one_way_cut_leaves_the_other_way() -> None:
    network = Network()
    a, b = mesh(network)
    network.cut_one_way("a", "b")
    assert not a.transport.send("b", (b"", b""))
    assert b.transport.send("a", (b"", b"still"))
    network.run()
    assert a.bodies == [b"still"]
    network.heal_all()
    network.run()
    assert a.events[-1] == PeerUp("b")


def test_an_unknown_key_is_refused_until_it_is_allowed() -> None:
    network = Network()
    allowed: set[str] = set()
    a, b = End(network, "a", {"b"}), End(network, "b", allowed)
    a.transport.add_peer("b", b.transport.endpoint)
    network.run()
    assert a.events == []
    allowed.add("a")
    network.retry()
    network.run()
    assert a.events == [PeerUp("b")]


def test_membership_is_asked_for_each_message_and_removed_peers_are_not_heard() -> None:
    network = Network()
    a, b = mesh(network)
    assert a.transport.send("b", (b"", b"late"))
    b.transport.remove_peer("a")
    network.run()
    assert b.bodies == []
    b.transport.add_peer("a", a.transport.endpoint)
    assert a.transport.send("b", (b"", b"again"))
    network.run()
    assert b.bodies == [b"again"]


def test_a_closed_end_is_lost_and_its_successor_found() -> None:
    network = Network()
    a, b = mesh(network)
    b.transport.close()
    b.transport.close()
    network.run()
    assert a.events[-1] == PeerDown("b")
    End(network, "b", {"a"})
    network.run()
    assert a.events[-1] == PeerUp("b")


def test_an_endpoint_is_used_once() -> None:
    network = Network()
    mesh(network)
    with pytest.raises(UnavailableError) as caught:
        MemoryTransport(network, "c", "mem://a", lambda _key: True, [].append)
    assert caught.value.code == "address-in-use"


def test_a_remade_or_moved_link_goes_down_and_up() -> None:
    network = Network()
    a, b = mesh(network)
    a.transport.remake("b")
    network.run()
    assert a.links() == [PeerUp("b"), PeerDown("b"), PeerUp("b")]
    a.transport.add_peer("b", "mem://elsewhere")
    network.run()
    assert a.links()[3:] == [PeerDown("b")]
    a.transport.add_peer("b", b.transport.endpoint)
    network.run()
    assert a.links()[4:] == [PeerUp("b")]
    a.transport.add_peer("b", b.transport.endpoint)
    a.transport.remake("nobody")
    network.run()
    assert len(a.links()) == 5


@given(seed=st.none() | st.integers(0, 2**32), sends=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=60))
def test_order_holds_within_a_pair_and_every_message_comes_once(seed: int | None, sends: list[tuple[str, str]]) -> None:
    def play() -> list[list[TransportEvent]]:
        network = Network(seed)
        ends = {end.transport.key: end for end in mesh(network, "abc")}
        expected: Counter[tuple[str, str]] = Counter()
        for number, (source, target) in enumerate(sends):
            if source != target and ends[source].transport.send(target, (b"", number.to_bytes(2, "big"))):
                expected[source, target] += 1
        network.run()
        for (source, target), count in expected.items():
            got = [event.body for event in ends[target].events if isinstance(event, MessageReceived) and event.key == source]
            assert len(got) == count
            assert got == sorted(got)
        return [end.events for end in ends.values()]

    assert play() == play()


def test_a_seed_reorders_across_pairs() -> None:
    def arrivals(seed: int | None) -> list[str]:
        network = Network(seed)
        a, b, c = mesh(network, "abc")
        for _ in range(8):
            a.transport.send("c", (b"", b""))
            b.transport.send("c", (b"", b""))
        network.run()
        return [event.key for event in c.events if isinstance(event, MessageReceived)]

    assert arrivals(None) == ["a", "b"] * 8
    assert len({tuple(arrivals(seed)) for seed in range(5)}) > 1


def test_chatter_without_end_is_noticed() -> None:
    network = Network()
    a, b = mesh(network)

    def answer(end: End, peer: str) -> None:
        def sink(_event: TransportEvent) -> None:
            end.transport.send(peer, (b"", b""))

        end.transport.sink = sink

    answer(a, "b")
    answer(b, "a")
    a.transport.send("b", (b"", b""))
    with pytest.raises(RuntimeError, match="not quiet"):
        network.run(500)


@pytest.mark.anyio
async def test_with_an_event_loop_it_runs_by_itself() -> None:
    network = Network(later=asyncio.get_running_loop().call_later)
    allowed: set[str] = set()
    arrived = asyncio.Event()
    a = End(network, "a", {"b"})
    b = MemoryTransport(network, "b", "mem://b", lambda key: key in allowed, lambda event: arrived.set())
    a.transport.add_peer("b", b.endpoint)
    allowed.add("a")
    async with asyncio.timeout(5):
        while PeerUp("b") not in a.events:
            await asyncio.sleep(0.005)
        assert a.transport.send("b", (b"", b"hello"))
        await arrived.wait()
    a.transport.close()
    b.close()
