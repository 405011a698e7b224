"""What `firstmile doctor` and the start of stream and archive ask of the topics: are they as the settings say, and does
Kafka keep records longer than the archive needs to have them in the lake?

Retention must exceed the archive's lag on the enriched events, which the lake is made of, and on the input topics:
`firstmile recover` starts the stream again at the first record that the lake does not cover.
"""

import logging
from dataclasses import dataclass

from confluent_kafka.admin import ConfigResource, ResourceType

from firstmile.broker import TopicInfo, admin, describe_topics, kafka_must_answer
from firstmile.errors import DataError, GateError
from firstmile.local.checks import Finding
from firstmile.names import ENRICHED, STREAM_TOPICS, TOPICS
from firstmile.settings import Settings
from pipelines.archive_lag import ArchiveLag, archive_lag
from pipelines.topics import topic_config

log = logging.getLogger(__name__)

ENOUGH = 2.0
"""Retention under this many times the archive's lag is worth a word."""
FOREVER = "-1"


@dataclass(frozen=True)
class RealTopic:
    """What the broker really does with a topic."""

    n_partitions: int
    replication: int
    config: dict[str, str]


def examine(settings: Settings) -> list[Finding]:
    """Findings about the topics that exist; changes nothing. Raises DependencyError when Kafka does not answer."""
    return _examine(settings, real_topics(settings))


def require_topics(settings: Settings) -> None:
    """At the start of stream or archive: warn of every finding; refuse what no running archive could make good.

    Raises GateError when Kafka keeps a topic for less time than passes between two runs of the archive.
    """
    topics = real_topics(settings)
    for finding in _examine(settings, topics):
        if not finding.is_ok:
            log.warning("%s: %s; %s", finding.name, finding.found, finding.remedy)
    interval_s = settings.stream.archive_interval_s
    short = {topic: s for topic, s in _kept_s(topics).items() if s <= interval_s}
    if short:
        kept = ", ".join(f"{topic} {_span(s)}" for topic, s in short.items())
        raise GateError(
            f"Kafka keeps {kept}; the archive runs every {_span(interval_s)}, so events would be deleted before they "
            f"are in the lake. {_REMEDY_RETENTION}, or lower FIRSTMILE_STREAM__ARCHIVE_INTERVAL_S"
        )


def _examine(settings: Settings, topics: dict[str, RealTopic]) -> list[Finding]:
    configured = as_configured(topics, settings)
    try:
        lags = archive_lag(settings)
    except DataError as error:  # the archive's own trouble: the stream goes on without it
        return [configured, Finding("archive", False, str(error), "bring the file back from a copy of the lake")]
    return [configured, retention(_kept_s(topics), lags, settings), *lost(lags, settings)]


def as_configured(topics: dict[str, RealTopic], settings: Settings) -> Finding:
    """Not essential: a topic made by somebody else may well be meant to be as it is."""
    differences = []
    for name, real in topics.items():
        wanted = {
            "partitions": str(settings.kafka.partitions),
            "replication": str(settings.kafka.replication),
            **topic_config(name, settings),
        }
        has = {"partitions": str(real.n_partitions), "replication": str(real.replication), **real.config}
        for key, value in wanted.items():
            if has.get(key, value) != value:
                differences.append(f"{name} has {key} {has[key]}, the settings say {value}")
    found = "; ".join(differences) or f"{len(topics)} topics are as the settings say"
    remedy = (
        "`firstmile topics --alter` gives the topics the settings' retention and the like, Kafka's own tools change "
        "partitions and replication; or set FIRSTMILE_KAFKA__PARTITIONS, __REPLICATION, __RETENTION_HOURS to what is"
    )
    return Finding("topics", not differences, found, remedy, is_essential=False)


def retention(keeps_s: dict[str, float], lags: list[ArchiveLag], settings: Settings) -> Finding:
    """Essential when the shortest retention is under the archive's lag: what is not archived is being deleted."""
    lag_s = max((lag.age_s for lag in lags), default=0.0)
    n_behind = sum(lag.n_behind for lag in lags)
    needed_s = max(lag_s, settings.stream.archive_interval_s)
    shortest = min(keeps_s, key=lambda t: keeps_s[t], default=None)
    if shortest is None:
        return Finding("retention", True, "no topic exists yet", "")
    found = (
        f"{shortest} is kept {_span(keeps_s[shortest])}, the shortest of all; the archive is {_span(lag_s)} behind "
        f"({n_behind} events) and runs every {_span(settings.stream.archive_interval_s)}"
    )
    is_losing = keeps_s[shortest] <= needed_s
    is_ok = keeps_s[shortest] > ENOUGH * needed_s
    remedy = f"start `firstmile archive` (or `firstmile archive --once`) now; {_REMEDY_RETENTION}"
    return Finding("retention", is_ok, found, remedy, is_essential=is_losing)


def lost(lags: list[ArchiveLag], settings: Settings) -> list[Finding]:
    """Partitions from which Kafka deleted what the archive had not read."""
    gaps = {lag.partition: lag.n_lost for lag in lags if lag.n_lost}
    if not gaps:
        return []
    parts = ", ".join(f"{n} of {ENRICHED}/{p}" for p, n in gaps.items())
    remedy = (
        f"the lake will lack them: bring them back from a copy of {settings.lake}, or play them again from their source"
        f"; if the archive does not start, remove {settings.checkpoints}/archive-*: what the lake has counts once"
    )
    return [Finding("archive", False, f"Kafka deleted events before they were archived: {parts}", remedy)]


_REMEDY_RETENTION = "raise FIRSTMILE_KAFKA__RETENTION_HOURS and run `firstmile topics --alter`"


def real_topics(settings: Settings) -> dict[str, RealTopic]:
    """Every topic of ours that exists, as the broker has it. Raises DependencyError when it does not answer."""
    infos = describe_topics(settings, TOPICS)
    client = admin(settings)  # named: the futures fail once their client is collected
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in infos]
    found = {}
    with kafka_must_answer(settings.kafka_servers):
        for resource, future in client.describe_configs(resources, request_timeout=settings.kafka.timeout_s).items():
            config = {name: entry.value for name, entry in future.result().items()}
            info: TopicInfo = infos[resource.name]
            found[resource.name] = RealTopic(info.n_partitions, info.replication, config)
    return found


def _kept_s(topics: dict[str, RealTopic]) -> dict[str, float]:
    """Retention of the topics that the archive and `recover` read."""
    return {name: _retention_s(real) for name, real in topics.items() if name in (ENRICHED, *STREAM_TOPICS)}


def _retention_s(topic: RealTopic) -> float:
    text = topic.config.get("retention.ms", FOREVER)
    return float("inf") if text == FOREVER or "delete" not in topic.config["cleanup.policy"] else int(text) / 1e3


def _span(seconds: float) -> str:
    """
    >>> _span(90.0), _span(604_800.0), _span(float("inf"))
    ('90 s', '168 h', 'for ever')
    """
    if seconds == float("inf"):
        return "for ever"
    return f"{seconds:.0f} s" if seconds < 7_200 else f"{seconds / 3_600:.0f} h"
