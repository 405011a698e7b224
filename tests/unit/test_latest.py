"""What sources said last: the same in any order, any grouping, any repetition, and through the stored form."""

import random
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.fields import CONTEXT_TIME, PROFILE_TIME, PROFILE_TIMES
from feature_repo.latest import CONTEXT_VIEW, NOTHING, PROFILE_VIEW, Latest, merge, said
from pipelines.statements import (
    DELETED,
    REPLACED,
    UPDATED,
    Statement,
    archived_records,
    archived_statements,
    context_statements,
    deletions,
    merged_by_user,
    profile_statements,
    statement,
)
from pipelines.view_history import latest_history

T0 = 1_795_650_000_000_000

TRAITS = st.dictionaries(
    st.sampled_from((*PROFILE_VIEW.said_names, "name", "email")),
    st.sampled_from(("", "a", "b", "7", "8.9", "²")),
    max_size=4,
)
TIMES = st.integers(T0, T0 + 4)
STATEMENTS = st.lists(
    st.builds(
        lambda values, source, delay, whole: statement(
            PROFILE_VIEW, "u", source, source + delay, values, is_whole=whole
        ),
        TRAITS,
        TIMES,
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=8,
)


def by_definition(statements: list[Statement]) -> dict[str, str]:
    """Trait by trait, straight from the rule."""
    wholes = [(s.source_us, s.received_us) for s in statements if s.latest.replaced != (0, 0)]
    since = max(wholes, default=(0, 0))
    found = {}
    for name in PROFILE_VIEW.said_names:
        told = [s.latest.said[name] for s in statements if name in s.latest.said]
        latest = max((t for t in told if t[:2] >= since), default=None)
        if latest is not None and latest[2]:
            found[name] = latest[2]
    return found


@given(STATEMENTS, st.randoms(use_true_random=False))
def test_any_order_any_split_any_repetition_gives_what_the_rule_says(made: list[Statement], rng: random.Random) -> None:
    shuffled = [*made, *rng.choices(made, k=2)] if made else []
    rng.shuffle(shuffled)
    state = NOTHING
    while shuffled:
        n = rng.randint(1, len(shuffled))
        batch, shuffled = shuffled[:n], shuffled[n:]
        of_batch = merged_by_user(batch)["u"]
        # Between batches it is as Redis holds it.
        state = PROFILE_VIEW.read(PROFILE_VIEW.stored(merge([state, of_batch])))
    assert state.values == by_definition(made)
    assert state == merge(s.latest for s in made)


@given(STATEMENTS)
def test_history_ends_with_what_the_stream_has_and_never_knows_ahead(made: list[Statement]) -> None:
    table = latest_history(PROFILE_VIEW, made)
    rows = table.to_pylist()
    instants = [row["event_timestamp"] for row in rows]
    assert instants == sorted(set(instants))
    for row in rows:
        at_us = int(row["event_timestamp"].timestamp() * 1e6 + 0.5)
        assert PROFILE_VIEW.read(row) == merge(s.latest for s in made if s.received_us <= at_us)
    if rows:
        assert PROFILE_VIEW.read(rows[-1]).values == by_definition(made)
    else:
        assert by_definition(made) == {}


@given(STATEMENTS, st.integers(0, 8))
def test_history_goes_on_from_what_other_files_tell(made: list[Statement], n: int) -> None:
    in_files = latest_history(PROFILE_VIEW, made[:n])
    base = {
        "u": [(pd.Timestamp(r["event_timestamp"]).value // 1_000, PROFILE_VIEW.read(r)) for r in in_files.to_pylist()]
    }
    rows = [*in_files.to_pylist(), *latest_history(PROFILE_VIEW, made[n:], base).to_pylist()]
    if not made[n:] or not rows:
        return
    newest = max(rows, key=lambda row: row["event_timestamp"])
    assert PROFILE_VIEW.read(newest).values == by_definition(made)


def test_a_trait_that_is_not_named_stays_and_an_empty_one_goes() -> None:
    first = said(PROFILE_VIEW, {"plan": "pro", "cohort": "May"}, (T0, T0))
    named = merge([first, said(PROFILE_VIEW, {"name": "Ann"}, (T0 + 1, T0 + 1))])
    assert named.values == {"plan": "pro", "cohort": "May"}
    assert merge([named, said(PROFILE_VIEW, {"plan": ""}, (T0 + 2, T0 + 2))]).values == {"cohort": "May"}
    whole = said(PROFILE_VIEW, {"plan": "free"}, (T0 + 2, T0 + 2), is_whole=True)
    assert merge([named, whole]).values == {"plan": "free"}


def test_of_equal_source_times_what_was_received_later_counts() -> None:
    wrong, corrected = (said(PROFILE_VIEW, {"plan": plan}, (T0, T0 + at)) for plan, at in (("z", 0), ("a", 1)))
    assert merge([corrected, wrong]).values == merge([wrong, corrected]).values == {"plan": "a"}


def test_a_locale_alone_leaves_device_and_system() -> None:
    seen = pd.DataFrame(
        {
            "user_id": "u",
            "event_us": [T0, T0 + 1],
            "received_us": [T0, T0 + 1],
            "properties": [[("device", "mobile"), ("os", "ios")], [("locale", "en-GB")]],
        }
    )
    assert merged_by_user(context_statements(seen))["u"].values == {"device": "mobile", "os": "ios", "locale": "en-GB"}


def test_a_row_of_before_fields_had_times_counts_as_one_whole_statement() -> None:
    old = PROFILE_VIEW.read({"plan": "pro", "prior_attempts": 2, PROFILE_TIME: T0, PROFILE_TIMES: None})
    assert old == said(PROFILE_VIEW, {"plan": "pro", "prior_attempts": "2"}, (T0, T0), is_whole=True)
    assert PROFILE_VIEW.read({}) == CONTEXT_VIEW.read({CONTEXT_TIME: None}) == NOTHING


def records(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"user_id": "u", "updated_us": T0, "received_us": T0, "is_whole": False, "partition": 1, **row}
            for row in rows
        ]
    )


def tombstones(*rows: tuple[int, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"key": b"u", "at_us": at_us, "partition": 1, "offset": offset} for offset, at_us in rows],
        pa.schema([("key", pa.binary()), ("at_us", pa.int64()), ("partition", pa.int32()), ("offset", pa.int64())]),
    )


def test_a_newer_profile_outlives_a_deletion_in_the_same_batch_and_an_older_one_does_not() -> None:
    given_profiles = records(
        [
            {"properties": {"plan": "old"}, "offset": 0, "message_id": "a"},
            {
                "properties": {"plan": "new"},
                "offset": 2,
                "message_id": "b",
                "updated_us": T0 + 9,
                "received_us": T0 + 9,
            },
        ]
    )
    gone = tombstones((1, T0 + 5))
    found = merged_by_user([*profile_statements(given_profiles), *deletions(gone)])["u"]
    assert found.values == {"plan": "new"}
    assert merged_by_user([*profile_statements(given_profiles.head(1)), *deletions(gone)])["u"].values == {}


def test_archived_records_say_what_the_records_said_in_their_order() -> None:
    given_profiles = records(
        [
            {"properties": {"plan": "pro"}, "offset": 4, "message_id": "c", "is_whole": True},
            {"properties": {"name": "Ann"}, "offset": 1, "message_id": "b"},
            {"properties": {"plan": "", "role": "admin"}, "offset": 0, "message_id": "a", "updated_us": T0 + 7},
        ]
    )
    gone = tombstones((2, T0 + 5))
    kept = list(archived_records(given_profiles, gone))
    assert [(r["source_offset"], r["name"]) for r in kept] == [(0, UPDATED), (2, DELETED), (4, REPLACED)]
    assert len({r["message_id"] for r in kept}) == 3
    frame = pd.DataFrame(kept).rename(columns={"event_time": "event_us", "received_at": "received_us"})
    direct = merged_by_user([*profile_statements(given_profiles), *deletions(gone)])
    assert merged_by_user(archived_statements(frame)) == direct


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "9" * 30, "²", "12,5", " "])
def test_a_number_that_is_none_is_no_value_anywhere(text: str) -> None:
    odd: Latest = said(PROFILE_VIEW, {"prior_attempts": text}, (T0, T0))
    assert PROFILE_VIEW.stored(odd)["prior_attempts"] is None
    assert latest_history(PROFILE_VIEW, [statement(PROFILE_VIEW, "u", T0, T0, {"prior_attempts": text})]).num_rows == 1
