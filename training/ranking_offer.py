"""What could have been shown to each user of a course at an instant, and what was known of it then: no label yet.

Everything here comes out of the offline store as of the instant, so nothing later, and nothing received later, is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from feature_repo.content_features import candidates, ranker_features
from feature_repo.content_segments import unpack_segments
from feature_repo.content_standing import RECENT_DAYS, Standing, counts_in_stage, standing
from feature_repo.distinct import content_hash, seen_matrix
from feature_repo.fields import BY_SEGMENT, CONTENT_COUNTS
from feature_repo.row import unpack_rows
from feature_repo.windows import windows
from firstmile.clock import MICROS_PER_DAY
from training.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Offer:
    """Candidates of many users, sorted by user, then by popularity; all arrays have n_pairs entries.

    user, item
        Index into the users and into the pages.
    x
        Shape (n_pairs, n_features), columns in the order of RANKER_FEATURES.
    n_opened
        Openings of the page so far by all.
    """

    user: IntArray
    item: IntArray
    x: npt.NDArray[np.float32]
    n_opened: FloatArray


def offered(packed: Sequence[bytes], pages: pd.DataFrame, found: pd.DataFrame, now_us: int) -> Offer:
    """The candidates of users and their vectors at an instant.

    packed
        Shape (n_users,): rows as `ranking_reads.packed_rows` gives them, of this instant.
    pages
        Of the users' course, as `ranking_labels.read_pages` gives them.
    found
        As `ranking_reads.statistics` gives them.
    """
    rows = unpack_rows(packed)
    users = windows(rows, np.full(rows.n_rows, now_us, np.int64))
    seen = seen_matrix(rows.contents, content_hash(pages["content_id"].to_numpy(object)), rows.n_rows)
    shelf, n_opened = standing_at(found, pages, now_us)
    user, item = candidates(shelf, seen)
    return Offer(user, item, ranker_features(shelf, users, seen, user=user, item=item), n_opened[item])


def standing_at(found: pd.DataFrame, pages: pd.DataFrame, now_us: int) -> tuple[Standing, FloatArray]:
    """How the pages of a course stood at an instant, and how often each had been opened, shape (n_pages,).

    found
        As `statistics` gives it.
    pages
        Of the course, as `ranking_labels.read_pages` gives them.
    """

    def at(us: int) -> pd.DataFrame:
        return found.reindex(pd.MultiIndex.from_arrays([pages["content_id"], np.full(len(pages), us)]))

    now = at(now_us)
    counts = {name: now[name].fillna(0).to_numpy(np.float64) for name in CONTENT_COUNTS}
    earlier = {
        days: at(now_us - days * MICROS_PER_DAY)["n_opened"].fillna(0).to_numpy(np.float64) for days in RECENT_DAYS
    }
    shelf = standing(
        pages["format"].to_numpy(np.int64),
        counts,
        opened_in_stage=counts_in_stage(
            [unpack_segments(t if isinstance(t, str) else None) for t in now[BY_SEGMENT]], "n_opened"
        ),
        opened_earlier=earlier,
    )
    return shelf, counts["n_opened"]
