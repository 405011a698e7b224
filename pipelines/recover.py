"""`firstmile recover`: the online store back from history after it was emptied or rolled back.

    lake ─► history (users, content) ─► materialize ─► progress set to what the lake covers, checkpoint removed

The stream then starts at the first record the lake does not cover; fences make what both hold count once.
"""

import logging
import shutil
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import Annotated, Any

import redis
import typer

from feature_repo import progress
from feature_repo.fields import ACTIVITY, CONTENT, CONTEXT, PROFILE
from feature_repo.online_store import connect
from feature_repo.progress import Partition, Progress
from feature_repo.store import apply
from firstmile.broker import TopicInfo, describe_topics
from firstmile.cli import console, emit
from firstmile.errors import DataError, DependencyError
from firstmile.names import STREAM_TOPICS
from firstmile.settings import Settings, load_settings
from pipelines.backfill_content import backfill_content
from pipelines.backfill_lake import FILE, backfill_lake
from pipelines.lake import Covered, Lake
from pipelines.offsets import checkpoint_folder, first_offsets
from pipelines.stale_rows import give_way

log = logging.getLogger(__name__)

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def recover(settings: Settings, *, refold: bool = False) -> dict[str, Any]:
    """Bring back rows and progress records; the stream must be stopped. Returns what was done.

    refold
        Replace also rows that are whole: events.yaml or cleaning.yaml has changed since they were folded.

    Raises DataError to refold without a lake, DependencyError when Redis or Kafka is away.
    """
    lake = Lake(settings.lake)
    covered = lake.covered()  # before the history is made: an archive at work meanwhile only adds to the history
    if refold and not covered:
        raise DataError(f"{settings.lake} holds no event to fold again; `firstmile archive --once` fills it from Kafka")
    written: dict[str, Any] = {"n_events": 0}
    if covered:
        written = {**backfill_lake(settings), "content": backfill_content(settings, "lake")}
    client = connect(settings.redis_url, timeout_s=settings.redis.timeout_s)
    try:
        n_stale = give_way(client, settings.history / ACTIVITY / FILE, refold=refold) if covered else 0
    except redis.RedisError as error:
        raise DependencyError(f"Redis does not answer: {error}; run `firstmile recover` again") from error
    console.print("materializing history into the online store", highlight=False)
    views = [ACTIVITY, PROFILE, CONTEXT]
    if any((settings.history / CONTENT).glob("*.parquet")):
        views.append(CONTENT)
    with redirect_stdout(sys.stderr):  # Feast says what it does where our result goes
        apply(settings).materialize(LONG_AGO, datetime.now(UTC), feature_views=views)
    topics = describe_topics(settings, STREAM_TOPICS)
    first = first_offsets(settings, topics)
    start = restart_offsets(covered, topics, first)
    gone = _gone(restart_offsets(covered, topics, dict.fromkeys(first, 0)), first)
    shutil.rmtree(checkpoint_folder(settings.checkpoints, topics), ignore_errors=True)
    try:
        before = progress.read(client, start)
        new = {p: Progress(offset, topics[p[0]].topic_id, _received(before.get(p))) for p, offset in start.items()}
        progress.write(client, before, new)
    except redis.RedisError as error:
        raise DependencyError(f"Redis does not answer: {error}; run `firstmile recover` again") from error
    return {
        "lake": written,
        "n_refolded" if refold else "n_rolled_back": n_stale,
        "restart_offsets": {progress.field(p): offset for p, offset in start.items()},
        "n_gone": {progress.field(p): n for p, n in gone.items()},
    }


def restart_offsets(
    covered: Covered, topics: dict[str, TopicInfo], first: dict[Partition, int]
) -> dict[Partition, int]:
    """The first record of each partition that the lake may not cover.

    A source partition whose users lie in several enriched partitions is covered as far as the least of them.
    """
    reached: dict[Partition, list[int]] = {}
    for source, offset in covered.items():
        _, topic_id, topic, number = source.split("|")
        if topic in topics and topics[topic].topic_id == topic_id:
            reached.setdefault((topic, int(number)), []).append(offset + 1)
    return {partition: max(oldest, min(reached.get(partition, [oldest]))) for partition, oldest in first.items()}


def _gone(needed: dict[Partition, int], first: dict[Partition, int]) -> dict[Partition, int]:
    """Records past the lake that Kafka has dropped: a row that was lost comes back without them."""
    gone = {partition: first[partition] - offset for partition, offset in needed.items() if first[partition] > offset}
    for (topic, number), n in gone.items():
        log.warning(
            "%d records of %s/%d are neither in the lake nor in Kafka any more; keep FIRSTMILE_KAFKA__RETENTION_HOURS "
            "longer than the archive may be down",
            n,
            topic,
            number,
        )
    return gone


def _received(record: Progress | None) -> int:
    return record.received_us if record else 0


def run(
    refold: Annotated[
        bool, typer.Option("--refold", help="also rows that are whole: events.yaml or cleaning.yaml has changed")
    ] = False,
) -> None:
    """Bring the online store back from the lake and the offline history; stop the stream first."""
    emit(recover(load_settings(), refold=refold))
