"""The way to MLflow: a client on the settings' server that fails in seconds when nobody is there."""

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import mlflow
from mlflow import environment_variables as knobs
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from firstmile.errors import DataError, DependencyError, UsageError, unknown_name
from firstmile.mlflow_requests import keep_requests_short
from firstmile.settings import Settings
from firstmile.vocabulary import TRAINED

PROBE_S = 3.0
REQUEST_S = 20
RETRIES = 2


def connect(settings: Settings) -> MlflowClient:
    """A client on the tracking server, which is also the fluent API's from now on; telemetry is off.

    Raises DependencyError within seconds when the server does not answer.
    """
    uri = settings.mlflow_uri
    keep_requests_short(timeout_s=REQUEST_S, retries=RETRIES)
    knobs.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)  # stdout is for the result
    knobs.MLFLOW_UV_AUTO_DETECT.set(False)
    remedy = "`firstmile status` shows it, `firstmile up` starts it; or set FIRSTMILE_MLFLOW__TRACKING_URI"
    try:
        _probe(uri)
        mlflow.set_tracking_uri(uri)
        client = MlflowClient(uri)
        client.search_registered_models(max_results=1)
    except (OSError, MlflowException) as error:
        reason = str(error).splitlines()[0]
        raise DependencyError(f"MLflow at {uri} does not answer ({reason}); {remedy}") from error
    return client


def experiment_id(client: MlflowClient, settings: Settings) -> str:
    """The id of the settings' experiment, made when there is none."""
    found = client.get_experiment_by_name(settings.mlflow.experiment)
    return str(found.experiment_id if found else client.create_experiment(settings.mlflow.experiment))


def check_models(models: Sequence[str]) -> None:
    """Raise UsageError naming the first model nobody knows, and those that are known."""
    for model in models:
        if model not in TRAINED:
            raise UsageError(unknown_name("model", model, TRAINED))


def chosen_models(said: str | None) -> tuple[str, ...]:
    """Models out of a text with commas; none for None. Raises UsageError for one nobody knows."""
    models = tuple(dict.fromkeys(m.strip() for m in (said or "").split(",") if m.strip()))
    check_models(models)
    return models


def aliases(client: MlflowClient, model: str) -> dict[str, str]:
    """Version by alias of a registered model. Raises DataError when nothing is registered under the name."""
    try:
        registered = client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise DependencyError(f"MLflow did not give the registered model {model}: {error}") from error
        raise DataError(f"no version of {model} is registered; run `firstmile train --model {model}` first") from None
    return {str(alias): str(version) for alias, version in registered.aliases.items()}


def versions(client: MlflowClient, model: str) -> list[str]:
    """All versions of a registered model, oldest first."""
    found = client.search_model_versions(f"name = '{model}'")
    return sorted((str(v.version) for v in found), key=int)


def _probe(uri: str) -> None:
    """Raise OSError when an http(s) address takes no connection."""
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=PROBE_S).close()
