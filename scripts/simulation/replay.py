"""The recording of an agent through an engine again: every input with what the engine asks for, and the trace.

What an input led to stands behind it: `>` messages to so many peers, `w` a commit, `W` a rebase, `n` a new epoch, `p` what readers see,
`c` connect, `d` disconnect or connect anew, `a` an edit accepted, `r` one refused, `!` an alarm.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from gossip.events import Accepted, Alarm, Commit, Connect, Disconnect, Effect, Event, Publish, Rebase, Rejected, Remake, Send, SetEpoch
from gossip.keys import verify
from gossip.recording import Image, RecordingError, load, start
from scripts.simulation.trace import LEGEND, Trace, describe
from store.replica import Verify

EFFECTS = "> messages   w commit   W rebase   n new epoch   p news   c connect   d disconnect   a accepted   r refused   ! alarm"


def replay(path: Path, *, verify_with: Verify = verify, line: Callable[[str], None] = print) -> int:
    """Run the recording in the file and tell all of it; the last line is the trace. Returns the exit status: 2 if it is no recording."""
    try:
        segments = load(path.read_bytes())
        line(f"{LEGEND}\n{EFFECTS}")
        trace = Trace()
        for number, (image, inputs) in enumerate(segments):
            line(
                f"segment {number + 1} of {len(segments)}: {image.name}, epoch {image.epoch}, {len(image.log)} edits, {len(inputs)} inputs"
            )
            _run(number, image, inputs, trace, verify_with, line)
    except OSError as fault:
        print(f"scripts/simulate: {path}: {fault.strerror}", file=sys.stderr)
        return 2
    except RecordingError as fault:
        print(f"scripts/simulate: {path}: {fault}", file=sys.stderr)
        return 2
    line(f"trace {trace.hexdigest}")
    return 0


def _run(
    number: int, image: Image, inputs: Iterable[tuple[int, Event]], trace: Trace, verify_with: Verify, line: Callable[[str], None]
) -> None:
    engine, effects = start(image, Random(), verify_with)
    line(f"{image.now_ms:>12} started{_short(effects)}")
    for now_ms, event in inputs:
        trace.event(now_ms, number, image.name, event)
        effects = engine.handle(event, now_ms)
        line(f"{now_ms:>12} {describe(event)}{_short(effects)}")
    fold = engine.replica.fold
    line(f"             {len(engine.replica)} edits, {len(fold.conflicts)} conflicts, state {fold.state_hash.hex()[:16]}")


def _short(effects: Iterable[Effect]) -> str:
    """What the engine asks for, in a few characters."""
    words: list[str] = []
    sent: Counter[str] = Counter()
    for effect in effects:
        match effect:
            case Send():
                sent[type(effect.message).__name__.lower()] += len(effect.keys)
            case Commit():
                words.append(f"w{len(effect.batch)}")
            case Rebase():
                words.append(f"W{len(effect.gone) if effect.log is None else len(effect.log)}")
            case SetEpoch():
                words.append(f"n{effect.epoch}")
            case Publish():
                words.append(f"p{len(effect.keys)}/{len(effect.health)}/{len(effect.standing)}{' settled' if effect.settled else ''}")
            case Connect():
                words.append(f"c {effect.key[:6]}")
            case Disconnect() | Remake():
                words.append(f"d {effect.key[:6]}")
            case Accepted():
                words.append(f"a{effect.request}")
            case Rejected():
                words.append(f"r{effect.request} {effect.code}")
            case Alarm():
                words.append(f"! {effect.code}: {effect.message}")
    words += [f"> {name} x{count}" for name, count in sent.items()]
    return f"  [{'; '.join(words)}]" if words else ""
