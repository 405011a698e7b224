"""`firstmile serve`: the decision API in the foreground, as `bentoml serve serving.service:Personalization` runs it."""

import logging
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

from firstmile.cli import console
from firstmile.errors import ConflictError
from firstmile.setting_sections import ServingSettings
from firstmile.settings import Settings, load_settings
from serving.address import PREFIX, ROUTE, base_address

POLL_S = 0.2


def run() -> None:
    """Run the decision API until it is told to stop."""
    settings = load_settings()
    _check_port(settings.serving)
    _set_up_bentoml(settings)
    from serving import service  # BENTOML_HOME is read when it is imported

    threading.Thread(target=_announce, args=(settings.serving,), name="announce", daemon=True).start()
    personalization: Any = service.Personalization
    personalization.serve_http(host=settings.serving.host, port=settings.serving.port)


def _set_up_bentoml(settings: Settings) -> None:
    """BentoML takes these from the environment alone. One home per service, or its metrics page reads 0."""
    home = settings.home / "bentoml"
    home.mkdir(parents=True, exist_ok=True)
    os.environ["BENTOML_HOME"] = str(home)
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.dup2(2, 1)  # it logs to stdout, which is for results
    logging.getLogger("circus").setLevel(logging.WARNING)


def _check_port(serving: ServingSettings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((serving.host, serving.port))
        except OSError as error:
            raise ConflictError(
                f"{serving.host}:{serving.port} cannot be used: {error.strerror}; stop what listens there or set "
                "FIRSTMILE_SERVING__PORT"
            ) from error


def _announce(serving: ServingSettings) -> None:
    url = base_address(serving)
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1) as answer:
                if answer.status == HTTPStatus.OK:
                    break
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_S)
    console.print(f"ready: {url}{PREFIX}{ROUTE}", highlight=False, soft_wrap=True)
