"""What was not known at an instant changes no vector of the ranker: rows and content statistics of a real lake."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import settings_on_free_ports
from test_point_in_time import DAY, HOUR, Happened, S, enriched

from feature_repo.content_features import RANKER_FEATURES
from feature_repo.store import apply
from firstmile.names import ENRICHED
from firstmile.vocabulary import FORMATS
from pipelines.backfill_content import backfill_content
from pipelines.backfill_lake import backfill_lake
from pipelines.lake import Lake
from training.ranking_offer import Offer, offered
from training.ranking_reads import packed_rows, statistics

T0 = 1_700_006_400_000_000  # 2023-11-15T00:00Z
NOW = T0 + 3 * DAY - 1  # snapshots are taken at the end of a day
N_PAGES = 8
LEARNER, CROWD = "learner", "crowd"
PLAIN = {
    LEARNER: (Happened(T0 + HOUR, content="c0"), Happened(T0 + DAY, content="c1"), Happened(NOW - HOUR, content="c2")),
    CROWD: tuple(Happened(T0 + i * 9 * HOUR, content=f"c{i}") for i in range(1, 7)),
}


@dataclass(frozen=True)
class Plant:
    """One more event, of the learner or of another."""

    who: str
    event: Happened


AFTER = NOW + HOUR
UNKNOWN = {
    "the learner opens it after": Plant(LEARNER, Happened(AFTER, content="c5")),
    "the learner opened it before, known after": Plant(LEARNER, Happened(T0 + DAY, NOW + 1, content="c5")),
    "another opens it after": Plant(CROWD, Happened(AFTER, content="c5")),
    "another opened it before, known after": Plant(CROWD, Happened(T0 + DAY, NOW + 1, content="c5")),
    "another opened a page nobody had, known after": Plant(CROWD, Happened(T0 + DAY, NOW + S, content="c7")),
}
KNOWN = {
    "the learner opened it, known at the instant": Plant(LEARNER, Happened(T0 + DAY, NOW, content="c5")),
    "another opened it, known at the instant": Plant(CROWD, Happened(T0 + DAY, NOW, content="c5")),
}
WORLDS = {"plain": None, **UNKNOWN, **KNOWN}


def events_of(world: str) -> dict[str, list[Happened]]:
    """Each world has users and pages of its own, so that all of them lie in one lake."""
    plant = WORLDS[world]
    events = {who: [*made, *([plant.event] if plant and plant.who == who else [])] for who, made in PLAIN.items()}
    return {
        f"{world}/{who}": [replace(e, content=f"{world}/{e.content}") for e in made] for who, made in events.items()
    }


def pages_of(world: str) -> pd.DataFrame:
    ids = [f"{world}/c{i}" for i in range(N_PAGES)]
    return pd.DataFrame({"id_site": range(N_PAGES), "content_id": ids, "format": np.arange(N_PAGES) % len(FORMATS)})


@pytest.fixture(scope="module")
def offers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Offer]:
    """What could be shown to the learner of each world at NOW."""
    settings = settings_on_free_ports(tmp_path_factory.mktemp("ranking"))
    users = {user: made for world in WORLDS for user, made in events_of(world).items()}
    table = enriched(users)
    properties = [{"content_id": content, "format": "quiz"} for content in table["content_id"].to_pylist()]
    at = table.column_names.index("properties")
    table = table.set_column(at, "properties", pa.array(properties, table.schema.field(at).type))
    for name, said in (("family", "content_open"), ("segment", "unknown/new")):
        table = table.append_column(name, pa.array([said] * len(table)))
    Lake(settings.lake).commit(table, {(ENRICHED, 0): 1}, topic_id="e")
    backfill_lake(settings)
    backfill_content(settings, "lake")
    store = apply(settings)
    asked = pd.DataFrame({"user_id": [f"{world}/{LEARNER}" for world in WORLDS], "now_us": NOW})
    packed = packed_rows(store, asked.assign(event_timestamp=pd.to_datetime(NOW, unit="us", utc=True)))
    pages = {world: pages_of(world) for world in WORLDS}
    found = statistics(store, pages, [(world, NOW) for world in WORLDS])
    return {world: offered([packed[f"{world}/{LEARNER}", NOW]], pages[world], found, NOW) for world in WORLDS}


def test_the_learner_is_offered_what_they_have_not_opened_the_most_popular_first(offers: dict[str, Offer]) -> None:
    plain = offers["plain"]
    assert plain.item.tolist() == [3, 4, 5, 6, 7]  # c0, c1 and c2 are opened, nobody opened c7
    assert plain.n_opened.tolist() == [1, 1, 1, 1, 0]
    recent = plain.x[:, RANKER_FEATURES.index("popularity_1d")]
    assert recent[-1] == 0
    assert recent[plain.item == 6] > 0  # of the last day
    assert recent[plain.item == 3] == 0


@pytest.mark.parametrize("world", UNKNOWN)
def test_what_was_not_known_changes_no_candidate_and_no_feature(offers: dict[str, Offer], world: str) -> None:
    assert offers[world].item.tolist() == offers["plain"].item.tolist()
    assert np.array_equal(offers[world].x, offers["plain"].x, equal_nan=True)
    assert np.array_equal(offers[world].n_opened, offers["plain"].n_opened)


@pytest.mark.parametrize("world", KNOWN)
def test_what_was_known_is_seen(offers: dict[str, Offer], world: str) -> None:
    plain, other = offers["plain"], offers[world]
    is_same = plain.x.shape == other.x.shape and np.array_equal(other.x, plain.x, equal_nan=True)
    assert not is_same
