"""`firstmile backfill lake`: archived events to the offline history, through the same fold as the stream.

An example adds verbs of its own beside it: see `firstmile.backfill` among the entry points of pyproject.toml.
"""

import typer

from firstmile.cli import emit
from firstmile.settings import load_settings
from pipelines.backfill_content import backfill_content
from pipelines.backfill_lake import backfill_lake

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Events to offline history.")


@app.callback()
def _backfill() -> None:
    """Events to offline history, through the same fold as the stream."""


@app.command("lake")
def run_lake() -> None:
    """Write the history of everything the archive has committed; what was there of it is replaced."""
    settings = load_settings()
    emit({**backfill_lake(settings), "content": backfill_content(settings, "lake")})
