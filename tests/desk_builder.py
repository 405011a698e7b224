"""A desk of the decision API in this process: real ladder, guard and logs, which hand nothing on until started."""

from pathlib import Path
from typing import Any

from decision_sinks import ListSink, log_to
from serving_builder import NOW_US, Row, Rows, ladder

from firstmile.clock import FixedClock
from firstmile.http.guard import Guard
from firstmile.http.key_watch import decision_key, ring_of
from firstmile.http.keys import KeyRing
from firstmile.setting_sections import ServingSettings
from serving.api import Desk
from serving.experiments import Assignment
from serving.exposure_tokens import ExposureTokens
from serving.exposures import Exposures
from serving.metrics import Metrics
from serving.shadow import Shadow

NOWHERE = Path("nowhere")
"""Of spools that are never opened."""


def no_kafka() -> Any:
    raise AssertionError("the log is not started here")


def guard(settings: ServingSettings, keys: KeyRing | None = None) -> Guard:
    ring = keys or ring_of(decision_key(settings), settings.identity_secret)
    return Guard(settings, lambda: ring, user_requests_per_s=settings.user_requests_per_s)


def make_desk(
    settings: ServingSettings | None = None,
    *,
    reader: Rows | None = None,
    models: Any = None,
    keys: KeyRing | None = None,
    max_shown: int = 10_000,
    sink: ListSink | None = None,
    spool: Path = NOWHERE,
) -> Desk:
    """One that knows user u1, without limits per user unless `settings` has them; `max_shown` exposures may wait.

    Its decisions go to `sink` and wait in `spool` once their log is started.
    """
    serving, metrics = settings or ServingSettings(user_requests_per_s=0), Metrics()
    ring = keys or ring_of(decision_key(serving), serving.identity_secret)
    log = log_to((lambda: sink) if sink else no_kafka, spool, metrics, max_waiting=10_000)
    shown = log_to(no_kafka, NOWHERE, metrics.shown, max_waiting=max_shown)
    return Desk(
        serving,
        ladder(reader or Rows({"u1": Row()}), models),
        log,
        metrics,
        guard(serving, ring),
        Exposures(
            shown.put,
            lambda user_id: Assignment("e", "drawn"),
            tokens=ExposureTokens(lambda: ring),
            clock=FixedClock(NOW_US),
            metrics=metrics.shown,
        ),
        Shadow(log.put, metrics.shadows),
    )
