"""The OULAD dataset: its tables, its calendar, its vocabulary. Read by pipelines (events) and training (labels).

Kuzilek J., Hlosta M., Zdrahal Z., Open University Learning Analytics dataset, Sci. Data 4:170171 (2017), CC BY 4.0.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from examples.oulad.tables.columns import Kind, find_file, read_columns
from firstmile.clock import MICROS_PER_DAY, to_us
from firstmile.errors import DataError, unknown_name

IntArray = npt.NDArray[np.int64]
ShiftDays = int | Mapping[str, int]
"""Whole days added to the calendar: one number, or one per presentation."""

AUDIT_COLUMNS: Final = ("gender", "age_band", "imd_band", "disability", "region", "highest_education")
HOMEPAGE: Final = "homepage"
FORMAT_BY_ACTIVITY: Final = {
    "oucontent": "lesson",
    "quiz": "quiz",
    "externalquiz": "quiz",
    "forumng": "community",
    "oucollaborate": "community",
    "ouelluminate": "community",
    "resource": "document",
    "url": "document",
}
OTHER_FORMAT: Final = "guide"

# The real calendar is not published, only that B starts in February and J in October: the first of the month is ours.
START_MONTH: Final = {"B": 2, "J": 10}
_PRESENTATION = re.compile(r"(?P<module>[A-Z]+)_(?P<year>\d{4})(?P<half>[BJ])")

_CODES: Final[dict[str, Kind]] = {"code_module": "text", "code_presentation": "text"}
_ENROLMENT: Final[dict[str, Kind]] = {**_CODES, "id_student": "int"}
_FILES: Final[dict[str, tuple[str, dict[str, Kind]]]] = {
    "clicks": ("studentVle", {**_ENROLMENT, "id_site": "int", "date": "int", "sum_click": "int"}),
    "info": (
        "studentInfo",
        {
            **_ENROLMENT,
            **dict.fromkeys(AUDIT_COLUMNS, "optional_text"),
            "num_of_prev_attempts": "int",
            "studied_credits": "int",
            "final_result": "text",
        },
    ),
    "registrations": (
        "studentRegistration",
        {**_ENROLMENT, "date_registration": "optional_int", "date_unregistration": "optional_int"},
    ),
    "hand_ins": (
        "studentAssessment",
        {
            "id_assessment": "int",
            "id_student": "int",
            "date_submitted": "int",
            "is_banked": "bool",
            "score": "optional_float",
        },
    ),
    "assessments": (
        "assessments",
        {**_CODES, "id_assessment": "int", "assessment_type": "text", "date": "optional_int", "weight": "float"},
    ),
    "pages": ("vle", {**_CODES, "id_site": "int", "activity_type": "text"}),
    "courses": ("courses", {**_CODES, "module_presentation_length": "int"}),
}


_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "info": ("presentation", "id_student"),
    "registrations": ("presentation", "id_student"),
    "hand_ins": ("id_assessment", "id_student"),
    "assessments": ("id_assessment",),
    "pages": ("presentation", "id_site"),
    "courses": ("presentation",),
}
"""What may stand in one row of a table alone; clicks have no such thing."""


@dataclass(frozen=True)
class OuladTables:
    """The dataset in file order, with the original column names, days as int64 counted from day 0.

    Every table has `presentation` ("AAA_2013J") in place of code_module and code_presentation; clicks, info,
    registrations and hand_ins have `user_id` too. Missing values are nulls.

    clicks
        id_student, id_site, date, sum_click
    info
        id_student, the audit attributes, num_of_prev_attempts, studied_credits, final_result
    registrations
        id_student, date_registration, date_unregistration (both nullable)
    hand_ins
        id_assessment, id_student, date_submitted, is_banked (bool), score (nullable float)
    assessments
        id_assessment, assessment_type, date (nullable), weight
    pages
        id_site, activity_type
    courses
        module_presentation_length
    """

    clicks: pa.Table
    info: pa.Table
    registrations: pa.Table
    hand_ins: pa.Table
    assessments: pa.Table
    pages: pa.Table
    courses: pa.Table

    @property
    def presentations(self) -> list[str]:
        """Names of the presentations held, sorted."""
        return sorted(self.courses["presentation"].to_pylist())

    def users(self) -> pa.Array:
        """Everybody of whom a table says something, each once."""
        tables = (self.info, self.registrations, self.clicks, self.hand_ins)
        return pc.unique(pa.chunked_array([pc.unique(table["user_id"]) for table in tables]))

    def of(self, users: pa.Array) -> "OuladTables":
        """The same of some users; pages, courses and assessments are of all."""

        def own(table: pa.Table) -> pa.Table:
            return table.filter(pc.is_in(table["user_id"], users))

        return replace(
            self,
            clicks=own(self.clicks),
            info=own(self.info),
            registrations=own(self.registrations),
            hand_ins=own(self.hand_ins),
        )


def read(data: Path, presentations: Sequence[str] | None = None) -> OuladTables:
    """The tables of an OULAD folder, of the named presentations only when given.

    Raises DataError naming file and column when something is missing, malformed or there twice, and listing the known
    presentations when one is unknown.
    """
    if not data.is_dir():
        raise DataError(f"{data} is not a folder; give the folder that holds studentVle and its six companions")
    known: list[str] = _read_table(data, "courses", None)["presentation"].to_pylist()
    wanted = list(known if presentations is None else presentations)
    for name in wanted:
        if name not in known:
            raise DataError(unknown_name("presentation", name, known))
        start_date(name)
    tables = {t: _read_table(data, t, wanted) for t in _FILES if t != "hand_ins"}
    tables["hand_ins"] = _read_hand_ins(data, wanted)
    for name, key in _KEYS.items():
        _refuse_repeated(data, name, tables[name].select(list(key)))
    for name in ("clicks", "info", "registrations", "hand_ins"):
        tables[name] = tables[name].append_column("user_id", user_ids(tables[name]))
    return OuladTables(**tables)


def user_id(presentation: str, student: int) -> str:
    """One enrolment is one onboarding, so one user.

    >>> user_id("AAA_2013J", 11391)
    'AAA_2013J-11391'
    """
    return f"{presentation}-{student}"


def user_ids(table: pa.Table) -> pa.ChunkedArray:
    """`user_id` of every row of a table with presentation and id_student."""
    return pc.binary_join_element_wise(table["presentation"], table["id_student"].cast(pa.string()), "-")


def module_of(presentation: str) -> str:
    """The module a presentation is one start of.

    >>> module_of("AAA_2013J")
    'AAA'
    """
    return presentation.rpartition("_")[0]


def content_format(activity_type: str) -> str | None:
    """Format of a page by its activity type; None for the home page.

    >>> content_format("oucontent"), content_format("glossary"), content_format("homepage")
    ('lesson', 'guide', None)
    """
    return None if activity_type == HOMEPAGE else FORMAT_BY_ACTIVITY.get(activity_type, OTHER_FORMAT)


def start_date(presentation: str) -> date:
    """The calendar date of day 0: 1 February for B, 1 October for J.

    Raises DataError for a name of another form.

    >>> start_date("BBB_2013B").isoformat()
    '2013-02-01'
    """
    match = _PRESENTATION.fullmatch(presentation)
    if match is None:
        raise DataError(f"presentation {presentation!r} has no calendar; it must read like AAA_2013J or BBB_2013B")
    return date(int(match["year"]), START_MONTH[match["half"]], 1)


def date_start_us(moment: date) -> int:
    """First microsecond (UTC) of a calendar date."""
    return to_us(datetime.combine(moment, datetime.min.time(), tzinfo=UTC))


@overload
def day_start_us(presentation: str, day: int, *, shift_days: int = 0) -> int: ...
@overload
def day_start_us(presentation: str, day: IntArray, *, shift_days: int = 0) -> IntArray: ...
def day_start_us(presentation: str, day: int | IntArray, *, shift_days: int = 0) -> int | IntArray:
    """First microsecond (UTC) of a day of a presentation; the one place where days become instants.

    >>> day_start_us("AAA_2013J", 0) == to_us(datetime(2013, 10, 1, tzinfo=UTC))
    True
    """
    return date_start_us(start_date(presentation)) + (day + shift_days) * MICROS_PER_DAY


def day_end_us(presentation: str, day: int, *, shift_days: int = 0) -> int:
    """Last microsecond (UTC) of a day: the instant "at day N"."""
    return day_start_us(presentation, day + 1, shift_days=shift_days) - 1


def day_starts_us(presentations: pa.ChunkedArray, days: pa.ChunkedArray, shift_days: ShiftDays = 0) -> IntArray:
    """`day_start_us` of every row, for columns of presentations and of days (no nulls)."""
    codes = presentations.combine_chunks().dictionary_encode()
    names = codes.dictionary.to_pylist()
    zeros = np.array([day_start_us(n, 0, shift_days=shift_of(n, shift_days)) for n in names], dtype=np.int64)
    starts: IntArray = zeros[codes.indices.to_numpy()] + np.asarray(days, dtype=np.int64) * MICROS_PER_DAY
    return starts


def shift_of(presentation: str, shift_days: ShiftDays) -> int:
    """The shift of one presentation, in days."""
    return shift_days if isinstance(shift_days, int) else shift_days[presentation]


def live_shift_days(presentation: str, to_day: int, today: date) -> int:
    """The shift that puts `to_day` of a presentation on `today`.

    >>> live_shift_days("AAA_2013J", 0, date(2013, 10, 2))
    1
    """
    return (today - start_date(presentation)).days - to_day


def _read_table(data: Path, table: str, wanted: list[str] | None) -> pa.Table:
    file, kinds = _FILES[table]
    columns = read_columns(data, file, kinds)
    presentation = pc.binary_join_element_wise(columns["code_module"], columns["code_presentation"], "_")
    columns = columns.drop_columns(list(_CODES)).add_column(0, "presentation", presentation)
    return columns if wanted is None else columns.filter(pc.is_in(presentation, pa.array(wanted, pa.string())))


def _refuse_repeated(data: Path, table: str, keys: pa.Table) -> None:
    counted = keys.group_by(keys.column_names, use_threads=False).aggregate([([], "count_all")])
    if len(counted) < len(keys):
        first = counted.filter(pc.greater(counted["count_all"], 1)).to_pylist()[0]
        n_times = first.pop("count_all")
        said = ", ".join(f"{name} {value}" for name, value in first.items())
        raise DataError(
            f"{find_file(data, _FILES[table][0])}: {said} stands in {n_times} rows, one may say it; take the others out"
        )


def _read_hand_ins(data: Path, wanted: list[str]) -> pa.Table:
    """Hand-ins name an assessment, not a presentation: the assessment knows its own."""
    file, kinds = _FILES["hand_ins"]
    hand_ins = read_columns(data, file, kinds)
    assessments = _read_table(data, "assessments", None)
    at = pc.index_in(hand_ins["id_assessment"], assessments["id_assessment"].combine_chunks())
    if at.null_count:
        row = pc.index(pc.is_null(at), True).as_py()
        raise DataError(
            f"{find_file(data, file)}, column id_assessment, row {row + 1}: "
            f"{hand_ins['id_assessment'][row].as_py()} is not in {find_file(data, 'assessments')}"
        )
    hand_ins = hand_ins.add_column(0, "presentation", assessments["presentation"].take(at))
    return hand_ins.filter(pc.is_in(hand_ins["presentation"], pa.array(wanted, pa.string())))
