"""events.yaml: a product's own words, and what is said about a wrong file."""

import re
from pathlib import Path

import pandas as pd
import pytest
from demo_product import EVENTS

from feature_repo.activity import NOT_COUNTED
from firstmile.errors import DataError
from firstmile.names import FAMILIES
from firstmile.vocabulary import FORMATS
from pipelines.mapping import FIELDS, OWN_FIELDS, EventMapping, read_mapping

SECOND_PRODUCT = """
version: 2
families:
  click: [cta.tapped]
  none: [cron.ran]
fields:
  content_id: [asset, assetId]
formats: {clip: video, pdf: document}
"""


@pytest.fixture
def write(tmp_path: Path) -> Path:
    """Where a product's file is."""
    return tmp_path / "product.yaml"


def read(path: Path, text: str) -> EventMapping:
    path.write_text(text)
    return read_mapping(path)


def test_own_words_are_read_and_the_rest_keeps_its_meaning(write: Path) -> None:
    mapping = read(write, SECOND_PRODUCT)
    names = pd.Series(["cta.tapped", "cron.ran", "Page Viewed", "Context Observed", "identify", "Button Clicked"])
    families = [NOT_COUNTED if c == NOT_COUNTED else FAMILIES[c] for c in mapping.codes(names).tolist()]
    assert families == ["click", NOT_COUNTED, "page_view", NOT_COUNTED, NOT_COUNTED, "unknown"]
    assert mapping.fields == {**OWN_FIELDS, "content_id": ("asset", "assetId")}


def test_format_words_become_those_of_the_closed_list(write: Path) -> None:
    mapping = read(write, SECOND_PRODUCT)
    found = mapping.formats_of(pd.Series(["clip", "pdf", "quiz", "hologram", "", None]))
    assert found.tolist() == ["video", "document", "quiz", "other", "other", None]


@pytest.mark.parametrize("words", [pd.Series([None, None]), pd.Series([], dtype=object), pd.Series(FORMATS)])
def test_formats_of_our_own_stay_however_often_they_are_mapped(words: pd.Series, write: Path) -> None:
    mapping = read(write, SECOND_PRODUCT)
    once = mapping.formats_of(words)
    assert once.tolist() == words.tolist() == mapping.formats_of(once).tolist()


def test_the_shipped_file_maps_every_family_and_reads_every_field() -> None:
    mapping = read_mapping(EVENTS)
    assert {FAMILIES[c] for c in mapping.code_by_name.values() if c >= 0} == set(FAMILIES) - {"unknown"}
    assert set(mapping.fields) == set(FIELDS)
    assert all(name in mapping.fields[name] for name in FIELDS)


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("families: {click: [a]}", 1, "version None, this is read: version: 2"),
        ("version: 1\nfamilies: {click: [a]}", 1, "version 1, this is read: version: 2"),
        ("version: 2", 1, "families: Field required"),
        ("version: 2\nfamilies:\n  clik: [a]", 3, "unknown family 'clik'; known: click,"),
        ("version: 2\nfamilies:\n  click: [a]\n  invite: [b, a]", 4, "'a' stands under click already"),
        ("version: 2\nfamilies:\n  click: [a]\n  click: [b]", 4, "'click' is said twice"),
        ("version: 2\nfamilies:\n  click: a", 3, "families.click: Input should be a valid tuple"),
        ("version: 2\nfamilies: {}\nfields:\n  colour: [c]", 4, "unknown field 'colour'; known: content_id,"),
        ("version: 2\nfamilies: {}\nfields:\n  step: []", 4, "step is read from no property"),
        ("version: 2\nfamilies: {}\nformats:\n  clip: film", 4, "unknown format 'film'; known: community,"),
        ("version: 2\nfamilies: {}\nformats:\n  quiz: video", 4, "'quiz' is one of our own formats"),
        ("version: 2\nfamilies: {}\nformat: {}", 3, "format: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_file_is_named_with_the_line(text: str, line: int, complaint: str, write: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{write}, line {line}: ") + ".*" + re.escape(complaint)):
        read(write, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.yaml cannot be read"):
        read_mapping(tmp_path / "nowhere.yaml")
