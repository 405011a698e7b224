"""What a replay covers, and when it must not run."""

from datetime import date
from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from examples.oulad.replay.plan import Span, plan, read_history, refuse_overlap
from examples.oulad.replay.play import spread_us
from examples.oulad.replay.replay import app
from firstmile.errors import ConflictError, DataError, UsageError

TODAY = date(2026, 11, 23)


def test_each_presentation_gets_the_shift_that_puts_the_day_on_today() -> None:
    spans = plan(["AAA_2014J", "BBB_2013B"], from_day=None, to_day=28, live_on=TODAY)
    assert spans["AAA_2014J"] == Span(None, 28, (TODAY - date(2014, 10, 29)).days)
    assert spans["BBB_2013B"] == Span(None, 28, (TODAY - date(2013, 3, 1)).days)


def test_replay_of_the_past_is_not_moved() -> None:
    assert plan(["AAA_2014J"], from_day=0, to_day=None, live_on=None) == {"AAA_2014J": Span(0, None, 0)}


def test_days_the_wrong_way_round_and_live_without_a_day_are_wrong_use() -> None:
    with pytest.raises(UsageError, match="--from-day 3 lies after --to-day 2"):
        plan(["AAA_2014J"], from_day=3, to_day=2, live_on=None)
    with pytest.raises(UsageError, match="--live needs --to-day"):
        plan(["AAA_2014J"], from_day=3, to_day=None, live_on=TODAY)


@pytest.mark.parametrize(
    ("asked", "past", "meets"),
    [
        (Span(0, 10), Span(None, None), True),
        (Span(0, 10), Span(10, 20), True),
        (Span(0, 10), Span(11, 20), False),
        (Span(None, None), Span(5, 5), True),
        (Span(None, 4), Span(5, None), False),
        (Span(0, 10, 4_000), Span(5, 20), True),  # the same days of the course, at another time
        (Span(0, 10, 20), Span(25, 30), True),  # other days, at the same time
        (Span(0, 10, 21), Span(None, -1), False),
    ],
)
def test_spans_meet_when_they_share_a_day_of_the_course_or_of_the_calendar(
    asked: Span, past: Span, meets: bool
) -> None:
    assert asked.meets(past) is meets
    assert past.meets(asked) is meets


def test_overlap_names_both_ranges_and_the_flag() -> None:
    spans = {"AAA_2013J": Span(0, 28), "BBB_2013B": Span(0, 28, 7)}
    refuse_overlap(spans, {"AAA_2014J": Span(0, 28)})
    with pytest.raises(ConflictError, match=r"BBB_2013B, days 0 to 28 moved by 7 days, .* days -10 to the last.*--fr"):
        refuse_overlap(spans, {"BBB_2013B": Span(-10, None)})


def test_history_is_read_as_the_backfill_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "oulad.json"
    assert read_history(path) == {}
    span = {"from_day": None, "to_day": 28, "shift_days": 0}
    path.write_bytes(orjson.dumps({"presentations": {"BBB_2013B": span}, "history_to_us": 1}))
    assert read_history(path) == {"BBB_2013B": Span(None, 28, 0)}
    path.write_text("{")
    with pytest.raises(DataError, match=r"oulad\.json is not the record of a backfill"):
        read_history(path)


def test_command_refuses_a_replay_over_history_before_it_touches_kafka(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTMILE_HOME", str(tmp_path))
    (tmp_path / "history").mkdir()
    noted = {"presentations": {"AAA_2014J": {"from_day": None, "to_day": None, "shift_days": 0}}, "history_to_us": 1}
    (tmp_path / "history" / "oulad.json").write_bytes(orjson.dumps(noted))
    data = Path(__file__).parents[2] / "data" / "oulad"
    arguments = ["oulad", "--data", str(data), "--presentations", "AAA_2014J", "--to-day", "28"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConflictError)


def test_spread_keeps_order_and_proportion() -> None:
    assert spread_us(np.array([5, 5, 10, 15]), 1_000).tolist() == [0, 0, 500, 1_000]
    assert spread_us(np.array([5]), 1_000).tolist() == [0]
    assert spread_us(np.array([], dtype=np.int64), 1_000).tolist() == []
