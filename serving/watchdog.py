"""Ends a worker whose event loop is stuck, so that the supervisor starts another: no worker answers late for ever."""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from serving.heartbeat import Heartbeat

log = logging.getLogger(__name__)

POLL_S: Final = 0.1
LAST_RESORT: Final = 10
"""Times the limit after which the C library ends the process: a thread that never gives the interpreter back also
keeps our own watch from running."""
EXIT_CODE: Final = 70
"""EX_SOFTWARE of sysexits.h."""


class Watchdog:
    """Watches a heartbeat from a thread of its own.

    limit_s
        How long the loop may stand still.
    end
        What is done then; the process ends by default, without goodbye: whoever could say it is stuck.
    """

    def __init__(
        self, heartbeat: Heartbeat, *, limit_s: float, end: Callable[[], None] = lambda: os._exit(EXIT_CODE)
    ) -> None:
        self._heartbeat = heartbeat
        self._limit_s = limit_s
        self._end = end
        self._seen = heartbeat.n_beats
        self._still_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch from now on; the heartbeat must have been started."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stop.set()
        faulthandler.cancel_dump_traceback_later()

    def look(self, passed_s: float) -> bool:
        """Whether the loop has stood still for too long, `passed_s` after the last look.

        At most two polls count as passed: when this thread itself was kept from running, the machine or a debugger held
        up the whole process, and the loop is not to blame.
        """
        beats = self._heartbeat.n_beats
        self._still_s = self._still_s + min(passed_s, 2 * POLL_S) if beats == self._seen else 0.0
        self._seen = beats
        return self._still_s > self._limit_s

    def _run(self) -> None:
        last_s = time.monotonic()
        while not self._stop.wait(POLL_S):
            now_s = time.monotonic()
            if self.look(now_s - last_s):
                log.critical(
                    "the event loop stood still for over %g s: this worker ends, its supervisor starts another; "
                    "what every thread was doing follows",
                    self._limit_s,
                )
                faulthandler.dump_traceback(sys.stderr, all_threads=True)
                self._end()
                return
            last_s = now_s
            faulthandler.dump_traceback_later(LAST_RESORT * self._limit_s, exit=True, file=sys.stderr)
        faulthandler.cancel_dump_traceback_later()  # stop() may have come before the line above
