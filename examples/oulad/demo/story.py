"""The demo's course: from nothing to a decision, then what the decisions are worth, then the proof."""

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.markup import escape

from examples.oulad.demo import learners
from examples.oulad.demo.client import Client
from examples.oulad.demo.jobs import DATA, Scenario, features_job
from examples.oulad.demo.learners import Asked, Expected
from examples.oulad.demo.proof import Hop, Prover
from examples.oulad.demo.runner import Runner
from examples.oulad.tables import tables as oulad
from firstmile.errors import DependencyError
from firstmile.local.lag import stream_lag

FIRST_ANSWER_S = 600.0
SETTLE_S = 180.0
SMALL_LAG = 20
N_TRIES = 3


@dataclass
class Story:
    """One run of the demo: what was seen so far."""

    runner: Runner
    scenario: Scenario
    hops: dict[str, Hop] = field(default_factory=dict)
    first_answer_s: float = 0.0
    expected: dict[str, Expected] = field(default_factory=dict)
    pair: dict[str, dict[str, float]] = field(default_factory=dict)
    n_asked: int = 0

    @property
    def client(self) -> Client:
        """Both APIs."""
        return Client(self.runner.settings)

    def to_first_answer(self) -> None:
        """Everything on the way to one learner answered by the models, and nothing that is not."""
        runner = self.runner
        runner.want(["backfill", "mlflow", "kafka", "registry", "redis", "topics", "train"])
        runner.want(["stream", "serve", "replay"])
        tables = oulad.read(DATA, [self.scenario.live])
        self.expected = learners.expected_clicks(tables, self.scenario.to_day)
        runner.until(["serve", "stream", "train"])
        busiest = max(self.expected, key=lambda user: self.expected[user].weight)
        runner.wait_for("decided", partial(self._not_by_models, busiest), deadline_s=FIRST_ANSWER_S)
        self.first_answer_s = round(time.monotonic() - runner.began, 1)
        runner.say("decided", f"[bold green]first personalized answer[/], {busiest}, after {self.first_answer_s} s")

    def show(self) -> None:
        """Ask for everybody, ask one twice, see one become active, compare two."""
        runner = self.runner
        runner.want(["collect"])
        runner.wait_for("folded", self._behind, deadline_s=SETTLE_S)
        asked = learners.ask_all(self.client, sorted(self.expected))
        self.n_asked = len(asked.answers)
        self.hops["decided"] = Prover(runner).decided(asked)
        runner.say("decided", f"{self.n_asked} learners answered: {self.hops['decided']}")
        ranked = asked.by_probability()
        self._repeat(ranked[0])
        runner.until(["collect"])
        self._become_active([user for user in asked.stalled() if user != ranked[0]])
        # Only now, so that nothing but the path itself was at work while the seconds were counted.
        runner.want(["standby", "archive", "profiles", "preference", "monitor", "features"])
        self._compare(asked, ranked[-1], ranked[0])

    def prove(self) -> dict[str, Any]:
        """Every hop's numbers, once the replay is through and everything has settled."""
        runner, prover = self.runner, Prover(self.runner)
        runner.until(["replay", "monitor", "profiles", "archive", "features"])
        runner.wait_for("folded", partial(self._behind, most=0), deadline_s=SETTLE_S)
        self.pair = self._features(list(self.pair))
        found: dict[str, Hop] = {
            "stack": prover.stack(),
            "topics": prover.topics(),
            "backfill": prover.backfill(),
            "profiles": prover.profiles(),
            "produced": prover.produced(),
            "decoded": prover.decoded(),
            "enriched": prover.enriched(),
            "folded": prover.folded(self.pair, self.expected),
            "rows_online": prover.rows_online(self.scenario.live),
            "models": prover.models(),
        }
        for name, ask in (("logged", partial(prover.logged, self.n_asked)), ("archived", prover.archived)):
            took_s = runner.wait_for(name, partial(_not_ok, ask), deadline_s=SETTLE_S)
            found[name] = {**ask(), "took_s": round(took_s, 1)}
        self.hops = {**found, **self.hops, "report": prover.report()}
        return self.hops

    def _not_by_models(self, user: str) -> str | None:
        try:
            answer = self.client.decide(user)
        except DependencyError as error:
            return str(error)
        why = ", ".join(answer["reasons"]) or "no reason given"
        return None if answer["rung"] == "model" else f"{user} is answered by {answer['rung']} ({why})"

    def _behind(self, most: int = SMALL_LAG) -> str | None:
        lag = stream_lag(self.runner.settings)
        if not lag:
            return "the stream has written no progress"
        n = sum(p.n_behind for p in lag)
        return f"{n:,} records are not in the rows yet" if n > most else None

    def _features(self, users: list[str]) -> dict[str, dict[str, float]]:
        jobs = {f"features-{user}": features_job(user) for user in users}
        for name in jobs:  # asked again later: the rows have changed
            self.runner.took_s.pop(name, None)
            (self.runner.settings.logs / f"{name}.json").unlink(missing_ok=True)
        self.runner.jobs.update(jobs)
        self.runner.until(jobs)
        return {user: self.runner.results[f"features-{user}"]["features"] for user in users}

    def _compare(self, asked: Asked, likely: str, unlikely: str) -> None:
        began = time.monotonic()
        self.pair = self._features([likely, unlikely])
        apart = learners.differences(self.pair[likely], self.pair[unlikely])
        answers = {user: learners.in_short(asked.answers[user]) for user in (likely, unlikely)}
        changed = [key for key in answers[likely] if answers[likely][key] != answers[unlikely][key]]
        hop = {"learners": [likely, unlikely], "features_that_differ": apart, "answers": answers, "changed": changed}
        self.hops["two_learners"] = {"ok": bool(apart and changed), **hop, "took_s": round(time.monotonic() - began, 1)}
        say = self.runner.say
        say("two learners", f"[bold]{likely}[/] and [bold]{unlikely}[/]: features that differ most")
        for name, (left, right) in apart.items():
            say("", f"  {name:<32} {left:>10g} {right:>10g}")
        for key in changed:
            say("", escape(f"  {key:<32} {answers[likely][key]!s:>10} {answers[unlikely][key]!s:>10}"))

    def _repeat(self, user: str) -> None:
        hop = learners.answer_is_repeated(self.client, user)
        self.hops["same_answer_twice"] = hop
        what = "the same answer twice" if hop["ok"] else f"another answer: {hop['unequal']}"
        self.runner.say("asked twice", f"{user}: {what}")

    def _become_active(self, stalled: list[str]) -> None:
        """A stall of the machine is no verdict on the path: up to three learners, every time is kept."""
        tries: list[Hop] = []
        for user in stalled[:N_TRIES]:
            tries.append(learners.become_active(self.client, user))
            self._say_active(tries[-1])
            if tries[-1]["ok"]:
                break
        best = tries[-1] if tries else {"ok": False, "user": None, "answer_changed_s": None}
        self.hops["becomes_active"] = {**best, "seconds_of_every_try": [t["answer_changed_s"] for t in tries]}

    def _say_active(self, hop: Hop) -> None:
        say = self.runner.say
        if hop["answer_changed_s"] is None:
            say("becomes active", f"[red]{hop['user']}: the answer did not change within {learners.GIVE_UP_S:.0f} s[/]")
            return
        say("becomes active", f"{hop['user']}, silent so far, opens {hop['n_events'] - 1} contents")
        for key in hop["before"]:
            if hop["before"][key] != hop["after"][key]:
                say("", escape(f"  {key:<24} {hop['before'][key]} → {hop['after'][key]}"))
        say("", f"  another answer [bold]{hop['answer_changed_s']} s[/] after the first byte was sent")


def _not_ok(ask: Any) -> str | None:
    hop = ask()
    return None if hop["ok"] else str(hop)
