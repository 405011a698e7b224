"""`firstmile deadletters`: what the stream could not use, and the way back for it.

list --export FILE ─► a person repairs `record` of the lines ─► replay --file FILE ─► source topic ─► stream
"""

import heapq
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import typer

from firstmile.broker import producer
from firstmile.cli import console, emit
from firstmile.clock import SystemClock
from firstmile.errors import UsageError, unknown_name
from firstmile.names import DEAD_LETTER_REASONS, REPLAYED, STREAM_TOPICS
from firstmile.settings import Settings, load_settings
from firstmile.wire import RecordWriter, Registry
from pipelines.dead_letter_json import Bodies, exported, listed
from pipelines.dead_letter_log import DeadLetter, Position, dead_letters, replayed
from pipelines.dead_letter_replay import ORIGINAL, REPAIRED, Outcome, Resend, originals, parse_lines, repaired, send
from pipelines.topics import ensure_topics

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

Reason = Annotated[str, typer.Option(help=f"only one of {', '.join(DEAD_LETTER_REASONS)}")]
Topic = Annotated[str, typer.Option(help="only of this input topic")]


@app.callback()
def _deadletters() -> None:
    """Records nobody could use: list them, send them again."""


@app.command("list")
def list_letters(
    reason: Reason = "",
    topic: Topic = "",
    limit: Annotated[int, typer.Option(min=0, help="how many of the newest to show")] = 20,
    export: Annotated[Path | None, typer.Option(help="write all of them, one JSON object a line, to repair")] = None,
) -> None:
    """Count the dead letters by reason and topic and show the newest; each source position counts once."""
    settings = load_settings()
    _known(reason, topic)
    if export is None:
        emit(summary(_chosen(dead_letters(settings), reason, topic), replayed(settings), limit=limit))
        return
    bodies = Bodies(_registry(settings), SystemClock())
    with _opened(export) as file:
        letters = _chosen(dead_letters(settings), reason, topic)
        done = replayed(settings)
        emit(summary(_exporting(letters, file, bodies, done), done, limit=limit) | {"exported_to": str(export)})


@app.command()
def replay(
    reason: Reason = "",
    topic: Topic = "",
    file: Annotated[Path | None, typer.Option(help="repaired lines of an export; else the original bytes")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be sent")] = False,
) -> None:
    """Send dead letters again to their topics; what was sent before is skipped."""
    settings = load_settings()
    _known(reason, topic)
    ensure_topics(settings)
    done, outcome = replayed(settings), Outcome()
    if file is None:
        resends = originals(_chosen(dead_letters(settings), reason, topic), done, outcome)
        carry_out(settings, resends, ORIGINAL, outcome, dry_run=dry_run)
    else:
        lines = ((n, d) for n, d in parse_lines(_lines(file), outcome) if _is_chosen(d, reason, topic))
        resends = repaired(lines, Bodies(_registry(settings), SystemClock()), done, outcome)
        carry_out(settings, resends, REPAIRED, outcome, dry_run=dry_run)
    emit({"is_dry_run": dry_run, **vars(outcome)})
    for refusal in outcome.refused:
        line = f"{file}, line {refusal['line']}: {refusal['reason']}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if outcome.refused:
        sys.exit(1)


def summary(letters: Iterable[DeadLetter], done: dict[Position, str], *, limit: int) -> dict[str, Any]:
    """Counts by reason and topic, and the newest letters."""
    by_reason: Counter[str] = Counter()
    by_topic: defaultdict[str, Counter[str]] = defaultdict(Counter)
    hows: Counter[str] = Counter({ORIGINAL: 0, REPAIRED: 0})
    newest: list[tuple[int, int, DeadLetter]] = []
    for n, letter in enumerate(letters):
        by_reason[letter.reason] += 1
        by_topic[letter.topic][letter.reason] += 1
        hows.update([done[letter.position]] if letter.position in done else [])
        heapq.heappush(newest, (letter.at_us, n, letter))
        if len(newest) > limit:
            heapq.heappop(newest)
    return {
        "n_dead_letters": by_reason.total(),
        "n_replayed": dict(hows),
        "by_reason": dict(by_reason),
        "by_topic": {topic: dict(reasons) for topic, reasons in by_topic.items()},
        "newest": [listed(letter, done.get(letter.position)) for *_, letter in sorted(newest, reverse=True)],
    }


def carry_out(settings: Settings, resends: Iterable[Resend], how: str, outcome: Outcome, *, dry_run: bool) -> None:
    """Send, or in a dry run only count, into `outcome`."""
    if not dry_run:
        marks = RecordWriter(_registry(settings), REPLAYED)
        resends = send(resends, how, producer(settings), marks, SystemClock())
    for resend in resends:
        outcome.n_sent += 1
        outcome.sent_by_topic[resend.topic] = outcome.sent_by_topic.get(resend.topic, 0) + 1


def _registry(settings: Settings) -> Registry:
    return Registry(settings.registry_url, timeout_s=settings.registry.timeout_s)


def _known(reason: str, topic: str) -> None:
    if reason and reason not in DEAD_LETTER_REASONS:
        raise UsageError(unknown_name("reason", reason, DEAD_LETTER_REASONS))
    if topic and topic not in STREAM_TOPICS:
        raise UsageError(unknown_name("topic", topic, STREAM_TOPICS))


def _chosen(letters: Iterable[DeadLetter], reason: str, topic: str) -> Iterator[DeadLetter]:
    return (x for x in letters if _is_chosen({"reason": x.reason, "topic": x.topic}, reason, topic))


def _is_chosen(line: dict[str, Any], reason: str, topic: str) -> bool:
    return reason in ("", line.get("reason")) and topic in ("", line.get("topic"))


def _exporting(
    letters: Iterable[DeadLetter], file: BinaryIO, bodies: Bodies, done: dict[Position, str]
) -> Iterator[DeadLetter]:
    for letter in letters:
        file.write(orjson.dumps(exported(letter, done.get(letter.position), bodies)) + b"\n")
        yield letter


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        raise UsageError(f"--export {path} cannot be written: {error.strerror}") from error


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--file {path} cannot be read: {error}") from error
