"""A mistake in a file ends a start once, in words, before anything listens."""

import json
from pathlib import Path

import pytest
from conftest import FreeSettings
from demo_product import product_with
from running import run

from firstmile.errors import FileError
from serving.start_check import check_files

SEGMENTS = "skill_level: {otherwise: beginner}\nstage: {otherwise: new}\notherwise_flow: balanced\n"
MISTAKES = {
    "unknown flow": (
        "rules",
        SEGMENTS + "rules:\n- {name: x, flow: fancy}\n",
        "line 5: unknown flow 'fancy'; known: balanced",
    ),
    "unknown format": (
        "rules",
        SEGMENTS + "intents: {watch: [film]}\n",
        "line 4: unknown format 'film'; known: community",
    ),
    "unknown feature": (
        "rules",
        SEGMENTS + "rules:\n- {name: x, flow: guided, when: {features.n_cats: {gt: 1}}}\n",
        "line 5: unknown field of features 'n_cats'; known: ",
    ),
    "unknown trait": (
        "rules",
        SEGMENTS + "rules:\n- {name: x, flow: guided, when: {profile.shoe: a}}\n",
        "line 5: unknown field of profile 'shoe'; known: ",
    ),
    "unknown model": (
        "rules",
        SEGMENTS + "rules:\n- {name: x, flow: guided, when: {models.churn: {gt: 1}}}\n",
        "line 5: unknown field of models 'churn'; known: ",
    ),
    "no YAML": ("content", "- a\n  b: [", "line 2: "),
    "empty": ("rules", "", "line 1: "),
    "a folder": ("experiments", None, "cannot be read: Is a directory"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_names_file_line_and_what_is_known(
    free_settings: FreeSettings, tmp_path: Path, mistake: str
) -> None:
    name, text, said = MISTAKES[mistake]
    path = product_with(tmp_path) / f"{name}.yaml"
    path.unlink()
    path.mkdir() if text is None else path.write_text(text)
    with pytest.raises(FileError) as refused:
        check_files(free_settings(product=path.parent))
    assert str(path) in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rules", MISTAKES["unknown flow"][1], "unknown flow 'fancy'"),
        ("profile", "flows: {guided: {format: 2}}\n", "profile.yaml, line 1: flows.guided"),
        ("profile", "traits: [", "profile.yaml, line 1: expected the node content"),
        ("labels", "Churn 60: {for_days: 3}\n", "labels.yaml, line 1: 'Churn 60' cannot be a model's name"),
    ],
)
def test_serve_says_it_once_and_ends_with_2(
    free_settings: FreeSettings, tmp_path: Path, name: str, text: str, said: str
) -> None:
    product = product_with(tmp_path, **{name: text})
    done = run(free_settings(product=product), "serve")
    assert done.returncode == 2
    assert done.stderr.replace("\n", " ").count(said) == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_what_init_writes_is_a_product_to_a_process_of_its_own(free_settings: FreeSettings, tmp_path: Path) -> None:
    product = tmp_path / "shop"
    assert run(free_settings(), "product", "init", str(product)).returncode == 0
    checked = run(free_settings(product=product), "product", "check")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["traits"]["company_size"] == "integer"
    assert run(free_settings(), "product", "check", str(product)).stdout == checked.stdout
