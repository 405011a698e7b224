"""What /metrics says of the decision API. Under BentoML every worker writes to its own files and one page adds up."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.answers import SHED, Decision
from serving.models import ScoringModel

LAG_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)


class ExposureMetrics:
    """What /metrics says of exposures, and of the log they go into."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.exposures = Counter(
            "firstmile_exposures", "Answers that a page showed", ["experiment", "arm"], registry=registry
        )
        self.log_sent = Counter("firstmile_exposure_log_sent", "Exposures Kafka has", registry=registry)
        self.log_dropped = Counter("firstmile_exposure_log_dropped", "Exposures lost", ["why"], registry=registry)
        self.log_queue = Gauge(
            "firstmile_exposure_log_queue", "Exposures that wait", multiprocess_mode="livesum", registry=registry
        )


class Metrics:
    """Counters, gauges and histograms of one process."""

    def __init__(self) -> None:
        # An own registry: a process (a test) may hold two of us. Multi-process pages read files, not registries.
        own = self.registry = CollectorRegistry()
        self.latency = Histogram(
            "firstmile_decision_seconds", "Arrival to answer", ["rung"], buckets=SECONDS, registry=own
        )
        self.stages = Histogram(
            "firstmile_decision_stage_seconds", "Time by stage", ["stage"], buckets=SECONDS, registry=own
        )
        self.decisions = Counter("firstmile_decisions", "Answers", ["rung", "fallback"], registry=own)
        self.reasons = Counter("firstmile_decision_reasons", "Why no higher rung answered", ["reason"], registry=own)
        self.shed = Counter("firstmile_decisions_shed", "Answered by default: too much to do", registry=own)
        self.cache = Counter("firstmile_cache_lookups", "Last good assessments looked for", ["result"], registry=own)
        self.feature_lag = Histogram(
            "firstmile_feature_lag_seconds", "Pipeline lag of answers' features", buckets=LAG_SECONDS, registry=own
        )
        self.loop_lag = Histogram(
            "firstmile_loop_lag_seconds", "How late the event loop came round", buckets=SECONDS, registry=own
        )
        self.refused = Counter("firstmile_requests_refused", "Requests answered by an error", ["code"], registry=own)
        self.log_sent = Counter("firstmile_decision_log_sent", "Decisions Kafka has", registry=own)
        self.log_dropped = Counter("firstmile_decision_log_dropped", "Decisions not logged", ["why"], registry=own)
        self.log_queue = Gauge(
            "firstmile_decision_log_queue",
            "Decisions that Kafka does not have yet",
            multiprocess_mode="livesum",
            registry=own,
        )
        self.models = Gauge(
            "firstmile_model_in_use",
            "1 for the version that answers",
            ["model", "version"],
            multiprocess_mode="livemax",
            registry=own,
        )
        self.files = Gauge(
            "firstmile_policy_file_ok",
            "1 when the file is in force as it is on disk",
            ["file"],
            multiprocess_mode="livemin",
            registry=own,
        )
        self.shadows = Counter("firstmile_shadows", "Decisions to be shadowed", ["outcome"], registry=own)
        self.shown = ExposureMetrics(own)
        self._in_use: set[tuple[str, str]] = set()

    def decided(self, decision: Decision) -> None:
        """Count one answer."""
        rung = decision.basis.rung
        self.latency.labels(rung).observe(decision.latency_ms / 1_000)
        self.decisions.labels(rung, str(decision.is_fallback).lower()).inc()
        for stage, ms in decision.stage_ms.items():
            self.stages.labels(stage).observe(ms / 1_000)
        for reason in decision.basis.reasons:
            self.reasons.labels(reason).inc()
        if SHED in decision.basis.reasons:
            self.shed.inc()
        elif rung == "cached" or (rung == "rules" and decision.is_fallback):
            self.cache.labels("hit" if rung == "cached" else "miss").inc()
        if decision.basis.feature_lag_ms is not None:
            self.feature_lag.observe(decision.basis.feature_lag_ms / 1_000)

    def policy_file(self, name: str, is_ok: bool) -> None:
        """Show whether the last change of a file is in force."""
        self.files.labels(name).set(is_ok)

    def use_models(self, models: Mapping[str, ScoringModel]) -> None:
        """Show which versions answer now."""
        now = {(m.name, m.version) for m in models.values()}
        for model, version in self._in_use | now:
            self.models.labels(model, version).set((model, version) in now)
        self._in_use |= now
