"""The collector's addresses and kinds of calls, as Segment's and RudderStack's clients use them."""

from typing import Any

import pytest
from collector_builder import PAGE, PUBLISHABLE, Door, error_of, track
from demo_product import EVENTS

from firstmile.names import FAMILIES, PROFILES, USER_ACTIONS
from pipelines.mapping import read_mapping

BATCHES = ("/v1/batch", "/v1/import", "/v1/b")


@pytest.mark.parametrize("door", [*BATCHES, "/beacon/v1/batch", "//v1/batch", "/beacon//v1/import"])
@pytest.mark.parametrize("end", ["", "/", "?writeKey=" + PUBLISHABLE, "/?writeKey=" + PUBLISHABLE])
def test_batch_is_taken_at_each_of_its_addresses(door: str, end: str) -> None:
    asked = Door()
    key = None if "writeKey" in end else PUBLISHABLE
    answer = asked.post({"batch": [track()]}, door + end, key=key, headers=PAGE)
    assert (answer.status_code, len(asked.kept.queued)) == (200, 1)


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
@pytest.mark.parametrize("form", ["/v1/{}", "/v1/{}/", "//v1/{}", "/v1/{:.1}", "/v1/{:.1}/", "/beacon/v1/{}"])
def test_call_is_taken_at_each_of_its_addresses(kind: str, form: str) -> None:
    door = Door()
    answer = door.post({"userId": "u1", "event": "x", "type": "other"}, form.format(kind))
    assert (answer.status_code, answer.history) == (200, [])
    assert [record["type"] for _, record in door.kept.records()] == [kind]


@pytest.mark.parametrize("path", ["/v2/batch", "/v1", "/v1/", "/v1/x", "/v1/log", "/v1/batch/v1", "/V1/batch", "/"])
def test_what_is_no_address_is_told(path: str) -> None:
    assert error_of(Door().post(track(), path)) == (404, "no_such_call")


@pytest.mark.parametrize("path", ["/v1/track", "/v1/track/", "//v1/b"])
def test_only_posts_are_taken(path: str) -> None:
    assert error_of(Door().ask("GET", path)) == (405, "no_such_call")


@pytest.mark.parametrize("kind", ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "", "image/png"])
def test_kind_of_the_body_is_not_looked_at(kind: str) -> None:
    headers = {"Content-Type": kind, **PAGE}
    assert Door().post(track(), key=PUBLISHABLE, headers=headers).status_code == 200


def test_page_is_told_when_to_come_again() -> None:
    door = Door(address_requests_per_s=0.001)
    answers = [door.post(track(), key=PUBLISHABLE, headers=PAGE) for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 429]
    assert {a.headers["access-control-expose-headers"] for a in answers} == {"Retry-After"}


@pytest.mark.parametrize(
    ("call", "name", "page"),
    [
        ({"type": "screen", "name": "Home"}, "Screen Viewed", "Home"),
        ({"type": "screen", "event": "Home", "properties": {"name": "Home"}}, "Screen Viewed", "Home"),
        ({"type": "screen"}, "Screen Viewed", None),
        ({"type": "page", "properties": {"name": "Docs"}}, "Page Viewed", "Docs"),
        ({"type": "page", "event": "Tour Viewed"}, "Tour Viewed", None),
        ({"type": "group", "event": "x", "traits": {"plan": "pro"}}, "group", None),
        ({"type": "alias", "previousId": "u0"}, "alias", None),
    ],
)
def test_kinds_of_calls_are_named(call: dict[str, Any], name: str, page: str | None) -> None:
    door = Door()
    assert door.post({"batch": [{"userId": "u1", **call}]}, "/v1/batch").status_code == 200
    ((topic, record),) = door.kept.records()
    assert (topic, record["name"], record["properties"].get("page")) == (USER_ACTIONS, name, page)
    assert topic != PROFILES


def test_screens_count_as_pages_and_groups_and_aliases_are_not_unknown(tmp_path: Any) -> None:
    own = tmp_path / "events.yaml"
    own.write_text("version: 2\nfamilies: {}\n")
    for mapping in (read_mapping(EVENTS), read_mapping(own)):
        screen, group, alias = mapping.codes(["Screen Viewed", "group", "alias"]).tolist()
        assert FAMILIES[screen] == "page_view"
        assert group == alias < 0


def test_page_in_a_batchs_context_is_the_page_of_its_calls() -> None:
    door = Door()
    context = {"page": {"path": "/welcome"}}
    own = {"page": {"path": "/own"}}
    calls = [{"type": "page", "userId": "u1"}, {"type": "page", "userId": "u1", "context": own}]
    door.post({"batch": calls, "context": context}, "/v1/batch")
    assert [record["properties"]["page"] for _, record in door.kept.records()] == ["/welcome", "/own"]
