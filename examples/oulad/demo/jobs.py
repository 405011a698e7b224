"""The demo's plan: which verb or server each hop is, what it needs first, and what it says when done."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from examples.oulad.demo.runner import Job
from firstmile.local.http import http_problem
from firstmile.local.part import log_file
from firstmile.local.process import Probe, Program
from firstmile.local.stack import parts_of
from firstmile.names import OPTIONAL
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings, as_environment
from firstmile.vocabulary import MODELS

DATA = ROOT / "data" / "oulad"


@dataclass(frozen=True)
class Scenario:
    """Which presentations are learned from, and which one is lived through, up to which day, today's in how long."""

    train: tuple[str, ...]
    live: str
    to_day: int
    minutes: float


def plan(settings: Settings, scenario: Scenario, copies: Mapping[str, int]) -> dict[str, Job]:
    """Every job by name; `copies` are those of the decision API, with the port of each.

    The longest way to a model's answer is backfill, train and promote. The backfill uses every core; stream, replay and
    serve wait for it and then fill the cores that training leaves idle: 20 s less on two cores.
    """
    jobs = [_part_job(settings, part.name) for part in parts_of(settings)]
    jobs += _once_jobs(scenario)
    jobs += _services(settings, copies)
    return {job.name: job for job in jobs}


def _part_job(settings: Settings, name: str) -> Job:
    part = next(p for p in parts_of(settings) if p.name == name)

    def program(given: Settings) -> Program:
        return part.program(given)

    return Job(name, program, probe=lambda: part.problem(settings))


def _once_jobs(scenario: Scenario) -> list[Job]:
    train = ",".join(scenario.train)
    everyone = ",".join((*scenario.train, scenario.live))
    needed = [model for model in MODELS if model not in OPTIONAL]  # for the first answer
    replay = ["replay", "oulad", "--data", str(DATA), "--presentations", scenario.live, "--live"]
    replay += ["--to-day", str(scenario.to_day), "--minutes", f"{scenario.minutes:g}"]
    return [
        Job("topics", _verb("topics", ["topics"]), ("kafka", "registry"), says=_say_topics),
        Job(
            "backfill",
            _verb("backfill", ["backfill", "oulad", "--presentations", train, "--no-content"]),
            says=_say_backfill,
        ),
        Job("features", _feast, ("redis", "train"), says=lambda r: "feast -c feature_repo apply"),
        Job(
            "profiles",
            _verb("profiles", ["profiles", "oulad", str(DATA), "--presentations", everyone]),
            ("topics",),
            says=lambda r: f"{r['profiles']:,} profiles, {r['audit_rows']:,} audit rows kept apart",
        ),
        Job(
            "train",
            _verb("train", ["train", "--cohorts", train, "--model", ",".join(needed), "--promote"]),
            ("backfill", "mlflow", "redis"),
            says=_say_train,
            remedy=REFUSED,
        ),
        Job(
            "preference",
            _verb("preference", ["train", "--cohorts", train, "--model", ",".join(OPTIONAL), "--promote"]),
            ("train",),
            says=_say_train,
            remedy=REFUSED,
        ),
        Job("replay", _verb("replay", replay), ("topics", "stream"), says=_say_replay),
        Job("monitor", _verb("monitor", ["monitor", "run"]), ("preference",), says=_say_monitor),
    ]


def _services(settings: Settings, copies: Mapping[str, int]) -> list[Job]:
    needs = {"stream": ("topics", "redis", "backfill"), "archive": ("topics",), "collect": ("topics",)}
    jobs = [Job(name, _verb(name, [name]), need, probe=_says_ready(settings, name)) for name, need in needs.items()]
    return jobs + [_copy_job(settings, name, port) for name, port in copies.items()]


def _copy_job(settings: Settings, name: str, port: int) -> Job:
    """A copy of the decision API, with a home of its own for what BentoML and the copy write."""
    serving = settings.serving.model_copy(update={"port": port})
    own = settings.model_copy(update={"home": settings.home / name, "serving": serving})

    def program(given: Settings) -> Program:
        command = [str(Path(sys.executable).with_name("firstmile")), "serve"]
        return Program(name, command, log_file(given, name), as_environment(own), ROOT)

    url = f"http://{serving.host}:{port}/readyz"
    return Job(name, program, ("topics", "redis", "backfill"), probe=lambda: http_problem(url))


def features_job(user: str) -> Job:
    """A user's features as `firstmile features` shows them."""
    name = f"features-{user}"
    return Job(name, _verb(name, ["features", user]), says=lambda r: f"{len(r['features'])} features that are not 0")


def _verb(name: str, words: list[str]) -> Callable[[Settings], Program]:
    return partial(_program, name, [str(Path(sys.executable).with_name("firstmile")), *words])


def _feast(settings: Settings) -> Program:
    return _program("features", [str(Path(sys.executable).with_name("feast")), "-c", "feature_repo", "apply"], settings)


def _program(name: str, command: list[str], settings: Settings) -> Program:
    output = settings.logs / f"{name}.json"
    return Program(name, command, log_file(settings, name), as_environment(settings), ROOT, output)


def _says_ready(settings: Settings, name: str) -> Probe:
    log = log_file(settings, name)

    def probe() -> str | None:
        try:
            return None if "ready: " in log.read_text(errors="replace") else "it has not said that it is ready"
        except FileNotFoundError:
            return "it has not started"

    return probe


REFUSED = "a gate refused the model, its reasons are in the log; give the demo more --presentations to learn from"


def _say_topics(result: dict[str, Any]) -> str:
    return f"{len(result['topics'])} topics, {len(result['schema_ids'])} schemas registered"


def _say_backfill(result: dict[str, Any]) -> str:
    events, rows = f"{result['n_events']:,}", f"{result['n_history_rows']:,}"
    return f"{events} events of {', '.join(result['presentations'])} folded into {rows} rows of history"


def _say_train(result: dict[str, Any]) -> str:
    champions = (f"{model} {r['version']}" for model, r in result["promoted"].items())
    n = len(result["models"])
    return f"{n} challengers registered in MLflow, through the gates; champions now: {', '.join(champions)}"


def _say_monitor(result: dict[str, Any]) -> str:
    drifted = ", ".join(f"{name} {m['n_drifted']} of {m['n_columns']}" for name, m in result["models"].items())
    n = result["decisions"]["n_scored"]
    return f"{n} decisions against the training sets, drifted columns: {drifted}; file://{result['index']}"


def _say_replay(result: dict[str, Any]) -> str:
    n = sum(result["records"].values())
    return f"{n:,} records of {result['n_users']:,} learners sent, {result['n_today']:,} of them at today's pace"
