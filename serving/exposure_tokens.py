"""Tokens of answers: any worker counts an exposure in the arm that answered, not only the one that gave the answer.

    token = base64url(id of the signing key, 3 bytes | HMAC-SHA256, 15 bytes | experiment, line feed, arm)

An arm cannot always be drawn again: `when` of an experiment looks at the request, and shares grow. What is signed is
request_id, subject, experiment and arm, so a token says nothing of another answer, and nobody makes up an arm to count.
"""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firstmile.http.keys import KEY_ID_BYTES, KeyRing
from firstmile.http.refusals import RefusalError

if TYPE_CHECKING:  # the API imports this module before there are models
    from serving.answers import Decision

SIGNATURE_BYTES: Final = 15
"""With the key's id 18, which base64 writes without padding; 2**120 are enough to guess among."""
_HEAD: Final = KEY_ID_BYTES + SIGNATURE_BYTES


@dataclass(frozen=True)
class Met:
    """The arm of an answer; experiment "" = none."""

    experiment: str
    arm: str


class ExposureTokens:
    """Makes and reads tokens by the keys all workers share. Used from one event loop."""

    def __init__(self, keys: Callable[[], KeyRing]) -> None:
        self._keys = keys

    def make(self, decision: "Decision") -> str | None:
        """The token of an answer; None when the key ring holds nothing that is secret."""
        first = next(iter(self._keys().signing_keys.items()), None)
        if first is None:
            return None
        key_id, key = first
        said = f"{decision.assignment.name or ''}\n{decision.assignment.arm}".encode()
        signature = _signature(key, decision.request_id, decision.ask.user_id, said)
        return base64.urlsafe_b64encode(key_id + signature + said).rstrip(b"=").decode()

    def read(self, token: str, *, request_id: str, subject: str) -> Met | None:
        """The arm a token says; None when it was signed by a key that is not valid any more, or not here yet.

        Raises RefusalError (403) when it is not that of this answer and this user: a page that mixes up its answers
        should hear of it, and an arm drawn instead would hide it.
        """
        given = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        key = self._keys().signing_keys.get(given[:KEY_ID_BYTES])
        if key is None:
            return None
        said = given[_HEAD:]
        if not hmac.compare_digest(given[KEY_ID_BYTES:_HEAD], _signature(key, request_id, subject, said)):
            raise RefusalError(
                403,
                "wrong_token",
                message=f"the token is not that of answer {request_id} to this user",
                hint="send request_id and experiment.token of one answer, and the user it was asked for",
            )
        experiment, _, arm = said.decode().partition("\n")
        return Met(experiment, arm)


def _signature(key: bytes, request_id: str, subject: str, said: bytes) -> bytes:
    """Ids hold no line feeds, so no two answers are signed as one."""
    return hmac.digest(key, f"{request_id}\n{subject}\n".encode() + said, "sha256")[:SIGNATURE_BYTES]
