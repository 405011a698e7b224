"""`firstmile down`: stop the embedded stack; its data stays."""

from firstmile.cli import emit
from firstmile.local.stack import Stack
from firstmile.settings import load_settings


def run() -> None:
    """Stop what `firstmile up` started; the data stays and the next `up` goes on with it."""
    settings = load_settings()
    emit({"home": str(settings.home), "stopped": Stack(settings).down()})
