"""The online model into MLflow: now and then a version of `content_open`, its figures, and `challenger` pointing at it.

One run is one learner, however often it was started again: figures are logged to it, step = examples learned. A version
holds the model that is ahead by log loss over the newest examples, as plain JSON with its loader (online_scorer.py).

Serving asks it in an experiment's arm of the online learner (serving/online_model.py): the features are those of the
run's tag `feature_service`, in the order of features.json; no river, no pickle.
"""

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
from mlflow.entities import Metric, Param, RunTag
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema, TensorSpec

from feature_repo.services import service_name
from firstmile.names import CHALLENGER, ONLINE_MODEL
from training import online_scorer
from training.figures import Figures
from training.online_state import State
from training.papers import Registered, commit

LEARNER_TAG = "firstmile.learner_id"
REQUIREMENTS = [f"mlflow=={mlflow.__version__}", f"numpy=={np.__version__}", "pandas"]


@dataclass(frozen=True)
class Offer:
    """A state as MLflow gets it; nothing in it changes any more.

    leader
        Name of the model that is ahead, whose document goes into the version.
    """

    learner_id: str
    n_learned: int
    leader: str
    document: Mapping[str, Any]
    figures: Mapping[str, Figures]
    params: Mapping[str, Any]


def offer(state: State, figures: Mapping[str, Figures]) -> Offer:
    """What the state offers now."""
    ahead = leader(figures)
    return Offer(
        state.learner_id,
        state.n_learned,
        ahead,
        state.models[ahead].document(state.recipe.features),
        figures,
        {
            "window_s": state.recipe.window_s,
            "lateness_s": state.recipe.lateness_s,
            "figures_window": state.recipe.figures_window,
            "seed": state.recipe.seed,
            "river": state.recipe.river,
            "n_features": len(state.recipe.features),
            "figures_are": "of answers given before the example was learned, over the newest figures_window of them",
        },
    )


def leader(figures: Mapping[str, Figures]) -> str:
    """The model with the lowest log loss; the first by name before there are figures.

    >>> leader({"tree": {"log_loss": 0.4}, "logistic": {"log_loss": 0.5}})
    'tree'
    """
    return min(sorted(figures), key=lambda name: figures[name].get("log_loss", math.inf))


def register_offer(client: MlflowClient, experiment: str, offered: Offer) -> Registered:
    """Log the figures, register the model, point `challenger` at the version.

    experiment
        Experiment id.

    Raises MlflowException or OSError when MLflow is away or refuses.
    """
    run_id = _run_of(client, experiment, offered)
    client.log_batch(run_id, metrics=_metrics(offered))
    with mlflow.start_run(run_id=run_id), tempfile.TemporaryDirectory(prefix="firstmile-learn-") as folder:
        path = Path(folder) / "model.json"
        path.write_text(json.dumps(offered.document), encoding="utf-8")
        client.log_dict(run_id, list(offered.document["features"]), "features.json")
        info = mlflow.pyfunc.log_model(
            name="model",
            loader_module="online_scorer",
            data_path=str(path),
            code_paths=[str(Path(online_scorer.__file__))],
            signature=_signature(offered.document["features"]),
            pip_requirements=REQUIREMENTS,
        )
    loss = offered.figures[offered.leader]
    tags = {
        "learner": offered.leader,
        "n_learned": str(offered.n_learned),
        "feature_service": service_name(ONLINE_MODEL),
        "is_better_than_majority": str(loss.get("log_loss", 1.0) < loss.get("log_loss_majority", 0.0)).lower(),
    }
    version = mlflow.register_model(info.model_uri, ONLINE_MODEL, tags=tags)
    client.set_registered_model_alias(ONLINE_MODEL, CHALLENGER, str(version.version))
    return Registered(str(version.version), run_id)


def _run_of(client: MlflowClient, experiment: str, offered: Offer) -> str:
    """The learner's run, made when there is none."""
    found = client.search_runs([experiment], f"tags.`{LEARNER_TAG}` = '{offered.learner_id}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {LEARNER_TAG: offered.learner_id, "feature_service": service_name(ONLINE_MODEL), "git_commit": commit()}
    run_id = str(client.create_run(experiment, tags=tags, run_name=ONLINE_MODEL).info.run_id)
    params = [Param(name, str(value)) for name, value in offered.params.items()]
    client.log_batch(run_id, params=params, tags=[RunTag("min_onboarding_days", "0")])
    return run_id


def _metrics(offered: Offer) -> list[Metric]:
    now_ms = int(mlflow.utils.time.get_current_time_millis())
    return [
        Metric(f"prequential/{model}/{name}", value, now_ms, offered.n_learned)
        for model, figures in offered.figures.items()
        for name, value in figures.items()
        if not math.isnan(value)
    ]


def _signature(features: list[str]) -> ModelSignature:
    inputs = Schema([ColSpec("double", name) for name in features])
    return ModelSignature(inputs=inputs, outputs=Schema([TensorSpec(np.dtype(np.float64), (-1,))]))
