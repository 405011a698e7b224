"""What /metrics says of the online learner. Counts are the learner's own: a restart goes on counting."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from training.figures import Figures
from training.online_state import State

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class LearnMetrics:
    """Counters and gauges of one process."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.examples = Counter("firstmile_learn_examples", "Learned, by outcome", ["opened"], registry=own)
        self.counts = Counter("firstmile_learn_records", "Read, and what was left out and why", ["kind"], registry=own)
        self.drifts = Counter(
            "firstmile_learn_drifts", "Changes of the mean error", ["model", "direction"], registry=own
        )
        self.waiting = Gauge("firstmile_learn_open", "Kept until their window closes", ["kind"], registry=own)
        self.behind = Gauge("firstmile_learn_behind_seconds", "Now less the time read up to", registry=own)
        self.quality = Gauge(
            "firstmile_learn_quality", "Asked before it learned, newest examples", ["model", "figure"], registry=own
        )
        self.snapshots = Histogram(
            "firstmile_learn_snapshot_seconds", "Written and on disk", buckets=SECONDS, registry=own
        )
        self.versions = Counter("firstmile_learn_versions", "Offered to MLflow, by outcome", ["outcome"], registry=own)
        self._shown: dict[tuple[str, ...], int] = {}
        for outcome in ("registered", "failed"):  # a counter that is not there cannot be told from one that is 0
            self.versions.labels(outcome)

    def show(self, state: State, figures: Mapping[str, Figures], *, now_us: int) -> None:
        """Bring everything up to the state."""
        self._count(self.examples, state.n_opened, "true")
        self._count(self.examples, state.n_learned - state.n_opened, "false")
        for name, n in state.all_counts().items():
            self._count(self.counts, n, name.removeprefix("n_"))
        for model, quality in state.quality.items():
            self._count(self.drifts, quality.n_drifts_worse, model, "worse")
            self._count(self.drifts, quality.n_drifts - quality.n_drifts_worse, model, "better")
            for figure, value in figures[model].items():
                self.quality.labels(model, figure).set(value)
        self.waiting.labels("decisions").set(state.joiner.n_open)
        self.waiting.labels("content_opens").set(state.joiner.n_opens)
        if state.joiner.watermark_us:
            self.behind.set(max(0, now_us - state.joiner.watermark_us) / 1e6)

    def _count(self, counter: Counter, total: int, *labels: str) -> None:
        key = (counter._name, *labels)
        counter.labels(*labels).inc(total - self._shown.get(key, 0))
        self._shown[key] = total
