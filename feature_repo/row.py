"""The rows of many users as columns, and their packed form: the feature `activity` of the view `user_activity`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo import applied as applied_state
from feature_repo import distinct, recent, sessions, tiles
from feature_repo.applied import Applied
from feature_repo.distinct import Distinct
from feature_repo.packing import Ints, Section, pack, row_starts, unpack
from feature_repo.recent import Recent
from feature_repo.sessions import Sessions
from feature_repo.tiles import LEVELS, Tiles

LAYOUT = 2
SETS = ("contents", "pages", "steps_done", "steps_skipped")
# minute, hour, day tiles (runs, sums each) · lifetime, format tiles · sessions · newest clicks and errors · step text ·
# SETS (exact, filter each)
WIDTHS = (*(2, 2) * len(LEVELS), 3, 3, 2, 2, 1, *(1, 1) * len(SETS))
N_FIXED = 9
OPEN, COMPLETE = 0, 1
EARLIEST_MS = 1_104_537_600_000
"""2005-01-01: nothing we read happened before it."""


@dataclass(frozen=True)
class Rows:
    """State of n users, one entry per user and column. Times in ms since epoch UTC, 0 = never.

    version_us
        Shape (n,): when the row was last changed, as stored; 0 = no row yet.
    first_ms, last_ms
        Shape (n,): least and greatest time of a counted event.
    onboarding_ms
        Shape (n,): when the onboarding began, EARLIEST_MS or later, 0 = not said.
    step, step_ms
        Shape (n,): latest step by event time, and that time.
    step_start_ms, step_end_ms
        Shape (n,): newest time a step was started, and one was completed or skipped.
    n_too_late, n_late
        Shape (n,): events older than every tile, and older than the lateness bound, on arrival.
    levels
        Tiles of LEVELS, in that order.
    life
        Lifetime sums per family (tile number 0).
    formats
        Opens and completions per format: the "family" is the format's code, the tile number OPEN or COMPLETE.
    recent
        The newest clicks and form errors.
    contents, pages, steps_done, steps_skipped
        Distinct ones.
    """

    version_us: Ints
    first_ms: Ints
    last_ms: Ints
    onboarding_ms: Ints
    step: NDArray[np.object_]
    step_ms: Ints
    step_start_ms: Ints
    step_end_ms: Ints
    n_too_late: Ints
    n_late: Ints
    levels: tuple[Tiles, ...]
    life: Tiles
    formats: Tiles
    sessions: Sessions
    recent: Recent
    contents: Distinct
    pages: Distinct
    steps_done: Distinct
    steps_skipped: Distinct
    applied: Applied

    @property
    def n_rows(self) -> int:
        """Number of users."""
        return len(self.version_us)


def first_rows(rows: Rows, n: int) -> Rows:
    """The first n users alone."""

    def cut(kept: Tiles) -> Tiles:
        end = int(np.searchsorted(kept.key, n << tiles.USER_SHIFT))
        return Tiles(kept.key[:end], kept.count[:end], kept.weight[:end])

    return Rows(
        version_us=rows.version_us[:n],
        first_ms=rows.first_ms[:n],
        last_ms=rows.last_ms[:n],
        onboarding_ms=rows.onboarding_ms[:n],
        step=rows.step[:n],
        step_ms=rows.step_ms[:n],
        step_start_ms=rows.step_start_ms[:n],
        step_end_ms=rows.step_end_ms[:n],
        n_too_late=rows.n_too_late[:n],
        n_late=rows.n_late[:n],
        levels=tuple(cut(level) for level in rows.levels),
        life=cut(rows.life),
        formats=cut(rows.formats),
        sessions=sessions.first(rows.sessions, n),
        recent=recent.first(rows.recent, n),
        **{name: distinct.first(getattr(rows, name), n) for name in SETS},
        applied=applied_state.first(rows.applied, n),
    )


# The columns that say whose an entry is, and at which bit the user's index stands in them.
_USER_COLUMNS = {"user": 0, "fence_user": 0, "id_user": 0, "sketched": 0, "key": tiles.USER_SHIFT}


def concat_rows(parts: Sequence[Rows]) -> Rows:
    """The rows of one part after those of another; at least one part."""
    joined: Rows = _concat(parts, np.cumsum([0, *(part.n_rows for part in parts[:-1])]))
    return joined


def _concat(parts: Sequence[Any], starts: Ints) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(_concat(each, starts) for each in zip(*parts, strict=True))
    columns = {}
    for name in (field.name for field in fields(parts[0])):
        values = [getattr(part, name) for part in parts]
        if is_dataclass(values[0]) or isinstance(values[0], tuple):
            columns[name] = _concat(values, starts)
            continue
        if name in _USER_COLUMNS:
            values = [v + (start << _USER_COLUMNS[name]) for v, start in zip(values, starts, strict=True)]
        columns[name] = np.concatenate(values)
    return type(parts[0])(**columns)


def empty_rows(n: int) -> Rows:
    """n users of whom nothing is known."""
    zeros = np.zeros(n, np.int64)
    return Rows(
        version_us=zeros,
        first_ms=zeros,
        last_ms=zeros,
        onboarding_ms=zeros,
        step=np.full(n, "", object),
        step_ms=zeros,
        step_start_ms=zeros,
        step_end_ms=zeros,
        n_too_late=zeros,
        n_late=zeros,
        levels=tuple(tiles.empty() for _ in LEVELS),
        life=tiles.empty(),
        formats=tiles.empty(),
        sessions=sessions.empty(n),
        recent=recent.empty(),
        **{name: distinct.empty() for name in SETS},
        applied=applied_state.empty(n),
    )


def pack_rows(rows: Rows) -> list[bytes]:
    """The `activity` bytes of each row; equal for rows that applied the same events in another order."""
    fixed = np.stack(
        (
            rows.last_ms,
            rows.last_ms - rows.first_ms,
            rows.onboarding_ms,
            rows.step_ms,
            rows.step_start_ms,
            rows.step_end_ms,
            rows.n_too_late,
            rows.n_late,
            rows.sessions.n_dropped,
        )
    )
    ones = np.ones(rows.n_rows, np.int64)
    sections = [
        *(
            section
            for level, level_tiles in zip(LEVELS, rows.levels, strict=True)
            for section in tiles.to_runs(level_tiles, rows.last_ms // level.width_ms)
        ),
        tiles.to_section(rows.life, ones),
        tiles.to_section(rows.formats, ones),
        sessions.to_section(rows.sessions, rows.last_ms),
        recent.to_section(rows.recent, rows.last_ms),
        _text_section(rows.step),
        *(section for name in SETS for section in distinct.to_sections(getattr(rows, name))),
    ]
    return pack(LAYOUT, fixed, sections)


def unpack_rows(
    activity: Sequence[bytes | None], applied: Sequence[bytes | None] | None = None, version_us: Ints | None = None
) -> Rows:
    """Rows of packed bytes; None is a user without a row.

    applied, version_us
        Left out when only features are wanted.

    Raises DataError for damaged bytes or another layout.
    """
    n = len(activity)
    blank = _blank_activity()
    fixed, found = unpack([a or blank for a in activity], layout=LAYOUT, n_fixed=N_FIXED, widths=WIDTHS)
    last_ms, span_ms, onboarding_ms, step_ms, step_start_ms, step_end_ms, n_too_late, n_late, n_dropped = fixed
    ones = np.ones(n, np.int64)
    no_state = _blank_applied()
    return Rows(
        version_us=np.zeros(n, np.int64) if version_us is None else version_us,
        first_ms=last_ms - span_ms,
        last_ms=last_ms,
        onboarding_ms=np.where(onboarding_ms < EARLIEST_MS, 0, onboarding_ms),  # what was written before it had bounds
        step=_texts(found[10], n),
        step_ms=step_ms,
        step_start_ms=step_start_ms,
        step_end_ms=step_end_ms,
        n_too_late=n_too_late,
        n_late=n_late,
        levels=tuple(
            tiles.from_runs(found[2 * i], found[2 * i + 1], last_ms // level.width_ms) for i, level in enumerate(LEVELS)
        ),
        life=tiles.from_section(found[6], ones),
        formats=tiles.from_section(found[7], ones),
        sessions=sessions.from_section(found[8], last_ms, n_dropped),
        recent=recent.from_section(found[9], last_ms),
        **{name: distinct.from_sections(found[11 + 2 * i], found[12 + 2 * i]) for i, name in enumerate(SETS)},
        applied=applied_state.empty(n)
        if applied is None
        else applied_state.unpack_applied([a or no_state for a in applied]),
    )


@cache
def _blank_activity() -> bytes:
    return pack_rows(empty_rows(1))[0]


@cache
def _blank_applied() -> bytes:
    return applied_state.pack_applied(applied_state.empty(1))[0]


def _text_section(texts: NDArray[np.object_]) -> Section:
    """Code points, not UTF-8: a varint holds one in 1 to 3 bytes, where a UTF-8 byte past ASCII would cost two."""
    joined = "".join(texts.tolist())
    row = np.repeat(np.arange(len(texts)), [len(t) for t in texts])
    return Section(row, (np.frombuffer(joined.encode("utf-32-le"), np.uint32).astype(np.int64),))


def _texts(section: Section, n: int) -> NDArray[np.object_]:
    out = np.full(n, "", object)
    if len(section.row):
        joined = section.columns[0].astype(np.uint32).tobytes().decode("utf-32-le", errors="replace")
        edges = row_starts(section.row, n).tolist()
        out[:] = [joined[a:b] for a, b in pairwise(edges)]
    return out
