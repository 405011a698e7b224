"""The figures of the last run whose data held, kept to compare the next one's with: rows, and shares of the classes.

One JSON file beside the Data Docs: figures by what they are of ("activation AAA_2013J", "history AAA_2013J", "lake"),
so that a run over fewer cohorts is compared over those, and leaves the others' figures.
"""

import os
from pathlib import Path

import numpy as np
import orjson
import pandas as pd

from firstmile.errors import DataError

Kept = dict[str, dict[str, float]]

SHARE, CHANGE = "share_", "change_"


def read_last(path: Path) -> Kept:
    """Figures by what they are of; empty before the first run. Raises DataError for a file that is something else."""
    if not path.exists():
        return {}
    try:
        read = orjson.loads(path.read_bytes())
        return {str(of): {str(k): float(v) for k, v in figures.items()} for of, figures in read.items()}
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} does not hold the figures of a run ({error}); delete it: this run writes it"
        ) from error


def write_last(path: Path, figures: Kept) -> None:
    """Put the figures in place of those of the same; the file appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    unfinished.write_bytes(orjson.dumps({**read_last(path), **figures}, option=orjson.OPT_INDENT_2))
    unfinished.replace(path)


def figures_of(frame: pd.DataFrame) -> Kept:
    """What is kept of a frame with `of` and `n_rows`: n_rows and every share, without those not known.

    >>> figures_of(pd.DataFrame({"of": ["a"], "n_rows": [3], "share_yes": [0.5], "share_no": [np.nan]}))
    {'a': {'n_rows': 3.0, 'share_yes': 0.5}}
    """
    names = [c for c in frame.columns if c == "n_rows" or c.startswith(SHARE)]
    rows = zip(frame["of"], frame[names].to_dict("records"), strict=True)
    return {str(of): {str(k): float(v) for k, v in row.items() if not np.isnan(v)} for of, row in rows}


def beside_last(frame: pd.DataFrame, last: Kept) -> pd.DataFrame:
    """The frame with `times_last`, rows over the last run's, and change_<class> for each share_<class>.

    Both are missing where the last run says nothing: then there is nothing to hold them against.

    >>> beside_last(pd.DataFrame({"of": ["a", "b"], "n_rows": [3, 3]}), {"a": {"n_rows": 6}})["times_last"].tolist()
    [0.5, nan]
    """
    shares = [c for c in frame.columns if c.startswith(SHARE)]
    before = pd.DataFrame([last.get(of, {}) for of in frame["of"]], index=frame.index, dtype=np.float64)
    before = before.reindex(columns=["n_rows", *shares])
    changes = {CHANGE + c.removeprefix(SHARE): frame[c] - before[c] for c in shares}
    return frame.assign(times_last=frame["n_rows"] / before["n_rows"].where(before["n_rows"] > 0), **changes)
