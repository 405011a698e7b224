"""Which keys are valid now: those of the settings, and of a file that is read again when it changes."""

import ipaddress
import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from firstmile.errors import DataError
from firstmile.http.keys import Key, KeyFile, KeyRing, digest, read_keys
from firstmile.setting_sections import CollectorSettings, ServingSettings
from firstmile.settings import Settings
from firstmile.stamps import stamp

log = logging.getLogger(__name__)

POLL_S = 1.0
FROM_SETTINGS = "settings"
"""Id of the key that the settings give to one API."""


@dataclass(frozen=True)
class OwnKey:
    """The secret key that the settings give to one API alone, besides those of the file.

    variable
        Of the environment, for whoever has to change it.
    shipped
        What it is when nobody sets it: everybody knows that one.
    host
        What the API listens on.
    """

    key: SecretStr
    variable: str
    shipped: SecretStr
    host: str

    @property
    def is_open(self) -> bool:
        """Whether others than this machine can use the key that stands in the documentation.

        >>> decision_key(ServingSettings()).is_open, decision_key(ServingSettings(host="0.0.0.0")).is_open
        (False, True)
        """
        if self.key != self.shipped or self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True


def decision_key(serving: ServingSettings) -> OwnKey:
    """The decision API's own."""
    shipped = ServingSettings.model_fields["api_key"].default
    return OwnKey(serving.api_key, "FIRSTMILE_SERVING__API_KEY", shipped, serving.host)


def collector_key(collector: CollectorSettings) -> OwnKey:
    """The collector's own."""
    shipped = CollectorSettings.model_fields["write_key"].default
    return OwnKey(collector.write_key, "FIRSTMILE_COLLECTOR__WRITE_KEY", shipped, collector.host)


def keys_file(settings: Settings) -> Path:
    """Where the keys of both APIs are: `serving.keys`, or `keys.yaml` in the home."""
    return Path(settings.serving.keys).expanduser() if settings.serving.keys else settings.home / "keys.yaml"


def ring_of(own: OwnKey, identity_secret: SecretStr, file: KeyFile | None = None) -> KeyRing:
    """The keys of the settings, and those of a file."""
    file = file or KeyFile()
    keys = {entry.digest(): Key(entry.id, entry.scope) for entry in file.keys}
    if own_key := own.key.get_secret_value():
        keys[digest(own_key)] = Key(FROM_SETTINGS, "secret")
    of_settings = identity_secret.get_secret_value()
    return KeyRing(keys, [*([of_settings] if of_settings else []), *file.identity_secrets])


class KeyWatch:
    """The keys in use. `current` is replaced whole; a file that is missing or wrong leaves the last good keys.

    Raises DataError when the file is wrong from the beginning, or was named and is not there.
    """

    def __init__(self, settings: Settings, own: OwnKey) -> None:
        self.path = keys_file(settings)
        self._own, self._identity_secret = own, settings.serving.identity_secret
        self._stamp = stamp(self.path)
        if self._stamp is None and settings.serving.keys:
            raise DataError(f"{self.path} is not there; `firstmile keys new` makes it (FIRSTMILE_SERVING__KEYS)")
        self.current = ring_of(own, self._identity_secret, read_keys(self.path) if self._stamp else None)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)

    def start(self) -> None:
        """Follow the file in the background."""
        if self._own.is_open:
            log.warning(
                "the key everybody knows (%s) is valid on %s; set %s, empty for none",
                self._own.shipped.get_secret_value(),
                self._own.host,
                self._own.variable,
            )
        self._thread.start()

    def stop(self) -> None:
        """Follow no longer."""
        self._stop.set()

    def look(self) -> None:
        """Read the file if it is another one than last time."""
        now = stamp(self.path)
        if now == self._stamp:
            return
        self._stamp = now
        if now is None:
            log.warning("%s is gone, the last keys stay valid; to take them all away, empty it", self.path)
            return
        try:
            self.current = ring_of(self._own, self._identity_secret, read_keys(self.path))
        except DataError as error:
            log.error("the last good keys stay valid: %s", error)
            return
        log.info("%s was read: %d keys are valid", self.path, len(self.current))

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self.look()
            except Exception:  # the thread's edge: a look that fails must not be the last one
                log.exception("reading %s failed; the last good keys stay valid", self.path)
