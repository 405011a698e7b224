"""The loops over message ids: of each row sorted by (received, hash), every row's after those of the row before."""

import numpy as np
from numpy.typing import NDArray

from feature_repo.packing import Ints
from firstmile.compiled import compiled


@compiled
def known(starts: Ints, id_hash: Ints, user: Ints, hashes: Ints) -> NDArray[np.bool_]:
    """Which events' hashes their users' rows have, shape (n_events,)."""
    out = np.zeros(len(user), np.bool_)
    for i in range(len(user)):
        for k in range(starts[user[i]], starts[user[i] + 1]):
            if id_hash[k] == hashes[i]:
                out[i] = True
                break
    return out


@compiled
def joined(
    user: Ints,
    hashes: Ints,
    received_s: Ints,
    new_user: Ints,
    new_hashes: Ints,
    new_received_s: Ints,
    oldest_s: Ints,
    kept: int,
) -> tuple[Ints, Ints, Ints, Ints]:
    """Two lists sorted by (user, received, hash) as one, of each user the newest `kept` that are not too old, and how
    many of a user's were more than that, shape (n_rows,)."""
    n_old, n_new = len(user), len(new_user)
    out_user, out_hash = np.empty(n_old + n_new, np.int64), np.empty(n_old + n_new, np.int64)
    out_received, n_evicted = np.empty(n_old + n_new, np.int64), np.zeros(len(oldest_s), np.int64)
    i, k, end = 0, 0, 0
    for row in range(len(oldest_s)):
        begin = end
        while True:
            has_old, has_new = i < n_old and user[i] == row, k < n_new and new_user[k] == row
            if not has_old and not has_new:
                break
            takes_old = has_old and (
                not has_new
                or received_s[i] < new_received_s[k]
                or (received_s[i] == new_received_s[k] and hashes[i] <= new_hashes[k])
            )
            moment = received_s[i] if takes_old else new_received_s[k]
            if moment >= oldest_s[row]:
                out_user[end], out_received[end] = row, moment
                out_hash[end] = hashes[i] if takes_old else new_hashes[k]
                end += 1
            if takes_old:
                i += 1
            else:
                k += 1
        over = end - begin - kept
        if over > 0:
            n_evicted[row] = over
            for at in range(begin, end - over):
                out_hash[at], out_received[at] = out_hash[at + over], out_received[at + over]
            end -= over
    return out_user[:end], out_hash[:end], out_received[:end], n_evicted


@compiled
def ties_sorted(row: Ints, hashes: Ints, received_s: Ints) -> tuple[Ints, Ints]:
    """Ids of equal time by hash: rows written before 2026-11-26 have them the other way round."""
    for i in range(1, len(row)):
        at = i
        while (
            at > 0 and row[at] == row[at - 1] and received_s[at] == received_s[at - 1] and hashes[at] < hashes[at - 1]
        ):
            hashes[at], hashes[at - 1] = hashes[at - 1], hashes[at]
            at -= 1
    return hashes, received_s
