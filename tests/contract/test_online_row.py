"""What every writer of the online row may rely on, on a real Redis: nobody's write is lost, nothing counts twice."""

import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import redis
from demo_product import EVENTS
from running import poll

from feature_repo import progress
from feature_repo.activity import windows
from feature_repo.latest import PROFILE_VIEW
from feature_repo.online_store import UserWrite, compare_and_set, connect, user_key
from feature_repo.progress import Progress
from feature_repo.reader import OnlineReader
from feature_repo.row import unpack_rows
from feature_repo.store import apply
from firstmile.clock import to_datetime
from firstmile.errors import StoreLossError
from firstmile.names import FAMILIES, USER_ACTIONS
from firstmile.settings import Settings
from pipelines.batch import BatchWriter
from pipelines.clean import clean, read_mapping
from pipelines.history import activity_history
from pipelines.rows import Changes, Stored, Written, apply_changes, read_users
from pipelines.share import ShareWriter
from pipelines.stale_rows import give_way
from pipelines.statements import Statement, merged_by_user, statement
from pipelines.view_history import latest_history, write_file

T0_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000
TOPIC_ID = "first-topic"


@pytest.fixture
def client(redis_settings: Settings) -> Iterator["redis.Redis"]:
    connection = connect(redis_settings.redis_url, timeout_s=5)
    yield connection
    connection.close()


def user() -> str:
    return f"u-{uuid.uuid4()}"


def clicks(user_id: str, offsets: Sequence[int], *, topic_id: str | None = TOPIC_ID) -> Changes:
    """One page view per offset, a minute apart; the message id is the topic's and the offset's."""
    frame = pd.DataFrame(
        {
            "message_id": [f"{user_id}-{topic_id}-{o}" for o in offsets],
            "user_id": user_id,
            "name": "Page Viewed",
            "event_us": [T0_US + o * MINUTE_US for o in offsets],
            "received_us": [T0_US + o * MINUTE_US + 1_000 for o in offsets],
            "weight": 1,
            "content_id": None,
            "format": None,
            "page": "home",
            "step": None,
            "onboarding_us": None,
        }
    )
    if topic_id is not None:
        frame = frame.assign(topic=USER_ACTIONS, topic_id=topic_id, partition=0, offset=list(offsets))
    return Changes(clean(frame, read_mapping(EVENTS)), {}, {})


def write(client: "redis.Redis", changes: Changes, stored: Stored | None = None) -> Written:
    return apply_changes(client, changes, stored or read_users(client, changes.users()), on_conflict=lambda: None)


def n_page_views(client: "redis.Redis", user_id: str) -> int:
    stored = read_users(client, [user_id])
    rows = unpack_rows(stored.activity)
    return int(windows(rows, np.array([T0_US], np.int64))["page_view_total_count"][0])


def version_us(client: "redis.Redis", user_id: str) -> int:
    return int(read_users(client, [user_id]).versions_us[0])


def test_two_stalled_writers_lose_nothing(client: "redis.Redis") -> None:
    name = user()
    first, second = clicks(name, range(5)), clicks(name, range(4), topic_id="another-topic")
    both_read = read_users(client, [name])
    write(client, second, both_read)
    written = write(client, first, both_read)
    assert written.n_conflicts == 1
    assert n_page_views(client, name) == 9


def test_a_stalled_stream_behind_a_second_one_counts_nothing_twice(client: "redis.Redis") -> None:
    name = user()
    stalled, ahead = clicks(name, range(5)), clicks(name, range(9))
    both_read = read_users(client, [name])
    write(client, ahead, both_read)
    written = write(client, stalled, both_read)
    assert (written.n_conflicts, written.n_events_folded) == (1, 0)
    assert n_page_views(client, name) == 9


def test_a_write_over_another_version_is_refused(client: "redis.Redis") -> None:
    key = user_key(user())
    assert compare_and_set(client, [UserWrite(key, 0, 10, {b"f": b"1"})]) == [True]
    assert compare_and_set(client, [UserWrite(key, 0, 11, {b"f": b"2"})]) == [False]
    assert compare_and_set(client, [UserWrite(key, 10, 11, {b"f": b"3"})]) == [True]
    assert client.hget(key, "f") == b"3"


def test_writes_survive_a_redis_that_forgot_its_scripts(client: "redis.Redis") -> None:
    name = user()
    write(client, clicks(name, range(3)))
    client.script_flush()
    write(client, clicks(name, range(3, 5)))
    assert n_page_views(client, name) == 5


def test_many_writers_of_one_user_at_once(client: "redis.Redis", redis_settings: Settings) -> None:
    name = user()
    n_writers, n_each = 6, 10

    def run(writer: int) -> None:
        own = connect(redis_settings.redis_url, timeout_s=5)
        for i in range(n_each):
            # A partition of its own for each: fences of one partition only ever move forward.
            batch = clicks(name, [i], topic_id=f"topic-{writer}")
            write(own, batch)

    threads = [threading.Thread(target=run, args=(w,)) for w in range(n_writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert n_page_views(client, name) == n_writers * n_each


def test_a_replayed_batch_changes_nothing(client: "redis.Redis") -> None:
    name = user()
    write(client, clicks(name, range(5)))
    before = version_us(client, name)
    written = write(client, clicks(name, range(2, 5)))
    assert (n_page_views(client, name), written.n_events_folded) == (5, 0)
    assert version_us(client, name) == before


def test_a_recreated_topic_starts_a_fence_of_its_own(client: "redis.Redis") -> None:
    name = user()
    write(client, clicks(name, range(5)))
    write(client, clicks(name, range(3), topic_id="second-topic"))
    assert n_page_views(client, name) == 8
    write(client, clicks(name, range(5)))
    assert n_page_views(client, name) == 8


def test_versions_rise_with_every_write(client: "redis.Redis") -> None:
    name = user()
    seen = []
    for offset in (3, 5, 4, 9):  # 4 is late: it is refused by the fence and must not turn the version back
        write(client, clicks(name, [offset]))
        seen.append(version_us(client, name))
    assert seen == sorted(seen)
    assert seen[0] == T0_US + 3 * MINUTE_US + 1_000


def history_of(settings: Settings, name: str, n: int) -> int:
    """History of n page views of a user from files; returns the end of the history."""
    events = clicks(name, range(n), topic_id=None).events
    to_us = T0_US + n * MINUTE_US
    for i, table in enumerate(activity_history(events, history_to_us=to_us)):
        write_file(settings.history / "user_activity" / f"{name}-{i}.parquet", table)
    return to_us


def test_materialize_in_a_loop_beside_the_stream(client: "redis.Redis", redis_settings: Settings) -> None:
    name, n_history, n_live = user(), 4, 12
    to_us = history_of(redis_settings, name, n_history)
    store = apply(redis_settings)
    stop, has_run = threading.Event(), threading.Event()
    n_runs: list[int] = []

    def materialize() -> None:
        while not stop.is_set():
            store.materialize(to_datetime(T0_US - MINUTE_US), to_datetime(to_us), feature_views=["user_activity"])
            n_runs.append(1)
            has_run.set()

    beside = threading.Thread(target=materialize)
    beside.start()
    assert has_run.wait(60)
    for offset in range(n_history + 1, n_history + 1 + n_live):
        write(client, clicks(name, [offset]))
        assert n_page_views(client, name) == offset
    n_then = len(n_runs)
    poll(lambda: len(n_runs) > n_then)
    stop.set()
    beside.join()
    assert n_page_views(client, name) == n_history + n_live


def test_live_events_already_in_the_history_are_skipped_and_counted(
    client: "redis.Redis", redis_settings: Settings
) -> None:
    name = user()
    to_us = history_of(redis_settings, name, 4)
    apply(redis_settings).materialize(
        to_datetime(T0_US - MINUTE_US), to_datetime(to_us), feature_views=["user_activity"]
    )
    assert n_page_views(client, name) == 4
    written = write(client, clicks(name, range(7)))
    assert written.n_in_history == 4
    assert n_page_views(client, name) == 7


def test_an_older_row_never_replaces_a_newer_one(client: "redis.Redis", redis_settings: Settings) -> None:
    name = user()
    write(client, clicks(name, [30]))
    to_us = history_of(redis_settings, name, 4)
    apply(redis_settings).materialize(
        to_datetime(T0_US - MINUTE_US), to_datetime(to_us), feature_views=["user_activity"]
    )
    assert n_page_views(client, name) == 1


def test_a_row_folded_by_an_older_mapping_is_replaced_only_when_a_refold_is_asked_for(
    client: "redis.Redis", redis_settings: Settings
) -> None:
    name, lake = user(), redis_settings.history / "user_activity" / "lake.parquet"
    changes = clicks(name, range(4))
    write(client, changes)
    mended = replace(changes.events, family=np.full(4, FAMILIES.index("click"), np.int64))
    write_file(lake, pa.concat_tables(activity_history(mended)))

    def materialize() -> None:
        begin, end = to_datetime(T0_US), to_datetime(T0_US + 60 * MINUTE_US)
        apply(redis_settings).materialize(begin, end, feature_views=["user_activity"])

    assert give_way(client, lake) == 0
    materialize()
    assert n_page_views(client, name) == 4
    assert give_way(client, lake, refold=True) == 1
    materialize()
    assert n_page_views(client, name) == 0
    write(client, clicks(name, range(6)))  # what the lake had is known, the rest is new
    assert n_page_views(client, name) == 2
    lake.unlink()


def profile_of(name: str, at: int, *, is_whole: bool = False, **traits: str) -> Statement:
    """A statement `at` minutes after T0, known at once."""
    at_us = T0_US + at * MINUTE_US
    return statement(PROFILE_VIEW, name, at_us, at_us, traits, is_whole=is_whole)


def state_profile(client: "redis.Redis", *statements: Statement) -> None:
    write(client, Changes(clicks(statements[0].user_id, ()).events, merged_by_user(statements), {}))


@pytest.mark.parametrize("is_stream_first", [True, False])
def test_profiles_merge_by_trait_whoever_writes_first(
    client: "redis.Redis", redis_settings: Settings, is_stream_first: bool
) -> None:
    name, gone = user(), user()
    told = [
        profile_of(name, 1, plan="free", role="admin"),
        profile_of(name, 9, cohort="May"),
        profile_of(gone, 1, plan="x"),
    ]
    write_file(redis_settings.history / "user_profile" / f"{name}.parquet", latest_history(PROFILE_VIEW, told))

    def materialize() -> None:
        begin, end = to_datetime(T0_US), to_datetime(T0_US + 60 * MINUTE_US)
        apply(redis_settings).materialize(begin, end, feature_views=["user_profile"])

    def stream() -> None:
        state_profile(client, profile_of(name, 5, plan="pro"))
        state_profile(client, profile_of(name, 0, product="AAA"))
        state_profile(client, profile_of(gone, 2, is_whole=True))

    for step in (stream, materialize) if is_stream_first else (materialize, stream):
        step()
    stored = read_users(client, [name, gone])
    assert stored.profile(0).values == {"plan": "pro", "role": "admin", "cohort": "May", "product": "AAA"}
    assert stored.profile(1).values == {}
    before = [*stored.versions_us]
    materialize()
    assert [*read_users(client, [name, gone]).versions_us] == before


class NoOutputs:
    """Side outputs of a batch that must not get that far."""

    def enriched(self, *_: object) -> list[object]:
        raise AssertionError("something was sent although the store is lost")

    dead_letters = enriched


def batch_writer(client: "redis.Redis") -> BatchWriter:
    part = ShareWriter(client, None, NoOutputs(), read_mapping(EVENTS), {USER_ACTIONS: TOPIC_ID})  # type: ignore[arg-type]
    return BatchWriter(part)


@pytest.fixture
def partition(client: "redis.Redis") -> Iterator[tuple[str, int]]:
    """A partition nobody else uses, with a record at offset 100."""
    chosen = (f"topic-{uuid.uuid4()}", 0)
    progress.write(client, {}, {chosen: Progress(100, TOPIC_ID, T0_US)})
    yield chosen
    client.hdel(progress.KEY, progress.field(chosen))


def test_a_store_at_or_past_the_start_is_accepted(client: "redis.Redis", partition: tuple[str, int]) -> None:
    writer = batch_writer(client)
    assert writer.check({partition: 100})[partition].next_offset == 100
    assert writer.check({partition: 40})[partition].next_offset == 100


def test_an_emptied_store_stops_the_stream_before_any_write(client: "redis.Redis", partition: tuple[str, int]) -> None:
    client.hdel(progress.KEY, progress.field(partition))
    with pytest.raises(StoreLossError, match="emptied"):
        batch_writer(client).check({partition: 100})


def test_a_rolled_back_store_stops_the_stream_before_any_write(
    client: "redis.Redis", partition: tuple[str, int]
) -> None:
    with pytest.raises(StoreLossError, match="rolled back"):
        batch_writer(client).check({partition: 101})


def test_progress_moves_only_over_what_was_read(client: "redis.Redis", partition: tuple[str, int]) -> None:
    read = progress.read(client, [partition])
    progress.write(client, read, {partition: Progress(150, TOPIC_ID, T0_US)})
    with pytest.raises(StoreLossError, match="second"):
        progress.write(client, read, {partition: Progress(160, TOPIC_ID, T0_US)})
    assert progress.read(client, [partition])[partition].next_offset == 150


def test_a_store_emptied_within_a_batch_is_noticed_at_its_end(
    client: "redis.Redis", partition: tuple[str, int]
) -> None:
    read = progress.read(client, [partition])
    client.hdel(progress.KEY, progress.field(partition))
    with pytest.raises(StoreLossError, match="emptied"):
        progress.write(client, read, {partition: Progress(150, TOPIC_ID, T0_US)})


def test_the_reader_sees_what_feast_sees(client: "redis.Redis", redis_settings: Settings) -> None:
    name = user()
    write(client, clicks(name, range(6)))
    now_us = T0_US + 6 * MINUTE_US
    store = apply(redis_settings)
    service = store.get_feature_service("activation_v1")
    through_feast = store.get_online_features(
        features=service, entity_rows=[{"user_id": name, "now_us": now_us}]
    ).to_dict()
    direct = OnlineReader(redis_settings).read(name, now_us)
    assert direct is not None
    names = [n for n in through_feast if n not in ("user_id", "activity", "now_us")]
    assert len(names) > 60
    for feature in names:
        value = through_feast[feature][0]
        assert direct.values[feature] == (None if value is None or value != value else value), feature
