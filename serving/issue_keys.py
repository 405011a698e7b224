"""`firstmile keys new|hash`: make a key of both APIs, and the proof of a user that goes with publishable ones."""

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from firstmile.cli import emit
from firstmile.errors import SettingsError, UsageError
from firstmile.http.key_watch import keys_file
from firstmile.http.keys import KeyEntry, KeyFile, Scope, digest, read_keys, user_hash
from firstmile.ids import required_id
from firstmile.settings import Settings, load_settings

HEAD: Final = "# API keys, as firstmile/http/keys.py explains. `firstmile keys new` writes it anew, without comments.\n"
PREFIXES: Final[dict[Scope, str]] = {"publishable": "fm_pub_", "secret": "fm_sec_"}
"""So that a secret key is seen for what it is where it should not be, by people and by scanners."""
USE: Final[dict[Scope, str]] = {
    "publishable": "may stand in pages, for the decision API and the collector; send `Authorization: Bearer KEY`, and "
    "with a user_id its user_hash: hex HMAC-SHA256(identity secret, user_id), made by your server",
    "secret": "keep it on servers, for the decision API and the collector; send `Authorization: Bearer KEY`",
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def _keys() -> None:
    """API keys of the decision API and of the collector, and what proves a user."""


@app.command("new")
def new(
    scope: Annotated[str, typer.Option(help="publishable: for pages; secret: for servers")],
    name: Annotated[str, typer.Option("--id", help="what logs and limits call it; made if not given")] = "",
) -> None:
    """Make a key, put its hash into the key file, and say it once. Both running APIs know it within two seconds."""
    if scope not in PREFIXES:
        raise UsageError(f"--scope {scope!r} is not known; publishable is for pages, secret for servers")
    emit(make_key(load_settings(), "publishable" if scope == "publishable" else "secret", name=name))


@app.command("hash")
def show_hash(user: Annotated[str, typer.Argument(help="user_id")]) -> None:
    """The user_hash that proves a user: what your server gives to the page of a user it knows."""
    try:
        user_id = required_id(user)
    except ValueError as error:
        raise UsageError(str(error)) from None
    emit({"user_id": user_id, "user_hash": user_hash(user_id, identity_secret(load_settings()))})


def make_key(settings: Settings, scope: Scope, *, name: str = "") -> dict[str, Any]:
    """A new key, kept as its hash; with the first publishable one an identity secret too, if there is none.

    Raises DataError when the key file is wrong, UsageError when the id is taken or is none.
    """
    path = keys_file(settings)
    file = read_keys(path) if path.exists() else KeyFile()
    now = datetime.now(UTC)
    name = name or f"{scope}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    if name in {entry.id for entry in file.keys}:
        raise UsageError(f"{path} has a key {name!r} already; give --id another one, or none")
    key = PREFIXES[scope] + secrets.token_urlsafe(32)
    try:
        entry = KeyEntry(id=name, scope=scope, sha256=digest(key), created=now.date())
    except ValueError:
        raise UsageError(f"--id {name!r} is no id; letters, digits, dot, dash and underscore, 64 at most") from None
    made = {"id": name, "scope": scope, "key": key, "file": str(path), "use": USE[scope]}
    identity_secrets = file.identity_secrets
    if scope == "publishable" and not identity_secrets and not settings.serving.identity_secret.get_secret_value():
        made["identity_secret"] = secrets.token_urlsafe(32)
        identity_secrets = (made["identity_secret"],)
    _write(path, KeyFile(keys=(*file.keys, entry), identity_secrets=identity_secrets))
    return made


def identity_secret(settings: Settings) -> str:
    """The secret users are proven with: of the settings, else the file's last. Raises SettingsError without one."""
    path = keys_file(settings)
    file = read_keys(path) if path.exists() else KeyFile()
    found = settings.serving.identity_secret.get_secret_value() or (file.identity_secrets or ("",))[-1]
    if not found:
        raise SettingsError(
            f"there is no identity secret: {path} has none and FIRSTMILE_SERVING__IDENTITY_SECRET is not set; "
            "`firstmile keys new --scope publishable` makes one"
        )
    return found


def _write(path: Path, file: KeyFile) -> None:
    """All at once, readable by its owner alone: a server that looks meanwhile reads the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    text = HEAD + yaml.safe_dump(file.model_dump(exclude_none=True, mode="python"), sort_keys=False)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(new, path)
