"""Who may ask for whom: keys by scope, proven users, anonymous visitors, and limits that one cannot use up for all."""

import uuid
from typing import Any

import pytest
from starlette.requests import Request

from firstmile.http.guard import Guard
from firstmile.http.keys import Key, KeyRing, digest, user_hash
from firstmile.http.refusals import RefusalError
from firstmile.setting_sections import ServingSettings
from serving.requests import PersonalizationRequest

WEB, CRM = Key("web", "publishable"), Key("crm", "secret")
SECRET = "sesame"


def guard(secrets: tuple[str, ...] = (SECRET,), **settings: Any) -> Guard:
    ring = KeyRing({digest("pub"): WEB, digest("sec"): CRM}, secrets)
    serving = ServingSettings(**settings)
    return Guard(serving, lambda: ring, user_requests_per_s=serving.user_requests_per_s)


def request(key: str, *, address: str = "10.0.0.1", origin: str | None = None) -> Request:
    headers = [(b"authorization", f"Bearer {key}".encode())]
    if origin:
        headers.append((b"origin", origin.encode()))
    return Request({"type": "http", "headers": headers, "client": (address, 1)})


def allow(key: Key, *, by: Guard | None = None, **wanted: Any) -> None:
    (by or guard()).allow(key, PersonalizationRequest(**wanted), now_s=0)


def test_settings_say_of_each_limit_that_a_worker_process_counts_it() -> None:
    limits = {
        name: f.description for name, f in ServingSettings.model_fields.items() if name.endswith("requests_per_s")
    }
    assert len(limits) == 3
    assert all("and worker process" in (text or "") for text in limits.values()), limits


def outcomes(key: Key, n: int, *, by: Guard, **wanted: Any) -> list[str]:
    """Of asking n times for the same user: "allowed", or the refusal's code."""
    found = []
    for _ in range(n):
        try:
            allow(key, by=by, **wanted)
        except RefusalError as error:
            found.append(error.code)
        else:
            found.append("allowed")
    return found


def once(*secrets: str) -> Guard:
    """A guard that lets each user be asked for once, so that whom a request was counted for shows."""
    return guard(secrets, user_requests_per_s=0.5)


def test_secret_key_asks_for_anybody() -> None:
    by = once(SECRET)
    assert outcomes(CRM, 2, by=by, user_id="u17") == ["allowed", "too_many_requests"]
    assert outcomes(CRM, 2, by=by, anonymous_id="visitor") == ["allowed", "too_many_requests"]


def test_publishable_key_asks_for_a_proven_user_only() -> None:
    proven = {"user_id": "u17", "user_hash": user_hash("u17", SECRET)}
    assert outcomes(WEB, 2, by=once(SECRET), **proven) == ["allowed", "too_many_requests"]
    for wrong in (None, user_hash("u18", SECRET), user_hash("u17", "other")):
        with pytest.raises(RefusalError) as caught:
            allow(WEB, user_id="u17", user_hash=wrong)
        assert (caught.value.status, caught.value.code) == (403, "user_not_proven")


def test_proof_of_one_user_opens_no_other_by_way_of_the_anonymous_id() -> None:
    with pytest.raises(RefusalError):
        allow(WEB, user_id="u18", anonymous_id="u17", user_hash=user_hash("u17", SECRET))
    for known in ("u17", "anon_u17", str(uuid.uuid4()), f"anon_{uuid.uuid1()}", f"anon_{uuid.uuid4()}x"):
        with pytest.raises(RefusalError) as caught:
            allow(WEB, anonymous_id=known)
        assert caught.value.status == 403


def test_visitor_with_a_random_id_of_his_browser_is_answered() -> None:
    for by in (once(SECRET), once()):
        for visitor in (f"anon_{uuid.uuid4()}", f"anon_{uuid.uuid4()}"):
            assert outcomes(WEB, 2, by=by, anonymous_id=visitor) == ["allowed", "too_many_requests"]


def test_without_an_identity_secret_no_user_is_proven_and_the_hint_says_what_to_set() -> None:
    with pytest.raises(RefusalError) as caught:
        allow(WEB, user_id="u17", user_hash=user_hash("u17", ""), by=guard(secrets=()))
    assert caught.value.status == 403
    assert "FIRSTMILE_SERVING__IDENTITY_SECRET" in caught.value.hint


def test_secret_key_sent_by_a_page_is_refused() -> None:
    with pytest.raises(RefusalError) as caught:
        guard().admit(request("sec", origin="https://app.example.com"), now_s=0)
    assert (caught.value.status, caught.value.code) == (403, "secret_key_in_browser")
    assert guard().admit(request("pub", origin="https://app.example.com"), now_s=0) == WEB


def is_refused(by: Guard, key: str, **asked: Any) -> bool:
    try:
        by.admit(request(key, **asked), now_s=0)
    except RefusalError as error:
        return error.status == 429 and int((error.headers or {})["Retry-After"]) >= 1
    return False


def test_one_address_does_not_use_up_a_publishable_key_for_the_others() -> None:
    by = guard(address_requests_per_s=1, key_requests_per_s=100)
    assert [is_refused(by, "pub", address="10.0.0.9") for _ in range(300)].count(False) == 2
    assert not is_refused(by, "pub", address="10.0.0.1")


def test_addresses_of_one_network_count_as_one() -> None:
    by = guard(address_requests_per_s=1)
    assert [is_refused(by, "pub", address=f"2001:db8::{n:x}") for n in range(4)] == [False, False, True, True]
    assert is_refused(by, "pub", address="2001:db8:0:ff::1")
    assert not is_refused(by, "pub", address="2001:db8:0:100::1")
    assert not is_refused(by, "pub", address="::ffff:10.0.0.1")
    assert not is_refused(by, "pub", address="a proxy's word")


def test_what_is_refused_does_not_use_up_a_publishable_key_for_the_others() -> None:
    by = guard(address_requests_per_s=1, key_requests_per_s=1)
    for n in range(50):  # heads without a body, then what nobody proves
        by.admit(request("pub", address=f"10.0.1.{n}"), now_s=0)
        for unproven in ({"user_id": "u17"}, {"anonymous_id": "anon_1"}):
            with pytest.raises(RefusalError) as caught:
                allow(WEB, by=by, **unproven)
            assert caught.value.status == 403
    assert by.admit(request("pub"), now_s=0) == WEB
    found = [outcomes(WEB, 1, by=by, anonymous_id=f"anon_{uuid.uuid4()}") for _ in range(3)]
    assert found == [["allowed"], ["allowed"], ["too_many_requests"]]


def test_one_home_with_all_its_networks_leaves_a_publishable_key_to_the_others() -> None:
    by = guard()
    n_let_in = 0
    for net in range(40):
        n_let_in += [is_refused(by, "pub", address=f"2001:db8:0:{net:x}::1") for _ in range(100)].count(False)
    assert n_let_in == 200
    assert by.admit(request("pub", address="203.0.113.9"), now_s=0) == WEB
    assert outcomes(WEB, 1, by=by, anonymous_id=f"anon_{uuid.uuid4()}") == ["allowed"]


def test_key_has_a_limit_of_its_own() -> None:
    by = guard(address_requests_per_s=1, key_requests_per_s=2)
    assert [is_refused(by, "sec") for _ in range(6)] == [False] * 4 + [True] * 2
    assert not is_refused(by, "pub")


def test_wrong_keys_cost_no_memory() -> None:
    by = guard()
    for n in range(1_000):
        with pytest.raises(RefusalError):
            by.admit(request(f"guess-{n}"), now_s=0)
    assert by.n_callers == 0
    by.admit(request("pub"), now_s=0)
    by.admit(request("sec"), now_s=0)
    assert by.n_callers == 2  # an address and a key


def test_user_limit_counts_a_user_whatever_key_asks() -> None:
    by = guard(user_requests_per_s=0.5)
    allow(CRM, user_id="u17", by=by)
    with pytest.raises(RefusalError) as caught:
        allow(WEB, user_id="u17", user_hash=user_hash("u17", SECRET), by=by)
    assert caught.value.status == 429
