"""Whether a ranker may be served: its features are ours, and it says here what it said when it was registered."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.content_features import RANKER_FEATURES
from feature_repo.services import VERSION
from firstmile.errors import DataError
from firstmile.names import RANKER
from serving.golden import GOLDEN, N_ROWS, PREFIX, TOLERANCE
from serving.models import ScoringModel

SERVICE: Final = f"{RANKER}_v{VERSION}"
"""What it reads, by the name its run gives."""


def check_ranker(model: ScoringModel, folder: Path) -> None:
    """Refuse a ranker that cannot be served, and warm it.

    folder
        Of its files; the golden rows among them, if there are any, are scored again.

    Raises DataError saying what is wrong: features serving does not make, scores that are no numbers, a first row that
    differs.
    """
    unknown = [f for f in model.features if f not in RANKER_FEATURES]
    if unknown or not model.features:
        raise DataError(
            f"model {model.name} {model.version} wants {', '.join(unknown[:5]) or 'no features'}, serving makes "
            f"{', '.join(RANKER_FEATURES)}; train it again"
        )
    rows = _golden(model, folder) or pa.table({name: [None, 0.5] for name in model.features})
    try:
        x = np.column_stack([_numbers(rows, name) for name in model.features]).astype(np.float32)
        said = _numbers(rows, PREFIX) if PREFIX in rows.column_names else None
        scores = np.asarray(model.scores(x), np.float64)  # as it will be asked, so that the first request need not wait
    except (ValueError, TypeError) as error:
        raise DataError(f"model {model.name} {model.version} cannot score a row: {error}") from error
    if scores.shape != (len(x), 1) or not np.isfinite(scores).all():
        raise DataError(f"model {model.name} {model.version} scores {len(x)} rows as {scores.tolist()[:5]}")
    if said is not None:
        wrong = np.flatnonzero(~(np.abs(scores[:, 0] - said) <= TOLERANCE))  # nor is what was said there, if it is NaN
        if len(wrong):
            raise DataError(
                f"model {model.name} {model.version} does not say what it said when it was registered: row {wrong[0]} "
                f"was {said[wrong[0]]}, now {scores[wrong[0], 0]}"
            )


def _golden(model: ScoringModel, folder: Path) -> pa.Table | None:
    path = folder / GOLDEN
    if not path.exists():
        return None
    try:
        table = pa.Table.from_batches([next(pq.ParquetFile(path).iter_batches(N_ROWS))])
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise DataError(f"the training set of {model.name} {model.version} cannot be read: {error}") from error
    missing = {*model.features, PREFIX} - set(table.column_names)
    if missing:
        raise DataError(f"the training set of {model.name} {model.version} has no {', '.join(sorted(missing))}")
    return table


def _numbers(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A column, NaN where it says nothing. Raises ValueError or TypeError for one that is not of numbers."""
    return np.asarray(rows[name].to_numpy(zero_copy_only=False), np.float64)
