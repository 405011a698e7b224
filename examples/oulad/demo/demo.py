"""`firstmile demo`: the whole product on real data, by the verbs anybody can type.

doctor ─► up ─► topics ─► replay ─► stream ─► rows online ─┐
     └─► backfill ─► feast apply ─► train ─► promote ──────┴► decisions ─► monitor, archive
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from examples.oulad.demo.client import Client
from examples.oulad.demo.home import demo_settings, environment_file, own_home
from examples.oulad.demo.jobs import DATA, Scenario, plan
from examples.oulad.demo.runner import BrokenHopError, Runner
from examples.oulad.demo.story import Story
from examples.oulad.demo.watch import Watcher
from firstmile.cli import console, emit
from firstmile.errors import DataError, FirstmileError
from firstmile.local import ivy, jars
from firstmile.local.doctor import require_fit
from firstmile.local.failover import Failover
from firstmile.local.ports import free_ports
from firstmile.settings import Settings, load_settings

MINUTES_CHECK = 0.5
MINUTES_LIVE = 5.0
COPIES = ("serve", "standby")


def run(
    check: Annotated[bool, typer.Option("--check", help="prove every hop, then stop; exit 1: one is broken")] = False,
    presentations: Annotated[str, typer.Option(help="what the models learn from")] = "BBB_2013B,AAA_2013J",
    live: Annotated[str, typer.Option(help="the presentation that is lived through")] = "AAA_2014J",
    to_day: Annotated[int, typer.Option(help="the day of it that is put on today")] = 28,
) -> None:
    """Run the whole product on real data until Ctrl-C; everything is stopped then."""
    settings = demo_settings(load_settings())
    if not DATA.is_dir():
        raise DataError(f"{DATA} is not there; it is part of the repository: run from a full clone")
    train = tuple(p.strip() for p in presentations.split(",") if p.strip())
    scenario = Scenario(train, live, to_day, MINUTES_CHECK if check else MINUTES_LIVE)
    with own_home(settings), _stop_signals():
        require_fit(settings)
        ivy.fetch(settings, jars.all_sets())
        _run(settings, scenario, check=check)


def _run(settings: Settings, scenario: Scenario, *, check: bool) -> None:
    copies = dict(zip(COPIES, free_ports(len(COPIES)), strict=True))
    runner = Runner(settings, plan(settings, scenario, copies))
    story = Story(runner, scenario)
    environment = environment_file(settings)
    is_up = False
    try:
        with Failover(settings.serving.host, settings.serving.port, list(copies.values())):
            story.to_first_answer()
            story.show()
            if check:
                _finish(story)
                return
            is_up = True
            _say_addresses(story)
            Watcher(runner, environment).watch(lambda: False)
    except KeyboardInterrupt:
        if not is_up:
            sys.exit(130)
    finally:
        _stop(runner)
    emit({"home": str(settings.home), "first_model_answer_s": story.first_answer_s, "hops": story.hops})


def _finish(story: Story) -> None:
    """Print the proof. Raises BrokenHopError for a hop whose numbers do not hold."""
    hops = story.prove()
    proof = {
        "ok": all(hop["ok"] for hop in hops.values()),
        "first_model_answer_s": story.first_answer_s,
        "total_s": round(time.monotonic() - story.runner.began, 1),
        "hops": hops,
    }
    for name, hop in hops.items():
        story.runner.say(name, "[green]holds[/]" if hop["ok"] else f"[bold red]does not hold[/]: {hop}")
    emit(proof)
    broken = [name for name, hop in hops.items() if not hop["ok"]]
    if broken:
        logs = story.runner.settings.logs
        remedy = "its numbers are in the proof above, the logs say what its process did"
        raise BrokenHopError(broken[0], f"{', '.join(broken)} not as expected", log=str(logs), remedy=remedy)


def _say_addresses(story: Story) -> None:
    settings, client = story.runner.settings, Client(story.runner.settings)
    user = story.hops["two_learners"]["learners"][0]
    rows = {
        "decision API": client.decision_url,
        "one decision": client.curl(user),
        "collector": f"{client.collector_url}/v1/track",
        "MLflow UI": settings.mlflow_uri,
        "report": f"being written; a line says when it is in {settings.reports}",
        "every verb": f". {settings.home / 'env'} && firstmile status",
        "logs": str(settings.logs),
    }
    console.print(
        "\n[bold]Firstmile is up.[/] Ctrl-C stops it; kill -9 any process and see what it means.", soft_wrap=True
    )
    for name, value in rows.items():
        console.print(f"  {name:<13} {value}", soft_wrap=True, highlight=False, markup=False)


def _stop(runner: Runner) -> None:
    """Stop everything, whatever was pressed again meanwhile."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    runner.say("stopping", "services, then the parts they use")
    try:
        runner.stop()
    except FirstmileError as error:
        runner.say("stopping", f"[red]{error}[/]")
    runner.say("stopped", f"data and logs stay in {runner.settings.home} until the next demo")


@contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGTERM as Ctrl-C: both stop the demo cleanly; SIGINT too where a shell ignores it for its background jobs."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
