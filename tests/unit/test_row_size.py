"""A row stays under 12,000 bytes: every tile of every family full with thousands, and all else at its limit."""

from dataclasses import fields, replace

import numpy as np
import pytest
from events_builder import DAY, MINUTE, T0, Event, batch, fold_batches, fold_one, with_ids
from numpy.typing import NDArray

from feature_repo.activity import MAX_STEP_CHARS, Events, fold
from feature_repo.applied import message_hash
from feature_repo.distinct import EXACT, N_WORDS, content_hash
from feature_repo.recent import KEPT, KINDS
from feature_repo.row import N_FIXED, SETS, WIDTHS, Rows, empty_rows, pack_rows
from feature_repo.sessions import Sessions
from feature_repo.tiles import LEVELS, Tiles
from firstmile.names import FAMILIES
from firstmile.vocabulary import FORMATS

MAX_BYTES = 12_000
LAST = T0 + 400 * DAY - 1
"""Last millisecond of a day: as many tiles as there can be."""
PER_TILE = 4_000
WEIGHT_PER_TILE = 9_000


def full_row(*, n_contents: int, step: str) -> Rows:
    """A row that real events made, in every tile of which the counts are then set to a few thousand."""
    times = sorted({LAST - i * level.width_ms for level in LEVELS for i in range(level.kept)})
    named = [
        Event(LAST, content=f"content-{i}", page=f"page-{i}", step=step, onboarding_ms=T0) for i in range(n_contents)
    ]
    events = [Event(t, family=f, step=step) for t in times for f in FAMILIES]
    shapes = [
        Event(LAST, family=f, format=form, weight=2_000_000)
        for f in ("content_open", "content_complete")
        for form in FORMATS
    ]
    steps = [
        Event(LAST - 1, family=f, step=f"step-{i}")
        for f in ("step_start", "step_complete", "step_skip")
        for i in range(n_contents - 1)  # and the step of all others
    ]
    friction = [
        Event(LAST - i * 50_000, family=f, target=f"target-{i}") for f in ("click", "form_error") for i in range(70)
    ]
    # The last 300 are older than every tile: the counters take their bytes, too.
    rows = fold_one(with_ids([*events, *steps, *named, *shapes, *friction, *[Event(T0 + i) for i in range(300)]]))
    return replace(
        rows,
        levels=tuple(
            Tiles(tiles.key, np.full_like(tiles.count, PER_TILE), np.full_like(tiles.weight, WEIGHT_PER_TILE))
            for tiles in rows.levels
        ),
        life=replace(rows.life, count=rows.life.count + 10**6, weight=rows.life.weight + 10**8),
        sessions=_sessions(14),
    )


@pytest.mark.parametrize("n_contents", [EXACT, 400])
@pytest.mark.parametrize("character", ["x", "é", "🚀"])
def test_a_row_with_everything_full_fits(n_contents: int, character: str) -> None:
    rows = full_row(n_contents=n_contents, step=character * (MAX_STEP_CHARS + 1))
    for level, tiles in zip(LEVELS, rows.levels, strict=True):
        assert len(tiles.key) == level.kept * len(FAMILIES)
    assert len(rows.formats.key) == 2 * len(FORMATS)
    assert len(rows.sessions.user) == 14
    assert len(rows.step[0]) == MAX_STEP_CHARS
    for distinct in (rows.contents, rows.pages, rows.steps_done, rows.steps_skipped):
        assert (len(distinct.user), len(distinct.sketched)) == ((EXACT, 0) if n_contents == EXACT else (0, 1))
    assert len(rows.recent.user) == len(KINDS) * KEPT
    assert len(pack_rows(rows)[0]) <= MAX_BYTES


def test_a_full_filter_takes_one_byte_a_word() -> None:
    rows = full_row(n_contents=400, step="s")
    brim = replace(rows.contents, words=np.full((1, N_WORDS), 127, np.int64))
    brims = dict.fromkeys(SETS, brim)
    assert len(pack_rows(replace(rows, **brims))[0]) <= MAX_BYTES


def test_a_row_does_not_grow_with_the_number_of_events() -> None:
    """Two years of thousands of events a day, in every family."""
    rng = np.random.default_rng(7)
    rows = empty_rows(1)
    sizes = []
    for part in range(24):
        rows, _ = fold(rows, _busy_month(rng, T0 + part * 30 * DAY))
        sizes.append(len(pack_rows(rows)[0]))
    assert rows.life.count.sum() == 24 * 5_000
    assert max(sizes) <= MAX_BYTES
    assert max(sizes[-12:]) <= 1.05 * max(sizes[:12])


def test_a_short_visit_takes_few_bytes() -> None:
    """Fifteen events over three days: about what a row of the OULAD data holds."""
    visits = [T0 + d * DAY + m * MINUTE for d in (0, 1, 3) for m in (0, 2, 9, 14, 21)]
    rows = fold_batches([with_ids([Event(t, family="content_open", content=str(t % 7)) for t in visits])])
    assert len(pack_rows(rows)[0]) < 300
    assert len(pack_rows(empty_rows(1))[0]) < 40


def test_what_a_row_holds_is_what_was_weighed() -> None:
    """A new field or section must be added to the row weighed above, then here."""
    assert sorted(f.name for f in fields(Rows)) == sorted(
        [
            "version_us",
            "first_ms",
            "last_ms",
            "onboarding_ms",
            "step",
            "step_ms",
            "step_start_ms",
            "step_end_ms",
            "n_too_late",
            "n_late",
            "levels",
            "life",
            "formats",
            "sessions",
            "recent",
            "contents",
            "pages",
            "steps_done",
            "steps_skipped",
            "applied",
        ]
    )
    assert (len(WIDTHS), sum(WIDTHS), N_FIXED) == (19, 31, 9)
    assert [level.kept for level in LEVELS] == [61, 49, 31]


def _sessions(n: int) -> Sessions:
    """More than full tiles leave room for: eight final ones, and the others an event within the bound could change."""
    end_ms = LAST - np.arange(n - 1, -1, -1) * 7 * DAY
    return Sessions(np.zeros(n, np.int64), end_ms - 5 * DAY, end_ms, np.array([10_000]))


def _busy_month(rng: np.random.Generator, start_ms: int, n: int = 5_000) -> Events:
    def numbers(low: int, high: int) -> NDArray[np.int64]:
        return rng.integers(low, high, n)

    event_ms = np.sort(start_ms + numbers(0, 30 * DAY))
    names = np.array([f"n{i}" for i in range(2_000)], object)
    blank = batch([Event()]).where(np.zeros(n, np.int64))
    source = replace(
        blank.source,
        hash=message_hash(np.array([f"{start_ms}-{i}" for i in range(n)], object)),
        received_us=event_ms * 1_000,
    )
    return replace(
        blank,
        source=source,
        event_ms=event_ms,
        family=numbers(0, len(FAMILIES)),
        weight=numbers(0, 5_000),
        content=content_hash(names)[numbers(0, 2_000)],
        page=content_hash(names)[numbers(0, 2_000)],
        format=numbers(-1, len(FORMATS)),
    )
