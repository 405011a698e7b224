"""API keys: what a file may say, who is proven by what, and how a changed file is followed."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstmile.errors import DataError
from firstmile.http.key_watch import KeyWatch, decision_key, keys_file, ring_of
from firstmile.http.keys import Key, KeyRing, digest, read_keys, user_hash
from firstmile.setting_sections import ServingSettings
from firstmile.settings import Settings

OLD, NEW = "an-old-key-of-the-web", "a-new-key-of-the-web"
Write = Callable[[str], None]


def entry(key_id: str, key: str, scope: str = "publishable") -> str:
    return f"  - {{id: {key_id}, scope: {scope}, sha256: {digest(key)}, created: 2026-11-26}}\n"


def of_settings(**serving: Any) -> KeyRing:
    """The keys without a file."""
    given_ones = ServingSettings(**serving)
    return ring_of(decision_key(given_ones), given_ones.identity_secret)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def write(settings: Settings) -> Write:
    """Changes the file in one step, as editors and `firstmile keys new` do: never read half, never the same inode."""

    def put(text: str) -> None:
        new = keys_file(settings).with_suffix(".new")
        new.write_text(text)
        os.replace(new, keys_file(settings))

    return put


def test_key_is_known_by_its_hash_or_itself(write: Write, settings: Settings) -> None:
    write("keys:\n" + entry("web", OLD) + f"  - {{id: crm, scope: secret, key: {NEW}}}\n")
    ring = ring_of(decision_key(settings.serving), settings.serving.identity_secret, read_keys(keys_file(settings)))
    assert ring.find(OLD) == Key("web", "publishable")
    assert ring.find(NEW) == Key("crm", "secret")
    assert ring.find(digest(OLD)) is None


def test_key_of_the_settings_is_a_secret_one_and_can_be_none() -> None:
    assert of_settings().find("demo-api-key") == Key("settings", "secret")
    closed = of_settings(api_key="")
    assert len(closed) == 0
    assert closed.find("") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keys: [", "line 1"),
        ("keys:\n" + entry("web", OLD) + entry("web", NEW), "line 3: key 'web' is given twice"),
        ("keys:\n" + entry("a", OLD) + entry("b", OLD), "line 3: key 'b' is the same key"),
        ("keys:\n" + entry("a", OLD, scope="public"), "line 2: keys.0.scope"),
        ("keys:\n  - {id: a, scope: secret}\n", "line 2: key 'a' needs either"),
        (f"keys:\n  - {{id: a, scope: secret, key: {OLD}, sha256: {digest(OLD)}}}\n", "line 2: key 'a' needs either"),
        ("keys:\n  - {id: a, scope: secret, key: short}\n", "line 2: keys.0.key"),
        ("keys:\n  - {id: a, scope: secret, sha256: ABC}\n", "line 2: keys.0.sha256"),
        ("identity_secrets: [short]", "line 1: identity_secrets.0"),
        ("kyes: []", "line 1: kyes"),
        ("just text", "line 1"),
        ("keys:\n" + "".join(entry(f"k{n}", f"{OLD}-{n}") for n in range(2_000)), "take old ones out"),
    ],
)
def test_wrong_file_is_refused_by_line_without_saying_a_key(
    write: Write, settings: Settings, text: str, said: str
) -> None:
    write(text)
    with pytest.raises(DataError) as caught:
        read_keys(keys_file(settings))
    assert said in str(caught.value)
    assert OLD not in str(caught.value)


@given(user_id=st.text(min_size=1), other=st.text(min_size=1))
def test_hash_proves_one_user_under_any_of_the_secrets(user_id: str, other: str) -> None:
    ring = KeyRing({}, ["first", "second"])
    for secret in ("first", "second"):
        given_hash = user_hash(user_id, secret)
        assert ring.proves(user_id, given_hash)
        assert ring.proves(user_id, given_hash.upper())
        assert ring.proves(other, given_hash) is (other == user_id)
    assert not ring.proves(user_id, user_hash(user_id, "third"))


def test_hash_is_the_one_other_languages_make() -> None:
    # echo -n u17 | openssl dgst -sha256 -hmac sesame
    assert user_hash("u17", "sesame") == "8feb464d20a609e447aad1fa87413efb6632ac87b5c76b468d4eeee6ebb127d7"


def test_signing_keys_are_those_of_every_process_with_the_same_secrets_and_need_one() -> None:
    keys = {digest("pub"): Key("p", "publishable"), digest("sec"): Key("s", "secret")}
    ring = KeyRing(keys, ["first", "second"])
    assert len(ring.signing_keys) == 3
    assert [*ring.signing_keys.items()] == [*KeyRing(keys, ["first", "second"]).signing_keys.items()]
    assert KeyRing({}, ["first"]).signing_keys.items() < ring.signing_keys.items()
    assert not KeyRing({digest("pub"): Key("p", "publishable")}).signing_keys  # every visitor has that one


def test_rotation_needs_no_restart(write: Write, settings: Settings) -> None:
    write("keys:\n" + entry("web-1", OLD))
    watch = KeyWatch(settings, decision_key(settings.serving))
    write("keys:\n" + entry("web-1", OLD) + entry("web-2", NEW))
    watch.look()
    assert watch.current.find(OLD)
    assert watch.current.find(NEW)
    write("keys:\n" + entry("web-2", NEW))
    watch.look()
    assert watch.current.find(OLD) is None
    assert watch.current.find("demo-api-key")


def test_file_that_appears_later_is_read(write: Write, settings: Settings) -> None:
    watch = KeyWatch(settings, decision_key(settings.serving))
    write("keys:\n" + entry("web", OLD) + "identity_secrets: [a-secret-of-our-servers]\n")
    assert not watch.current.has_identity_secret
    watch.look()
    assert watch.current.find(OLD)
    assert watch.current.has_identity_secret


@pytest.mark.parametrize("text", ["keys: [", None], ids=["wrong", "gone"])
def test_bad_file_leaves_the_last_good_keys_and_says_so_once(
    write: Write, settings: Settings, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    write("keys:\n" + entry("web", OLD))
    watch = KeyWatch(settings, decision_key(settings.serving))
    if text is None:
        keys_file(settings).unlink()
    else:
        write(text)
    with caplog.at_level(logging.WARNING):
        watch.look()
        watch.look()
    assert watch.current.find(OLD)
    assert len(caplog.records) == 1
    assert str(keys_file(settings)) in caplog.text
    write("")
    watch.look()
    assert watch.current.find(OLD) is None


def test_named_file_must_be_there_and_right_at_the_start(settings: Settings, tmp_path: Path, write: Write) -> None:
    named = settings.model_copy(update={"serving": ServingSettings(keys=str(tmp_path / "none.yaml"))})
    with pytest.raises(DataError, match="firstmile keys new"):
        KeyWatch(named, decision_key(named.serving))
    write("keys: [")
    with pytest.raises(DataError, match="line"):
        KeyWatch(settings, decision_key(settings.serving))
