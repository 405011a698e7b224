"""Odd content costs no call and no batch: what clients write by mistake, and what attackers write on purpose."""

from typing import Any

import orjson
import pytest
from collector_builder import Door, error_of, listed, track
from hypothesis import given
from hypothesis import strategies as st

from firstmile.http.refusals import RefusalError
from pipelines.collector_requests import parse_body

CALL = b'{"userId": "u1", "event": "x", "properties": {"a": %b, "b": "kept"}}'


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b'"\\ud800"', "\ufffd"),
        (b'"x\\udc00y"', "x\ufffdy"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\ud83d\\ud83d\\ude00"', "\ufffd😀"),
        (b'"\xff"', "\ufffd"),
        (b'"\xed\xa0\x80"', "\ufffd\ufffd\ufffd"),
        (b'"a\x01b\nc"', "a\x01b\nc"),
        (b'"a\\u0000b"', "a\ufffdb"),
        (b"NaN", None),
        (b"Infinity", None),
        (b"-Infinity", None),
        (b"1e999", None),
        (b"9" * 500, None),
        (b"9" * 5_000, None),
        (b"123456789012345678901234567890", "1.2345678901234568e+29"),
        (b"17.0", "17"),
        (b"[NaN]", "[null]"),
    ],
)
def test_odd_value_costs_no_event(value: bytes, written: str | None) -> None:
    door = Door()
    assert listed(door.post(CALL % value), "errors") == []
    ((_, record),) = door.kept.records()
    assert record["properties"] == {**({} if written is None else {"a": written}), "b": "kept"}
    assert door.kept.reasons() == [None]


def test_one_odd_event_costs_no_batch() -> None:
    door = Door()
    odd = rb'{"type": "track", "userId": "\ud800", "event": "x"}, {"type": "track", "userId": "u1", "event": "\udfff"}'
    answer = door.post(b'\xef\xbb\xbf{"batch": [%b, %b]}' % (orjson.dumps(track()), odd), "/v1/batch")
    assert listed(answer, "errors") == [(1, "bad_id")]
    assert [record["name"] for _, record in door.kept.records()] == ["Form Submitted", "\ufffd"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[]", b"7", b"null", b"{'a': 1}", b'{"a": }', b"\xef\xbb\xbf"]
)
def test_what_is_no_object_is_told(body: bytes) -> None:
    assert error_of(Door().post(body)) == (400, "bad_json")


def test_names_of_properties_and_traits_hold_no_nul() -> None:
    door = Door()
    said = {"a\x00": "b\x00", "": "nothing"}
    door.post(
        {"type": "identify", "userId": "u1", "properties": said, "traits": {**said, "c\x00": None}}, "/v1/identify"
    )
    (_, event), (_, profile) = door.kept.records()
    assert event["properties"] == {"a\ufffd": "b\ufffd", "": "nothing"}
    assert profile["traits"] == {"a\ufffd": "b\ufffd", "": "nothing", "c\ufffd": ""}
    assert door.kept.reasons() == [None, None]


@pytest.mark.parametrize("field", ["properties", "context", "traits"])
def test_an_empty_list_is_an_empty_object_as_php_writes_it(field: str) -> None:
    door = Door()
    assert door.post({"userId": "u1", field: []}, "/v1/identify").status_code == 200
    assert error_of(door.post({"userId": "u1", field: [1]}, "/v1/identify")) == (400, f"bad_{field}")
    assert door.post({"batch": [track()], "context": []}, "/v1/batch").status_code == 200


def test_an_empty_batch_is_taken_from_who_has_a_key() -> None:
    door = Door()
    answer = door.post({"batch": []}, "/v1/batch")
    assert (answer.status_code, answer.json()) == (200, {"accepted": 0, "message_ids": []})
    assert error_of(door.post({"batch": []}, "/v1/batch", key=None)) == (401, "bad_write_key")
    assert error_of(door.post({"batch": None}, "/v1/batch")) == (400, "bad_batch")


@pytest.mark.parametrize("depth", [100, 250, 300, 900, 1_100, 100_000])
@pytest.mark.parametrize("place", ["properties", "event", "userId", "timestamp", "context", "type", "traits"])
def test_deep_nesting_is_taken_or_told(depth: int, place: str) -> None:
    door = Door()
    deep = b"[" * depth + b"]" * depth
    value = b'{"a": %b, "b": 1}' % deep if place in ("properties", "context", "traits") else deep
    call = b'{"type": "identify", "userId": "u1", "event": "x", "%b": %b}' % (place.encode(), value)
    for answer in (door.post(call, "/v1/identify"), door.post(b'{"batch": [%b]}' % call, "/v1/batch")):
        assert answer.status_code in (200, 400)
        if answer.status_code == 200 and place in ("properties", "traits") and depth > 254:
            assert listed(answer, "notes") == [(0, "nested_too_deep")]
    assert set(door.kept.reasons()) <= {None}


JSON: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(said=st.dictionaries(st.text(), JSON))
def test_plain_json_is_read_as_it_stands(said: dict[str, Any]) -> None:
    assert parse_body(orjson.dumps(said)) == said


@given(body=st.binary() | st.binary().map(lambda junk: b'{"a": "%b"}' % junk))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        found = parse_body(body)
    except RefusalError as error:
        found = {"refused": error.code}
    assert isinstance(found, dict)
    assert found.get("refused", "bad_json") == "bad_json"
