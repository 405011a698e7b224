"""What an answer of a model costs: its time, the bytes of the booster."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import xgboost as xgb

N_ASKED: Final = 200


def cost_of(booster: xgb.Booster, answer: Callable[[Any], Any], asked: Sequence[Any]) -> dict[str, float]:
    """`latency_ms`: median over what is asked, one by one as serving does, on one thread; `size_bytes`.

    The thread's own time: waiting for a core that others use says nothing of the model, and once refused one.
    """
    booster.set_param({"nthread": 1})
    took = []
    for each in asked:
        started = time.thread_time()
        answer(each)
        took.append((time.thread_time() - started) * 1_000)
    return {"latency_ms": float(np.median(took)), "size_bytes": float(len(booster.save_raw("ubj")))}
