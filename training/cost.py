"""What an answer of a model costs: the time of one row, the bytes of the booster."""

import time
from typing import Final

import numpy as np

from training.models import Fitted
from training.split import FloatArray

N_ROWS: Final = 200


def cost_of(fitted: Fitted, x: FloatArray) -> dict[str, float]:
    """`latency_ms`: median over the first rows, asked one by one as serving does, on one thread; `size_bytes`.

    The thread's own time: waiting for a core that others use says nothing of the model, and once refused one.
    """
    fitted.booster.set_param({"nthread": 1})
    took = []
    for i in range(min(N_ROWS, len(x))):
        started = time.thread_time()
        fitted.probabilities(x[i : i + 1])
        took.append((time.thread_time() - started) * 1_000)
    return {"latency_ms": float(np.median(took)), "size_bytes": float(len(fitted.booster.save_raw("ubj")))}
