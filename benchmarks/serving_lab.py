"""What the serving benchmarks share: learners in the store, champions as large as trained ones, a served API."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlflow
import mlflow.xgboost
import numpy as np
import orjson
import redis
import xgboost as xgb
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from benchmarks.lab import own_stack, start_verb, stop_verb
from feature_repo import progress
from feature_repo.activity import NOT_COUNTED, Events, fold
from feature_repo.applied import FROM_FILE, Source, message_hash
from feature_repo.distinct import content_hash
from feature_repo.fields import ACTIVITY, PROFILE
from feature_repo.online_store import (
    UserWrite,
    compare_and_set,
    connect,
    feature_field,
    time_bytes,
    time_field,
    user_key,
)
from feature_repo.progress import Progress
from feature_repo.row import empty_rows, pack_rows
from feature_repo.services import model_features, service_name
from firstmile.clock import MICROS_PER_DAY, MICROS_PER_S, SystemClock
from firstmile.local.ports import free_ports
from firstmile.names import CHAMPION, EVENT_TOPICS, FAMILIES
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings
from firstmile.vocabulary import CLASSES, FORMATS, MODELS

LEARNER = "benchmark"
N_EVENTS = 60
ROUNDS = {"activation": 150, "disengagement": 150, "skill_level": 60, "preference": 60}
"""About what early stopping leaves of training's models; several classes grow a tree each per round."""
PARAMETERS = {"max_depth": 3, "min_child_weight": 5, "subsample": 0.8, "colsample_bytree": 0.5, "nthread": 1, "seed": 7}


@contextmanager
def served(*, n_users: int, **serving: Any) -> Iterator[Settings]:
    """A whole stack with learners and champions and the decision API on it."""
    with own_stack(parts=("kafka", "registry", "redis", "mlflow")) as stack:
        settings = stack.model_copy(
            update={
                "serving": stack.serving.model_copy(
                    update={"port": free_ports(1)[0], "user_requests_per_s": 0, **serving}
                )
            }
        )
        client = connect(settings.redis_url, timeout_s=30)
        write_learners(client, n_users, n_partitions=settings.kafka.partitions)
        for name in MODELS:
            promote(settings, name, register(settings, name))
        start_verb(settings, "serve")
        try:
            yield settings
        finally:
            stop_verb(settings, "serve")


def write_learners(client: "redis.Redis", n_users: int, *, n_partitions: int, seed: int = 7) -> None:
    """Learners some days old with 60 events each, written as the stream writes them; nothing waits unread."""
    users = [f"{LEARNER}-{i}" for i in range(n_users)]
    rows, _ = fold(empty_rows(n_users), events(n_users, np.random.default_rng(seed), SystemClock().now_us()))
    profile = {"cohort": "AAA_2014J", "product": "AAA", "prior_attempts": 0, "studied_credits": 60}
    said = {feature_field(PROFILE, name): _proto(value) for name, value in profile.items()}
    writes = [
        UserWrite(
            user_key(user),
            0,
            int(version_us),
            {
                feature_field(ACTIVITY, "activity"): ValueProto(bytes_val=packed).SerializeToString(),
                time_field(ACTIVITY): time_bytes(int(version_us)),
                **said,
            },
        )
        for user, packed, version_us in zip(users, pack_rows(rows), rows.version_us, strict=True)
    ]
    assert all(compare_and_set(client, writes))
    partitions = [(topic, p) for topic in EVENT_TOPICS for p in range(n_partitions)]
    progress.write(client, {}, dict.fromkeys(partitions, Progress(0, "t", 0)))


def trained(name: str, *, seed: int = 7) -> xgb.Booster:
    """A booster as large as training's, over random rows."""
    features = model_features(name)
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 60, (2_000, len(features)))
    n_classes = len(CLASSES.get(name, ())) or 2
    mean = x[:, :5].mean(axis=1)
    y = np.digitize(mean + rng.normal(0, 8, len(x)), np.quantile(mean, np.arange(1, n_classes) / n_classes))
    several = {"objective": "multi:softprob", "num_class": n_classes}
    task = several if n_classes > 2 else {"objective": "binary:logistic"}
    data = xgb.DMatrix(x, y, feature_names=features, nthread=1)
    return xgb.train({**PARAMETERS, **task, "seed": seed}, data, ROUNDS[name])


def register(settings: Settings, name: str, *, seed: int = 7) -> str:
    """A version of such a booster in MLflow."""
    mlflow.set_tracking_uri(settings.mlflow_uri)
    with mlflow.start_run():
        mlflow.set_tags({"feature_service": service_name(name), "min_onboarding_days": "0"})
        info = mlflow.xgboost.log_model(
            trained(name, seed=seed), name="model", pip_requirements=["xgboost"], model_format="ubj"
        )
    return str(mlflow.register_model(info.model_uri, name).version)


def promote(settings: Settings, name: str, version: str) -> None:
    """Move the alias."""
    mlflow.MlflowClient(settings.mlflow_uri).set_registered_model_alias(name, CHAMPION, version)


def start_load(
    settings: Settings, *, rate: float, seconds: float, n_users: int, seed: int = 7, core: int | None = None
) -> "subprocess.Popen[bytes]":
    """The load generator, under way."""
    plan = {
        "port": settings.serving.port,
        "key": settings.serving.api_key.get_secret_value(),
        "rate": rate,
        "seconds": seconds,
        "prefix": LEARNER,
        "n_users": n_users,
        "seed": seed,
        "core": core,
    }
    command = [sys.executable, "-m", "benchmarks.load", orjson.dumps(plan).decode()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)


def load(settings: Settings, **plan: Any) -> dict[str, Any]:
    """One run of the load generator: its report."""
    out, _ = start_load(settings, **plan).communicate()
    return dict(orjson.loads(out))


def events(n_users: int, rng: np.random.Generator, now_us: int) -> Events:
    """60 events each over nine days, after one that says that the onboarding began ten days ago."""
    user = np.repeat(np.arange(n_users), N_EVENTS + 1)
    n = len(user)
    first = np.arange(n) % (N_EVENTS + 1) == 0
    ago_us = np.where(first, 10 * MICROS_PER_DAY, rng.integers(MICROS_PER_S, 9 * MICROS_PER_DAY, n))
    event_ms = (now_us - ago_us) // 1_000
    content = rng.integers(877_000, 877_060, n).tolist()
    families = [FAMILIES.index(f) for f in ("content_open", "page_view", "content_open", "form_submit")]
    return Events(
        Source(
            user=user,
            hash=message_hash([f"{i}" for i in range(n)]),
            received_us=event_ms * 1_000,
            topic=message_hash(["t"] * n),
            partition=np.full(n, FROM_FILE, np.int64),
            offset=np.zeros(n, np.int64),
        ),
        event_ms=event_ms,
        family=np.where(first, NOT_COUNTED, rng.choice(families, n)),
        weight=np.ones(n, np.int64),
        content=content_hash(["" if f else str(c) for f, c in zip(first, content, strict=True)]),
        page=np.zeros(n, np.int64),
        format=np.where(first, -1, rng.integers(0, len(FORMATS) - 2, n)),
        step=np.array([""] * n, object),
        onboarding_ms=np.where(first, event_ms, 0),
        target=np.zeros(n, np.int64),
    )


def _proto(value: str | int) -> bytes:
    proto = ValueProto(string_val=value) if isinstance(value, str) else ValueProto(int64_val=value)
    return bytes(proto.SerializeToString())
