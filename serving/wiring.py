"""One serving process put together: reader, models, policy, ladder, log. The only place that knows all of them."""

import gc
import logging
from dataclasses import dataclass

import numpy as np
import redis
from confluent_kafka.admin import AdminClient

from feature_repo.activity import windows
from feature_repo.async_reader import AsyncReader
from feature_repo.lag import EndOffsets
from feature_repo.online_store import connect
from feature_repo.reader import OnlineReader
from feature_repo.row import unpack_rows
from firstmile.clock import SystemClock
from firstmile.http.guard import Guard
from firstmile.http.key_watch import KeyWatch, decision_key
from firstmile.names import OUTCOMES
from firstmile.settings import Settings
from serving.api import Desk
from serving.champions import ModelWatch, mlflow_watch
from serving.content_counts import ContentCounts
from serving.decisions import DecisionLog, kafka_log
from serving.experiments import Assignment
from serving.exposure_tokens import ExposureTokens
from serving.exposures import Exposures
from serving.facts import Facts
from serving.health import Readiness
from serving.ladder import Ladder
from serving.metrics import Metrics
from serving.playbook import PlaybookFiles
from serving.policy import Policy
from serving.policy_fields import FIELDS
from serving.shadow import Shadow
from serving.traces import otlp_traces

log = logging.getLogger(__name__)


AFTERWARDS_S = 0.05
"""A trip to the store may go on for so long after its request gave up: an answer that is there already, when the loop
has stood still, leaves the connection as good as it was."""


@dataclass
class Process:
    """The running parts of one serving process."""

    desk: Desk
    playbook: PlaybookFiles
    watch: ModelWatch
    ends: EndOffsets
    counts: ContentCounts
    logs: tuple[DecisionLog, ...]
    keys: KeyWatch
    readiness: Readiness

    def is_alive(self) -> bool:
        """Whether the threads that no answer waits for are still at work."""
        return self.watch.is_alive() and self.ends.is_alive() and all(one.is_alive() for one in self.logs)

    async def is_ready(self) -> bool:
        """Whether models are warm and a row could be read in time."""
        return await self.readiness.is_ready()

    def close(self) -> None:
        """Stop the background threads, handing on the decisions that wait."""
        self.playbook.stop()
        self.watch.stop()
        self.keys.stop()
        self.counts.stop()
        self.desk.ladder.close()
        self.desk.shadow.close()
        for one in self.logs:
            one.stop()
        if self.desk.traces is not None:
            self.desk.traces.stop()
        self.ends.stop()


def warm_up(reader: OnlineReader, policy: Policy) -> None:
    """Do once what a request does (models are warmed when they are checked): the first time costs up to 100 ms."""
    windows(unpack_rows([None]), np.array([0], np.int64))
    policy.answer(Facts(), limit=1)
    try:
        reader.read("", 0)
    except (redis.RedisError, OSError) as error:
        log.warning("starting without Redis: %s", error)


def exposures_of(playbook: PlaybookFiles, keys: KeyWatch, log: DecisionLog, metrics: Metrics) -> Exposures:
    """Exposures into a log, by the experiments and keys in force."""
    clock = SystemClock()

    def assign(user_id: str) -> Assignment:
        return playbook.current.experiments.assign(user_id, {}, now_us=clock.now_us())

    tokens = ExposureTokens(lambda: keys.current)
    return Exposures(log.put, assign, tokens=tokens, clock=clock, metrics=metrics.shown)


def start_process(settings: Settings) -> Process:
    """Build and start everything; no dependency has to be up.

    Raises DataError when rules, catalogue, experiments or keys are wrong.
    """
    serving = settings.serving
    metrics, clock = Metrics(), SystemClock()
    playbook = PlaybookFiles(settings.product, FIELDS, clock, poll_s=serving.policy_poll_s, on_file=metrics.policy_file)
    playbook.start()
    keys = KeyWatch(settings, decision_key(serving))
    keys.start()
    watch = mlflow_watch(
        settings,
        on_change=metrics.use_models,
        kinds=lambda: playbook.current.experiments.kinds(),
    )
    watch.start()
    timeout_s = serving.feature_timeout_ms / 1_000
    records = OnlineReader(settings)
    ends = EndOffsets(
        AdminClient({"bootstrap.servers": settings.kafka_servers, "log_level": 2}),  # silent while Kafka is away
        clock=clock,
        read_progress=records.read_progress,
        n_partitions=settings.kafka.partitions,
        n_recorded=records.n_recorded,
    )
    reader = OnlineReader(settings, ends=ends.start(), timeout_s=timeout_s)
    on_loop = AsyncReader(settings, reader, timeout_s=timeout_s + AFTERWARDS_S)
    client = connect(settings.redis_url, timeout_s=settings.redis.timeout_s)
    counts = ContentCounts(
        client, lambda: playbook.current.policy.catalogue, clock=clock, poll_s=serving.content_poll_s
    )
    counts.start()
    ladder = Ladder(
        serving,
        lambda: playbook.current,
        reader=on_loop,
        models=watch.models,
        clock=clock,
        standings=counts.standings,
        odds=counts.odds,
    )
    decisions, shown = kafka_log(settings, metrics), kafka_log(settings, metrics.shown, OUTCOMES)
    decisions.start()
    shown.start()
    guard = Guard(serving, lambda: keys.current, user_requests_per_s=serving.user_requests_per_s)
    if not playbook.current.policy.learned <= watch.current.keys():
        watch.first_look.wait(serving.model_wait_s)
    warm_up(reader, playbook.current.policy)
    # What was built so far lives as long as the process: the collector need not walk it during a request.
    gc.collect()
    gc.freeze()
    exposures, shadow = exposures_of(playbook, keys, shown, metrics), Shadow(decisions.put, metrics.shadows)
    traces = otlp_traces(serving.traces_url)
    desk = Desk(serving, ladder, decisions, metrics, guard, exposures, shadow, traces=traces)
    readiness = Readiness(watch.first_look, on_loop, timeout_s=timeout_s)
    return Process(desk, playbook, watch, ends, counts, (decisions, shown), keys, readiness)
