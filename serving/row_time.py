"""How long a model takes for one row: one that is too slow would cost every request its deadline."""

import time
from typing import Final

from firstmile.errors import DataError
from serving.models import ScoringModel

N_TRIES: Final = 10
"""The best of them counts: what else the machine does only adds."""


def check_row_time(model: ScoringModel, *, max_ms: float) -> None:
    """Score an empty row a few times. Raises DataError when even the fastest takes longer than `max_ms`."""
    best_ms = min(_row_ms(model) for _ in range(N_TRIES))
    if best_ms > max_ms:
        raise DataError(
            f"model {model.name} {model.version} takes {best_ms:.2f} ms for one row, {max_ms:g} are allowed "
            "(FIRSTMILE_SERVING__MODEL_ROW_MS); train a smaller one"
        )


def _row_ms(model: ScoringModel) -> float:
    started_s = time.perf_counter()
    model.probabilities({})
    return (time.perf_counter() - started_s) * 1_000
