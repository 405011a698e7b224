"""What /metrics says of the stream, the archive and the collector: one registry a process."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from firstmile.names import DEAD_LETTER_REASONS
from pipelines.step_timer import StepTimer

BATCH_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)
KAFKA_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
DROPPED = "n_dropped_"

Sample = tuple[list[str], float]
"""Label values and the number."""
Reading = tuple[str, str, list[str], list[Sample]]
"""A gauge's name, text, label names and samples."""


class StreamMetrics:
    """Counters of the batches' counts, whatever their names, and the time of each step."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.steps = Histogram(
            "firstmile_stream_batch_seconds", "Time of a batch by step", ["step"], buckets=BATCH_SECONDS, registry=own
        )
        self.dead_letters = Counter("firstmile_stream_dead_letters", "By reason", ["reason"], registry=own)
        self.dropped = Counter("firstmile_stream_dropped", "Left out by cleaning", ["reason"], registry=own)
        self._counters: dict[str, Counter] = {}
        for reason in DEAD_LETTER_REASONS:  # a counter that is not there cannot be told from one that is 0
            self.dead_letters.labels(reason)

    def count(self, counts: Mapping[str, int], dead_letters: Mapping[str, int], timer: StepTimer) -> None:
        """Add one batch.

        counts
            `n_*` by name: `n_dropped_X` counts under dropped with the reason X, every other name under its own.
        dead_letters
            By reason.
        """
        for reason, n in dead_letters.items():
            self.dead_letters.labels(reason).inc(n)
        for name, n in counts.items():
            if name.startswith(DROPPED):
                self.dropped.labels(name.removeprefix(DROPPED)).inc(n)
            elif name.startswith("n_") and name != "n_dead_letters":
                self._counter(name.removeprefix("n_")).inc(n)
        for step, seconds in (*timer.seconds.items(), ("total", timer.total_s)):
            self.steps.labels(step).observe(seconds)

    def _counter(self, name: str) -> Counter:
        if name not in self._counters:
            text = f"{name.replace('_', ' ')}, summed over batches"
            self._counters[name] = Counter(f"firstmile_stream_{name}", text, registry=self.registry)
        return self._counters[name]


class ArchiveMetrics:
    """What was written to the lake."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.rows = Counter("firstmile_archive_rows", "Events written to the lake", registry=own)
        self.again = Counter("firstmile_archive_rows_sent_again", "Events the lake already had", registry=own)
        self.files = Counter("firstmile_archive_files", "Files committed to the lake", registry=own)
        self.seconds = Histogram(
            "firstmile_archive_batch_seconds", "Read, written and committed", buckets=BATCH_SECONDS, registry=own
        )


class CollectorMetrics:
    """What came in by HTTP."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.accepted = Counter(
            "firstmile_collector_events", "Events Kafka has and the sender was told so", registry=own
        )
        self.events_refused = Counter("firstmile_collector_events_refused", "By code", ["code"], registry=own)
        self.notes = Counter(
            "firstmile_collector_notes", "What of accepted events was not used as it was sent", ["code"], registry=own
        )
        self.requests_refused = Counter(
            "firstmile_collector_requests_refused", "Requests answered by an error", ["code"], registry=own
        )
        self.kafka = Histogram(
            "firstmile_collector_kafka_seconds",
            "Until Kafka had every record of a request",
            buckets=KAFKA_SECONDS,
            registry=own,
        )


class Gauges(Collector):
    """Gauges that are read when the page is asked for; what cannot be read now is left out of the page."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Nothing is read when the registry takes us in."""
        return []

    def collect(self) -> Iterator[Metric]:
        for name, text, labels, samples in self._read():
            family = GaugeMetricFamily(name, text, labels=labels)
            for values, number in samples:
                family.add_metric(values, number)
            yield family
