"""Earlier counts out of the stored few are those the whole history gives."""

import math

from hypothesis import given
from hypothesis import strategies as st

from feature_repo.content_earlier import opened_earlier, pack_openings, unpack_openings
from feature_repo.content_standing import RECENT_DAYS
from firstmile.clock import MICROS_PER_DAY

QUARTER_US = MICROS_PER_DAY // 4
steps = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), min_size=1, max_size=30)


@given(steps, st.integers(0, 80), st.integers(-1, 1), st.sampled_from(RECENT_DAYS))
def test_the_stored_few_say_what_the_whole_history_says(
    made: list[tuple[int, int]], quarters_later: int, off_us: int, days: int
) -> None:
    history, at_us, n = [], 0, 0
    for quarters, opened in made:
        at_us, n = at_us + quarters * QUARTER_US, n + opened
        history.append((at_us, n))
    now_us = max(at_us + quarters_later * QUARTER_US + off_us, at_us)
    known = [n for known_us, n in history if known_us <= now_us - days * MICROS_PER_DAY]
    stored = unpack_openings(pack_openings(history))
    assert opened_earlier(stored, now_us, days) == (known[-1] if known else 0)


def test_the_stored_few_are_few() -> None:
    daily = [(day * MICROS_PER_DAY, day) for day in range(300)]
    assert len(pack_openings(daily)) < 200


def test_what_was_never_stored_is_not_known() -> None:
    assert math.isnan(opened_earlier(unpack_openings(None), 0, 7))
    assert math.isnan(opened_earlier(unpack_openings(""), 0, 7))
