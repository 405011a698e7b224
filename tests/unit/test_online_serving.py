"""The online learner's models in serving: they say what training's own scorer says, and what is none is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstmile.errors import DataError
from firstmile.names import ONLINE_MODEL
from serving.models import ScoringModel, check
from serving.online_model import load_online_model
from training.online_models import OnlineModel, fresh, known
from training.online_scorer import probability

FEATURES = ("n_pages", "n_contents", "opens_quiz", "days_since_last_event")
LOGISTIC: dict[str, Any] = {
    "kind": "logistic",
    "features": list(FEATURES),
    "means": [1.0, 2.0, 0.0, 0.5],
    "stds": [0.5, 1.0, 0.0, 0.25],
    "weights": [0.3, -0.7, 2.0, 1.5],
    "intercept": -0.2,
}
TREE: dict[str, Any] = {
    "kind": "tree",
    "features": list(FEATURES),
    "nodes": [
        {"feature": 1, "threshold": 3.0, "left": 1, "right": 2, "usual": "right"},
        {"probability": 0.2},
        {"feature": 0, "threshold": 1.0, "left": 3, "right": 4, "usual": "left"},
        {"probability": 0.4},
        {"probability": 0.9},
    ],
}
Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(document: Any) -> Path:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "model.json").write_bytes(orjson.dumps(document))
        return tmp_path

    return put


def learned(name: str) -> OnlineModel:
    """A model that has learned 2,000 examples, many with unknown features."""
    rng = np.random.default_rng(3)
    rows = rng.exponential(5.0, (2_000, len(FEATURES)))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    model = fresh(seed=1)[name]
    for row in rows:
        model.learn(known(FEATURES, row.tolist()), bool(np.nan_to_num(row[0]) + np.nan_to_num(row[1]) > 9))
    return model


@pytest.mark.parametrize("name", ["logistic", "tree"])
def test_learned_model_says_in_serving_what_it_says_where_it_learned(name: str, write: Write) -> None:
    model = learned(name)
    served = load_online_model(write(model.document(FEATURES)))
    rows = np.random.default_rng(4).exponential(6.0, (200, len(FEATURES)))
    rows[::3, 1] = np.nan
    said = [model.probability(known(FEATURES, row)) for row in rows.tolist()]
    assert served.inplace_predict(rows).tolist() == pytest.approx(said, abs=1e-9)
    assert max(said) - min(said) > 0.2


numbers = st.floats(-1e6, 1e6) | st.just(math.nan)


@given(row=st.lists(numbers, min_size=4, max_size=4), document=st.sampled_from([LOGISTIC, TREE]))
@settings(deadline=None)
def test_any_row_gets_what_trainings_scorer_says(
    tmp_path_factory: pytest.TempPathFactory, row: list[float], document: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.json").write_bytes(orjson.dumps(document))
    served = load_online_model(folder)
    assert served.inplace_predict(np.array([row]))[0] == pytest.approx(probability(document, row), abs=1e-9)


@pytest.mark.parametrize("document", [LOGISTIC, TREE])
def test_it_stands_in_the_place_of_a_booster(document: dict[str, Any], write: Write) -> None:
    model = ScoringModel(ONLINE_MODEL, "3", "run", load_online_model(write(document)), FEATURES)  # type: ignore[arg-type]
    check(model, FEATURES)
    values = {"n_pages": 2.0, "n_contents": 5.0}
    said = probability(document, [2.0, 5.0, math.nan, math.nan])
    assert model.probabilities(values) == {ONLINE_MODEL: pytest.approx(said, abs=1e-6)}


def node(at: int, **changes: Any) -> dict[str, Any]:
    """The tree with one node changed."""
    nodes = [dict(n) for n in TREE["nodes"]]
    nodes[at].update(changes)
    return {**TREE, "nodes": nodes}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({**LOGISTIC, "kind": "forest"}, "'forest', not logistic or tree"),
        ({**LOGISTIC, "weights": [1.0]}, "are not 4 each"),
        ({k: v for k, v in LOGISTIC.items() if k != "stds"}, "stds"),
        ({**TREE, "nodes": []}, "no nodes"),
        (node(0, left=0), "node 0 does not lead on"),
        (node(0, right=9), "node 0 does not lead on"),
        (node(2, feature=4), "node 2 asks for a feature"),
        (node(2, usual="up"), "node 2 asks for a feature"),
        ([], "holds no online model"),
    ],
)
def test_what_is_no_model_is_refused(document: Any, said: str, write: Write) -> None:
    with pytest.raises(DataError, match="holds no online model that serving understands") as refused:
        load_online_model(write(document))
    assert said in str(refused.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.json holds no online model"):
        load_online_model(tmp_path)
