"""What a node's memory holds of everybody's health, and how long a digest is once many edits were made."""

import contextlib
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from random import Random

import msgspec

from agent.cell_view import row_json
from apply.health import Memory, View, derive
from apply.model import Lun, Model, Settings
from apply.storages import ExpectedNodes
from apply.topology import Group, Map, Path, Topology
from gossip import codec
from gossip.engine import Engine
from gossip.events import Effect, Send
from gossip.exchange import Exchange, split
from gossip.messages import Delta, Digest
from gossip.state import Identity
from gossip.transport import MessageReceived, PeerUp
from scripts.benchmarks.rig import rss_mb, say
from scripts.benchmarks.table import Judged, Row, Target
from scripts.simulation import forge
from store.cells import MULTIPATH_MAP, Cell
from store.edits import Edit, SignedEdit, encode_body, frozen_changes, seal
from store.health import Merge, OwnStream
from store.matrix import Expectation, Reporter, Sources, build_rows
from store.members import Member, Registry
from store.replica import Replica

NODES = 100
LUNS = 500
PATHS = 4
MOST_MB = 80.0
AUTHORS = 8
KEYS = 64
FEW, MANY = 1_000, 100_000
COLLECT_EVERY = 1_000
WALL = 1_783_082_760.0


def measure(quick: bool) -> list[Row]:
    """A process of its own holds each state. The digest is one that an engine sends."""
    rounds = 1 if quick else 3
    whole, half, shown = [], [], []
    for _ in range(rounds):
        half.append(_held(NODES // 2)[0])
        held, with_matrix = _held(NODES)
        whole.append(held)
        shown.append(with_matrix)
    say(f"memory: {whole[-1]:.0f} MB")
    few, many = digest_sizes((FEW, MANY))
    size = f"{LUNS} LUNs x {PATHS} paths"
    return [
        Row(
            f"memory: health of {NODES} nodes x {size}",
            "MB",
            tuple(whole),
            Target(Judged.WORST, MOST_MB),
            note=f"resident; with the rows of the matrix and its JSON, once somebody has asked for it, {max(shown):.0f} MB",
        ),
        Row(
            f"memory: {NODES} nodes against {NODES // 2}",
            "x",
            tuple(a / b for a, b in zip(whole, half, strict=True)),
            Target(Judged.WORST, 2.2),
            note=f"{NODES // 2} nodes: {max(half):.0f} MB",
        ),
        Row(
            f"memory: full digest after {MANY:,} edits against {FEW:,}",
            "x",
            (many / few,),
            Target(Judged.WORST, 1.2),
            note=f"{few} and {many} bytes, {AUTHORS} authors, everything collected that can be",
        ),
    ]


# -- health -----------------------------------------------------------------------------------------------------------


def _held(nodes: int) -> tuple[float, float]:
    """MB that the process of one node grows by as it takes the health of all, and as it shows it."""
    names = [f"n{number}" for number in range(1, nodes + 1)]
    with _holder(names) as pipe:
        for number, name in enumerate(names):
            for frames in _told(name, number):
                pipe.send(frames)
        pipe.send(None)
        if not pipe.poll(300):
            raise AssertionError("the process that holds the health did not answer")
        held, shown = pipe.recv()
        return held, shown


@contextlib.contextmanager
def _holder(names: list[str]) -> Iterator[Connection]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_hold, args=(theirs, names), daemon=True)
    process.start()
    try:
        yield ours
        process.join(10)
    finally:
        if process.is_alive():
            process.terminate()
            process.join(10)


def _hold(pipe: Connection, names: list[str]) -> None:
    """The process: it takes messages as they come, the first node's as its own; then says what it has grown by, twice."""
    registry = Registry({name: forge.member(name) for name in names})
    own = OwnStream(names[0], forge.actor(f"{names[0]}/0"), 1, partial(forge.sign, forge.member(names[0]).signing_key), 0)
    exchange = Exchange(own, {}, forge.verify, Counter())
    before = rss_mb(os.getpid())
    while (frames := pipe.recv()) is not None:
        message = codec.decode(*frames)
        assert isinstance(message, Delta)
        for delta in message.health:
            if delta.node == names[0]:
                own.report([entry.cell for entry in delta.cells], 0)
            elif exchange.take(delta, registry, 0, delta.node) not in (Merge.TAKEN, Merge.OLD):
                raise AssertionError(f"the health of {delta.node} was not taken")
        del message, delta
    if any(len(exchange.streams[name].entries) != LUNS for name in names):
        raise AssertionError("not all of the health was taken")
    held = rss_mb(os.getpid()) - before
    cells = {name: {cell.id: cell for cell in stream.cells()} for name, stream in exchange.streams.items()}
    rows = build_rows(
        MULTIPATH_MAP, Sources(cells, dict.fromkeys(names, Reporter.FRESH)), dict.fromkeys(cells[names[0]], Expectation(frozenset(names)))
    )
    del cells
    texts = [msgspec.json.encode(row_json(row, lambda *_: 1)) for row in rows]
    assert len(texts) == LUNS
    pipe.send((held, rss_mb(os.getpid()) - before))


def _told(name: str, number: int) -> list[tuple[bytes, bytes]]:
    """A node's health as it is sent: one message or more."""
    member = forge.member(name)
    own = OwnStream(name, member.actor, 1, partial(forge.sign, member.signing_key), 0)
    own.report(_cells(name, number), 0)
    return [codec.encode(Delta(health=(part,))) for part in split(own.stream.delta(None, 0), own.stream.entries)]


def _cells(name: str, number: int) -> list[Cell]:
    """What a node reports that has every LUN over two ports of its own and two of the array's each, one of the groups optimized."""
    luns = {_wwid(lun): Lun(_wwid(lun), alias=f"lun-{lun:04}") for lun in range(LUNS)}
    view = View(
        node=name,
        now=0.0,
        wall=WALL + number,
        model=Model(settings=Settings(learn_window_seconds=0), luns=luns, empty=False),
        expected={wwid: ExpectedNodes(frozenset((name,)), "explicit") for wwid in luns},
        topology=Topology(tuple(_map(number, lun) for lun in range(LUNS))),
        sizes=dict.fromkeys(luns, 2**40),
    )
    cells = derive(view, Memory(), {}).cells
    if len(cells) != LUNS or any(cell.state != "healthy" or len(cell.detail["path_list"]) != PATHS for cell in cells):
        raise AssertionError("the maps that were made up are not healthy")
    return cells


def _map(number: int, lun: int) -> Map:
    paths = [
        Path(
            dev=f"sd{lun}p{port}",
            dev_t=f"8:{lun}",
            dm_st="active",
            dev_st="running",
            chk_st="ready",
            pri=50 if port < PATHS // 2 else 10,
            host_wwpn=f"0x21000024ff{number:04x}{port % 2:02x}",
            target_wwpn=f"0x500a0982{lun % 16:02x}8d{port:02x}1f",
        )
        for port in range(PATHS)
    ]
    halves = (paths[: PATHS // 2], paths[PATHS // 2 :])
    groups = tuple(Group(group=n, dm_st="active", paths=tuple(half)) for n, half in enumerate(halves, 1))
    return Map(
        uuid=_wwid(lun),
        name=f"lun-{lun:04}",
        sysfs=f"dm-{lun}",
        queueing="off",
        dm_st="active",
        vend="NETAPP",
        prod="LUN C-Mode",
        path_groups=groups,
    )


def _wwid(lun: int) -> str:
    return f"3600a0980383{lun * 0x9E3779B97F4A7C15 % 2**84:021x}"


# -- the digest -------------------------------------------------------------------------------------------------------


def digest_sizes(edits: Sequence[int]) -> list[int]:
    """Bytes of a full digest after each of these numbers of edits, by the same authors on the same keys."""
    members = [forge.member(f"n{number}") for number in range(1, AUTHORS + 1)]
    replica = Replica(forge.CLUSTER, forge.verify, forge.founding_log(members))
    sizes, made = [], 0
    for count in edits:
        for number in range(made + 1, count + 1):
            replica.commit(_edit(replica, members[number % AUTHORS], number))
            if number % COLLECT_EVERY == 0 and (collection := replica.collect(dict(replica.fold.clock))) is not None:
                replica.collected(collection)
        made = count
        sizes.append(_full_digest(replica, members[0], members[1]))
        say(f"memory: {count:,} edits: {len(replica)} in the log, digest {sizes[-1]} bytes")
    return sizes


def _edit(replica: Replica, author: Member, number: int) -> SignedEdit:
    seen = dict(replica.fold.clock)
    edit = Edit(
        actor=author.actor,
        counter=seen.get(author.actor, 0) + 1,
        context=seen,
        lamport=replica.fold.lamport + 1,
        author=author.name,
        wall=WALL + number,
        changes=frozen_changes({f"wwid/{_wwid(number % KEYS)}": {"alias": f"lun-{number}"}}),
    )
    body = encode_body(edit)
    return seal(edit, body, forge.sign(author.signing_key, body))


def _full_digest(replica: Replica, one: Member, two: Member) -> int:
    """The longest full digest, header included, that the first of two nodes sends as they meet."""
    engines = {member.curve_key: (member, _engine(member, replica)) for member in (one, two)}
    sent: deque[tuple[str, Effect]] = deque()
    for key, (_, engine) in engines.items():
        sent.extend((key, effect) for effect in engine.start(0))
    for key, other in ((one.curve_key, two.curve_key), (two.curve_key, one.curve_key)):
        sent.extend((key, effect) for effect in engines[key][1].handle(PeerUp(other), 0))
    longest = 0
    while sent:
        sender, effect = sent.popleft()
        if not isinstance(effect, Send):
            continue
        frames = codec.encode(effect.message, engines[sender][1].identity.session)
        if sender == one.curve_key and isinstance(effect.message, Digest) and effect.message.full:
            longest = max(longest, sum(map(len, frames)))
        for key in effect.keys:
            if key in engines:
                sent.extend((key, answer) for answer in engines[key][1].handle(MessageReceived(sender, *frames), 0))
    if not longest:
        raise AssertionError("no full digest was sent")
    return longest


def _engine(member: Member, replica: Replica) -> Engine:
    sign = partial(forge.sign, member.signing_key)
    return Engine(Identity(member.name, member.actor, 1, member.actor, sign, forge.verify), replica.copy(), {}, Random(1), 0)
