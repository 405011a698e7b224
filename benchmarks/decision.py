"""What does one decision cost in the process, against doing it plainly and against the least it can cost?

.venv/bin/python -m benchmarks.decision [--n 1000]

naive   Feast's get_online_features to a data frame, each model by mlflow's pyfunc on it, then our rules
lean    what serving does: Ladder.decide
floor   one HMGET of the row's bytes and the four boosters, asked by XGBoost, on a row that is there already
floor_compiled   the same with the boosters' trees walked by compiled code, as serving walks them

They take turns, each time in another order: who comes after `naive` finds the caches full of it. Real Redis, models as
large as trained ones; `together` is what reading and decoding cost a user when so many are asked for at once.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from benchmarks.lab import own_stack
from benchmarks.load import percentiles
from benchmarks.machine import facts
from benchmarks.serving_lab import LEARNER, trained, write_learners
from feature_repo.async_reader import AsyncReader
from feature_repo.online_store import connect, user_key
from feature_repo.reader import FIELDS, OnlineReader
from feature_repo.services import model_features, service_name
from feature_repo.store import apply
from firstmile.clock import SystemClock
from firstmile.settings import Settings
from firstmile.vocabulary import MODELS
from serving.facts import Facts
from serving.features import Reading, instant_us, read_users
from serving.ladder import Ladder
from serving.models import Question, Scores, ScoringModel, prepare, score
from serving.playbook import PlaybookFiles
from serving.policy_fields import FIELDS as POLICY_FIELDS
from serving.requests import Ask

N_USERS = 200
N_WARM_UP = 50
TOGETHER = (1, 4, 16)

Work = Callable[[str], Any]


def ways(settings: Settings, models: dict[str, ScoringModel], loop: asyncio.AbstractEventLoop) -> dict[str, Work]:
    """Each way of deciding, and its parts, by name; each takes a user id."""
    reader, clock = AsyncReader(settings, OnlineReader(settings), timeout_s=5), SystemClock()

    def read(user: str) -> Reading:
        return loop.run_until_complete(read_users(reader, [(user, instant_us(clock.now_us()))]))[0]

    playbook = PlaybookFiles(settings.product, POLICY_FIELDS, clock).current
    policy = playbook.policy
    ladder = Ladder(settings.serving, lambda: playbook, reader=reader, models=lambda kind: models, clock=clock)
    client = connect(settings.redis_url, timeout_s=5)
    naive = _naive(settings, models)
    row = np.random.default_rng(7).uniform(0, 60, (1, len(model_features("activation")))).astype(np.float32)
    values = read(f"{LEARNER}-0").facts({}).features

    def lean(user: str) -> Any:
        return loop.run_until_complete(ladder.decide(Ask(user), started_s=time.perf_counter()))

    def floor(user: str) -> None:
        client.hmget(user_key(user), FIELDS)  # type: ignore[arg-type]
        for model in models.values():
            model.booster.inplace_predict(row)

    def floor_compiled(user: str) -> None:
        client.hmget(user_key(user), FIELDS)  # type: ignore[arg-type]
        for model in models.values():
            model.scores(row)

    return {
        "naive": lambda user: policy.answer(Facts(scores=naive(user)), limit=5),
        "lean": lean,
        "floor": floor,
        "floor_compiled": floor_compiled,
        "models": lambda user: score(Question(list(models.values()), values, Scores())),
        "models_inplace_predict": lambda user: [m.booster.inplace_predict(row) for m in models.values()],
        "read": read,
        "policy": lambda user: policy.answer(Facts(features=values), limit=5),
    }


def _naive(settings: Settings, models: dict[str, ScoringModel]) -> Callable[[str], dict[str, float]]:
    store = apply(settings)
    service = store.get_feature_service(service_name("activation"))  # once: every call would add 10 ms
    names = model_features("activation")
    folder = Path(tempfile.mkdtemp(dir=settings.home))
    loaded = {}
    for name, model in models.items():
        mlflow.xgboost.save_model(model.booster, str(folder / name), pip_requirements=["xgboost"])
        loaded[name] = mlflow.pyfunc.load_model(str(folder / name))

    def scores(user: str) -> dict[str, float]:
        frame = (
            store.get_online_features(service, [{"user_id": user, "now_us": SystemClock().now_us()}])
            .to_df()[names]
            .astype("float32")
        )
        return {name: float(np.ravel(model.predict(frame))[0]) for name, model in loaded.items()}

    return scores


def measured(ways_: dict[str, Work], n: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each way, in turns."""
    took: dict[str, list[float]] = {name: [] for name in ways_}
    rng = np.random.default_rng(7)
    for i in range(N_WARM_UP + n):
        user = f"{LEARNER}-{i % N_USERS}"
        for name in rng.permutation(list(ways_)).tolist():
            work = ways_[name]
            began = time.perf_counter()
            work(user)
            if i >= N_WARM_UP:
                took[name].append((time.perf_counter() - began) * 1_000)
    return {name: percentiles(ms) for name, ms in took.items()}


def together_ms(settings: Settings, n: int) -> dict[int, float]:
    """Median milliseconds a user when so many are read and decoded by one call."""
    reader, now_us = OnlineReader(settings), SystemClock().now_us()
    found = {}
    for k in TOGETHER:
        asked, took = [(f"{LEARNER}-{i}", now_us) for i in range(k)], []
        for _ in range(n // k + 10):
            began = time.perf_counter()
            reader.read_many(asked)
            took.append((time.perf_counter() - began) * 1_000 / k)
        found[k] = round(float(np.median(took)), 3)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500)
    args = parser.parse_args()
    machine, loop = facts(), asyncio.new_event_loop()
    with own_stack(parts=("redis",)) as settings:
        write_learners(connect(settings.redis_url, timeout_s=30), N_USERS, n_partitions=settings.kafka.partitions)
        models = {n: ScoringModel(n, "1", "benchmark", prepare(trained(n)), tuple(model_features(n))) for n in MODELS}
        took = measured(ways(settings, models, loop), args.n)
        together = together_ms(settings, args.n)
    median = {name: ms["p50"] for name, ms in took.items()}
    result = {
        "naive_over_lean": round(median["naive"] / median["lean"], 2),
        "lean_over_floor": round(median["lean"] / median["floor"], 2),
        "lean_over_floor_compiled": round(median["lean"] / median["floor_compiled"], 2),
        "ms": took,
        "read_together_ms_per_user": together,
    }
    print(json.dumps({"machine": machine, **result}, indent=1))


if __name__ == "__main__":
    main()
