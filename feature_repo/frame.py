"""`windows` over a data frame, as Feast calls it with whole columns of packed rows."""

from typing import Any

import numpy as np
import pandas as pd

from feature_repo.activity import windows
from feature_repo.row import unpack_rows

FEAST_SAMPLE = b"hello world"
"""What `feast apply` puts into a bytes column to see which features a view gives; never a packed row."""


def windows_frame(inputs: pd.DataFrame) -> pd.DataFrame:
    """Every feature of `windows` as float64 columns, one row per input row.

    inputs
        `activity`: packed bytes or missing; `now_us`: the instant asked about.
    """
    packed = [_packed(value) for value in inputs["activity"]]
    features = windows(unpack_rows(packed), inputs["now_us"].to_numpy(np.int64))
    return pd.DataFrame(features, index=inputs.index)


def _packed(value: Any) -> bytes | None:
    if not isinstance(value, bytes | bytearray | memoryview) or value == FEAST_SAMPLE:
        return None
    return bytes(value)
