"""`firstmile archive --once` that kills itself right after an effect: `python killed_archive.py file|entry`."""

import os
import signal
import sys
import threading

from firstmile.settings import load_settings
from pipelines.archive import Archive
from pipelines.query import run_until
from pipelines.spark import spark_session


def main() -> None:
    """Die by SIGKILL after the effect named on the command line."""

    def after(step: str) -> None:
        if step == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = load_settings()
    archive, session = Archive(settings, after=after), spark_session(settings, "archive")
    query = archive.start(session, once=True)
    run_until(threading.Event(), query, lambda: archive.failure, again=lambda: archive.query(session, once=True))


main()
