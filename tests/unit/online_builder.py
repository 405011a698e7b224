"""Worlds of decisions and opens in partitions, and a log that gives them in any order a Kafka could."""

import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from firstmile.names import DECISIONS, ENRICHED
from training.online_clock import DISORDER_US, Partition
from training.online_join import Bounds, Opened, Shown
from training.online_state import Batch, Recipe, State, fresh_state

SECOND = 1_000_000
T0 = 1_795_435_200 * SECOND
WINDOW, LATENESS = 40 * SECOND, 20 * SECOND
FEATURES = ("n_pages", "n_contents", "days_since_last_event")
SPAN, BEAT = 200 * SECOND, 7 * SECOND
"""How long a drawn world lasts, and how often time passes in a partition nobody writes to."""
CONTENTS = ("c1", "c2")
USERS = ("u0", "u1", "u2")
N_PARTITIONS = 2

Fact = Shown | Opened
Record = tuple[int, Fact | None]
"""The time it shows, and what it says; a record without a fact only shows that time has passed."""


def bounds(**changed: int) -> Bounds:
    return replace(Bounds(WINDOW, LATENESS, max_open=10_000, max_opens=10_000, max_seen=10_000), **changed)


def recipe(**changed: Any) -> Recipe:
    return replace(Recipe(FEATURES, WINDOW / 1e6, LATENESS / 1e6, figures_window=200, seed=7), **changed)


def state(**changed: int) -> State:
    return fresh_state(recipe(), bounds(**changed))


def shown(
    request_id: str, *, user: str = "u0", at: int = 0, ranking: tuple[str, ...] = ("c1",), row: tuple[float, ...] = ()
) -> Shown:
    """`at` seconds after T0."""
    return Shown(request_id, user, T0 + at * SECOND, ranking, array("d", row or (1.0, 2.0, 3.0)))


def opened(content: str = "c1", *, user: str = "u0", at: float = 0, delay: float = 0) -> Opened:
    """`at` seconds after T0, received `delay` seconds later."""
    event_us = T0 + int(at * SECOND)
    return Opened(user, content, event_us, event_us + int(delay * SECOND))


@dataclass
class World:
    """What lies in each partition, in the order of the log."""

    partitions: dict[Partition, list[Record]] = field(default_factory=dict)

    def facts(self) -> list[Fact]:
        return [fact for records in self.partitions.values() for _, fact in records if fact is not None]

    def expected(self) -> list[tuple[str, bool]]:
        """Every request once, by close, with whether it was opened; straight from the definition."""
        facts = self.facts()
        decisions = {d.request_id: d for d in facts if isinstance(d, Shown)}
        opens = [o for o in facts if isinstance(o, Opened)]

        def is_opened(d: Shown) -> bool:
            return any(
                o.user_id == d.user_id
                and o.content_id in d.ranking
                and d.decided_us <= o.event_us <= d.decided_us + WINDOW
                and o.received_us <= d.decided_us + WINDOW + LATENESS
                for o in opens
            )

        in_order = sorted(decisions.values(), key=lambda d: (d.decided_us, d.request_id))
        return [(d.request_id, is_opened(d)) for d in in_order]


def world(
    facts: list[Fact], *, jitter: Callable[[], int] = lambda: 0, repeats: Sequence[tuple[Shown, int]] = ()
) -> World:
    """Facts in their users' partitions, by time give or take `jitter` µs; time passes in each of them.

    repeats
        Decisions once more, so many µs further down the log.
    """
    found = World({(topic, p): [] for topic in (DECISIONS, ENRICHED) for p in range(N_PARTITIONS)})
    for fact in facts:
        topic = DECISIONS if isinstance(fact, Shown) else ENRICHED
        at_us = fact.decided_us if isinstance(fact, Shown) else fact.received_us
        found.partitions[topic, USERS.index(fact.user_id) % N_PARTITIONS].append((at_us, fact))
    for records in found.partitions.values():
        records += [(T0 + i * BEAT, None) for i in range(SPAN // BEAT)]
        records.sort(key=lambda record: record[0] + jitter())
    for decision, later_us in repeats:
        records = found.partitions[DECISIONS, USERS.index(decision.user_id) % N_PARTITIONS]
        place = max(i for i, (_, fact) in enumerate(records) if fact == decision) + 1
        while place < len(records) and records[place][0] < decision.decided_us + later_us:
            place += 1
        records.insert(place, (decision.decided_us, decision))
    for records in found.partitions.values():
        last_us = max([T0, *(us for us, _ in records)])
        records.append((last_us + 10 * (WINDOW + LATENESS), None))
    return found


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any decisions and opens within the lateness bound, some decisions repeated, times only roughly in order."""
    seconds = st.integers(0, SPAN // SECOND)
    facts: list[Fact] = []
    for i in range(draw(st.integers(1, 10))):
        ranking = tuple(draw(st.lists(st.sampled_from(CONTENTS), min_size=1, max_size=1)))
        facts.append(shown(f"r{i}", user=draw(st.sampled_from(USERS)), at=draw(seconds), ranking=ranking))
    repeated = draw(st.lists(st.tuples(st.sampled_from(facts), st.integers(0, SPAN)), max_size=6))
    for _ in range(draw(st.integers(0, 12))):
        user, content = draw(st.sampled_from(USERS)), draw(st.sampled_from(CONTENTS))
        facts.append(opened(content, user=user, at=draw(seconds), delay=draw(st.integers(0, LATENESS // SECOND))))
    rng = random.Random(draw(st.integers(0, 2**32)))
    repeats = [(fact, us) for fact, us in repeated if isinstance(fact, Shown)]
    return world(facts, jitter=lambda: rng.randint(0, DISORDER_US), repeats=repeats)


class ListLog:
    """A world read from the state's offsets, in slices of random partitions and lengths."""

    def __init__(self, source: World, begin: State, *, seed: int, at_most: int = 12) -> None:
        self._world, self._rng, self._at_most = source, random.Random(seed), at_most
        begin.clocks.follow(list(source.partitions))
        self._next = {partition: begin.offsets.get(partition, 0) for partition in source.partitions}

    @property
    def is_read(self) -> bool:
        return all(self._next[p] == len(records) for p, records in self._world.partitions.items())

    @property
    def n_read(self) -> int:
        return sum(self._next.values())

    def read(self) -> Batch:
        batch = Batch()
        for _ in range(self._rng.randint(1, 3)):
            partition = self._rng.choice(list(self._next))
            first = self._next[partition]
            records = self._world.partitions[partition][first : first + self._rng.randint(1, self._at_most)]
            self._next[partition] += len(records)
            for us, fact in records:
                batch.clocks[partition] = max(batch.clocks.get(partition, 0), us)
                if isinstance(fact, Shown):
                    batch.shown.append(fact)
                elif isinstance(fact, Opened):
                    batch.opened.append(fact)
        batch.offsets = dict(self._next)
        return batch
