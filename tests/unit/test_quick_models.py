"""Models that a loop may wait for, and those that go to a thread."""

import asyncio
import threading
import time

import pytest
from serving_builder import Broken, Row, Rows, ladder, model, models

from firstmile.vocabulary import MODELS
from serving import models as module
from serving.models import ScoringModel
from serving.requests import Ask


def rung(in_use: dict[str, ScoringModel]) -> tuple[str, tuple[str, ...]]:
    on = ladder(Rows({"u1": Row()}), in_use)
    decision = asyncio.run(on.decide(Ask("u1"), started_s=time.perf_counter()))
    return decision.basis.rung, decision.basis.reasons


def threads_asked(in_use: dict[str, ScoringModel]) -> bool:
    asked = rung(in_use)
    assert asked == ("model", ())
    return any(thread.name.startswith("model ") for thread in threading.enumerate())


def test_small_trees_are_asked_on_the_loop_and_others_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {thread.ident for thread in threading.enumerate()}
    assert {name: m.is_quick for name, m in models().items()} == dict.fromkeys(MODELS, True)
    rung(models())
    assert not [t for t in threading.enumerate() if t.name.startswith("model ") and t.ident not in before]
    monkeypatch.setattr(module, "QUICK_MS", 0.0)
    slow = models()
    assert {name: m.is_quick for name, m in slow.items()} == dict.fromkeys(MODELS, False)
    assert threads_asked(slow)


def test_what_is_no_native_booster_is_never_waited_for_on_the_loop() -> None:
    gate = threading.Event()
    try:
        hung = model("activation", booster=Broken(gate=gate))
        assert not hung.is_quick
    finally:
        gate.set()


def test_error_nobody_foresaw_is_a_failed_model_and_no_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: ScoringModel, scores: object) -> None:
        raise RuntimeError("nobody foresaw it")

    in_use = models()
    assert {name: m.is_quick for name, m in in_use.items()} == dict.fromkeys(MODELS, True)
    monkeypatch.setattr(ScoringModel, "named", broken)
    found, reasons = rung(in_use)
    assert found == "rules"
    assert set(reasons) == {f"model_failed:{name}" for name in in_use}
