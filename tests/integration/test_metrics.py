"""What /metrics of the real stream and archive says, against what was sent."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import free_ports
from kafka_reading import end_offsets
from prometheus_client.parser import text_string_to_metric_families
from running import poll, run, running
from test_stream import Sender, user, wait_until_read

from firstmile.names import PROFILES, STREAM_TOPICS, USER_ACTIONS
from firstmile.settings import Settings

Page = dict[tuple[str, tuple[str, ...]], float]
OWN_STEPS = {"decode", "clean", "read_rows", "side_outputs", "fold", "flush", "rows"}
STEPS = {"check", "fetch", "split", *OWN_STEPS, "others", "progress", "total"}


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The shared stack, with a checkpoint and a lake of its own, and two free ports."""
    own, archive = free_ports(2)
    ports = {"metrics_port": own, "archive_metrics_port": archive, "archive_interval_s": 0.5}
    stream = stack.stream.model_copy(update=ports)
    return stack.model_copy(update={"home": tmp_path_factory.mktemp("metrics"), "stream": stream})


@pytest.fixture(scope="module")
def stream(settings: Settings) -> Iterator[None]:
    with running(settings, ["stream"], settings.home / "stream.log"):
        yield


def scraped(port: int) -> Page:
    """Value by (sample name, label values in the order of their names)."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {(s.name, tuple(v for _, v in sorted(s.labels.items()))): s.value for s in samples}


def test_the_stream_counts_what_was_sent(settings: Settings, stream: None) -> None:
    wait_until_read(settings)
    port = settings.stream.metrics_port
    sender, names = Sender(settings), [user() for _ in range(3)]
    poll(lambda: all_read(scraped(port)), what="the backlog of other tests counted")
    before = scraped(port)
    for name in names:
        twice = sender.event(name)
        sender.send(name, twice, twice, sender.event(name), sender.event(name, weight=-1))
    sender.profile(names[0], plan="pro")
    sender.producer.send(USER_ACTIONS, key=None, value=sender.event(names[0]))
    sender.producer.send(USER_ACTIONS, key="x", value=b"\x07bytes")
    sender.producer.flush()
    wait_until_read(settings)

    def added(name: str, *labels: str) -> float:
        key = (f"firstmile_stream_{name}_total", labels)
        return scraped(port).get(key, 0.0) - before.get(key, 0.0)

    # The progress record, which wait_until_read looks at, is written a moment before the batch is counted.
    poll(lambda: added("records") == 15, what="15 records counted")
    assert (added("events_folded"), added("duplicates"), added("conflicts")) == (6, 3, 0)
    assert added("dead_letters", "impossible_weight") == 3
    assert (added("dead_letters", "missing_key"), added("dead_letters", "bad_magic")) == (1, 1)
    assert added("users") >= 3


def all_read(page: Page) -> bool:
    unread = [value for (name, _), value in page.items() if name == "firstmile_stream_kafka_lag_records"]
    return bool(unread) and not any(unread)


def test_every_step_of_a_batch_has_its_time_and_they_add_up(settings: Settings, stream: None) -> None:
    sender, name = Sender(settings), user()
    sender.send(name, sender.event(name))
    wait_until_read(settings)
    poll(lambda: ("firstmile_stream_batch_seconds_count", ("total",)) in scraped(settings.stream.metrics_port))
    page = scraped(settings.stream.metrics_port)
    seconds = {labels[0]: v for (n, labels), v in page.items() if n == "firstmile_stream_batch_seconds_sum"}
    n_batches = {v for (n, _), v in page.items() if n == "firstmile_stream_batch_seconds_count"}
    assert set(seconds) == STEPS
    assert len(n_batches) == 1
    assert min(seconds.values()) > 0
    assert sum(seconds.values()) - seconds["total"] == pytest.approx(seconds["total"], rel=1e-6)


def test_lag_is_told_for_every_partition_and_is_none_when_all_is_read(settings: Settings, stream: None) -> None:
    wait_until_read(settings)
    poll(lambda: all_read(scraped(settings.stream.metrics_port)), what="no record unread")
    page = scraped(settings.stream.metrics_port)
    lags = {labels: v for (name, labels), v in page.items() if name == "firstmile_stream_lag_seconds"}
    assert set(lags) == {(str(partition), topic) for topic, partition in end_offsets(settings, STREAM_TOPICS)}
    assert (("0", PROFILES) in lags, set(lags.values())) == (True, {0.0})


def test_the_archive_counts_rows_and_files_and_knows_its_lag(settings: Settings, stream: None, tmp_path: Path) -> None:
    with running(settings, ["archive"], tmp_path / "archive.log"):
        port = settings.stream.archive_metrics_port
        poll(lambda: not behind(port), timeout_s=120, what="the archive at the end of the enriched events")
        before = scraped(port)
        sender, name = Sender(settings), user()
        sender.send(name, *(sender.event(name) for _ in range(5)))
        key = ("firstmile_archive_rows_total", ())
        poll(lambda: scraped(port)[key] - before[key] == 5, timeout_s=120, what="5 rows in the lake")
        page = scraped(port)
        assert page["firstmile_archive_files_total", ()] > before["firstmile_archive_files_total", ()]
        assert page["firstmile_archive_batch_seconds_sum", ()] > before["firstmile_archive_batch_seconds_sum", ()]
        poll(lambda: not behind(port), what="the archive at the end again")
        assert {v for (n, _), v in scraped(port).items() if n == "firstmile_archive_lag_seconds"} == {0.0}


def behind(port: int) -> float:
    return sum(v for (name, _), v in scraped(port).items() if name == "firstmile_archive_kafka_lag_records")


def test_a_taken_port_is_named_with_its_setting(settings: Settings, stream: None, tmp_path: Path) -> None:
    taken = settings.stream.model_copy(update={"archive_metrics_port": settings.stream.metrics_port})
    done = run(settings.model_copy(update={"home": tmp_path, "stream": taken}), "archive")
    assert done.returncode == 1
    assert f"127.0.0.1:{settings.stream.metrics_port}" in done.stderr
    assert "FIRSTMILE_STREAM__ARCHIVE_METRICS_PORT" in done.stderr
