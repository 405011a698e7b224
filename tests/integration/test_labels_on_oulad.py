"""Labels on the shipped data, against a second count in plain Python over the raw files."""

import csv
import gzip
from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest

from examples.oulad.learning.labels import label, skill_level
from examples.oulad.tables.tables import OuladTables, read, user_id
from firstmile.setting_sections import ROOT
from training.tasks import TASKS

DATA = ROOT / "data" / "oulad"
Row = dict[str, str]


def raw(name: str) -> list[Row]:
    with gzip.open(DATA / f"{name}.csv.gz", "rt", newline="") as file:
        return [
            {**row, "p": f"{row.get('code_module')}_{row.get('code_presentation')}"} for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def tables() -> OuladTables:
    return read(DATA)


def present(day: int) -> dict[str, Row]:
    return {
        user_id(r["p"], int(r["id_student"])): r
        for r in raw("studentRegistration")
        if r["date_registration"]
        and float(r["date_registration"]) <= day
        and not (r["date_unregistration"] and float(r["date_unregistration"]) <= day)
    }


def expected_activation(day: int) -> dict[str, int]:
    # 19 is the due day of the first TMA in all three: stated in data/oulad/README.md.
    goal = {
        r["id_assessment"]: r["p"] for r in raw("assessments") if r["assessment_type"] == "TMA" and r["date"] == "19.0"
    }
    ends = {r["p"]: int(r["module_presentation_length"]) for r in raw("courses")}
    labels = dict.fromkeys(present(day), 0)
    for r in raw("studentAssessment"):
        if r["id_assessment"] in goal:
            user, handed_in = user_id(goal[r["id_assessment"]], int(r["id_student"])), int(r["date_submitted"])
            if r["is_banked"] == "True" or handed_in <= day:
                labels.pop(user, None)
            elif user in labels and r["score"] and float(r["score"]) >= 40 and handed_in <= ends[user[:9]]:
                labels[user] = 1
    return labels


def expected_disengagement(day: int) -> dict[str, int]:
    clicks = pq.read_table(DATA / "studentVle.parquet").to_pydict()
    columns = (clicks[c] for c in ("code_module", "code_presentation", "id_student", "date"))
    active = {f"{m}_{p}-{s}" for m, p, s, d in zip(*columns, strict=True) if day < d < day + 15}
    return {user: int(user not in active) for user in present(day)}


def expected_skill(day: int, *, only_later: bool) -> dict[str, int]:
    of = {r["id_assessment"]: r["p"] for r in raw("assessments") if r["assessment_type"] in ("TMA", "CMA")}
    scores: dict[str, list[float]] = defaultdict(list)
    for r in raw("studentAssessment"):
        if r["id_assessment"] in of and r["score"] and (not only_later or int(r["date_submitted"]) > day):
            scores[user_id(of[r["id_assessment"]], int(r["id_student"]))].append(float(r["score"]))
    known = present(day)
    means = {user: sum(s) / len(s) for user, s in scores.items() if user in known}
    return {user: 0 if m < 60 else 1 if m <= 80 else 2 for user, m in means.items()}


def expected_preference(day: int) -> dict[str, int]:
    # The table of design.md written down once more; None: the home page.
    listed = {
        "oucontent": "lesson", "quiz": "quiz", "externalquiz": "quiz", "forumng": "community", "homepage": None,
        "oucollaborate": "community", "ouelluminate": "community", "resource": "document", "url": "document",
    }  # fmt: skip
    format_of = {(r["p"], int(r["id_site"])): listed.get(r["activity_type"], "guide") for r in raw("vle")}
    clicks = pq.read_table(DATA / "studentVle.parquet").to_pydict()
    known = present(day)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    columns = (clicks[c] for c in ("code_module", "code_presentation", "id_student", "id_site", "date", "sum_click"))
    for module, start, student, site, date, n in zip(*columns, strict=True):
        kind = format_of[f"{module}_{start}", site]
        if day < date <= 2 * day and kind is not None and f"{module}_{start}-{student}" in known:
            found[f"{module}_{start}-{student}"][kind] += n
    names = ("community", "document", "guide", "lesson", "quiz")
    return {u: names.index(min(c, key=lambda f: (-c[f], f))) for u, c in found.items()}


@pytest.mark.parametrize("day", TASKS["activation"].snapshot_days)
def test_activation_agrees_with_a_second_count(tables: OuladTables, day: int) -> None:
    rows = label("activation", tables, days=[day]).rows
    assert dict(zip(rows["user_id"], rows["label"], strict=True)) == expected_activation(day)


@pytest.mark.parametrize("day", [0, 28])
def test_disengagement_agrees_with_a_second_count(tables: OuladTables, day: int) -> None:
    rows = label("disengagement", tables, days=[day]).rows
    assert dict(zip(rows["user_id"], rows["label"], strict=True)) == expected_disengagement(day)


@pytest.mark.parametrize("day", [1, 28])
def test_preference_agrees_with_a_second_count(tables: OuladTables, day: int) -> None:
    rows = label("preference", tables, days=[day]).rows
    assert dict(zip(rows["user_id"], rows["label"], strict=True)) == expected_preference(day)


@pytest.mark.parametrize("only_later", [False, True])
def test_skill_level_agrees_with_a_second_count(tables: OuladTables, only_later: bool) -> None:
    rows, _ = skill_level(tables, 28, only_later_marks=only_later)
    assert dict(zip(rows["user_id"], rows["label"], strict=True)) == expected_skill(28, only_later=only_later)


def test_everybody_enrolled_is_either_a_row_or_counted(tables: OuladTables) -> None:
    for model in TASKS:
        found = label(model, tables).counts
        assert set(found) == set(TASKS[model].snapshot_days)
        for day, counts in found.items():
            left_out = sum(n for reason, n in counts.items() if reason.startswith("left_out:"))
            assert counts["rows"] + left_out == 2_515, (model, day, counts)


def test_the_one_missing_registration_date_is_counted(tables: OuladTables) -> None:
    assert label("activation", tables).counts[7]["left_out:registration date missing"] == 1
