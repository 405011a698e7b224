"""One serving process put together: reader, models, policy, ladder, log. The only place that knows all of them."""

import gc
import logging
from dataclasses import dataclass

import numpy as np
import redis
from confluent_kafka.admin import AdminClient

from feature_repo.activity import FEATURE_NAMES, windows
from feature_repo.fields import CONTEXT_STRINGS, PROFILE_NUMBERS, PROFILE_STRINGS
from feature_repo.lag import EndOffsets
from feature_repo.reader import OnlineReader
from feature_repo.row import unpack_rows
from firstmile.clock import SystemClock
from firstmile.names import MODELS
from firstmile.settings import Settings
from serving.api import Desk
from serving.catalogue import load_catalogue
from serving.champions import ModelWatch, mlflow_watch
from serving.decisions import DecisionLog, kafka_log
from serving.facts import Facts
from serving.features import read_users
from serving.health import Readiness
from serving.ladder import Ladder
from serving.limits import RateLimit
from serving.metrics import Metrics
from serving.policy import Policy
from serving.rules import known_fields, load_rules
from serving.traces import otlp_traces

log = logging.getLogger(__name__)


@dataclass
class Process:
    """The running parts of one serving process."""

    desk: Desk
    watch: ModelWatch
    ends: EndOffsets
    decisions: DecisionLog
    readiness: Readiness

    def is_alive(self) -> bool:
        """Whether the threads that no answer waits for are still at work."""
        return self.watch.is_alive() and self.decisions.is_alive()

    def is_ready(self) -> bool:
        """Whether models are warm and a row could be read in time; blocking."""
        return self.readiness.is_ready()

    def close(self) -> None:
        """Stop the background threads, handing on the decisions that wait."""
        self.watch.stop()
        self.desk.ladder.close()
        self.decisions.stop()
        if self.desk.traces is not None:
            self.desk.traces.stop()
        self.ends.stop()


def load_policy() -> Policy:
    """Rules and catalogue of this folder. Raises DataError naming file and line."""
    catalogue = load_catalogue()
    fields = known_fields((*FEATURE_NAMES, *PROFILE_NUMBERS), PROFILE_STRINGS, CONTEXT_STRINGS)
    return Policy(load_rules(fields, catalogue.content_ids()), catalogue)


def warm_up(reader: OnlineReader, policy: Policy) -> None:
    """Do once what a request does (models are warmed when they are checked): the first time costs up to 100 ms."""
    windows(unpack_rows([None]), np.array([0], np.int64))
    policy.answer(Facts(), limit=1)
    try:
        read_users(reader, [("", 0)])
    except (redis.RedisError, OSError) as error:
        log.warning("starting without Redis: %s", error)


def start_process(settings: Settings) -> Process:
    """Build and start everything; no dependency has to be up.

    Raises DataError when rules or catalogue are wrong.
    """
    serving = settings.serving
    policy = load_policy()
    metrics = Metrics()
    watch = mlflow_watch(settings, on_change=metrics.use_models)
    watch.start()
    timeout_s = serving.feature_timeout_ms / 1_000
    clock = SystemClock()
    ends = EndOffsets(
        AdminClient({"bootstrap.servers": settings.kafka_servers, "log_level": 2}),  # silent while Kafka is away
        n_partitions=settings.kafka.partitions,
        clock=clock,
        read_progress=OnlineReader(settings).read_progress,
    )
    reader = OnlineReader(settings, ends=ends.start(), timeout_s=timeout_s)
    ladder = Ladder(serving, policy, reader=reader, models=lambda: watch.current, clock=clock)
    decisions = kafka_log(settings, metrics)
    decisions.start()
    limit = RateLimit(per_s=serving.user_requests_per_s, burst=2 * serving.user_requests_per_s)
    if len(watch.current) < len(MODELS):
        watch.first_look.wait(serving.model_wait_s)
    warm_up(reader, policy)
    # What was built so far lives as long as the process: the collector need not walk it during a request.
    gc.collect()
    gc.freeze()
    readiness = Readiness(watch.first_look, reader, timeout_s=timeout_s)
    desk = Desk(serving, ladder, decisions, metrics, limit, traces=otlp_traces(serving.traces_url))
    return Process(desk, watch, ends, decisions, readiness)
