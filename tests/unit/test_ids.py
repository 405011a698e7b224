"""One form of ids: whoever says one, and wherever, it names the same person or content."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from collector_builder import Door, error_of, listed, track
from hypothesis import given
from hypothesis import strategies as st

from firstmile.http.refusals import RefusalError
from firstmile.ids import IdError, id_text
from pipelines.tracking import Arrival, map_call
from serving.catalogue import Content
from serving.requests import parse
from serving.selector import Selector

SAME = [
    ("u23", "u23"),
    ("u23\n", "u23"),
    (" \t u23 ", "u23"),
    ("u 23", "u 23"),
    ("ü23", "ü23"),
    (17, "17"),
    (17.0, "17"),
    ("17", "17"),
    (-3, "-3"),
    (2**64 - 1, str(2**64 - 1)),
    ("x" * 256, "x" * 256),
]
PLACEHOLDERS = ["undefined", "null", "NaN", "None", "[object Object]", " undefined\n"]
WRONG = [
    "u\x00",
    "u\x1f23",
    "u\x7f",
    "u\x85x",
    "u\ufffd",
    "x" * 257,
    17.5,
    True,
    False,
    [],
    ["u"],
    {},
    {"id": "u"},
    1e300,
]


def of_collector(value: Any) -> str:
    return map_call(track(userId=value), Arrival(1_795_435_200_000_000), new_id=str).user_id


def of_decisions(value: Any) -> str:
    return parse(orjson.dumps({"user_id": value})).subject


@pytest.mark.parametrize(("said", "text"), SAME)
def test_id_is_the_same_text_everywhere(said: Any, text: str) -> None:
    assert id_text(said) == of_collector(said) == of_decisions(said) == text
    door = Door()
    properties = {"content_id": said, "contentId": said}
    door.post({"event": "x", "anonymousId": said, "properties": properties})
    ((_, record),) = door.kept.records()
    assert (record["user_id"], record["anonymous_id"]) == (text, text)
    assert record["properties"] == {"content_id": text, "contentId": text}


@pytest.mark.parametrize("said", [*PLACEHOLDERS, *WRONG])
def test_what_is_no_id_is_refused_everywhere_for_what_it_is(said: Any) -> None:
    code = "placeholder_id" if said in PLACEHOLDERS else "bad_id"
    with pytest.raises(IdError) as caught:
        id_text(said)
    assert caught.value.code == code
    with pytest.raises(RefusalError) as refused:
        of_decisions(said)
    assert "user_id: " in refused.value.message
    door = Door()
    assert error_of(door.post(track(userId=said, anonymousId="a1"))) == (400, code)
    assert error_of(door.post({"event": "x", "anonymousId": said})) == (400, code)
    assert door.counted("events_refused") == {code: 2}


@pytest.mark.parametrize("said", [None, "", "  ", "\n"])
def test_nothing_said_is_no_id(said: Any) -> None:
    assert id_text(said) is None
    assert error_of(Door().post(track(userId=said))) == (400, "missing_id")
    with pytest.raises(RefusalError, match="user_id: is missing"):
        of_decisions(said)
    door = Door()
    door.post(track(userId=said, anonymousId="a1"))
    assert [record["user_id"] for _, record in door.kept.records()] == ["a1"]
    assert parse(orjson.dumps({"user_id": said, "anonymous_id": "a1"})).subject == "a1"


@given(said=st.one_of(st.text(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False)))
def test_collector_and_decisions_read_any_value_as_one_id_or_both_refuse_it(said: Any) -> None:
    found = []
    for read in (of_collector, of_decisions):
        try:
            found.append(read(said))
        except RefusalError:
            found.append(None)
    assert found[0] == found[1]


@pytest.mark.parametrize("said", [*PLACEHOLDERS, *WRONG])
def test_a_wrong_anonymous_id_costs_no_event_of_a_user(said: Any) -> None:
    door = Door()
    assert listed(door.post(track(anonymousId=said)), "notes") == [(0, "bad_anonymous_id")]
    assert [(r["user_id"], r["anonymous_id"]) for _, r in door.kept.records()] == [("u1", None)]


@pytest.mark.parametrize("said", ["undefined", "u\x00", ["m"], {}])
def test_a_wrong_message_id_is_told_and_another_one_is_given(said: Any) -> None:
    door = Door()
    answers = [door.post(track(messageId=said)) for _ in range(2)]
    assert [listed(answer, "notes") for answer in answers] == [[(0, "bad_message_id")]] * 2
    ids = {record["message_id"] for _, record in door.kept.records()}
    assert ids == {answer.json()["message_ids"][0] for answer in answers}
    assert len(ids) == 2


@pytest.mark.parametrize("said", ["undefined", "c\x00", ["c"], True])
def test_a_wrong_content_id_is_left_out_and_told(said: Any) -> None:
    door = Door()
    answer = door.post(track(properties={"content_id": said, "step": "profile"}))
    assert listed(answer, "notes") == [(0, "bad_content_id")]
    assert [record["properties"] for _, record in door.kept.records()] == [{"step": "profile"}]


def test_a_products_own_name_of_the_content_is_read_as_one() -> None:
    door = Door()
    door.collector.content_fields = ("lesson",)
    door.post(track(properties={"lesson": " l1\n", "content_id": " x\n"}))
    assert [record["properties"] for _, record in door.kept.records()] == [{"lesson": "l1", "content_id": " x\n"}]


def test_content_of_the_catalogue_is_named_alike(tmp_path: Path) -> None:
    content = Content(content_id=17, title="t", format="lesson", prerequisites=(16.0,))  # type: ignore[arg-type]
    assert (content.content_id, content.prerequisites) == ("17", ("16",))
    assert Selector(content_ids=(17, "c1 ")).content_ids == ("17", "c1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an id is empty"):
        Content(content_id=" ", title="t", format="lesson")
