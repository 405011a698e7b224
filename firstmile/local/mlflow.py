"""The MLflow server, embedded: SQLite for runs and models, a folder for artifacts.

It reads mlflow/server.env, as `mlflow --env-file mlflow/server.env server` does for who runs it by hand.
"""

import sys

from firstmile.local.http import http_problem
from firstmile.local.part import EmbeddedPart, data_folder, log_file
from firstmile.local.ports import LOOPBACK
from firstmile.local.process import Program
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings

ENV_FILE = ROOT / "mlflow" / "server.env"


def program(settings: Settings) -> Program:
    """What to run."""
    folder = data_folder(settings, "mlflow")
    command = [sys.executable, "-m", "mlflow"]
    if ENV_FILE.exists():
        command += ["--env-file", str(ENV_FILE)]
    command += ["server", "--host", LOOPBACK, "--port", str(settings.local.mlflow_port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    return Program("mlflow", command, log_file(settings, "mlflow"), folder=folder)


def problem(settings: Settings) -> str | None:
    """None when the server answers; a store without a server (`sqlite:…`, a folder) has nobody to ask."""
    if not settings.mlflow_uri.startswith("http"):
        return None
    return http_problem(f"{settings.mlflow_uri.rstrip('/')}/health")


PART = EmbeddedPart(
    name="mlflow",
    program=program,
    problem=problem,
    address=lambda settings: settings.mlflow_uri,
    ports=lambda settings: [("FIRSTMILE_LOCAL__MLFLOW_PORT", settings.local.mlflow_port)],
    setting="FIRSTMILE_MLFLOW__TRACKING_URI",
)
