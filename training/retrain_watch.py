"""`firstmile retrain --watch`: retrainings at the times of a cron expression and when somebody asks (signals.py).

Every retraining is a process of its own: what it leaves in memory goes with it, and Ctrl-C ends it too.
"""

import logging
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import orjson

from firstmile.cli import console
from firstmile.clock import Clock, SystemClock, to_datetime
from firstmile.cron import NextTime, cron
from firstmile.errors import UsageError
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings
from training.child import environment, verb
from training.signals import Signal, Waits, taken, waiting

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
SETTING: Final = "FIRSTMILE_TRAINING__RETRAIN_CRON"
SCHEDULE: Final = Path("schedule")
"""What waits when a scheduled retraining could not be done: no file."""


@dataclass(frozen=True)
class Ended:
    """How one `firstmile retrain` ended.

    has_judged
        Whether versions were trained and judged. Data that does not hold, another training under way or an MLflow that
        does not answer come before that.
    """

    code: int
    has_judged: bool

    @property
    def is_answer(self) -> bool:
        """Whether asking the same again would say the same: judged, or asked in words that no verb takes."""
        return self.has_judged or self.code == UsageError.exit_code


@dataclass
class Watch:
    """Retrains until told to stop.

    counts
        By what began it (scheduled, signals), by how it ended (passed, refused, could_not), and refused_signals.
    """

    settings: Settings
    stopping: threading.Event
    clock: Clock = field(default_factory=SystemClock)
    counts: Counter[str] = field(default_factory=Counter)
    _waits: Waits = field(default_factory=Waits)

    def run(self) -> dict[str, int]:
        """Stay until told to stop; returns the counts. Raises SettingsError for a cron expression nobody can read."""
        next_time = cron(self.settings.training.retrain_cron, setting=SETTING)
        due = self._next(next_time)
        said = f"ready: retraining at {self.settings.training.retrain_cron!r} UTC, next {due:%Y-%m-%d %H:%M}"
        console.print(said, highlight=False, soft_wrap=True)
        while not self.stopping.is_set():
            if self.clock.now_us() >= due.timestamp() * 1e6 and self._ask(SCHEDULE, Signal(because="schedule")):
                due = self._next(next_time)
            for file, signal in waiting(self.settings.home):
                self._take(file, signal)
            self.stopping.wait(LOOK_S)
        return dict(self.counts)

    def _take(self, file: Path, signal: Signal | str) -> None:
        if isinstance(signal, str):
            log.error("signal %s is none: %s; it is put away", file, signal)
            self.counts["refused_signals"] += 1
            taken(file, {"error": signal})
        elif ended := self._ask(file, signal):
            taken(file, {"exit": ended.code, "has_judged": ended.has_judged})

    def _ask(self, file: Path, signal: Signal) -> Ended | None:
        """Retrain because of a signal, if it may be tried; None when it is to be tried again."""
        if self.stopping.is_set() or not self._waits.is_over(file, self.clock.now_us()):
            return None
        self.counts["scheduled" if file == SCHEDULE else "signals"] += 1
        ended = self._retrain(signal)
        if ended.is_answer:
            self._waits.forget(file)
            self.counts["passed" if ended.code == 0 else "refused"] += 1
            return ended
        if self.stopping.is_set():  # who is stopped in the middle finds the signal again
            return None
        self.counts["could_not"] += 1
        wait_s = self._waits.longer(file, self.clock.now_us())
        said = "given up" if wait_s is None else f"again in {wait_s:.0f} s"
        log.error("nothing could be trained (%s), exit %d: %s", file.name, ended.code, said)
        if wait_s is not None:
            return None
        self._waits.forget(file)
        return ended

    def _retrain(self, signal: Signal) -> Ended:
        """One `firstmile retrain`, to its end."""
        words = ["retrain", *signal.words()]
        log.info("retraining: %s", " ".join(words))
        with subprocess.Popen(verb(words), env=environment(self.settings), stdout=subprocess.PIPE, cwd=ROOT) as child:
            out = None
            while out is None:
                try:
                    out, _ = child.communicate(timeout=0.5)
                except subprocess.TimeoutExpired:
                    if self.stopping.is_set():
                        child.terminate()
        models = (orjson.loads(out) if out else {}).get("models", {})
        versions = {name: found["version"] for name, found in models.items()}
        log.info("retrained with exit %d: %s", child.returncode, versions)
        return Ended(child.returncode, bool(models))

    def _next(self, next_time: NextTime) -> datetime:
        return next_time(to_datetime(self.clock.now_us()))
