"""Which content of a shelf each of many users has seen: `distinct.contains`, for whole columns of rows."""

import numpy as np
from numpy.typing import NDArray

from feature_repo.distinct import Distinct, _probe
from feature_repo.packing import Ints

Mask = NDArray[np.bool_]


def seen_matrix(distinct: Distinct, hashes: Ints, n_rows: int) -> Mask:
    """Whether each row has seen each hash, shape (n_rows, n_hashes); past 64 a few unseen ones answer True.

    hashes
        Shape (n_hashes,), as `content_hash` gives them.

    >>> from feature_repo import distinct
    >>> seen = distinct.add(distinct.empty(), np.array([1, 1]), np.array([7, 9]), n_rows=2)
    >>> seen_matrix(seen, np.array([9, 8]), 2).tolist()
    [[False, False], [True, False]]
    """
    known, where = np.unique(hashes, return_inverse=True)
    found = np.zeros((n_rows, len(known)), bool)
    if not len(known):
        return found
    at = np.minimum(np.searchsorted(known, distinct.value), len(known) - 1)
    is_here = known[at] == distinct.value
    found[distinct.user[is_here], at[is_here]] = True
    word, bit = _probe(known)
    found[distinct.sketched] = ((distinct.words[:, word] >> bit) & 1).all(axis=1)
    return found[:, where]
