"""The loops `windows` is made of: they add up tiles into a table of shape (n_features, n_rows), or part of one.

`key` is a tile's key (tiles.py): `key >> user_shift` its row, `key & tile_mask` its number, between them its family.
"""

import numpy as np
from numpy.typing import NDArray

from feature_repo.packing import Ints
from firstmile.compiled import compiled

Floats = NDArray[np.float64]


@compiled
def inside(key: Ints, now_ms: Ints, width_ms: int, tile_ms: int, user_shift: int, tile_mask: int) -> NDArray[np.bool_]:
    """Which tiles a window holds."""
    is_inside = np.empty(len(key), np.bool_)
    for i in range(len(key)):
        now, start = now_ms[key[i] >> user_shift], (key[i] & tile_mask) * tile_ms
        is_inside[i] = now - width_ms - tile_ms < start <= now
    return is_inside


@compiled
def add_sums(
    out: Floats,
    key: Ints,
    count: Ints,
    weight: Ints,
    is_chosen: NDArray[np.bool_],
    tile_bits: int,
    user_shift: int,
) -> None:
    """Per family the counts, then the counts of all, then per family the weights, of the chosen tiles; a family that a
    newer writer knows is passed over."""
    n_families = len(out) // 2
    for i in range(len(key)):
        if is_chosen[i]:
            user = key[i] >> user_shift
            family = (key[i] >> tile_bits) & ((1 << (user_shift - tile_bits)) - 1)
            if family < n_families:
                out[family, user] += count[i]
                out[n_families, user] += count[i]
                out[n_families + 1 + family, user] += weight[i]


@compiled
def active_tiles(
    is_chosen: NDArray[np.bool_], key: Ints, now_ms: Ints, tile_ms: int, user_shift: int, tile_mask: int
) -> NDArray[np.uint64]:
    """Tiles with an event as bits, shape (n_rows,): bit 0 is the tile of now, bit 1 the one before. No window has
    more than 61 tiles."""
    bits = np.zeros(len(now_ms), np.uint64)
    for i in range(len(key)):
        if is_chosen[i]:
            user = key[i] >> user_shift
            age = now_ms[user] // tile_ms - (key[i] & tile_mask)
            bits[user] |= np.uint64(1) << np.uint64(age)
    return bits


@compiled
def add_pace(out: Floats, active: NDArray[np.uint64], events: Floats) -> None:
    """Tiles with an event, and events per such tile (NaN without one)."""
    for user in range(len(active)):
        bits, n = active[user], 0
        while bits:
            bits &= bits - np.uint64(1)
            n += 1
        out[0, user] = n
        out[1, user] = events[user] / n if n else np.nan


@compiled
def add_hesitation(out: Floats, active: NDArray[np.uint64], least: int, end: int) -> None:
    """How many pauses between active minutes, and their silent minutes: `least` to `end` - 1 a pause."""
    for user in range(len(active)):
        silent = -1  # before the first active minute nothing is a pause
        for age in range(64):
            if (active[user] >> np.uint64(age)) & np.uint64(1):
                if least <= silent < end:
                    out[0, user] += 1
                    out[1, user] += silent
                silent = 0
            elif silent >= 0:
                silent += 1


@compiled
def add_windows(
    out: Floats,
    plan: Ints,
    key: Ints,
    count: Ints,
    weight: Ints,
    now_ms: Ints,
    tile_ms: int,
    tile_bits: int,
    user_shift: int,
    n_families: int,
    least: int,
    end: int,
) -> None:
    """All windows made of one level's tiles.

    out
        The whole table.
    plan
        Shape (n_windows, 4): width in ms, and where in `out` its sums, its pace and its hesitation begin, -1 = it has
        none.
    least, end
        As add_hesitation has them.
    """
    n_sums, tile_mask = 2 * n_families + 1, (1 << tile_bits) - 1
    for width_ms, sums, pace, hesitation in plan:
        is_inside = inside(key, now_ms, width_ms, tile_ms, user_shift, tile_mask)
        add_sums(out[sums : sums + n_sums], key, count, weight, is_inside, tile_bits, user_shift)
        if pace >= 0:
            active = active_tiles(is_inside, key, now_ms, tile_ms, user_shift, tile_mask)
            add_pace(out[pace : pace + 2], active, out[sums + n_families])
            if hesitation >= 0:
                add_hesitation(out[hesitation : hesitation + 2], active, least, end)


@compiled
def add_pairs(out: Floats, plan: Ints) -> None:
    """Rows that are the sum of two others: `plan` has row, first and second, shape (n_sums, 3)."""
    for to, first, second in plan:
        for user in range(out.shape[1]):
            out[to, user] = out[first, user] + out[second, user]


@compiled
def add_rates(out: Floats, plan: Ints) -> None:
    """Rows that are the sum of two others over a third, NaN where that is 0: shape (n_rates, 4)."""
    for to, first, second, whole in plan:
        for user in range(out.shape[1]):
            n = out[whole, user]
            out[to, user] = (out[first, user] + out[second, user]) / n if n > 0 else np.nan


@compiled
def add_formats(
    out: Floats, key: Ints, count: Ints, tile: int, tile_bits: int, user_shift: int, tile_mask: int
) -> None:
    """Counts per format of one tile number: OPEN or COMPLETE."""
    for i in range(len(key)):
        if key[i] & tile_mask == tile:
            content_format = (key[i] >> tile_bits) & ((1 << (user_shift - tile_bits)) - 1)
            if content_format < len(out):
                out[content_format, key[i] >> user_shift] += count[i]


@compiled
def add_times(
    out: Floats,
    now_ms: Ints,
    first_ms: Ints,
    last_ms: Ints,
    onboarding_ms: Ints,
    step_start_ms: Ints,
    step_end_ms: Ints,
    session_user: Ints,
    session_start_ms: Ints,
    session_end_ms: Ints,
    n_dropped: Ints,
    gap_ms: int,
    day_ms: int,
) -> None:
    """_TIMES in their order."""
    for user in range(len(now_ms)):
        now = now_ms[user]
        out[0, user] = n_dropped[user]
        if last_ms[user] > 0:
            out[2, user] = (now - last_ms[user]) / 1_000
            # Whole UTC days: a model that must not see the time of day can use them.
            out[3, user] = now // day_ms - last_ms[user] // day_ms
            out[4, user] = now // day_ms - first_ms[user] // day_ms
        else:
            out[2:5, user] = np.nan
        if step_start_ms[user] <= 0:
            out[5, user] = np.nan
        elif step_start_ms[user] > step_end_ms[user]:
            out[5, user] = max(now - step_start_ms[user], 0) / 1_000
        began = onboarding_ms[user] if onboarding_ms[user] > 0 else first_ms[user]
        out[6, user] = (now - began) / day_ms if began > 0 else np.nan
    for i in range(len(session_user)):
        user = session_user[i]
        out[0, user] += 1
        is_newest = i + 1 == len(session_user) or session_user[i + 1] != user
        if is_newest and now_ms[user] - session_end_ms[i] <= gap_ms:
            out[1, user] = max(now_ms[user] - session_start_ms[i], 0) / 1_000
