"""`firstmile up`: start the embedded stack and leave it running."""

from dataclasses import asdict

from firstmile.cli import emit
from firstmile.local.stack import Stack
from firstmile.settings import load_settings


def run() -> None:
    """Start Kafka, the schema registry, Redis and MLflow, or find them running; they stay until `firstmile down`."""
    settings = load_settings()
    states = Stack(settings).up()
    emit({"home": str(settings.home), "parts": {s.name: asdict(s) for s in states}})
