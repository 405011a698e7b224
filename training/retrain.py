"""`firstmile retrain`: quality ─► sets ─► train ─► evaluate ─► gates ─► `challenger`, now or when it is time.

As `firstmile train`, with two differences: a version that a gate refuses does not become `challenger`, and only one
runs at a time. `--watch` stays, and retrains at the times of a cron expression and when somebody asks (signals.py).
"""

import logging
import subprocess
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from apscheduler.triggers.cron import CronTrigger

from firstmile.cli import console, emit
from firstmile.clock import Clock, SystemClock, to_datetime
from firstmile.errors import GateError, SettingsError, UsageError
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings, load_settings
from firstmile.stopping import on_stop_signals
from training.alone import alone
from training.child import environment, verb
from training.plan import Plan
from training.reweigh import check_attribute
from training.signals import Signal, Waits, taken, waiting
from training.tracking import chosen_models
from training.train import check_source, train, trainable

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
SCHEDULED: Final = "schedule"


def run(
    model: Annotated[str | None, typer.Option(help="as of `firstmile train`; default: all")] = None,
    presentations: Annotated[str, typer.Option(help="for example BBB_2013B,AAA_2013J; default: all in history")] = "",
    data: Annotated[Path, typer.Option(help="folder of the OULAD tables, for the labels")] = ROOT / "data" / "oulad",
    because: Annotated[str, typer.Option(help="the reason, noted with the runs")] = "asked for",
    reweigh: Annotated[str | None, typer.Option(help="audited attribute: weigh its groups × labels evenly")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="stay, and retrain by schedule and on signals")] = False,
) -> None:
    """Train again; what passes the gates becomes `challenger`. Exit 1 when a gate or the data's quality refuses."""
    settings = load_settings()
    if watch:
        if model or presentations or reweigh:
            raise UsageError("--watch takes models and reasons from signals; leave the other options out")
        emit(keep_watch(settings, on_stop_signals(), data=data))
        return
    if reweigh is not None:
        check_attribute(reweigh)
    wanted = [p for p in presentations.split(",") if p] or None
    check_source(settings, wanted)
    models = chosen_models(model) or trainable(settings)
    plan = Plan(because=because, reweigh=reweigh, is_gated=True)
    with alone(settings.home / "training", verb="retrain"):
        result = train(settings, models, presentations=wanted, data=data, plan=plan)
    emit(result)
    refused = [name for name, found in result["models"].items() if not found["would_promote"]]
    if refused:
        raise GateError(f"refused, `challenger` stays where it was: {', '.join(refused)}; the tables above say why")


def keep_watch(
    settings: Settings, stopping: threading.Event, *, data: Path, clock: Clock | None = None
) -> dict[str, Any]:
    """Retrain at the cron expression's times and on signals until told to stop; how often, and how it ended.

    Every retraining is a process of its own: what it leaves in memory goes with it, and Ctrl-C ends it too.

    Raises SettingsError for a cron expression nobody can read.
    """
    clock = clock or SystemClock()
    trigger = cron(settings.training.retrain_cron)
    counts = {"scheduled": 0, "signals": 0, "refused_signals": 0, "passed": 0, "refused": 0, "could_not": 0}
    due, waits = _next(trigger, clock), Waits()
    console.print(f"ready: retraining at {settings.training.retrain_cron!r} UTC, next {due:%Y-%m-%d %H:%M}")
    while not stopping.is_set():
        if clock.now_us() >= due.timestamp() * 1e6:
            counts["scheduled"] += 1
            _count(counts, _retrain(settings, Signal(because=SCHEDULED), data, stopping))
            due = _next(trigger, clock)
        for file, signal in waiting(settings.home):
            if isinstance(signal, str):
                log.error("signal %s is none: %s; it is put away", file, signal)
                counts["refused_signals"] += 1
                taken(file, {"error": signal})
            elif not stopping.is_set() and waits.is_over(file, clock.now_us()):
                counts["signals"] += 1
                ended = _retrain(settings, signal, data, stopping)
                _count(counts, ended)
                if ended.is_answer:
                    taken(file, {"exit": ended.code})
                elif not stopping.is_set():  # who is stopped in the middle finds the signal again
                    wait_s = waits.longer(file, clock.now_us())
                    log.error("signal %s stays, nothing could be trained; again in %d s", file, wait_s)
        stopping.wait(LOOK_S)
    return counts


def cron(expression: str) -> CronTrigger:
    """A cron expression of five fields, in UTC. Raises SettingsError when it is none.

    >>> cron("0 3 * * sun").get_next_fire_time(None, datetime(2026, 11, 26, tzinfo=UTC)).isoformat()
    '2026-11-29T03:00:00+00:00'
    """
    try:
        return CronTrigger.from_crontab(expression, timezone=UTC)
    except ValueError as error:
        raise SettingsError(
            f"FIRSTMILE_TRAINING__RETRAIN_CRON is {expression!r}: {error}; five fields are read, minute hour day month "
            "weekday, for example '0 3 * * sun'"
        ) from error


def _next(trigger: CronTrigger, clock: Clock) -> datetime:
    found: datetime = trigger.get_next_fire_time(None, to_datetime(clock.now_us()))
    return found


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


def _count(counts: dict[str, int], ended: Ended) -> None:
    counts["passed" if ended.code == 0 else "refused" if ended.is_answer else "could_not"] += 1


def _retrain(settings: Settings, signal: Signal, data: Path, stopping: threading.Event) -> Ended:
    """One `firstmile retrain`, to its end."""
    words = ["retrain", "--data", str(data), *signal.words()]
    log.info("retraining: %s", " ".join(words))
    with subprocess.Popen(verb(words), env=environment(settings), stdout=subprocess.PIPE, cwd=ROOT) as child:
        out = None
        while out is None:
            try:
                out, _ = child.communicate(timeout=0.5)
            except subprocess.TimeoutExpired:
                if stopping.is_set():
                    child.terminate()
    models = (orjson.loads(out) if out else {}).get("models", {})
    versions = {name: found["version"] for name, found in models.items()}
    log.info("retrained with exit %d: %s", child.returncode, versions)
    return Ended(child.returncode, bool(models))
