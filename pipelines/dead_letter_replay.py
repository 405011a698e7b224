"""Dead letters sent again: the original bytes, or what a person made of them.

Order of effects: the records, acknowledged ─► the marks that they were sent, acknowledged. Killed between the two, the
next replay sends them again under the same message ids, and the fold counts each once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

from firstmile.broker import AcknowledgedProducer
from firstmile.clock import Clock
from firstmile.errors import WireError, unknown_name
from firstmile.names import REPLAYED, STREAM_TOPICS
from firstmile.wire import RecordWriter
from pipelines.dead_letter_json import Bodies
from pipelines.dead_letter_log import DeadLetter, Position

CHUNK = 500
ORIGINAL, REPAIRED = "original", "repaired"


@dataclass(frozen=True)
class Resend:
    """A record on its way back to its topic."""

    topic: str
    position: Position
    key: str | bytes | None
    value: bytes | None


@dataclass
class Outcome:
    """What a replay did, or would do."""

    n_sent: int = 0
    n_skipped: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    sent_by_topic: dict[str, int] = field(default_factory=dict)


def originals(letters: Iterable[DeadLetter], done: dict[Position, str], outcome: Outcome) -> Iterator[Resend]:
    """The letters' own bytes, but those sent again before in whichever way."""
    for letter in letters:
        if letter.position in done:
            outcome.n_skipped += 1
        else:
            yield Resend(letter.topic, letter.position, letter.key, letter.value)


def repaired(
    lines: Iterable[tuple[int, dict[str, Any]]], bodies: Bodies, done: dict[Position, str], outcome: Outcome
) -> Iterator[Resend]:
    """The records of numbered lines, but those repaired before; a line that does not fit is noted in `outcome`.

    One whose original was sent again may follow: that one is a dead letter again, or a duplicate the fold drops.
    """
    seen = {position for position, how in done.items() if how == REPAIRED}
    for number, line in lines:
        try:
            resend = _repaired(line, bodies)
        except WireError as error:
            outcome.refused.append({"line": number, "reason": str(error)})
            continue
        if resend.position in seen:
            outcome.n_skipped += 1
            continue
        seen.add(resend.position)
        yield resend


def parse_lines(text: Iterable[str], outcome: Outcome) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, object) of each line that is one; the others are noted in `outcome`."""
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            parsed = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            outcome.refused.append({"line": number, "reason": f"it is no JSON: {error}"})
            continue
        if isinstance(parsed, dict):
            yield number, parsed
        else:
            outcome.refused.append({"line": number, "reason": f"it is a {type(parsed).__name__}, not an object"})


def send(
    resends: Iterable[Resend], how: str, producer: AcknowledgedProducer, marks: RecordWriter, clock: Clock
) -> Iterator[Resend]:
    """Send, chunk by chunk, and remember each as sent; yields what is both."""
    waiting = iter(resends)
    while chunk := list(islice(waiting, CHUNK)):
        for resend in chunk:
            producer.send(resend.topic, key=resend.key, value=resend.value)
        producer.flush()
        for resend in chunk:
            topic_id, partition, offset = resend.position
            mark = {
                "source_topic": resend.topic,
                "source_topic_id": topic_id,
                "source_partition": partition,
                "source_offset": offset,
                "how": how,
                "replayed_at": clock.now_us(),
            }
            producer.send(REPLAYED, key=f"{topic_id}|{partition}|{offset}", value=marks.encode(mark))
        producer.flush()
        yield from chunk


def _repaired(line: dict[str, Any], bodies: Bodies) -> Resend:
    missing = [name for name in ("topic", "topic_id", "partition", "offset", "record") if line.get(name) is None]
    if missing:
        raise WireError(f"it has no {', '.join(missing)}; take a line of `firstmile deadletters list --export FILE`")
    topic, record = line["topic"], line["record"]
    if topic not in STREAM_TOPICS:
        raise WireError(unknown_name("topic", topic, STREAM_TOPICS))
    if not isinstance(record, dict):
        raise WireError(f"its record is a {type(record).__name__}, not an object")
    value = bodies.write(topic, record)
    try:
        position = str(line["topic_id"]), int(line["partition"]), int(line["offset"])
    except (TypeError, ValueError):
        raise WireError("its partition and offset are not both whole numbers; leave them as exported") from None
    return Resend(topic, position, record["user_id"], value)
