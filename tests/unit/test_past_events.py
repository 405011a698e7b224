"""Past events from files: rows of any age become lake rows known when they happened; what cannot be used is named."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_product import CLEANING, EVENTS

from firstmile.clock import to_us
from firstmile.errors import DataError, FileError
from firstmile.names import CONTEXT, IMPORTED, PROFILES, USER_ACTIONS
from pipelines.mapping import read_mapping
from pipelines.past_columns import check_columns, read_columns_file
from pipelines.past_events import PastEvents, digest, lake_table
from pipelines.past_files import Unreadable, past_rows
from pipelines.rules import read_rules

NOW_US = to_us(datetime(2026, 12, 1, tzinfo=UTC))
COLUMNS = "version: 1\nuser_id: case\nevent: activity\ntimestamp: at\n"


def taken(path: Path, columns: str | None = None) -> PastEvents:
    past, own = PastEvents(read_rules(CLEANING), NOW_US), None
    if columns is not None:
        path.with_name("columns.yaml").write_text(columns)
        own = read_columns_file(path.with_name("columns.yaml"))[1]
    for line, row in past_rows(path):
        past.take(line, row, own)
    return past


def in_lake(past: PastEvents) -> list[dict[str, Any]]:
    return list(lake_table(past, read_mapping(EVENTS), topic_id=f"{IMPORTED}x")[0].to_pylist())


def calls(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_rows_of_a_table_become_events_known_when_they_happened(tmp_path: Path) -> None:
    path = tmp_path / "loans.csv"
    path.write_text("case,activity,at,amount,note\n7,Form Submitted,2011-10-01 10:00:00,5000,\n")
    (row,) = in_lake(taken(path, COLUMNS + "timezone: Europe/Amsterdam\n"))
    at_us = to_us(datetime(2011, 10, 1, 8, tzinfo=UTC))
    assert (row["user_id"], row["name"], row["family"]) == ("7", "Form Submitted", "form_submit")
    assert (row["event_us"], row["received_us"], row["is_clamped"]) == (at_us, at_us, False)
    assert dict(row["properties"]) == {"amount": "5000"}
    assert (row["source_topic"], row["source_topic_id"], row["segment"]) == (
        USER_ACTIONS,
        f"{IMPORTED}x",
        "unknown/new",
    )


def test_the_same_row_has_the_same_id_in_any_file_and_its_repetition_another(tmp_path: Path) -> None:
    line = "7,Page Viewed,2011-10-01\n"
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    paths[0].write_text(f"case,activity,at\n{line}{line}")
    paths[1].write_text(f"case,activity,at\n8,Page Viewed,2011-10-01\n{line}")
    first, second = ([row["message_id"] for row in in_lake(taken(path, COLUMNS))] for path in paths)
    assert len(set(first)) == 2
    assert second[1] == first[0]
    assert digest(paths) == digest(paths[::-1]) != digest(paths[:1])


def test_tracking_calls_bring_profiles_and_context_of_their_time(tmp_path: Path) -> None:
    at = "2025-03-01T10:00:00Z"
    traits = {"plan": "pro", "name": "Ann"}
    path = calls(
        tmp_path / "a.jsonl",
        {"type": "identify", "userId": "u", "traits": traits, "timestamp": at, "messageId": "i"},
        {"type": "track", "event": "Content Opened", "userId": "u", "timestamp": at, "context": {"locale": "en"}},
        {"type": "page", "userId": "u", "timestamp": at, "sentAt": "2025-03-02T00:00:00Z", "name": "Home"},
    )
    rows = in_lake(taken(path))
    at_us = to_us(datetime(2025, 3, 1, 10, tzinfo=UTC))
    assert {(row["event_us"], row["received_us"]) for row in rows} == {(at_us, at_us)}
    by_topic = {topic: [r for r in rows if r["source_topic"] == topic] for topic in (PROFILES, CONTEXT, USER_ACTIONS)}
    assert [dict(row["properties"]) for row in by_topic[PROFILES]] == [{"plan": "pro"}]
    assert [dict(row["properties"]) for row in by_topic[CONTEXT]] == [{"locale": "en"}]
    assert sorted(row["name"] for row in by_topic[USER_ACTIONS]) == ["Content Opened", "Page Viewed", "identify"]


def test_traits_of_a_table_are_stated_where_they_change(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "case,activity,at,tier\nu,x,2025-03-01,free\nu,x,2025-03-02,free\nu,x,2025-03-03,pro\nu,x,2025-03-04,\n"
    )
    rows = in_lake(taken(path, COLUMNS + "traits: {plan: tier}\n"))
    assert [dict(r["properties"]) for r in rows if r["source_topic"] == PROFILES] == [
        {"plan": "free"},
        {"plan": "pro"},
        {"plan": ""},
    ]
    assert all("tier" not in dict(r["properties"]) for r in rows if r["source_topic"] == USER_ACTIONS)


def test_rows_nobody_can_use_are_named_by_line_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "case,activity,at\n,x,2025-03-01\nu,x,yesterday\nu,x,\nu,x,2199-01-01\nu,x\nu,,2025-03-01\nu,x,2025-03-01\n"
    )
    past = taken(path, COLUMNS)
    assert [each.line for each in past.refused] == [2, 3, 4, 5, 6, 7]
    assert [each.code for each in past.refused][:5] == ["missing_id", "bad_time", "no_time", "bad_time", "unreadable"]
    assert [row["user_id"] for row in in_lake(past)] == ["u"]


def test_parquet_with_calls_as_json_text_is_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "type": ["track"],
            "userId": pa.array([17.0]),
            "event": ["Page Viewed"],
            "timestamp": pa.array([datetime(2025, 3, 1, tzinfo=UTC)]),
            "properties": ['{"page": "/a"}'],
            "context": pa.array([None], pa.string()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (row,) = in_lake(taken(tmp_path / "a.parquet"))
    assert (row["user_id"], row["page"]) == ("17", "/a")


def test_lines_that_are_no_json_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"userId": "u"}\n[1]\n{\n\n')
    found = list(past_rows(path))
    assert [line for line, _ in found] == [1, 2, 3]
    assert [isinstance(row, Unreadable) for _, row in found] == [False, True, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (COLUMNS + "user: x\n", "line 5: user: Extra inputs"),
        (COLUMNS.replace("version: 1", "version: 2"), "line 1: version 2, this is read: version: 1"),
        (COLUMNS + "timezone: Mars/Olympus\n", "line 5: 'Mars/Olympus' is no time zone"),
        ("", "line 1: "),
        (COLUMNS.replace("case", "kase"), "line 2: the table has no column 'kase'; it has case, activity, at"),
    ],
)
def test_a_mistake_in_the_columns_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "columns.yaml"
    path.write_text(text)
    with pytest.raises(FileError) as refused:
        check_columns(*read_columns_file(path), ["case", "activity", "at"])
    assert f"{path}, {said}" in str(refused.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(DataError, match=r"is not a file of past events; files ending in \.parquet, "):
        past_rows(tmp_path / "a.xlsx")
