"""The command line: `firstmile VERB`. A verb is one module, imported when asked for.

A module gives `run` (a plain function with typer options) or, for verbs with words of their own, `app` (a Typer).
Results go to stdout as one JSON object (`emit`), progress and logs to stderr.
"""

import logging
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

import orjson
import typer
from rich.console import Console
from rich.logging import RichHandler
from typer.core import TyperGroup

from firstmile.errors import FirstmileError

console = Console(stderr=True)


@dataclass(frozen=True)
class Verb:
    """Where a verb lives and its line in `firstmile --help`."""

    module: str
    help: str


VERBS = {
    "doctor": Verb("firstmile.local.doctor", "Check this machine and name the remedy for what is missing."),
    "up": Verb("firstmile.local.up", "Start the embedded stack: Kafka, registry, Redis, MLflow."),
    "down": Verb("firstmile.local.down", "Stop the embedded stack."),
    "status": Verb("firstmile.local.status", "Every part with pid, address, health and lag."),
    "product": Verb("firstmile.product_verbs", "Make a product's folder; hold its files against each other."),
    "topics": Verb("pipelines.topics", "Create the topics and register their schemas."),
    "collect": Verb("pipelines.collector", "Run the HTTP tracking API."),
    "stream": Verb("pipelines.stream", "Run the stream: events to features."),
    "archive": Verb("pipelines.archive", "Run the archive: enriched events to the lake."),
    "deadletters": Verb("pipelines.deadletters", "Records nobody could use: list them, send them again."),
    "profiles": Verb("pipelines.profiles", "Import a CRM export."),
    "import": Verb("pipelines.import_past", "Bring in a product's past events from files."),
    "backfill": Verb("pipelines.backfill", "Events to offline history, through the same fold."),
    "recover": Verb("pipelines.recover", "Offline history to the online store after a loss."),
    "features": Verb("feature_repo.lookup", "A user's row, windows and lag, now or at a time."),
    "train": Verb("training.train", "Train and register challengers."),
    "retrain": Verb("training.retrain", "Train again, now or by schedule and on signals; gates before `challenger`."),
    "promote": Verb("training.promote", "Move `champion` through the gates."),
    "rollback": Verb("training.rollback", "Put `champion` back to the version before."),
    "learn": Verb("training.learn", "Learn online from decisions and what users then opened."),
    "serve": Verb("serving.serve", "Run the decision API."),
    "keys": Verb("serving.issue_keys", "Make a key of both APIs; the hash that proves a user to publishable ones."),
    "decide": Verb("serving.decide", "Ask the decision API for one user."),
    "monitor": Verb("monitoring.cli", "Write the reports once, or browse them."),
}


EXAMPLES: Final = "firstmile.verbs"
"""The group of entry points under which an example adds verbs, and `firstmile.<verb>` words to a verb of the core; the
core imports none of it."""


class _LazyVerbs(TyperGroup):
    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return [*VERBS, *entry_points(group=EXAMPLES).names]

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        verb = VERBS.get(cmd_name)
        if verb is not None:
            module = import_module(verb.module)
        elif found := entry_points(group=EXAMPLES, name=cmd_name):
            module = next(iter(found)).load()
        else:
            return None
        app = getattr(module, "app", None)
        if app is None:
            app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command(cmd_name)(module.run)
        else:
            for word in entry_points(group=f"firstmile.{cmd_name}"):
                app.command(word.name)(word.load())
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        # Not typer's own: it would import every verb to print its line.
        formatter.write_usage("firstmile", "VERB [OPTIONS] …")
        formatter.write_paragraph()
        formatter.write_text(self.help or "")
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])
        with formatter.section("Verbs of the examples"):
            formatter.write_text(", ".join(sorted(entry_points(group=EXAMPLES).names)))
        formatter.write_paragraph()
        formatter.write_text("`firstmile VERB --help` says more. Results are JSON on stdout, progress is on stderr.")


app = typer.Typer(cls=_LazyVerbs, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _firstmile() -> None:
    """Personalizes the first minutes of a new customer, in real time."""


def emit(result: Any) -> None:
    """Print a verb's result to stdout: one JSON object."""
    sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    """Entry point: FirstmileError becomes one clear line and its exit code."""
    if console.is_terminal:
        handler: logging.Handler = RichHandler(console=console, show_path=False)
        logging.basicConfig(level="INFO", format="%(message)s", handlers=[handler], force=True)
    else:  # a log file: whole lines, not folded to a terminal's width
        logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s", force=True)
    for client in ("httpx", "httpx2"):  # they log a line per request; the registry's client uses the second
        logging.getLogger(client).setLevel("WARNING")
    try:
        app(prog_name="firstmile")
    except FirstmileError as error:
        console.print(f"[bold red]{type(error).__name__}[/]: ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
