"""`firstmile learn` on the real stack: decisions and events in Kafka, killed once, every decision learned once."""

import json
import os
import signal
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import redis
from conftest import FreeSettings, free_ports
from decision_records import decision_record
from kafka_reading import end_offsets, records_since
from mlflow.tracking import MlflowClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from running import command, poll, running

from feature_repo.progress import KEY, Progress, encode, field
from feature_repo.services import model_features
from firstmile.broker import describe_topics, producer
from firstmile.clock import SystemClock, to_datetime
from firstmile.errors import DependencyError
from firstmile.names import CHALLENGER, DECISIONS, ENRICHED, EVENT_TOPICS, ONLINE_MODEL, USER_ACTIONS
from firstmile.settings import Settings, as_environment
from firstmile.wire import RecordWriter, Registry
from training.learn import bounds_of, recipe_of
from training.online_join import Example
from training.online_log import LOOK_S, KafkaLog
from training.online_snapshot import FILE, read_snapshot
from training.online_state import fresh_state

SECOND = 1_000_000
WINDOW_S, LATENESS_S = 2.0, 1.0
FEATURES = model_features("activation")


@dataclass
class Feed:
    """Writes decisions and events as serving and the stream do."""

    settings: Settings

    def __post_init__(self) -> None:
        registry = Registry(self.settings.registry_url)
        self.writers = {topic: RecordWriter(registry, topic) for topic in (DECISIONS, ENRICHED)}
        self.out = producer(self.settings)
        self.partitions = {t: i.n_partitions for t, i in describe_topics(self.settings, self.writers).items()}

    def decide(self, request_id: str, *, at_us: int, seed: int) -> None:
        vector = dict(zip(FEATURES, np.random.default_rng(seed).poisson(5, len(FEATURES)).astype(float), strict=True))
        models = {"activation": "of the learner's tests"}  # the log is shared: monitoring's tests count by version
        record = decision_record(
            request_id=request_id, user_id=request_id, features=vector, decided_at=to_datetime(at_us), models=models
        )
        self.out.send(DECISIONS, key=request_id, value=self.writers[DECISIONS].encode(record))

    def open(self, user: str, content: str, *, at_us: int) -> None:
        self.out.send(ENRICHED, key=user, value=self.writers[ENRICHED].encode(enriched(user, content, at_us)))

    def pass_time(self) -> None:
        """Both topics have been written up to now, in every partition."""
        now_us = SystemClock().now_us()
        idle = decision_record(decided_at=to_datetime(now_us), features={}, models={}, rung="rules")
        for topic, record in ((DECISIONS, idle), (ENRICHED, enriched("nobody", None, now_us))):
            for partition in range(self.partitions[topic]):
                value = self.writers[topic].encode(record)
                self.out.producer.produce(topic, key="nobody", value=value, partition=partition)
        self.out.flush()


def enriched(user: str, content: str | None, at_us: int) -> dict[str, Any]:
    return {
        "source_topic": USER_ACTIONS,
        "source_topic_id": "t",
        "source_partition": 0,
        "source_offset": 0,
        "message_id": uuid.uuid4().hex,
        "user_id": user,
        "name": "Content Opened" if content else "Page Viewed",
        "event_time": to_datetime(at_us),
        "received_at": to_datetime(at_us),
        "family": "content_open" if content else "page_view",
        "content_id": content,
    }


def sending(feed: Feed, n: int, *, seed: int) -> list[str]:
    """Decisions of five seconds ago, every third of which was followed by an open; their ids."""
    ids = [uuid.uuid4().hex for _ in range(n)]
    decided_us = SystemClock().now_us() - 5 * SECOND
    for i, request_id in enumerate(ids):
        feed.decide(request_id, at_us=decided_us + i * 1_000, seed=seed + i)
        if i % 3 == 0:
            feed.open(request_id, "c1", at_us=decided_us + i * 1_000 + SECOND)
        elif i % 3 == 1:  # not what was recommended, or too late
            feed.open(request_id, "c2", at_us=decided_us + i * 1_000 + SECOND)
            feed.open(request_id, "c1", at_us=decided_us + i * 1_000 + 3 * SECOND)
    feed.out.flush()
    return ids


def scraped(port: int) -> dict[tuple[str, tuple[str, ...]], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        page = answer.read().decode()
    samples = [s for family in text_string_to_metric_families(page) for s in family.samples]
    return {(s.name, tuple(s.labels.values())): s.value for s in samples}


def learned(port: int) -> tuple[int, int]:
    """(opened, not opened)"""
    page = scraped(port)
    return tuple(int(page.get(("firstmile_learn_examples_total", (o,)), 0)) for o in ("true", "false"))  # type: ignore


def in_the_log(settings: Settings) -> int:
    """Decisions with a vector and a ranking that Kafka has, each request once."""
    beginning = {(DECISIONS, p): 0 for p in range(describe_topics(settings, [DECISIONS])[DECISIONS].n_partitions)}
    records = [record for _, _, record in records_since(settings, beginning)]
    return len({r["request_id"] for r in records if r["features"] and r["ranking"]})


@pytest.fixture
def learner(stack: Settings, tmp_path: Path) -> Settings:
    """Of a home of its own; versions and snapshots come fast."""
    own = {
        "window_s": WINDOW_S,
        "lateness_s": LATENESS_S,
        "snapshot_s": 0.2,
        "register_s": 1.0,
        "metrics_port": free_ports(1)[0],
    }
    learning = stack.learning.model_copy(update=own)
    return stack.model_copy(update={"home": tmp_path / "home", "learning": learning})


def test_a_learner_killed_between_two_halves_learns_every_decision_once(learner: Settings, tmp_path: Path) -> None:
    feed, port, log = Feed(learner), learner.learning.metrics_port, tmp_path / "learn.log"
    first = sending(feed, 150, seed=0)
    with running(learner, ["learn"], log) as process:
        poll(passing(feed, lambda: learned(port)[0] >= 20), what="a third of the first half learned as opened")
        process.kill()
        process.wait(10)
    # The log is written at least once: here each decision again, the first half's after their windows have closed.
    second = sending(feed, 150, seed=1_000)
    for i, request_id in enumerate(first + second):
        feed.decide(request_id, at_us=SystemClock().now_us() - 5 * SECOND, seed=i)
    feed.out.flush()
    n_expected = in_the_log(learner)
    with running(learner, ["learn"], log) as process:
        poll(passing(feed, lambda: sum(learned(port)) >= n_expected), what=f"all {n_expected} decisions learned")
        client = MlflowClient(learner.mlflow_uri)
        poll(lambda: versions_of(client, learned_at_least=n_expected), what="the last examples registered")
        assert scraped(port)[("firstmile_learn_records_total", ("duplicates",))] >= 300
        assert sum(learned(port)) == n_expected
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    said = json.loads(log.read_text()[log.read_text().rindex("\n{") :])
    assert (said["n_learned"], said["n_opened"], said["n_open"]) == (n_expected, 100, 0)
    check_version(learner, client)


def passing(feed: Feed, condition: Callable[[], bool]) -> Callable[[], bool]:
    """The condition, time passing in Kafka each time it is looked at."""

    def looked() -> bool:
        feed.pass_time()
        return condition()

    return looked


def versions_of(client: MlflowClient, *, learned_at_least: int) -> bool:
    found = client.search_model_versions(f"name = '{ONLINE_MODEL}'")
    return any(int(v.tags["n_learned"]) >= learned_at_least for v in found)


def check_version(settings: Settings, client: MlflowClient) -> None:
    """`challenger` says, without river and without us, what the snapshot's model says."""
    mlflow.set_tracking_uri(settings.mlflow_uri)
    version = client.get_model_version_by_alias(ONLINE_MODEL, CHALLENGER)
    loaded = mlflow.pyfunc.load_model(f"models:/{ONLINE_MODEL}@{CHALLENGER}")
    state = read_snapshot(settings.learning_folder / FILE, recipe_of(settings), bounds_of(settings))
    assert int(version.tags["n_learned"]) == state.n_learned
    rows = np.random.default_rng(5).poisson(5, (20, len(FEATURES))).astype(float)
    rows[rows == 3] = np.nan
    said = loaded.predict(pd.DataFrame(rows, columns=FEATURES))
    model = state.models[version.tags["learner"]]
    knowns = [{f: v for f, v in zip(FEATURES, row, strict=True) if not np.isnan(v)} for row in rows.tolist()]
    assert np.allclose(said, [model.probability(values) for values in knowns], rtol=1e-12)
    runs = client.search_runs(
        [client.get_run(version.run_id).info.experiment_id], f"tags.`firstmile.learner_id` = '{state.learner_id}'"
    )
    assert [run.info.run_id for run in runs] == [version.run_id]
    steps = [m.step for m in client.get_metric_history(version.run_id, "prequential/tree/log_loss")]
    assert steps == sorted(steps)
    assert steps[-1] == state.n_learned


@pytest.mark.slow
def test_a_second_learner_of_the_same_home_is_refused(learner: Settings, tmp_path: Path) -> None:
    with running(learner, ["learn"], tmp_path / "learn.log"):
        second = subprocess.run(
            command("learn"),
            env={**os.environ, **as_environment(learner)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert "ConflictError: `firstmile learn` cannot begin, another process holds" in second.stderr


@pytest.mark.slow
def test_a_quiet_log_closes_too_but_not_while_the_stream_is_behind(learner: Settings) -> None:
    own_redis = learner.redis.model_copy(update={"url": SecretStr(learner.redis_url.removesuffix("/0") + "/7")})
    settings = learner.model_copy(update={"redis": own_redis})
    source, state = KafkaLog(settings, FEATURES, SystemClock()), fresh_state(recipe_of(settings), bounds_of(settings))
    source.start(state)
    mine = set(sending(Feed(settings), 6, seed=0))
    closed: list[Example] = []

    def read(until_s: float) -> bool:
        """Whether all of mine have closed by then."""
        end = time.monotonic() + until_s
        while time.monotonic() < end and mine - {e.request_id for e in closed}:
            closed.extend(state.join(source.read()))
        return not mine - {e.request_id for e in closed}

    with redis.Redis.from_url(settings.redis_url) as client:
        for (topic, partition), end in end_offsets(settings, EVENT_TOPICS).items():
            record = Progress(end if topic != USER_ACTIONS else end - 1, "t", 0)
            client.hset(KEY, field((topic, partition)), encode(record))
        assert not read(LOOK_S + 9)
        for (topic, partition), end in end_offsets(settings, EVENT_TOPICS).items():
            client.hset(KEY, field((topic, partition)), encode(Progress(end, "t", 0)))
        assert read(60)
        client.flushdb()
    assert sum(e.is_opened for e in closed if e.request_id in mine) == 2
    source.close()


def test_a_topic_made_anew_is_read_from_its_beginning(learner: Settings) -> None:
    sending(Feed(learner), 3, seed=0)
    source, state = KafkaLog(learner, FEATURES, SystemClock()), fresh_state(recipe_of(learner), bounds_of(learner))
    source.start(state)
    begins, ends = dict(state.offsets), end_offsets(learner, (DECISIONS, ENRICHED))
    state.offsets = dict(ends)
    source.start(state)
    assert state.offsets == ends
    state.topic_ids[DECISIONS] = "another"
    source.start(state)
    assert state.offsets == {p: begins[p] if p[0] == DECISIONS else ends[p] for p in ends}
    source.close()


def test_without_kafka_or_registry_it_says_so(stack: Settings, free_settings: FreeSettings) -> None:
    away = free_settings(kafka={"timeout_s": 1}, registry={"timeout_s": 1})
    with pytest.raises(DependencyError, match=r"registry http://127\.0\.0\.1:\d+/.* has no schema"):
        KafkaLog(away, FEATURES, SystemClock())
    half = stack.model_copy(
        update={"kafka": stack.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:9", "timeout_s": 1})}
    )
    source = KafkaLog(half, FEATURES, SystemClock())
    state = read_snapshot(away.home / FILE, recipe_of(half), bounds_of(half))
    with pytest.raises(DependencyError, match=r"Kafka at 127\.0\.0\.1:9"):
        source.start(state)
    source.close()
