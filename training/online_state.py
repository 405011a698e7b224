"""Everything the online learner is: both models, their quality, open joins and how far each partition was read.

It is one value: taken in, learned and written together, so that whoever starts from it again neither skips a record
nor learns one twice. Nothing is committed to Kafka.
"""

import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import river

from training.online_clock import Clocks, Partition
from training.online_join import Bounds, Example, Joiner, Opened, Shown
from training.online_models import OnlineModel, fresh, known
from training.online_quality import Drift, Quality

# Counted from what is read; `Joiner.counts` has the rest.
READ_COUNTS: Final = ("n_decisions", "n_events", "n_without_vector", "n_nothing_recommended", "n_unreadable", "n_lost")


@dataclass(frozen=True)
class Recipe:
    """What may not change in a learner's life: with another window its examples would mean something else."""

    features: tuple[str, ...]
    window_s: float
    lateness_s: float
    figures_window: int
    seed: int
    river: str = river.__version__


@dataclass
class Batch:
    """What was read from the log at once.

    clocks
        Time each partition has been read up to, µs.
    offsets
        Next offset of each partition, this batch included.
    counts
        By name, of READ_COUNTS.
    """

    shown: list[Shown] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    clocks: dict[Partition, int] = field(default_factory=dict)
    offsets: dict[Partition, int] = field(default_factory=dict)
    counts: "Counter[str]" = field(default_factory=Counter)


@dataclass
class State:
    """The learner between two batches.

    topic_ids
        Topic id by name: the offsets are of these very topics.
    n_offered
        Examples learned when a version was last offered to MLflow.
    """

    recipe: Recipe
    joiner: Joiner
    models: dict[str, OnlineModel]
    quality: dict[str, Quality]
    learner_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    clocks: Clocks = field(default_factory=Clocks)
    offsets: dict[Partition, int] = field(default_factory=dict)
    topic_ids: dict[str, str] = field(default_factory=dict)
    counts: "Counter[str]" = field(default_factory=Counter)
    n_learned: int = 0
    n_opened: int = 0
    n_offered: int = 0

    def join(self, batch: Batch) -> list[Example]:
        """Take a batch in; the examples it closes, in the order they are to be learned."""
        for shown in batch.shown:
            self.joiner.decided(shown)
        for opened in batch.opened:
            self.joiner.opened(opened)
        for partition, us in batch.clocks.items():
            self.clocks.advance(partition, us)
        self.offsets.update(batch.offsets)
        self.counts.update(batch.counts)
        return self.joiner.close(self.clocks.watermark_us())

    def learn(self, example: Example) -> dict[str, Drift]:
        """Ask both models, then teach them; the drifts found, by model."""
        drifts = {}
        values = known(self.recipe.features, example.vector)
        for name, model in self.models.items():
            drift = self.quality[name].add(model.probability(values), example.is_opened)
            model.learn(values, example.is_opened)
            if drift is not None:
                drifts[name] = drift
        self.n_learned += 1
        self.n_opened += example.is_opened
        return drifts

    def all_counts(self) -> dict[str, int]:
        """Every count by name, 0 where nothing was counted."""
        return {**dict.fromkeys(READ_COUNTS, 0), **self.counts, **self.joiner.all_counts()}


def fresh_state(recipe: Recipe, bounds: Bounds) -> State:
    """A learner that has read nothing."""
    models = fresh(recipe.seed)
    quality = {name: Quality(recipe.figures_window) for name in models}
    return State(recipe, Joiner(bounds), models, quality)
