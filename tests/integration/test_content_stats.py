"""Content statistics on a real Spark: streaming equals batch, a killed archive loses and doubles nothing, and what is
counted can be read online, through Feast and after a loss."""

import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from conftest import FreeSettings
from pyspark.sql import SparkSession
from running import poll, run, running
from test_stream import Sender, value

from feature_repo.content_stats import read_content
from feature_repo.fields import CONTENT, CONTENT_COUNTS
from feature_repo.online_store import connect, content_key
from feature_repo.store import apply, feature_store
from firstmile.clock import MICROS_PER_DAY, MICROS_PER_S, to_datetime
from firstmile.local.process import die_with_parent
from firstmile.settings import Settings, as_environment
from pipelines.backfill_content import backfill_content
from pipelines.content_query import STEPS, ContentQuery
from pipelines.content_tiles import ContentTiles
from pipelines.lake import Lake
from pipelines.spark import spark_session

pytestmark = pytest.mark.timeout(900)  # every test counts several times, and Java starts again where one is killed

HOUR_US = 3_600 * MICROS_PER_S
T0_US = 1_700_006_400_000_000  # 2023-11-15T00:00Z
LAKE = pa.schema(
    [
        *((name, pa.string()) for name in ("source_topic", "source_topic_id", "message_id", "content_id", "name")),
        *((name, pa.string()) for name in ("family", "segment")),
        *((name, pa.int64()) for name in ("enriched_partition", "source_partition", "source_offset", "received_us")),
        ("weight", pa.int64()),
        ("properties", pa.map_(pa.string(), pa.string())),
    ]
)
KINDS: list[tuple[str, str | None, dict[str, str], str | None]] = [
    ("Content Shown", None, {}, "n_shown"),
    ("Content Opened", "content_open", {}, "n_opened"),
    ("Content Completed", "content_complete", {}, "n_completed"),
    ("Content Skipped", "step_skip", {}, "n_skipped"),
    ("Feedback Given", "feedback", {"helpful": "true"}, "n_helpful"),
    ("Feedback Given", "feedback", {"helpful": "false"}, "n_unhelpful"),
    ("Feedback Given", "feedback", {"stars": "4"}, None),
    ("Page Viewed", "page_view", {}, None),
]

Event = dict[str, Any]
Counts = dict[tuple[str, str], dict[str, int]]


def event(at_us: int, content: str | None, kind: int = 1, *, segment: str = "unknown/new", weight: int = 1) -> Event:
    name, family, properties, _ = KINDS[kind]
    return {
        "message_id": str(uuid.uuid4()),
        "content_id": content,
        "name": name,
        "family": family,
        "segment": segment,
        "received_us": at_us,
        "weight": weight,
        "properties": properties,
        "kind": kind,
    }


class Archived:
    """A lake that grows as the archive lets it grow: one file per commit."""

    def __init__(self, settings: Settings) -> None:
        self.lake, self.n = Lake(settings.lake), 0

    def add(self, events: list[Event]) -> None:
        rows = [
            {**e, "source_topic": "t", "source_topic_id": "i", "enriched_partition": 0, "source_partition": 0}
            | {"source_offset": self.n + i}
            for i, e in enumerate(events)
        ]
        self.n += len(rows)
        self.lake.commit(pa.Table.from_pylist(rows, LAKE), {("e", 0): self.n}, topic_id="i")


def expected(events: list[Event]) -> Counts:
    """Counted by hand: every message id once, as its first record says."""
    found: Counts = {}
    seen: set[str] = set()
    for e in sorted(events, key=lambda e: e["received_us"]):
        name = KINDS[e["kind"]][3]
        if e["message_id"] in seen or not e["content_id"] or name is None:
            continue
        seen.add(e["message_id"])
        counts = found.setdefault((e["content_id"], e["segment"]), dict.fromkeys(CONTENT_COUNTS, 0))
        counts[name] += 1
        counts["opened_weight"] += e["weight"] if name == "n_opened" else 0
    return found


def tiles(settings: Settings) -> pd.DataFrame:
    return ContentTiles(settings).read().sort_values(["content_id", "segment", "day"]).reset_index(drop=True)


def counted(settings: Settings) -> Counts:
    sums = tiles(settings).groupby(["content_id", "segment"])[list(CONTENT_COUNTS)].sum()
    return {key: {n: int(v) for n, v in row.items()} for key, row in sums.to_dict("index").items()}  # type: ignore[misc]


def online(settings: Settings, content_ids: list[str]) -> Counts:
    found = read_content(connect(settings.redis_url, timeout_s=5), content_ids)
    return {(c, segment): dict(v) for c, stats in found.items() for segment, v in stats.by_segment.items()}


def count_once(settings: Settings, session: SparkSession) -> ContentQuery:
    """What `firstmile archive --once` does after the lake."""
    content = ContentQuery(settings)
    query = content.start(session, once=True)
    query.awaitTermination(600)
    content.look_for_dropped()
    assert not query.isActive
    return content


@pytest.fixture
def settings(redis_settings: Settings, tmp_path: Path) -> Settings:
    """The shared Redis, and a home of its own."""
    return redis_settings.model_copy(update={"home": tmp_path / "home"})


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    found = spark_session(Settings(home=tmp_path_factory.mktemp("spark")), "test-content")
    yield found
    found.stop()


def some_events(seed: int, contents: list[str], *, first_us: int, hours: int, n: int = 200) -> list[Event]:
    draw = random.Random(seed)
    return [
        event(
            first_us + draw.randrange(hours * HOUR_US),
            draw.choice([*contents, None, ""]),
            draw.randrange(len(KINDS)),
            segment=draw.choice(["unknown/new", "beginner/active", ""]),
            weight=draw.choice([1, 3]),
        )
        for _ in range(n)
    ]


def test_streaming_equals_batch_with_duplicates_and_late_events(settings: Settings, session: SparkSession) -> None:
    contents = [f"c-{uuid.uuid4()}" for _ in range(4)]
    archived = Archived(settings)
    days = [some_events(d, contents, first_us=T0_US + d * MICROS_PER_DAY, hours=24) for d in range(3)]
    # Of the day before: received up to 23 h before the newest counted so far; and again what came already.
    late = some_events(9, contents, first_us=T0_US + MICROS_PER_DAY + HOUR_US, hours=22, n=50)
    newest_us = max(e["received_us"] for e in days[1])
    late = [e for e in late if e["received_us"] > newest_us - 23 * HOUR_US]
    again = [{**e, "received_us": e["received_us"] + HOUR_US} for e in days[1][:40]]
    assert len(late) > 30
    for events in ([*days[0], *days[0][:20]], days[1], [*late, *again], days[2]):
        archived.add(sorted(events, key=lambda e: e["received_us"]))
        assert count_once(settings, session).n_dropped == 0
    streamed = tiles(settings)
    everything = [*days[0], *days[1], *days[2], *late, *again]
    assert counted(settings) == expected(everything)
    assert online(settings, contents) == expected(everything)

    backfill_content(settings, "lake")
    pd.testing.assert_frame_equal(tiles(settings), streamed)


def test_events_past_the_watermark_are_counted_as_left_out_and_the_backfill_finds_them(
    settings: Settings, session: SparkSession
) -> None:
    content = f"c-{uuid.uuid4()}"
    archived = Archived(settings)
    old = [event(T0_US, content) for _ in range(3)]
    newer = [[event(T0_US + d * MICROS_PER_DAY, content)] for d in (5, 6, 7)]
    n_dropped = 0
    for events in (*newer, old):
        archived.add(events)
        n_dropped += count_once(settings, session).n_dropped
    assert n_dropped == 3
    assert counted(settings)[content, "unknown/new"]["n_opened"] == 3
    backfill_content(settings, "lake")
    assert counted(settings)[content, "unknown/new"]["n_opened"] == 6


def test_a_lost_checkpoint_is_made_anew_from_the_lake(settings: Settings, session: SparkSession) -> None:
    contents = [f"c-{uuid.uuid4()}" for _ in range(2)]
    archived = Archived(settings)
    parts = [some_events(d, contents, first_us=T0_US + d * MICROS_PER_DAY, hours=24, n=60) for d in range(3)]
    for events in parts[:2]:
        archived.add(events)
        count_once(settings, session)
    settings.checkpoints.rename(settings.home / "gone")
    archived.add(parts[2])
    count_once(settings, session)
    assert counted(settings) == online(settings, contents) == expected([e for p in parts for e in p])


KILLED = """
import os, signal, sys
from firstmile.settings import load_settings
from pipelines.content_query import ContentQuery
from pipelines.spark import spark_session
settings = load_settings()
content = ContentQuery(settings, after=lambda s: os.kill(os.getpid(), signal.SIGKILL) if s == sys.argv[1] else None)
content.start(spark_session(settings, "archive"), once=True).awaitTermination()
"""


@pytest.mark.slow
@pytest.mark.parametrize("dies_after", STEPS)
def test_killed_between_two_effects_the_absolute_values_come_out_right(
    settings: Settings, session: SparkSession, dies_after: str
) -> None:
    contents = [f"c-{uuid.uuid4()}" for _ in range(2)]
    archived = Archived(settings)
    parts = [some_events(d, contents, first_us=T0_US + d * MICROS_PER_DAY, hours=20, n=40) for d in range(3)]
    archived.add(parts[0])
    count_once(settings, session)
    archived.add(parts[1])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, dies_after],
        env={**os.environ, **as_environment(settings)},
        capture_output=True,
        timeout=600,
        check=False,
        preexec_fn=die_with_parent(),
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    archived.add(parts[2])
    count_once(settings, session)
    want = expected([e for p in parts for e in p])
    assert counted(settings) == online(settings, contents) == want


def test_history_is_point_in_time_and_materializes(settings: Settings, session: SparkSession) -> None:
    content = f"c-{uuid.uuid4()}"
    archived = Archived(settings)
    archived.add([event(T0_US, content, weight=3), event(T0_US + 5, content, 0)])
    archived.add([event(T0_US + MICROS_PER_DAY, content, segment="unknown/active")])
    backfill_content(settings, "lake")
    store = apply(settings)
    at_us = [T0_US - 1, T0_US + 5, T0_US + MICROS_PER_DAY - 1, T0_US + MICROS_PER_DAY]
    entities = pd.DataFrame({"content_id": content, "event_timestamp": pd.to_datetime(at_us, unit="us", utc=True)})
    names = [f"{CONTENT}:{name}" for name in ("n_opened", "n_shown", "opened_weight")]
    found = store.get_historical_features(entities, names).to_df().sort_values("event_timestamp")
    assert found["n_opened"].fillna(-1).tolist() == [-1, 1, 1, 2]
    assert found["opened_weight"].fillna(-1).tolist() == [-1, 3, 3, 4]

    assert online(settings, [content]) == {}
    store.materialize(to_datetime(T0_US - 1), to_datetime(T0_US + 2 * MICROS_PER_DAY), feature_views=[CONTENT])
    read = feature_store(settings).get_online_features(names, [{"content_id": content}]).to_dict()
    assert (read["n_opened"], read["n_shown"], read["opened_weight"]) == ([2], [1], [4])
    (stats,) = read_content(connect(settings.redis_url, timeout_s=5), [content]).values()
    assert stats.openings == [(T0_US + 5, 1), (T0_US + MICROS_PER_DAY, 2)]


@pytest.mark.slow
def test_a_store_that_is_away_does_not_stop_the_count_and_is_caught_up_with(
    settings: Settings, session: SparkSession, free_settings: FreeSettings
) -> None:
    content = f"c-{uuid.uuid4()}"
    no_redis = settings.local.model_copy(update={"redis_port": free_settings().local.redis_port})
    away = settings.model_copy(update={"local": no_redis})
    archived = Archived(settings)
    archived.add([event(T0_US, content)])
    assert count_once(away, session).n_published == 0
    assert count_once(settings, session).n_published == 1
    assert online(settings, [content])[content, "unknown/new"]["n_opened"] == 1


@pytest.mark.slow
def test_events_through_stream_and_archive_are_statistics_online_and_again_after_recover(
    stack: Settings, tmp_path: Path
) -> None:
    every_second = stack.stream.model_copy(update={"archive_interval_s": 1})
    own = stack.model_copy(update={"home": tmp_path / "home", "stream": every_second})
    name, content = f"u-{uuid.uuid4()}", f"c-{uuid.uuid4()}"
    sender = Sender(own)
    about = {"content_id": content, "format": "video"}
    once = sender.event(name, "Content Opened", properties=about, weight=4)
    told = [sender.event(name, "Feedback Given", properties={**about, "helpful": h}) for h in ("true", "false")]

    def stats() -> dict[str, int]:
        found = read_content(connect(own.redis_url, timeout_s=5), [content])
        return found[content].total() if content in found else {}

    with running(own, ["stream"], tmp_path / "stream.log"), running(own, ["archive"], tmp_path / "archive.log"):
        sender.send(name, sender.event(name, "Content Shown", properties=about), once, once, *told)
        poll(lambda: stats().get("n_opened") == 1, what="the first open counted", timeout_s=240)
        # By now the row knows five clicks: the segment of what follows is another.
        sender.send(name, *(sender.event(name) for _ in range(5)))
        poll(lambda: value(own, name, "clicks_total_count") >= 6, what="the clicks in the row")
        sender.send(name, sender.event(name, "Content Completed", properties=about))
        poll(lambda: stats().get("n_completed") == 1, what="the completion counted", timeout_s=240)
    want = dict(zip(CONTENT_COUNTS, (1, 1, 1, 0, 1, 1, 4), strict=True))
    assert stats() == want
    by_segment = online(own, [content])
    assert by_segment[content, "unknown/active"]["n_completed"] == 1
    assert by_segment[content, "unknown/new"]["n_opened"] == 1

    connect(own.redis_url, timeout_s=5).delete(content_key(content))
    done = run(own, "recover")
    assert done.returncode == 0, done.stderr[-3000:]
    assert stats() == want
    assert online(own, [content]) == by_segment
