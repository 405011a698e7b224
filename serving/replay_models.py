"""The models of a past decision: this machine's copies by version, else out of MLflow for the time of the replay."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from firstmile.names import ONLINE_MODEL
from firstmile.settings import Settings
from firstmile.vocabulary import MODELS
from serving.mlflow_champions import MlflowChampions
from serving.model_copies import Champion, ModelCopies, load
from serving.models import ScoringModel

Place = Literal["copy", "mlflow"]


def past_models(settings: Settings, versions: Mapping[str, str]) -> tuple[list[ScoringModel], dict[str, Place]]:
    """The models of these versions by name, in the order they were asked, and where each was found.

    Raises DependencyError when a version is not here and MLflow does not give it, DataError when it cannot be loaded.
    """
    found: list[ScoringModel] = []
    places: dict[str, Place] = {}
    copies = ModelCopies(settings.home / "models")
    for name in (m for m in (*MODELS, ONLINE_MODEL) if m in versions):
        copy = copies.version(name, versions[name])
        places[name] = "mlflow" if copy is None else "copy"
        found.append(_fetched(settings, Champion(name, versions[name], "")) if copy is None else load(*copy))
    return found, places


def _fetched(settings: Settings, champion: Champion) -> ScoringModel:
    with tempfile.TemporaryDirectory(prefix="firstmile-replay-") as folder:
        MlflowChampions(settings.mlflow_uri).fetch(champion, Path(folder))
        return load(champion, Path(folder))
