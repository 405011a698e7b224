"""Tokens of answers: which worker can read them, what they are good for, and what becomes of those of gone keys."""

import asyncio
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_builder import NOW_US, Rows, ladder

from firstmile.clock import FixedClock
from firstmile.http.keys import Key, KeyRing, digest
from firstmile.http.refusals import RefusalError
from firstmile.names import CHAMPION
from serving.answers import Decision
from serving.arms import RULES, Arm, Step, laid_out
from serving.buckets import N_PLACES
from serving.conditions import Check, Condition
from serving.experiments import Experiment, Experiments
from serving.exposure_tokens import ExposureTokens, Met
from serving.exposures import Exposures
from serving.metrics import Metrics
from serving.requests import Ask, ExposureRequest

OLD, NEW = "an-identity-secret-of-before", "an-identity-secret-of-now"
HALVES = laid_out((Arm("rules", RULES, (Step(0, N_PLACES // 2),)), Arm("models", CHAMPION, (Step(0, N_PLACES // 2),))))
FROM_A = Condition((Check("request", "page", "in", frozenset({"/a"})),))
AIMED = Experiments((Experiment("aimed", "s", FROM_A, HALVES),))
"""Who asks from /a takes part."""


def tokens(*secrets: str) -> ExposureTokens:
    return ExposureTokens(lambda: KeyRing({}, secrets))


def answered(user_id: str = "u1", page: str = "/a") -> Decision:
    on = ladder(Rows(), drawn_from=AIMED)
    return asyncio.run(on.decide(Ask(user_id, context={"page": page}), started_s=time.perf_counter()))


class Worker:
    """What takes exposures in a worker, and the arms it counted since it was made."""

    def __init__(self, made: ExposureTokens) -> None:
        self._metrics = Metrics()
        self.exposures = Exposures(
            lambda exposure: True,
            lambda user_id: AIMED.assign(user_id, {}, now_us=NOW_US),
            tokens=made,
            clock=FixedClock(NOW_US),
            metrics=self._metrics.shown,
        )
        self._before = self._all()

    def _all(self) -> dict[tuple[str, str], float]:
        found = {}
        for experiment, arm in (("", CHAMPION), ("aimed", "rules"), ("aimed", "models")):
            self._metrics.shown.exposures.labels(experiment, arm)  # loads what the process counted before
            labels = {"experiment": experiment, "arm": arm}
            found[experiment, arm] = self._metrics.registry.get_sample_value("firstmile_exposures_total", labels) or 0.0
        return found

    @property
    def counted(self) -> dict[tuple[str, str], float]:
        """Exposures by experiment and arm."""
        return {arm: n - self._before[arm] for arm, n in self._all().items() if n != self._before[arm]}


def exposure(decision: Decision, token: str | None) -> ExposureRequest:
    return ExposureRequest(request_id=decision.request_id, user_id=decision.ask.user_id, token=token)


@pytest.mark.parametrize("page", ["/a", "/elsewhere"])
def test_worker_that_did_not_answer_counts_the_arm_that_the_request_was_aimed_at(page: str) -> None:
    one, other = Worker(tokens(NEW)), Worker(tokens(NEW))
    made = [answered(f"u{i}", page) for i in range(8)]
    given_tokens = [one.exposures.remember(decision) for decision in made]
    for decision, token in zip(made, given_tokens, strict=True):
        for _ in range(2):
            other.exposures.shown(exposure(decision, token))
    arms = [(d.assignment.name or "", d.assignment.arm) for d in made]
    assert other.counted == {arm: arms.count(arm) for arm in set(arms)}
    assert len(other.counted) == (2 if page == "/a" else 1)


def test_without_a_token_the_arm_is_drawn_without_the_request() -> None:
    worker = Worker(tokens(NEW))
    worker.exposures.shown(exposure(answered(), None))
    assert worker.counted == {("", CHAMPION): 1}


def test_any_current_secret_signs_for_good_and_the_arm_of_one_that_is_gone_is_drawn() -> None:
    decision = answered()
    token = tokens(OLD).make(decision)
    both, later = Worker(tokens(NEW, OLD)), Worker(tokens(NEW))
    for worker in (both, later):
        worker.exposures.shown(exposure(decision, token))
    assert both.counted == {("aimed", decision.assignment.arm): 1}
    assert later.counted == {("", CHAMPION): 1}


def test_keys_of_servers_sign_where_no_user_is_proven_and_keys_of_pages_never() -> None:
    decision = answered()
    crm = KeyRing({digest("sec"): Key("crm", "secret")})
    token = ExposureTokens(lambda: crm).make(decision)
    assert token
    assert ExposureTokens(lambda: crm).read(token, request_id=decision.request_id, subject="u1") == Met(
        "aimed", decision.assignment.arm
    )
    assert ExposureTokens(lambda: KeyRing({digest("pub"): Key("web", "publishable")})).make(decision) is None


def test_token_is_short_and_the_form_takes_it() -> None:
    decision = answered()
    token = tokens(NEW).make(decision)
    assert len(token or "") <= 24 + 4 * len(f"aimed {decision.assignment.arm}") / 3 + 1
    assert exposure(decision, token).token == token


@given(at=st.integers(4, 35), letter=st.sampled_from(string.ascii_letters + string.digits))
def test_token_changed_anywhere_behind_the_keys_id_is_refused(at: int, letter: str) -> None:
    decision = answered()
    token = tokens(NEW).make(decision) or ""
    at = min(at, len(token) - 2)  # the last character has bits that nothing is written in
    changed = token[:at] + letter + token[at + 1 :]
    read = {"request_id": decision.request_id, "subject": "u1"}
    if changed == token:
        assert tokens(NEW).read(changed, **read) == Met("aimed", decision.assignment.arm)
        return
    with pytest.raises(RefusalError, match="not that of answer"):
        tokens(NEW).read(changed, **read)


@pytest.mark.parametrize(("request_id", "subject"), [("0" * 32, "u1"), ("", "u2")])
def test_token_is_good_for_its_answer_and_its_user_alone(request_id: str, subject: str) -> None:
    decision = answered()
    token = tokens(NEW).make(decision) or ""
    with pytest.raises(RefusalError, match="not that of answer"):
        tokens(NEW).read(token, request_id=request_id or decision.request_id, subject=subject)
