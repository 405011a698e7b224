"""What the lake's history says of an instant is what was known then: through Feast, every feature, profile, context."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from conftest import settings_on_free_ports

from feature_repo.fields import CONTEXT, CONTEXT_FIELDS, PROFILE, PROFILE_FIELDS, WINDOWS
from feature_repo.store import apply
from feature_repo.windows import FEATURE_NAMES
from firstmile.names import CONTEXT as CONTEXT_TOPIC
from firstmile.names import ENRICHED, USER_ACTIONS
from pipelines.backfill_lake import backfill_lake
from pipelines.lake import Lake

S, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
T0 = 1_700_000_040_000_000
NOW = T0 + 2 * DAY


@dataclass(frozen=True)
class Happened:
    """One enriched event; known a second after it happened unless said."""

    at_us: int
    received_us: int | None = None
    name: str = "Content Opened"
    content: str | None = "c1"
    step: str | None = None
    device: str | None = None
    profile: tuple[int, str] | None = (T0, "free")

    @property
    def known_us(self) -> int:
        """When it was received."""
        return self.at_us + S if self.received_us is None else self.received_us


PLAIN = (
    Happened(T0, step="sign_up"),
    Happened(T0 + 5, name="Context Observed", content=None, device="phone"),
    Happened(T0 + DAY, content="c2"),
    Happened(NOW - HOUR, content="c3"),
)
BEFORE, AFTER = NOW - 10 * MINUTE, NOW + 10 * MINUTE
PLANTS: dict[str, Happened] = {
    "happened after": Happened(AFTER, content="c9", step="later"),
    "happened before, known after": Happened(BEFORE, AFTER, content="c9", step="later"),
    "happened before all, known after": Happened(T0 - DAY, AFTER, content="c9", step="earlier"),
    "known in the same minute, after": Happened(BEFORE, NOW + S, content="c9", step="later"),
    "happened before everything and known one µs after": Happened(T0 + 1, NOW + 1, content="c9"),
    "a context observed before, known after": Happened(BEFORE, AFTER, "Context Observed", None, device="tablet"),
    "a profile met after": Happened(BEFORE, AFTER, profile=(BEFORE, "paid")),
    "a profile said after, met by an event received before": replace(PLAIN[3], profile=(AFTER, "paid")),
}
SEEN: dict[str, Happened] = {
    "known before": Happened(BEFORE, content="c9", step="later"),
    "happened long before, known at the instant": Happened(T0 - DAY, NOW, content="c9"),
    "a context known before": Happened(BEFORE, None, "Context Observed", None, device="tablet"),
    "a profile met before": Happened(BEFORE, profile=(BEFORE, "paid")),
}


def enriched(users: dict[str, Sequence[Happened]]) -> pa.Table:
    """As the archive decodes them, each user's in order of arrival."""
    rows = []
    for user, events in users.items():
        for event in sorted(events, key=lambda e: e.known_us):
            topic = CONTEXT_TOPIC if event.device else USER_ACTIONS
            said: dict[str, object] = {"properties": {"device": event.device} if event.device else {}}
            version, plan = event.profile or (None, "")
            rows.append(
                {
                    "enriched_partition": 0,
                    "source_topic": topic,
                    "source_topic_id": topic,
                    "source_partition": 0,
                    "source_offset": len(rows),
                    "message_id": str(uuid.uuid4()),
                    "user_id": user,
                    "name": event.name,
                    "event_us": event.at_us,
                    "received_us": event.known_us,
                    "weight": 1,
                    "content_id": event.content,
                    "format": "quiz" if event.content else None,
                    "page": None,
                    "step": event.step,
                    **said,
                    "profile_version": version,
                    "profile": {"plan": plan},
                }
            )
    texts = pa.map_(pa.string(), pa.string())
    kinds = {"properties": texts, "profile": texts, "page": pa.string(), "profile_version": pa.int64()}
    names = list(rows[0])
    return pa.table({n: pa.array([r[n] for r in rows], kinds.get(n)) for n in names})


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """At NOW, of one user without a plant and one for each plant; indexed by user."""
    settings = settings_on_free_ports(tmp_path_factory.mktemp("leak"))
    users: dict[str, Sequence[Happened]] = {"plain": PLAIN}
    for name, plant in {**PLANTS, **SEEN}.items():
        # One that differs from an event of PLAIN in its profile alone stands in its place.
        users[name] = (*(e for e in PLAIN if (e.at_us, e.name) != (plant.at_us, plant.name)), plant)
    lake = Lake(settings.lake)
    lake.commit(enriched(users), {(ENRICHED, 0): 1}, topic_id="e")
    backfill_lake(settings)
    names = [
        *(f"{WINDOWS}:{n}" for n in FEATURE_NAMES),
        *(f"{PROFILE}:{n}" for n in PROFILE_FIELDS),
        *(f"{CONTEXT}:{n}" for n in CONTEXT_FIELDS),
    ]
    asked = pd.DataFrame(
        {"user_id": list(users), "now_us": NOW, "event_timestamp": pd.to_datetime(NOW, unit="us", utc=True)}
    )
    found = apply(settings).get_historical_features(entity_df=asked, features=names).to_df()
    return found.set_index("user_id").drop(columns=["event_timestamp", "now_us"])


def test_the_vector_is_of_all_features(vectors: pd.DataFrame) -> None:
    plain = vectors.loc["plain"]
    assert {*FEATURE_NAMES, *PROFILE_FIELDS, *CONTEXT_FIELDS} <= {*plain.index}
    assert plain["content_open_total_count"] == 3
    assert (plain["device"], plain["plan"]) == ("phone", "free")


@pytest.mark.parametrize("plant", PLANTS)
def test_what_was_not_known_changes_nothing(vectors: pd.DataFrame, plant: str) -> None:
    pd.testing.assert_series_equal(vectors.loc[plant], vectors.loc["plain"], check_names=False)


@pytest.mark.parametrize("plant", SEEN)
def test_what_was_known_is_seen(vectors: pd.DataFrame, plant: str) -> None:
    differ = vectors.loc[plant].compare(vectors.loc["plain"])
    assert len(differ) > 0


def test_an_event_is_seen_from_the_instant_it_was_known(tmp_path: Path) -> None:
    settings = settings_on_free_ports(tmp_path)
    Lake(settings.lake).commit(enriched({"u": [Happened(T0, NOW)]}), {(ENRICHED, 0): 1}, topic_id="e")
    backfill_lake(settings)
    instants = [NOW - 1, NOW, NOW + 1]
    asked = pd.DataFrame(
        {"user_id": "u", "now_us": instants, "event_timestamp": pd.to_datetime(instants, unit="us", utc=True)}
    )
    found = apply(settings).get_historical_features(entity_df=asked, features=[f"{WINDOWS}:events_total_count"]).to_df()
    assert found.sort_values("now_us")["events_total_count"].tolist() == [0, 1, 1]
