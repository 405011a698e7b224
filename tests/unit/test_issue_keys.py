"""`firstmile keys`: what it prints works, and the file keeps only hashes."""

from pathlib import Path

import pytest

from firstmile.errors import SettingsError, UsageError
from firstmile.http.key_watch import KeyWatch, decision_key, keys_file
from firstmile.http.keys import Key, Scope, user_hash
from firstmile.setting_sections import ServingSettings
from firstmile.settings import Settings
from serving.issue_keys import identity_secret, make_key


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.mark.parametrize("scope", ["publishable", "secret"])
def test_made_key_is_valid_at_once_and_stands_nowhere(settings: Settings, scope: Scope) -> None:
    watch = KeyWatch(settings, decision_key(settings.serving))
    made = make_key(settings, scope, name="first")
    watch.look()
    assert watch.current.find(made["key"]) == Key("first", scope)
    assert made["key"] not in keys_file(settings).read_text()
    assert keys_file(settings).stat().st_mode & 0o077 == 0


def test_keys_made_one_after_the_other_are_all_valid(settings: Settings) -> None:
    made = [make_key(settings, scope) for scope in ("publishable", "secret", "publishable")]
    ring = KeyWatch(settings, decision_key(settings.serving)).current
    assert [ring.find(m["key"]) for m in made] == [Key(m["id"], m["scope"]) for m in made]


def test_first_publishable_key_comes_with_the_identity_secret_that_proves_users(settings: Settings) -> None:
    first, second = make_key(settings, "publishable"), make_key(settings, "publishable")
    assert "identity_secret" not in second
    assert identity_secret(settings) == first["identity_secret"]
    ring = KeyWatch(settings, decision_key(settings.serving)).current
    assert ring.proves("u17", user_hash("u17", first["identity_secret"]))


def test_identity_secret_of_the_settings_needs_none_in_the_file(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="keys new --scope publishable"):
        identity_secret(settings)
    serving = ServingSettings(identity_secret="of-the-environment")  # type: ignore[arg-type]
    given = settings.model_copy(update={"serving": serving})
    assert "identity_secret" not in make_key(given, "publishable")
    assert identity_secret(given) == "of-the-environment"


@pytest.mark.parametrize("name", ["taken", "a b", "é", "x" * 65])
def test_id_that_is_taken_or_none_is_refused_and_changes_nothing(settings: Settings, name: str) -> None:
    make_key(settings, "secret", name="taken")
    before = keys_file(settings).read_text()
    with pytest.raises(UsageError):
        make_key(settings, "secret", name=name)
    assert keys_file(settings).read_text() == before
