"""Compile everything rows are read, written and scored with: `make setup` does it beside its downloads, so that the
first processes need not, each for itself.

    .venv/bin/python -m feature_repo.warm_up
"""

import numpy as np

from feature_repo.activity import Events, fold, windows
from feature_repo.applied import Source, pack_applied
from feature_repo.row import empty_rows, pack_rows, unpack_rows
from firstmile.names import FAMILIES
from firstmile.trees import LOGISTIC, Trees

ONE = np.ones(1, np.float32)


def main() -> None:
    """Fold two events, pack, unpack, fold them again, compose windows; no store, no file."""
    rows, _ = fold(empty_rows(1), _two_events())
    stored = pack_rows(rows), pack_applied(rows.applied)
    again, _ = fold(unpack_rows(*stored, rows.version_us), _two_events())
    windows(again, np.array([60_000_000], np.int64))
    none = np.zeros(1, np.int32)
    leaf = Trees(np.full((1, 4), -1, np.int32), ONE, none, none, ONE, LOGISTIC, n_features=1)
    leaf.scores(ONE[None])


def _two_events() -> Events:
    def both(value: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.full(2, value, np.int64)

    opened, wrong = FAMILIES.index("content_open"), FAMILIES.index("form_error")
    return Events(
        Source(both(0), np.array([1, 2]), both(2_000_000), both(1), both(0), np.array([0, 1])),
        event_ms=both(1_000),
        family=np.array([opened, wrong]),
        weight=both(1),
        content=both(1),
        page=both(1),
        format=both(0),
        step=np.array(["", ""], object),
        onboarding_ms=both(0),
        target=both(1),
    )


if __name__ == "__main__":
    main()
