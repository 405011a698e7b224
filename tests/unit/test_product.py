"""A product is a folder: what init writes holds, and every mistake in any file is named with file and line."""

import asyncio
import time
from pathlib import Path

import pytest
from demo_product import PRODUCT
from serving_builder import NOW_US, Row, Rows, ladder, model, models

from firstmile.clock import FixedClock
from firstmile.errors import FileError, UsageError
from firstmile.product import OPTIONAL, REQUIRED
from firstmile.product_verbs import check_product, make_product
from firstmile.settings import Settings
from firstmile.vocabulary import models_of
from serving.playbook import PlaybookFiles
from serving.policy_fields import FIELDS
from serving.requests import Ask
from serving.schema import PersonalizationAnswer
from serving.start_check import check_files


def settings(folder: Path) -> Settings:
    return Settings(home=folder / "home", product=folder)


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return make_product(tmp_path / "shop")


def test_what_init_writes_holds_starts_and_says_what_it_learns(product: Path) -> None:
    assert sorted(p.name for p in product.iterdir()) == sorted(f"{name}.yaml" for name in (*REQUIRED, *OPTIONAL))
    found = check_product(settings(product))
    assert set(found["learns"]) == {"activation", "disengagement", "skill_level", "preference"}
    assert found["learns"]["activation"]["question"] == (
        "Will the user reach 1 of Project Created within 28 days of Signed Up?"
    )
    assert found["content"] == {"document": 1, "guide": 2, "lesson": 2, "video": 1}
    assert found["formats_without_content"] == ["community", "quiz"]
    check_files(settings(product))


def test_init_writes_over_nothing(product: Path) -> None:
    (product / "rules.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"has events.yaml, .* already; name a new folder"):
        make_product(product)
    assert (product / "rules.yaml").read_text() == "mine"


def test_the_demo_s_product_holds_its_labels_made_by_python() -> None:
    found = check_product(Settings(product=PRODUCT))
    assert set(found["learns"]) == {"activation", "disengagement", "skill_level", "preference"}
    assert len(found["cohorts_with_content_of_their_own"]) == 3


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("events", "click: [Button", "klick: [Button", "unknown family 'klick'; known: click"),
        ("events", "formats: {}", "formats: {clip: film}", "unknown format 'film'; known: community"),
        ("cleaning", "consent: refuse_denied", "consent: maybe", "consent: Input should be"),
        ("labels", "[Project Created]", "[Project Made]", "unknown event 'Project Made'; known: Automation Created"),
        ("labels", "disengagement:", "Churn 60:", "'Churn 60' cannot be a model's name"),
        ("labels", "none_of: {events: any}", "without: {events: any}", "disengagement.without: Extra inputs"),
        ("labels", "beginner:\n", "beginner: {events: any}\n", "everybody reaches the first level"),
        ("labels", "\n  levels:\n", "\n  classes: [a, b]\n  level:\n", "skill_level.question: Field required"),
        ("profile", "quiz, video", "quiz, quiz", "'quiz' is named twice"),
        ("profile", "role: text", "role: words", "traits.role.kind: Input should be 'text', 'integer' or 'number'"),
        ("profile", "order: 0.5}", "order: 0.6}", "format, level and order add up to 1.1, not to 1"),
        ("profile", "guided: {format", "Guided: {format", "'Guided' is no name"),
        ("profile", "role: text", "profile_times: text", "'profile_times' is a name of Firstmile's own"),
        ("profile", "[1, 1000000]", "[9, 1]", "between is [least, most] of a number"),
        ("profile", "[24h, 7d", "[7d, 7d", "'7d' is named twice"),
        ("profile", "guided: {", "default: {", "'default' is a name of Firstmile's own"),
        ("labels", "intermediate: {", "yes: {", "True cannot be a class of skill_level"),
        ("labels", "intermediate: {", "'a:b': {", "'a:b' cannot be a class of skill_level"),
        ("profile", "audit: []", "audit: [Region]", "'Region' is no name"),
        ("profile", "audit: []", "audit: [plan]", "'plan' is a trait too"),
        ("profile", "# shelf: plan", "shelf: company_size", "unknown text trait 'company_size'; known: company, plan"),
        ("profile", "page_view, content", "page_views, content", "unknown family 'page_views'"),
        ("profile", "[24h, 7d", "[48h, 7d", "unknown window '48h'; known: 1h"),
        ("profile", "activated_by: feature_use", "activated_by: nothing", "unknown family 'nothing'"),
        ("content", "format: video", "format: film", "unknown format 'film'"),
        ("content", "prerequisites: [first-project]", "prerequisites: [nowhere]", "nowhere"),
        ("rules", "flow: guided", "flow: fancy", "unknown flow 'fancy'; known: balanced"),
        ("rules", "segment.stage: stalled}\n    flow", "profile.shoe: x}\n    flow", "unknown field of profile 'shoe'"),
        ("rules", "segment.stage: stalled}\n    flow", "profile.gender: f}\n    flow", "gender is an audit attribute"),
        ("rules", "activation: {segment", "churn: {segment", "unknown model 'churn'; known: activation"),
        (
            "rules",
            "{intents: [guided]}\n\n  - name: beg",
            "{content_ids: [x]}\n\n  - name: beg",
            "'x' is not in the cat",
        ),
        ("experiments", "kind: champion", "kind: best", "unknown kind of arm 'best'"),
    ],
)
def test_a_mistake_in_any_file_is_named_with_its_line(product: Path, name: str, old: str, new: str, said: str) -> None:
    file = product / f"{name}.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(FileError) as refused:
        check_product(settings(product))
    assert str(refused.value).startswith(f"{file}, line ")
    assert said in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("how", ["missing", "empty", "a folder", "no YAML"])
def test_a_file_that_is_none_is_named(product: Path, name: str, how: str) -> None:
    file = product / f"{name}.yaml"
    file.unlink()
    if how == "a folder":
        file.mkdir()
    elif how != "missing":
        file.write_text("" if how == "empty" else "a: [")
    with pytest.raises(FileError) as refused:
        check_product(settings(product))
    assert (f"has no {name}.yaml" if how == "missing" else str(file)) in str(refused.value)


def test_a_folder_that_is_no_product_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="`firstmile product init DIR` writes one to begin with"):
        check_product(settings(tmp_path / "none"))


ACTIVATION = "activation:\n  reached: {events: [Project Created]}\n  within_days: 28\n"


def test_a_product_with_one_model_misses_no_other(product: Path) -> None:
    (product / "labels.yaml").write_text(ACTIVATION)
    assert models_of(product) == {"activation": ("no", "yes")}
    playbook = PlaybookFiles(product, FIELDS, FixedClock(NOW_US)).current
    on = ladder(Rows({"u1": Row()}), {"activation": model("activation")}, playbook=playbook)
    answer = asyncio.run(on.decide(Ask("u1"), started_s=time.perf_counter())).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("model", False, [])
    assert answer["activation_probability"] is not None
    assert (answer["segment"]["skill_level"], answer["segment"]["confidence"]) == (None, None)
    assert answer["preferences"] is None
    PersonalizationAnswer.model_validate(answer)


def test_a_model_the_product_has_no_label_of_is_not_asked(product: Path) -> None:
    (product / "labels.yaml").write_text(ACTIVATION)
    playbook = PlaybookFiles(product, FIELDS, FixedClock(NOW_US)).current
    on = ladder(Rows({"u1": Row()}), models(), playbook=playbook)
    answer = asyncio.run(on.decide(Ask("u1"), started_s=time.perf_counter())).response()
    assert list(answer["models"]) == ["activation"]
