"""API keys of both APIs: who asks or writes, and for whom they may.

    publishable    stands in pages, so everybody has it: asks only for a user whose `user_hash` proves that your server
                   knows him, or for an anonymous visitor by the random id his browser made; what it may write, `pages`
                   in cleaning.yaml says
    secret         stays on servers: asks and writes for any user

The file holds hashes of keys. It also holds identity secrets, which it cannot do without: guard it like a password.

    keys:
      - {id: web, scope: publishable, sha256: 3b1f…, created: 2026-11-26}
      - {id: crm, scope: secret, key: at-least-twenty-characters, created: 2026-11-26}
    identity_secrets:
      - at-least-twenty-characters

Several of each are valid at once, so that a new one is rolled out before the old one is taken away.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from firstmile.documents import read_document
from firstmile.errors import DataError

Scope = Literal["publishable", "secret"]
MIN_CHARACTERS: Final = 20
"""Of a key or secret somebody makes up himself; ours have 43 random ones."""
MAX_FILE_BYTES: Final = 200_000
"""A thousand keys take 0.6 s to read, beside the answers of the same process."""

KEY_ID_BYTES: Final = 3
_SIGNING: Final = b"\x00signing key of answers"
"""What signing keys are made of, with a secret. No user_id begins so: a `user_hash` must never be one of them."""

Secret = Annotated[str, StringConstraints(min_length=MIN_CHARACTERS, max_length=512, pattern=r"^[\x21-\x7e]+$")]


@dataclass(frozen=True)
class Key:
    """A valid key, without the key itself."""

    id: str
    scope: Scope


class KeyEntry(BaseModel):
    """One key in the file, by its hash or, if need be, itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    scope: Scope
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    key: Secret | None = None
    created: date | None = None

    def digest(self) -> str:
        """SHA-256 of the key, hex."""
        return self.sha256 or digest(self.key or "")


class KeyFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[KeyEntry, ...] = ()
    identity_secrets: tuple[Secret, ...] = ()


class KeyRing:
    """The keys valid now. How long `find` takes tells nothing: it looks up a hash that nobody outside can compute.

    signing_keys
        Keys by id, to sign with the first what any process with these secrets can prove by all. None where everything
        in the ring is publishable.

    >>> ring = KeyRing({digest("k1"): Key("web", "publishable")}, ["sesame"])
    >>> ring.find("k1"), ring.find("k2")
    (Key(id='web', scope='publishable'), None)
    >>> ring.proves("u17", user_hash("u17", "sesame")), ring.proves("u18", user_hash("u17", "sesame"))
    (True, False)
    """

    def __init__(self, keys: Mapping[str, Key], identity_secrets: Sequence[str] = ()) -> None:
        self._blind = secrets.token_bytes(32)
        self._keys = {self._blinded(found): key for found, key in keys.items()}
        self._identity_secrets = tuple(identity_secrets)
        secret = [*identity_secrets, *(found for found, key in keys.items() if key.scope == "secret")]
        made = [hmac.digest(one.encode(), _SIGNING, "sha256") for one in secret]
        self.signing_keys: Mapping[bytes, bytes] = {one[:KEY_ID_BYTES]: one[KEY_ID_BYTES:] for one in made}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def has_identity_secret(self) -> bool:
        """Whether users can be proven at all."""
        return bool(self._identity_secrets)

    def find(self, key: str) -> Key | None:
        """The key given, None when it is not valid."""
        return self._keys.get(self._blinded(digest(key)))

    def proves(self, user_id: str, given: str) -> bool:
        """Whether this hash was made of this user with one of the identity secrets."""
        said = given.lower().encode()  # as bytes: of texts it compares ASCII alone
        right = [hmac.compare_digest(user_hash(user_id, s).encode(), said) for s in self._identity_secrets]
        return any(right)

    def _blinded(self, key_digest: str) -> bytes:
        return hashlib.blake2b(key_digest.encode(), key=self._blind).digest()


def digest(key: str) -> str:
    """SHA-256 of a key, hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def user_hash(user_id: str, identity_secret: str) -> str:
    """What proves a user: HMAC-SHA256 of the user_id with the identity secret, hex.

    >>> user_hash("u17", "sesame")[:16]
    '8feb464d20a609e4'
    """
    return hmac.new(identity_secret.encode(), user_id.encode(), hashlib.sha256).hexdigest()


def read_keys(path: Path) -> KeyFile:
    """The keys of a file. Raises DataError naming file and line, never a key."""
    if path.exists() and (n_bytes := path.stat().st_size) > MAX_FILE_BYTES:
        raise DataError(f"{path} has {n_bytes} bytes; {MAX_FILE_BYTES} are read, a thousand keys: take old ones out")
    document = read_document(path)
    if document.data is None:
        return KeyFile()
    file = document.parse(KeyFile)
    ids: set[str] = set()
    digests: set[str] = set()
    for at, entry in enumerate(file.keys):
        if (entry.sha256 is None) == (entry.key is None):
            document.refuse(("keys", at), f"key {entry.id!r} needs either sha256 (the key's hash) or key")
        if entry.id in ids:
            document.refuse(("keys", at, "id"), f"key {entry.id!r} is given twice")
        if entry.digest() in digests:
            document.refuse(("keys", at), f"key {entry.id!r} is the same key as one before it")
        ids.add(entry.id)
        digests.add(entry.digest())
    return file
