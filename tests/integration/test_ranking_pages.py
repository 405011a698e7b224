"""The pages a ranker learns to put in order are those that serving has on its shelf, in the same order."""

from pathlib import Path

import pytest

from examples.oulad.catalogue import course_pages
from examples.oulad.learning.openings import read_pages
from firstmile.errors import DataError
from firstmile.setting_sections import ROOT
from firstmile.vocabulary import FORMATS

SHIPPED = ROOT / "data" / "oulad"
WITH_WEEKS = """id_site,code_module,code_presentation,activity_type,week_from,week_to
7,AAA,2013J,resource,,
5,AAA,2013J,quiz,3,4
9,AAA,2013J,oucontent,1,1
4,AAA,2013J,homepage,,
2,AAA,2013J,url,?,?
3,BBB,2013B,forumng,,
8,AAA,2013J,quiz,1.0,1
"""


@pytest.fixture
def with_weeks(tmp_path: Path) -> Path:
    (tmp_path / "vle.csv").write_text(WITH_WEEKS)
    return tmp_path


def on_shelf(data: Path) -> dict[str, list[tuple[str, str]]]:
    shelves = course_pages(folder=Path(), data=str(data), url="", titles={}, other_title="Page", levels={})
    return {name: [(item["content_id"], item["format"]) for item in items] for name, items in shelves.items()}


def learned(data: Path, presentations: list[str]) -> dict[str, list[tuple[str, str]]]:
    pages = read_pages(data, presentations)
    return {
        name: [(c, FORMATS[f]) for c, f in zip(of["content_id"], of["format"], strict=True)]
        for name, of in pages.items()
    }


def test_both_are_in_the_order_of_weeks_then_sites_without_the_home_page(with_weeks: Path) -> None:
    found = learned(with_weeks, ["AAA_2013J", "BBB_2013B"])
    assert [content_id for content_id, _ in found["AAA_2013J"]] == ["8", "9", "5", "2", "7"]
    assert found == on_shelf(with_weeks)


def test_both_agree_on_the_shipped_pages() -> None:
    shelves = on_shelf(SHIPPED)
    assert learned(SHIPPED, list(shelves)) == shelves
    assert {name: len(items) for name, items in shelves.items()} == {
        "AAA_2013J": 210,
        "AAA_2014J": 201,
        "BBB_2013B": 314,
    }


def test_a_presentation_without_pages_is_named(with_weeks: Path) -> None:
    with pytest.raises(DataError, match=r"no page of AAA_2014J; it has those of AAA_2013J, BBB_2013B"):
        read_pages(with_weeks, ["AAA_2014J"])
