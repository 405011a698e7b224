"""A second product, all of it in files: from its made-up past to personal answers, through the verbs alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import settings_on_free_ports
from running import run, running

from firstmile.local.stack import Stack
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings

WORKSPACE = ROOT / "examples" / "workspace"
MODELS = {"activation", "disengagement", "skill_level", "preference", "will_invite"}
OF_LEARNING = ("learner", "course", "lesson", "quiz", "assessment", "student", "oulad")
N_USERS = 500

pytestmark = pytest.mark.timeout(900)  # Java starts twice, and five models are trained


@dataclass(frozen=True)
class World:
    """What every verb said, and the answers of two users."""

    said: dict[str, dict[str, Any]]
    calls: list[dict[str, Any]]
    answers: dict[str, dict[str, Any]]


def told(settings: Settings, *words: str) -> dict[str, Any]:
    done = run(settings, *words)
    assert done.returncode == 0, f"{words}: {done.stderr[-3000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("workspace")
    settings = settings_on_free_ports(folder / "home", product=WORKSPACE, serving={"budget_ms": 2_000.0})
    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    words = [sys.executable, WORKSPACE / "past.py", "--users", str(N_USERS), "--ends", yesterday.isoformat()]
    past = folder / "past.jsonl"
    past.write_bytes(subprocess.run(words, check=True, capture_output=True).stdout)
    calls = [json.loads(line) for line in past.read_text().splitlines()]
    stack = Stack(settings, with_parent=True)
    stack.up(["kafka", "registry", "redis", "mlflow"])
    try:
        told(settings, "topics")
        said = {"check": told(settings, "product", "check"), "import": told(settings, "import", "events", str(past))}
        said["train"] = told(settings, "train", "--promote")
        said["recover"] = told(settings, "recover")
        with running(settings, ["serve"], folder / "serve.log"):
            answers = {user: told(settings, "decide", user) for user in (newest_of(calls), "nobody")}
        yield World(said, calls, answers)
    finally:
        stack.down()


def newest_of(calls: list[dict[str, Any]]) -> str:
    """Who did something last and signed up longer than a day before."""
    began = {c["userId"]: c["timestamp"] for c in calls if c.get("event") == "Signed Up"}
    day_before = (datetime.fromisoformat(calls[-1]["timestamp"]) - timedelta(days=1)).isoformat()
    return next(str(c["userId"]) for c in reversed(calls) if began[c["userId"]] < day_before)


def test_the_files_hold_and_say_what_would_be_learned(world: World) -> None:
    found = world.said["check"]
    assert set(found["learns"]) == MODELS
    assert found["learns"]["will_invite"]["question"] == "Will the user invite a teammate in the first 30 days?"
    assert found["traits"]["price_paid"] == "number"
    assert found["formats_without_content"] == []


def test_the_past_is_taken_whole_at_its_own_times(world: World) -> None:
    found = world.said["import"]
    assert (found["n_rows"], found["n_refused"]) == (len(world.calls), {})
    assert found["from"][:19] == world.calls[0]["timestamp"][:19]
    assert found["history"]["unknown_names"] == {}


def test_five_models_are_trained_of_files_and_promoted(world: World) -> None:
    found = world.said["train"]
    assert set(found["models"]) == MODELS
    assert set(found["promoted"]) == MODELS, found["refused"]


def test_an_answer_says_what_the_product_defined_and_misses_nothing(world: World) -> None:
    answer = world.answers[newest_of(world.calls)]
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("model", False, [])
    assert set(answer["models"]) == MODELS
    assert set(answer["predictions"]) == {"disengagement", "will_invite"}
    assert 0 <= answer["predictions"]["will_invite"] <= 1
    assert {p["format"] for p in answer["preferences"]} <= {"video", "guide", "template", "webinar"}
    assert answer["segment"]["skill_level"] in ("explorer", "builder", "expert")
    assert answer["flow"] in ("tour", "balanced", "self-serve", "win-back")
    assert answer["recommended_content"]


def test_a_new_user_is_shown_what_the_rules_say_of_explorers(world: World) -> None:
    answer = world.answers["nobody"]
    assert (answer["rung"], answer["reasons"]) == ("rules", ["cold_start"])
    assert answer["flow"] == "tour"
    first = answer["recommended_content"][0]
    assert first["format"] in ("video", "guide")
    assert first["reason"].startswith("rule:explorer-first")


def test_no_answer_has_a_word_of_learning(world: World) -> None:
    for answer in world.answers.values():
        text = json.dumps(answer).lower()
        assert not [word for word in OF_LEARNING if word in text]
