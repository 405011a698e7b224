"""`firstmile learn`: decisions joined with what users then opened ─► two online models ─► MLflow's `challenger`.

    personalization.decisions ┐
                              ├─► join ─► ask, then teach ─► snapshot on disk ─► now and then a version of content_open
    onboarding.enriched ──────┘

Every decision is learned once, however often the process is killed: see online_state.py. It starts at the oldest record
Kafka has, or where its snapshot stands.
"""

import logging
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from feature_repo.services import model_features
from firstmile.cli import console, emit
from firstmile.clock import SystemClock
from firstmile.metrics import serve
from firstmile.names import ONLINE_MODEL
from firstmile.progress_line import progress_line
from firstmile.settings import Settings, load_settings
from firstmile.stopping import on_stop_signals
from training.alone import alone
from training.figures import Figures
from training.online_facts import TOPICS
from training.online_join import Bounds
from training.online_learning import Learning
from training.online_log import KafkaLog
from training.online_metrics import LearnMetrics
from training.online_publisher import Publisher, mlflow_publisher
from training.online_register import offer
from training.online_snapshot import FILE, read_snapshot
from training.online_state import Recipe, State

log = logging.getLogger(__name__)

SHOW_S = 1.0
LOG_S = 60.0


def run() -> None:
    """Learn until SIGTERM or Ctrl-C; a second start goes on where the first stopped."""
    stopping = on_stop_signals()
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # MLflow would load each version again to try the example.
    warnings.filterwarnings("ignore", message=".*An input example was not provided")
    settings = load_settings()
    with alone(settings.learning_folder, verb="learn"):
        emit(learn(settings, stopping))


def learn(settings: Settings, stopping: threading.Event) -> dict[str, Any]:
    """Learn until told to stop; what came of it.

    Raises DependencyError when Kafka or the registry is away, DataError for a snapshot that cannot be gone on from.
    """
    recipe, bounds = recipe_of(settings), bounds_of(settings)
    file = settings.learning_folder / FILE
    state = read_snapshot(file, recipe, bounds)
    source = KafkaLog(settings, recipe.features, SystemClock())
    metrics = LearnMetrics()
    publisher = mlflow_publisher(settings, count=lambda outcome: metrics.versions.labels(outcome).inc())
    own = settings.learning
    stop = serve(metrics.registry, own.metrics_host, own.metrics_port, setting="FIRSTMILE_LEARNING__METRICS_PORT")
    try:
        source.start(state)
        publisher.start()
        learning = Learning(state, source, file)
        with progress_line("waiting for the first decisions") as show:
            console.print(f"ready: learning from {', '.join(TOPICS)} of {settings.kafka_servers}", soft_wrap=True)
            _loop(learning, settings, publisher, metrics, stopping=stopping, show=show)
        learning.snapshot()
        publisher.stop()
    finally:
        source.close()
        stop()
    return summary(state, {name: quality.figures() for name, quality in state.quality.items()})


def _loop(
    learning: Learning,
    settings: Settings,
    publisher: Publisher,
    metrics: LearnMetrics,
    *,
    stopping: threading.Event,
    show: Callable[[str], None] | None,
) -> None:
    state, own = learning.state, settings.learning
    shows, logs = _Every(SHOW_S), _Every(LOG_S)
    snapshots, versions = _Every(own.snapshot_s), _Every(own.register_s)
    while not stopping.is_set():
        learning.step()
        is_offering = bool(own.register_s) and state.n_learned > state.n_offered and versions.is_due()
        if shows.is_due() or is_offering:
            figures = {name: quality.figures() for name, quality in state.quality.items()}
            metrics.show(state, figures, now_us=SystemClock().now_us())
            line = describe(state, figures)
            if show is not None:
                show(line)
            elif logs.is_due():
                log.info("%s", line)
        if is_offering:
            publisher.offer(offer(state, figures))
            state.n_offered = state.n_learned
        if snapshots.is_due():
            with metrics.snapshots.time():
                learning.snapshot()


def recipe_of(settings: Settings) -> Recipe:
    """What these settings make of a learner."""
    own = settings.learning
    features = tuple(model_features(ONLINE_MODEL))
    return Recipe(features, own.window_s, own.lateness_s, own.figures_window, settings.training.seed)


def bounds_of(settings: Settings) -> Bounds:
    """How long it waits and how much it keeps."""
    own = settings.learning
    window_us, lateness_us = int(own.window_s * 1e6), int(own.lateness_s * 1e6)
    return Bounds(window_us, lateness_us, own.max_open, own.max_opens, own.max_seen)


def describe(state: State, figures: Mapping[str, Figures]) -> str:
    """One line for people."""
    if not state.n_learned:
        return f"nothing learned yet, {state.joiner.n_open:,} decisions wait for their window to close"
    losses = ", ".join(f"{name} {found['log_loss']:.3f}" for name, found in figures.items())
    majority = next(iter(figures.values()))["log_loss_majority"]
    return (
        f"{state.n_learned:,} learned, {state.n_opened / state.n_learned:.1%} opened, {state.joiner.n_open:,} open; "
        f"log loss {losses} ({majority:.3f} by the share of opens)"
    )


def summary(state: State, figures: Mapping[str, Figures]) -> dict[str, Any]:
    """The verb's result."""
    return {
        "learner_id": state.learner_id,
        "n_learned": state.n_learned,
        "n_opened": state.n_opened,
        "n_open": state.joiner.n_open,
        "counts": state.all_counts(),
        "quality": {
            name: {**figures[name], "n_drifts": quality.n_drifts, "n_drifts_worse": quality.n_drifts_worse}
            for name, quality in state.quality.items()
        },
    }


class _Every:
    """True once per interval; the first time an interval from now."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next_s = time.monotonic() + interval_s

    def is_due(self) -> bool:
        is_due = time.monotonic() >= self._next_s
        if is_due:
            self._next_s = time.monotonic() + self._interval_s
        return is_due
