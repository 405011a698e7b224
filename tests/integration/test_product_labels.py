"""A product without any OULAD data: its events in a lake, its own words for labels, registered challengers out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from demo_product import with_labels
from mlflow.tracking import MlflowClient
from product_builder import Product, made_product, write_product

from firstmile.clock import MICROS_PER_DAY, SystemClock
from firstmile.errors import DataError, UsageError
from firstmile.names import CHALLENGER
from firstmile.settings import Settings
from pipelines.backfill_lake import backfill_lake
from training.dataset import TrainingSet
from training.material import material
from training.quality import QualityGate
from training.train import train
from training.versions import read_set, read_version

LABELS = """
activation:
  reached: {events: [Project Created]}
  within_days: 28
  snapshot_days: [0, 1, 3, 7, 14]
disengagement:
  none_of: {events: any}
  for_days: 14
  snapshot_days: [7, 14]
"""
N_USERS = 300


@dataclass(frozen=True)
class Learned:
    """A home with the product's history, and what training on it said."""

    settings: Settings
    product: Product
    result: dict[str, Any]
    client: MlflowClient


@pytest.fixture(scope="module")
def learned(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    home = tmp_path_factory.mktemp("product")
    settings = with_labels(stack.model_copy(update={"home": home}), home, LABELS)
    today_us = SystemClock().now_us() // MICROS_PER_DAY * MICROS_PER_DAY
    product = made_product(N_USERS, ends_us=today_us)
    write_product(settings, product)
    backfill_lake(settings)
    result = train(settings, ["activation", "disengagement"])
    return Learned(settings, product, result, MlflowClient(settings.mlflow_uri))


def test_the_product_s_models_are_challengers_that_learned_something(learned: Learned) -> None:
    assert len(learned.result["cohorts"]) == 5
    assert set(learned.result["models"]) == {"activation", "disengagement"}
    for model, said in learned.result["models"].items():
        assert (said["alias"], said["judged_by"]) == (CHALLENGER, "later_start")
        verdicts = json.loads(Path(learned.client.download_artifacts(said["run_id"], "gates.json")).read_text())[
            "verdicts"
        ]
        # Calibration by a bound of its own: of the 60 users examined, ten bins make 0.1 by chance alone.
        assert next(v["value"] for v in verdicts if v["gate"] == "calibrated") < 0.15
        others = {v["gate"]: v["passed"] for v in verdicts if v["gate"] != "calibrated"}
        assert len(others) > 1
        assert all(others.values()), verdicts
        run = learned.client.get_run(said["run_id"])
        assert run.data.params["set.cohorts"].split(",") == learned.result["cohorts"]
        assert run.data.tags["min_onboarding_days"] == {"activation": "0", "disengagement": "7"}[model]
        card = Path(learned.client.download_artifacts(said["run_id"], "model_card.md")).read_text()
        assert "Open University" not in card
    assert "Will the user reach 1 of Project Created within 28 days of Signed Up?" in card_of(learned, "activation")


def card_of(learned: Learned, model: str) -> str:
    run_id = learned.result["models"][model]["run_id"]
    return Path(learned.client.download_artifacts(run_id, "model_card.md")).read_text()


def set_of(learned: Learned, model: str) -> TrainingSet:
    client = learned.client
    return read_set(client, read_version(client, model, learned.result["models"][model]["version"]))


def test_every_user_is_in_the_set_or_counted_and_labels_are_what_happened(learned: Learned) -> None:
    events = learned.product.events
    began = events[events["name"] == "Signed Up"].set_index("user_id")["event_us"]
    project = events[events["name"] == "Project Created"].set_index("user_id")["event_us"].reindex(began.index)
    users = set_of(learned, "activation").users
    per_day = learned.result["models"]["activation"]["counts_per_day"]
    assert list(per_day) == ["0", "1", "3", "7", "14"]
    for day, counts in per_day.items():
        left_out = sum(n for why, n in counts.items() if why.startswith("left_out:"))
        assert counts["rows"] + left_out == N_USERS + 1  # and one who never signed up
        now_us = began + (int(day) + 1) * MICROS_PER_DAY - 1
        asked = ~(project <= now_us)
        at = users[users["day"] == int(day)].set_index("user_id")
        assert set(at.index) == set(began.index[asked])
        expected = (project <= began + 28 * MICROS_PER_DAY - 1).reindex(at.index)
        assert at["label"].tolist() == expected.astype(int).tolist()


def test_a_vector_holds_what_had_arrived_by_its_instant_and_nothing_else(learned: Learned) -> None:
    data = set_of(learned, "activation")
    opened = learned.product.events[learned.product.events["name"] == "Content Opened"]
    counted = data.rows.x[:, data.features.index("clicks_total_count")]
    assert counted.max() > 0
    for user, now_us, count in zip(data.users["user_id"], data.users["now_us"], counted, strict=True):
        assert count == ((opened["user_id"] == user) & (opened["received_us"] <= now_us)).sum()
    ages = data.rows.x[:, data.features.index("onboarding_age_days")]
    assert np.allclose(ages, data.users["day"] + 1, atol=1e-3)


def test_no_user_examined_began_before_one_who_taught(learned: Learned) -> None:
    users = set_of(learned, "activation").users.drop_duplicates("user_id")
    began = users["now_us"] - users["day"] * MICROS_PER_DAY
    latest = users["cohort"] == users["cohort"].max()
    assert began[latest].min() > began[~latest].max()
    assert latest.sum() >= N_USERS // 10


def test_a_name_nobody_sends_and_a_model_without_label_are_refused(learned: Learned, tmp_path: Path) -> None:
    wrong = with_labels(learned.settings, tmp_path, LABELS.replace("Project Created", "Project Made"))
    with pytest.raises(DataError, match="line 3: unknown event 'Project Made'; known: Content Opened, Page Viewed"):
        train(wrong, ["activation"])
    with pytest.raises(UsageError, match="has no label of preference, it defines activation, disengagement"):
        train(learned.settings, ["preference"])


def test_without_a_lake_or_its_history_the_verbs_that_make_them_are_named(stack: Settings, tmp_path: Path) -> None:
    settings = with_labels(stack.model_copy(update={"home": tmp_path}), tmp_path, LABELS)
    with pytest.raises(DataError, match="firstmile archive` run, then `firstmile backfill lake"):
        material(settings, ["activation"], QualityGate(settings))
    write_product(settings, made_product(5, ends_us=SystemClock().now_us()))
    with pytest.raises(DataError, match="has no row to learn from; run `firstmile backfill lake`"):
        material(settings, ["activation"], QualityGate(settings))


def test_the_quality_gate_kept_figures_of_the_product_as_a_whole(learned: Learned) -> None:
    kept = json.loads((learned.settings.home / "quality" / "last.json").read_bytes())
    assert {"activation of the product", "disengagement of the product", "history of the product", "lake"} <= set(kept)
    assert isinstance(pd.Series(kept["activation of the product"])["share_activation_yes"], float)
