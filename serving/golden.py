"""Golden rows: a model must say here, row by row, what it said to its training set when it was registered.

Whatever changed in between, booster, library, order of the vector or of the classes, shows as another number.
"""

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from firstmile.errors import DataError
from serving.models import ScoringModel

GOLDEN: Final = "training_set.parquet"
"""The run's artifact: one column per feature, then `prediction`, or `prediction:<class>`."""
PREFIX: Final = "prediction"
N_ROWS: Final = 20
TOLERANCE: Final = 1e-4
"""Boosters score in 32 bits, and registered scores may have been brought to sum 1 in 64."""


def check_golden(model: ScoringModel, folder: Path) -> None:
    """Score the first rows of the folder's training set, if there is one.

    Raises DataError naming the first row that differs, or when the set is not one of this model.
    """
    path = folder / GOLDEN
    if not path.exists():
        return
    try:
        table = next(pq.ParquetFile(path).iter_batches(N_ROWS), pa.record_batch({}))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"the training set of {model.name} {model.version} cannot be read: {error}") from error
    for number, row in enumerate(table.to_pylist()):
        said = {k.replace(PREFIX, model.name, 1): p for k, p in row.items() if k.partition(":")[0] == PREFIX}
        try:
            scored = model.probabilities(row)
            is_same = said.keys() == scored.keys() and all(abs(scored[k] - p) <= TOLERANCE for k, p in said.items())
        except (ValueError, TypeError) as error:
            raise DataError(
                f"row {number} of the training set of {model.name} {model.version} is not one of numbers: {error}"
            ) from error
        if not is_same:
            raise DataError(
                f"model {model.name} {model.version} does not say what it said when it was registered: row {number} "
                f"was {said}, now {scored}"
            )
