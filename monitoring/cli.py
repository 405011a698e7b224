"""`firstmile monitor run` and `firstmile monitor ui`."""

import logging

import typer

from firstmile.cli import console, emit
from firstmile.clock import SystemClock
from firstmile.settings import load_settings

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Write the reports once, or browse them.",
)


@app.command()
def run() -> None:
    """Compare the decision log with what the champions were trained on, and write a report."""
    settings = load_settings()
    from monitoring.report import make_report  # pandas: not for --help

    logging.getLogger("alembic").setLevel(logging.WARNING)
    emit(make_report(settings, SystemClock()).as_fields())


@app.command()
def ui() -> None:
    """Serve the reports on loopback until Ctrl-C."""
    from monitoring.ui import open_browser, serve_until_stopped

    settings = load_settings()
    server = open_browser(settings)
    serve_until_stopped(server, lambda url: console.print(f"ready: {url}", highlight=False, soft_wrap=True))
