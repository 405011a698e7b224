"""Content statistics in serving's memory, of a real Redis: read when changed, forgotten when gone, kept when away."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from conftest import FreeSettings
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from feature_repo.content_earlier import pack_openings
from feature_repo.content_segments import pack_segments
from feature_repo.fields import BY_SEGMENT, CONTENT, CONTENT_COUNTS, OPENINGS
from feature_repo.online_store import connect, content_key, feature_field, time_bytes, time_field
from firstmile.clock import MICROS_PER_DAY, FixedClock
from firstmile.settings import Settings
from serving.catalogue import Catalogue, Content, Shelf
from serving.content_counts import ContentCounts

NOW_US = 1_790_000_000_000_000
COURSE = "course"


class Course:
    """Three items of one shelf in a shared Redis, and what serving makes of them."""

    def __init__(self, settings: Settings) -> None:
        self.ids = [f"c-{uuid.uuid4()}" for _ in range(3)]
        items = [Content(content_id=c, title=c, format="lesson") for c in self.ids]
        catalogue = Catalogue({COURSE: Shelf.of(COURSE, items), "": Shelf.of("", items[:0])})
        self.client = connect(settings.redis_url, timeout_s=5)
        self.counts = ContentCounts(self.client, lambda: catalogue, clock=FixedClock(NOW_US), poll_s=0.05)

    def write(self, at: int, n_opened: int, *, known_us: int, n_yesterday: int = 0) -> None:
        """As the archive's job does."""
        counts = [n_opened if name == "n_opened" else 0 for name in CONTENT_COUNTS]
        openings = pack_openings([(known_us - 2 * MICROS_PER_DAY, n_yesterday), (known_us, n_opened)])
        texts = {BY_SEGMENT: pack_segments({"unknown/new": counts}), OPENINGS: openings}
        fields = {feature_field(CONTENT, n): ValueProto(string_val=t).SerializeToString() for n, t in texts.items()}
        self.client.hset(content_key(self.ids[at]), mapping={**fields, time_field(CONTENT): time_bytes(known_us)})  # type: ignore[arg-type]

    def popularity(self) -> list[float]:
        """Shares of the openings."""
        return [round(float(share), 3) for share in self.counts.current[COURSE].popularity]


@pytest.fixture
def course(redis_settings: Settings) -> Iterator[Course]:
    made = Course(redis_settings)
    yield made
    made.counts.stop()
    made.client.delete(*map(content_key, made.ids))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def test_shelves_stand_as_the_store_says_and_change_with_it(course: Course) -> None:
    course.counts.look()
    assert course.counts.current == {}
    course.write(0, 3, known_us=NOW_US, n_yesterday=3)
    course.write(1, 1, known_us=NOW_US)
    course.counts.look()
    assert course.popularity() == [0.75, 0.25, 0.0]
    assert course.counts.current[COURSE].recent[0].tolist() == [0.0, 1.0, 0.0]
    before = course.counts.current
    course.write(2, 4, known_us=NOW_US + 1)
    course.counts.look()
    assert course.popularity() == [0.375, 0.125, 0.5]
    assert before[COURSE].popularity.tolist() == [0.75, 0.25, 0.0]  # a request that began with it ends with it


def test_an_emptied_store_is_forgotten(course: Course) -> None:
    course.write(0, 3, known_us=NOW_US)
    course.counts.look()
    course.client.delete(content_key(course.ids[0]))
    course.counts.look()
    assert course.counts.current == {}


def test_the_background_follows_the_store(course: Course) -> None:
    course.counts.start()
    course.write(0, 1, known_us=NOW_US)
    until(lambda: COURSE in course.counts.current)
    course.write(1, 1, known_us=NOW_US)
    until(lambda: course.popularity() == [0.5, 0.5, 0.0])


def test_a_store_that_is_away_is_said_once_and_tried_again(
    free_settings: FreeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    away = Course(free_settings())
    away.counts.start()
    until(lambda: "content statistics stay as they are" in caplog.text)
    away.counts.stop()
    assert caplog.text.count("content statistics stay as they are") == 1
    assert away.counts.current == {}
