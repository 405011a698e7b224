"""Which keys are valid now: those of the settings, and of a file that is read again when it changes."""

import ipaddress
import logging
import threading
from pathlib import Path

from firstmile.errors import DataError
from firstmile.http.keys import Key, KeyFile, KeyRing, digest, read_keys
from firstmile.setting_sections import ServingSettings
from firstmile.settings import Settings
from firstmile.stamps import stamp

log = logging.getLogger(__name__)

POLL_S = 1.0
FROM_SETTINGS = "settings"
"""Id of the key FIRSTMILE_SERVING__API_KEY."""


def keys_file(settings: Settings) -> Path:
    """Where keys are: `serving.keys`, or `keys.yaml` in the home."""
    return Path(settings.serving.keys).expanduser() if settings.serving.keys else settings.home / "keys.yaml"


def ring_of(serving: ServingSettings, file: KeyFile | None = None) -> KeyRing:
    """The keys of the settings, and those of a file."""
    file = file or KeyFile()
    keys = {entry.digest(): Key(entry.id, entry.scope) for entry in file.keys}
    if api_key := serving.api_key.get_secret_value():
        keys[digest(api_key)] = Key(FROM_SETTINGS, "secret")
    identity_secret = serving.identity_secret.get_secret_value()
    return KeyRing(keys, [*([identity_secret] if identity_secret else []), *file.identity_secrets])


class KeyWatch:
    """The keys in use. `current` is replaced whole; a file that is missing or wrong leaves the last good keys.

    Raises DataError when the file is wrong from the beginning, or was named and is not there.
    """

    def __init__(self, settings: Settings) -> None:
        self.path = keys_file(settings)
        self._serving = settings.serving
        self._stamp = stamp(self.path)
        if self._stamp is None and settings.serving.keys:
            raise DataError(f"{self.path} is not there; `firstmile keys new` makes it (FIRSTMILE_SERVING__KEYS)")
        self.current = ring_of(settings.serving, read_keys(self.path) if self._stamp else None)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)

    def start(self) -> None:
        """Follow the file in the background."""
        if is_open_with_the_demo_key(self._serving):
            log.warning(
                "the key everybody knows (demo-api-key) is valid on %s; set FIRSTMILE_SERVING__API_KEY, empty for none",
                self._serving.host,
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
            self.current = ring_of(self._serving, read_keys(self.path))
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


def is_open_with_the_demo_key(serving: ServingSettings) -> bool:
    """Whether others than this machine can ask with the key that stands in the documentation.

    >>> is_open_with_the_demo_key(ServingSettings()), is_open_with_the_demo_key(ServingSettings(host="0.0.0.0"))
    (False, True)
    """
    shipped = ServingSettings.model_fields["api_key"].default
    if serving.api_key != shipped or serving.host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(serving.host).is_loopback
    except ValueError:
        return True
