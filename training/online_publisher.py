"""Versions to MLflow in the background: learning goes on whether or not MLflow is there."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from mlflow.exceptions import MlflowException

from firstmile.errors import DependencyError
from firstmile.settings import Settings
from training.online_register import Offer, register_offer
from training.papers import Registered
from training.tracking import connect, experiment_id

log = logging.getLogger(__name__)

RETRY_S: Final = 30.0
STOP_S: Final = 20.0


class Publisher:
    """Registers the newest offer; one that could not be registered waits, until it can or a newer one takes its place.

    count
        Called with `registered` or `failed` after each attempt.
    """

    def __init__(self, register: Callable[[Offer], Registered], *, count: Callable[[str], None]) -> None:
        self._register, self._count = register, count
        self._waiting: Offer | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_stopping = False
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to register."""
        self._thread.start()

    def offer(self, offered: Offer) -> None:
        """Take an offer, never waiting."""
        with self._lock:
            self._waiting = offered
        self._wake.set()

    def stop(self) -> None:
        """Register what waits, if MLflow was there the last time and the time allows; then end."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        while True:
            self._wake.wait(RETRY_S)
            self._wake.clear()
            if self._is_stopping and self._is_away:
                return
            with self._lock:
                offered = self._waiting
            if offered is not None and self._publish(offered):
                with self._lock:
                    self._waiting = None if self._waiting is offered else self._waiting
            if self._is_stopping:
                return

    def _publish(self, offered: Offer) -> bool:
        try:
            registered = self._register(offered)
        except (DependencyError, MlflowException, OSError) as error:
            say = log.info if self._is_away else log.warning
            say("the version of %s examples waits: %s", offered.n_learned, str(error).splitlines()[0])
            self._is_away = True
            self._count("failed")
            return False
        self._is_away = False
        self._count("registered")
        log.info("version %s: %s after %s examples", registered.version, offered.leader, offered.n_learned)
        return True


def mlflow_publisher(settings: Settings, *, count: Callable[[str], None]) -> Publisher:
    """A publisher to the settings' MLflow; not started."""

    def register(offered: Offer) -> Registered:
        client = connect(settings)
        return register_offer(client, experiment_id(client, settings), offered)

    return Publisher(register, count=count)
