"""The OULAD tables: both forms of the release read the same, and what is wrong is named."""

import gzip
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest

from examples.oulad.tables import tables as oulad
from firstmile.clock import MICROS_PER_DAY, to_us
from firstmile.errors import DataError

FILES = {
    "studentVle.csv": "code_module,code_presentation,id_student,id_site,date,sum_click\n"
    "AAA,2013J,7,100,-3,4\nAAA,2013J,7,101,0,2\nBBB,2014B,9,200,1,1\n",
    "studentInfo.csv": "code_module,code_presentation,id_student,gender,region,highest_education,imd_band,age_band,"
    "num_of_prev_attempts,studied_credits,disability,final_result\n"
    "AAA,2013J,7,M,Wales,A Level,?,0-35,0,60,N,Pass\nBBB,2014B,9,F,Wales,A Level,,0-35,1,120,Y,Fail\n",
    "studentRegistration.csv": "code_module,code_presentation,id_student,date_registration,date_unregistration\n"
    "AAA,2013J,7,-20,?\nBBB,2014B,9,-5.0,12.0\n",
    "studentAssessment.csv": "id_assessment,id_student,date_submitted,is_banked,score\n1,7,18,0,78\n2,9,19,1,?\n",
    "assessments.csv": "code_module,code_presentation,id_assessment,assessment_type,date,weight\n"
    "AAA,2013J,1,TMA,19,10\nBBB,2014B,2,Exam,?,100\n",
    "vle.csv": "id_site,code_module,code_presentation,activity_type,week_from,week_to\n"
    "100,AAA,2013J,homepage,?,?\n101,AAA,2013J,oucontent,1,2\n200,BBB,2014B,quiz,?,?\n",
    "courses.csv": "code_module,code_presentation,module_presentation_length\nAAA,2013J,268\nBBB,2014B,240\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def rewrite(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_original_release_form_reads_question_marks_as_missing_and_ones_as_true(folder: Path) -> None:
    tables = oulad.read(folder)
    assert tables.presentations == ["AAA_2013J", "BBB_2014B"]
    assert tables.info["imd_band"].to_pylist() == [None, None]
    assert tables.registrations["date_registration"].to_pylist() == [-20, -5]
    assert tables.registrations["date_unregistration"].to_pylist() == [None, 12]
    assert tables.hand_ins["is_banked"].to_pylist() == [False, True]
    assert tables.hand_ins["score"].to_pylist() == [78.0, None]
    assert tables.hand_ins["presentation"].to_pylist() == ["AAA_2013J", "BBB_2014B"]
    assert tables.assessments["date"].to_pylist() == [19, None]
    assert tables.clicks["user_id"].to_pylist() == ["AAA_2013J-7", "AAA_2013J-7", "BBB_2014B-9"]


def test_every_file_form_reads_the_same(folder: Path, tmp_path: Path) -> None:
    plain = oulad.read(folder)
    for path in list(folder.glob("*.csv")):
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
        if path.stem == "studentVle":
            path.with_suffix(".csv.gz").unlink()
            table = pv.read_csv(path)
            pq.write_table(
                table.set_column(2, "id_student", table["id_student"].cast(pa.float64())), path.with_suffix(".parquet")
            )
        path.unlink()
    assert oulad.read(folder) == plain


def test_selected_presentations_alone_are_read(folder: Path) -> None:
    tables = oulad.read(folder, ["BBB_2014B"])
    assert tables.presentations == ["BBB_2014B"]
    assert tables.clicks["id_student"].to_pylist() == [9]
    assert tables.hand_ins["id_assessment"].to_pylist() == [2]
    assert set(tables.pages["presentation"].to_pylist()) == {"BBB_2014B"}


def test_unknown_presentation_lists_the_known_ones(folder: Path) -> None:
    with pytest.raises(DataError, match="unknown presentation 'CCC_2014J'; known: AAA_2013J, BBB_2014B"):
        oulad.read(folder, ["CCC_2014J"])


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("studentVle.csv", "sum_click", "clicks", r"studentVle\.csv has no column sum_click; it has .*clicks"),
        (
            "studentVle.csv",
            "-3,4",
            "-3,four",
            r"studentVle\.csv, column sum_click, row 1: 'four' is not a whole",
        ),
        ("studentVle.csv", "0,2", "0.5,2", r"studentVle\.csv, column date, row 2: '0\.5' is not a whole number"),
        ("studentVle.csv", "7,101", ",101", r"studentVle\.csv, column id_student, row 2: the value is missing"),
        ("studentAssessment.csv", "18,0", "18,no", r"column is_banked, row 1: 'no' is not True, False, 1 or 0"),
        ("studentAssessment.csv", "2,9", "3,9", r"column id_assessment, row 2: 3 is not in .*assessments\.csv"),
        ("assessments.csv", "19,10", "19,x", r"column weight, row 1: 'x' is not a number"),
        ("courses.csv", "AAA,2013J", "AAA,2013X", r"presentation 'AAA_2013X' has no calendar"),
    ],
)
def test_malformed_value_is_named_with_file_column_and_row(
    folder: Path, name: str, old: str, new: str, message: str
) -> None:
    rewrite(folder, name, old, new)
    with pytest.raises(DataError, match=message):
        oulad.read(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("studentInfo.csv", "studentInfo.csv: presentation AAA_2013J, id_student 7 stands in 2 rows"),
        ("studentRegistration.csv", "studentRegistration.csv: presentation AAA_2013J, id_student 7 stands in 2 rows"),
        ("studentAssessment.csv", "studentAssessment.csv: id_assessment 1, id_student 7 stands in 2 rows"),
        ("assessments.csv", "assessments.csv: id_assessment 1 stands in 2 rows"),
        ("vle.csv", "vle.csv: presentation AAA_2013J, id_site 100 stands in 2 rows"),
        ("courses.csv", "courses.csv: presentation AAA_2013J stands in 2 rows"),
    ],
)
def test_a_line_that_is_there_twice_is_named(folder: Path, name: str, said: str) -> None:
    line = (folder / name).read_text(encoding="utf-8").splitlines()[1]
    rewrite(folder, name, line, f"{line}\n{line}")
    with pytest.raises(DataError, match=said):
        oulad.read(folder)


def test_missing_file_and_folder_are_named(folder: Path) -> None:
    (folder / "vle.csv").unlink()
    with pytest.raises(DataError, match=r"has no file vle; one of vle\.parquet, vle\.csv\.gz, vle\.csv is needed"):
        oulad.read(folder)
    with pytest.raises(DataError, match="is not a folder"):
        oulad.read(folder / "nowhere")


def test_truncated_archive_is_a_data_error(folder: Path) -> None:
    path = folder / "vle.csv"
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes())[:40])
    path.unlink()
    with pytest.raises(DataError, match=r"vle\.csv\.gz cannot be read"):
        oulad.read(folder)


@pytest.mark.parametrize(
    ("presentation", "start"),
    [
        ("BBB_2013B", date(2013, 2, 1)),
        ("AAA_2013J", date(2013, 10, 1)),
        ("AAA_2014J", date(2014, 10, 1)),
        ("FFF_2014B", date(2014, 2, 1)),
    ],
)
def test_calendar_starts(presentation: str, start: date) -> None:
    day0 = to_us(datetime(start.year, start.month, start.day, tzinfo=UTC))
    assert oulad.day_start_us(presentation, 0) == day0
    assert oulad.day_start_us(presentation, -276, shift_days=3) == day0 - 273 * MICROS_PER_DAY
    assert oulad.day_end_us(presentation, 7) == oulad.day_start_us(presentation, 8) - 1
    assert oulad.day_start_us(presentation, np.array([0, 1])).tolist() == [day0, day0 + MICROS_PER_DAY]


def test_live_shift_puts_the_day_on_today() -> None:
    today = date(2026, 11, 23)
    shift = oulad.live_shift_days("AAA_2014J", 28, today)
    assert oulad.day_start_us("AAA_2014J", 28, shift_days=shift) == to_us(datetime(2026, 11, 23, tzinfo=UTC))


def test_day_starts_of_columns_equal_the_single_ones(folder: Path) -> None:
    clicks = oulad.read(folder).clicks
    shifts = {"AAA_2013J": 2, "BBB_2014B": 5}
    found = oulad.day_starts_us(clicks["presentation"], clicks["date"], shifts).tolist()
    rows = zip(clicks["presentation"].to_pylist(), clicks["date"].to_pylist(), strict=True)
    assert found == [oulad.day_start_us(p, d, shift_days=shifts[p]) for p, d in rows]
    assert oulad.day_starts_us(clicks["presentation"].slice(0, 0), clicks["date"].slice(0, 0)).tolist() == []


def test_packaged_dataset_is_complete() -> None:
    tables = oulad.read(Path(__file__).parents[2] / "data" / "oulad")
    assert tables.presentations == ["AAA_2013J", "AAA_2014J", "BBB_2013B"]
    assert tables.clicks.num_rows == 753_564
    assert pc.sum(tables.clicks["sum_click"]).as_py() == 2_594_563
    assert tables.info.num_rows == tables.registrations.num_rows == 2_515
    assert tables.registrations["date_registration"].null_count == 1
    assert pc.min(tables.registrations["date_registration"]).as_py() == -276
