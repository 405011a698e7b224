"""The words of a product: what profile.yaml leaves out, what a label's classes are, and two products apart."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from firstmile.errors import FileError
from firstmile.setting_sections import ROOT
from firstmile.vocabulary import Profile, models_of, read_models, read_profile

SAID = "import json; from firstmile import vocabulary as v; from feature_repo.services import model_features; " + (
    "from monitoring.decisions import refuse_audit_names as refuse; refuse(['gender', 'n_pages'], where='it'); "
    "print(json.dumps([v.MODELS, v.CLASSES, v.FORMATS, v.FLOWS, v.TRAINED, model_features(v.MODELS[-1])]))"
)


def test_a_file_that_says_nothing_leaves_the_usual_words(tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text("traits: {plan: text, seats: integer, paid: number}\n")
    profile = read_profile(path)
    assert (profile.formats, profile.levels) == (Profile().formats, ("beginner", "intermediate", "advanced"))
    assert (profile.of_kind("text"), profile.of_kind("integer", "number")) == (("plan",), ("seats", "paid"))


def test_every_process_has_the_words_of_its_own_product() -> None:
    product = ROOT / "examples" / "workspace"
    done = subprocess.run(
        [sys.executable, "-c", SAID],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"FIRSTMILE_PRODUCT": str(product), "PATH": "/usr/bin:/bin"},
    )
    models, classes, formats, flows, trained, features = json.loads(done.stdout)
    assert models == ["activation", "disengagement", "skill_level", "preference", "will_invite"]
    assert trained == [*models, "content_ranker"]
    assert classes["preference"] == ["video", "guide", "template", "webinar"]
    assert (formats[0], flows[0]) == ("video", "tour")
    assert {"opens_video", "invite_1h_count", "company_size", "price_paid"} <= set(features)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("churn: {none_of: {events: any}, for_days: 60}", {"churn": ("no", "yes")}),
        ("size: {levels: {small: , large: {events: [x]}}, within_days: 9}", {"size": ("small", "large")}),
        ("likes: {for_days: 3}", {"likes": ("a", "b")}),
        ("likes: {for_days: 3, formats: [b, a]}", {"likes": ("b", "a")}),
        ("about: {limits: x}\nplan: {classes: [p, q]}", {"plan": ("p", "q")}),
    ],
)
def test_classes_are_told_by_the_form_of_a_label(tmp_path: Path, text: str, classes: dict[str, object]) -> None:
    (tmp_path / "labels.yaml").write_text(text)
    assert read_models(tmp_path / "labels.yaml", ("a", "b", "other")) == classes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("likes: {for_days: 3, formats: [b]}", "likes must say one of two or more classes"),
        ("plan: {classes: [p, p]}", "each named once"),
        ("plan: {classes: [no, yes]}", "False cannot be a class of plan: .*; in quotes"),
        ("plan: {classes: [a b, c]}", "'a b' cannot be a class of plan"),
    ],
)
def test_classes_that_answers_could_not_name_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(FileError, match=rf"labels\.yaml, line 1: .*{said}"):
        models_of(tmp_path)


def test_a_trait_with_the_name_of_a_feature_is_refused_before_a_vector_is_made(tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text("traits: {n_pages: integer}\n")
    done = subprocess.run(
        [sys.executable, "-c", "import feature_repo.values"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"FIRSTMILE_PRODUCT": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert "the trait 'n_pages' has the name of a feature" in done.stderr


def test_a_product_without_labels_has_no_models(tmp_path: Path) -> None:
    assert models_of(tmp_path) == {}


@pytest.mark.parametrize("name", ["content_ranker", "content_open", "Churn", "1st", "x" * 41])
def test_names_that_no_model_may_have_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "labels.yaml").write_text(f"{name}: {{for_days: 3}}\n")
    with pytest.raises(FileError, match=r"line 1: .* cannot be a model's name"):
        models_of(tmp_path)
