"""Reading a CRM export: traits apart from audit attributes, bad rows named with their line, good ones kept."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.latest import PROFILE_VIEW
from firstmile.clock import to_us
from firstmile.errors import DataError
from firstmile.ids import HINT
from pipelines.crm_export import BadRow, Person, read_export
from pipelines.profiles import Import, read_crm
from pipelines.statements import merged_by_user, profile_statements, statement

NOW_US = to_us(datetime(2026, 11, 23, 12, tzinfo=UTC))


def rows_of(path: Path, content: str | bytes) -> list[Person | BadRow]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_export(path, now_us=NOW_US))


def test_audit_attributes_are_kept_apart_however_they_are_spelt(tmp_path: Path) -> None:
    text = "user_id,plan,Age Band,GENDER,imd-band\nu1,pro,35-55,F,\n"
    (person,) = rows_of(tmp_path / "a.csv", text)
    assert person == Person(2, "u1", {"plan": "pro"}, {"age_band": "35-55", "gender": "F"}, None)


def test_bad_rows_are_named_by_line_and_the_good_ones_go_on(tmp_path: Path) -> None:
    text = (
        b'user_id,plan,updated_at\nu1,"two\nlines",2026-11-01\n,pro,\nu2,pro\nu3,\xff,\nu4,free,yesterday\n'
        b"u5,free,2027-01-01T00:00:00Z\n\nu6,free,2026-11-01T10:00:00+02:00\n" + b"u" * 300 + b",free,\n"
    )
    found = rows_of(tmp_path / "a.csv", text)
    assert [(r.line, r.user_id) for r in found if isinstance(r, Person)] == [(3, "u1"), (10, "u6")]
    assert [(r.line, r.reason) for r in found if isinstance(r, BadRow)] == [
        (4, "user_id is empty"),
        (5, "2 cells, the heading has 3"),
        (6, "plan is not UTF-8 text"),
        (
            7,
            "updated_at 'yesterday' is neither an ISO 8601 time like 2026-11-23T10:00:00+00:00 nor a number of "
            "seconds, ms or µs since 1970",
        ),
        (8, "updated_at '2027-01-01T00:00:00Z' lies in the future"),
        (11, f"user_id: '{'u' * 12}...{'u' * 13}' is not an id; {HINT}"),
    ]
    times = [r.updated_us for r in found if isinstance(r, Person)]
    assert times == [to_us(datetime(2026, 11, 1, tzinfo=UTC)), to_us(datetime(2026, 11, 1, 8, tzinfo=UTC))]


def test_a_quote_left_open_is_a_bad_row_not_a_lost_one(tmp_path: Path) -> None:
    found = rows_of(tmp_path / "a.csv", 'user_id,plan\nu1,pro\nu2,"pro\nu3,pro\n')
    assert [r.user_id for r in found if isinstance(r, Person)] == ["u1"]
    assert [r.line for r in found if isinstance(r, BadRow)] == [4]


def test_parquet_cells_become_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": ["u1", None, "u3"],
            "seats": pa.array([3.0, 1.0, float("nan")]),
            "trial": [True, False, None],
            "tags": [None, None, ["a"]],
            "region": ["Wales", "Wales", None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    first, second, third = read_export(tmp_path / "a.parquet", now_us=NOW_US)
    assert first == Person(1, "u1", {"seats": "3", "trial": "true", "tags": ""}, {"region": "Wales"}, None)
    assert second == BadRow(2, "user_id is empty")
    assert third == BadRow(3, "tags holds a list; text, numbers, truth values and times are allowed")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,plan\n1,pro\n", "has no column user_id; it has id, plan"),
        ("user_id,plan,plan\n1,a,b\n", "must name every column once; plan is named twice"),
        ("user_id,Gender,gender\n1,a,b\n", "must name every column once; gender is named twice"),
        ('"user_id', "line 1: the heading is not CSV"),
    ],
)
def test_a_file_that_is_no_export_is_refused_whole(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(tmp_path / "a.csv", text)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_crm(tmp_path / "a.parquet", now_us=NOW_US)
    with pytest.raises(DataError, match=r"no file ending in \.csv or \.parquet"):
        read_crm(tmp_path / "a.xlsx", now_us=NOW_US)


def test_same_export_gives_the_same_message_ids_and_history_file(tmp_path: Path) -> None:
    path = tmp_path / "crm.csv"
    path.write_text("user_id,plan,gender\nu1,pro,F\nu2,free,\n")
    first, second = (read_crm(path, now_us=NOW_US + i) for i in (0, 1))
    assert len({r["message_id"] for r in first.records}) == 2
    assert [r["message_id"] for r in first.records] == [r["message_id"] for r in second.records]
    assert list(first.audit) == list(second.audit)
    (history,) = first.audit.values()
    assert history["user_id"].to_pylist() == ["u1"]
    assert all("gender" not in r["traits"] for r in first.records)


@pytest.mark.parametrize(
    "said", ["1795434000", "1795434000000", "1795434000000000", "1795434000.5", "2026-11-23T11:40:00Z"]
)
def test_a_time_is_read_in_the_unit_it_is_written_in(tmp_path: Path, said: str) -> None:
    (person,) = rows_of(tmp_path / "a.csv", f"user_id,updated_at\nu1,{said}\n")
    assert isinstance(person, Person)
    assert person.updated_us is not None
    assert abs(person.updated_us - to_us(datetime(2026, 11, 23, 11, 40, tzinfo=UTC))) <= 500_000


@pytest.mark.parametrize("said", ["1710-01-01", "20041231", "99999999999"])
def test_a_time_no_crm_can_mean_is_a_bad_row(tmp_path: Path, said: str) -> None:
    (row,) = rows_of(tmp_path / "a.csv", f"user_id,updated_at\nu1,{said}\n")
    assert isinstance(row, BadRow)
    assert "updated_at" in row.reason


def test_an_id_that_went_through_a_spreadsheet_is_the_same_user(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": [12345.0, 7.0]}), tmp_path / "a.parquet")
    texts = rows_of(tmp_path / "a.csv", "user_id\n12345.0\n7.00\n1.5\nv1.0\n")
    assert [p.user_id for p in texts if isinstance(p, Person)] == ["12345", "7", "1.5", "v1.0"]
    numbers = read_export(tmp_path / "a.parquet", now_us=NOW_US)
    assert [p.user_id for p in numbers if isinstance(p, Person)] == ["12345", "7"]


def test_a_corrected_import_with_the_same_time_wins_whichever_the_stream_meets_first(tmp_path: Path) -> None:
    def imported(plan: str, now_us: int) -> pd.DataFrame:
        (tmp_path / "a.csv").write_text(f"user_id,plan,updated_at\nu1,{plan},2026-11-01\n")
        return as_decoded(read_crm(tmp_path / "a.csv", now_us=now_us))

    wrong, corrected = imported("z-wrong", NOW_US), imported("a-right", NOW_US + 1)
    for order in ([wrong, corrected], [corrected, wrong]):
        assert merged_by_user(profile_statements(pd.concat(order)))["u1"].values == {"plan": "a-right"}


def test_an_empty_cell_removes_a_trait_and_a_whole_export_all_without_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"user_id,plan,cohort,updated_at\nu1,,May,{(NOW_US - 1_000_000) // 1_000_000}\n")
    before = [statement(PROFILE_VIEW, "u1", NOW_US - 9_000_000, NOW_US, {"plan": "pro", "role": "admin"})]
    partial, whole = (
        as_decoded(read_crm(tmp_path / "a.csv", now_us=NOW_US, is_whole=is_whole)) for is_whole in (False, True)
    )
    assert merged_by_user([*before, *profile_statements(partial)])["u1"].values == {"role": "admin", "cohort": "May"}
    assert merged_by_user([*before, *profile_statements(whole)])["u1"].values == {"cohort": "May"}


def test_of_two_rows_of_a_user_with_one_time_the_last_counts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,plan,updated_at\nu1,z,2026-11-01\nu1,a,2026-11-01\nu1,b,2026-10-01\n")
    records = read_crm(tmp_path / "a.csv", now_us=NOW_US).records
    assert [r["traits"]["plan"] for r in records] == ["a", "b"]


def as_decoded(found: Import) -> pd.DataFrame:
    """Its records as the stream decodes them."""
    columns = {"updated_at": "updated_us", "received_at": "received_us", "traits": "properties"}
    return pd.DataFrame(found.records).rename(columns=columns)


@pytest.mark.parametrize("text", ["undefined", "null", "[object Object]", "NaN"])
def test_a_word_for_nothing_is_no_user(tmp_path: Path, text: str) -> None:
    (row,) = rows_of(tmp_path / "a.csv", f"user_id,plan\n{text},pro\n")
    assert isinstance(row, BadRow)
    assert "is what a program writes for no value" in row.reason
