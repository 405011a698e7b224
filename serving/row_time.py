"""How long a model takes for one row: one that is too slow would cost every request its deadline."""

from firstmile.errors import DataError
from serving.models import ScoringModel, best_row_ms


def check_row_time(model: ScoringModel, *, max_ms: float) -> None:
    """Score an empty row a few times. Raises DataError when even the fastest takes longer than `max_ms`."""
    best_ms = best_row_ms(model)
    if best_ms > max_ms:
        raise DataError(
            f"model {model.name} {model.version} takes {best_ms:.2f} ms for one row, {max_ms:g} are allowed "
            "(FIRSTMILE_SERVING__MODEL_ROW_MS); train a smaller one"
        )
