"""`firstmile monitor run` and `firstmile monitor ui`."""

import logging

import typer

from firstmile.cli import console, emit
from firstmile.clock import SystemClock
from firstmile.settings import load_settings
from monitoring.signals import ask_to_retrain

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Write the reports once, or browse them.",
)


@app.command()
def run() -> None:
    """Compare the decision log with what the champions were trained on; write a report, and signals to retrain."""
    settings = load_settings()
    from monitoring.report import make_report  # pandas: not for --help

    logging.getLogger("alembic").setLevel(logging.WARNING)
    report = make_report(settings, SystemClock())
    signals = ask_to_retrain(settings.home, report.summary, at_share=settings.monitoring.retrain_drift_share)
    for file in signals:
        console.print(f"asked to retrain: {file}", highlight=False, soft_wrap=True)
    emit({**report.as_fields(), "signals": [str(file) for file in signals]})


@app.command()
def ui() -> None:
    """Serve the reports on loopback until Ctrl-C."""
    from monitoring.ui import open_browser, serve_until_stopped

    settings = load_settings()
    server = open_browser(settings)
    serve_until_stopped(server, lambda url: console.print(f"ready: {url}", highlight=False, soft_wrap=True))
