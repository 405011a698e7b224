"""What `feast apply` finds in the manifest, by Feast's own parser: every definition, however many models there are."""

import sys

import pytest
from feast.repo_operations import parse_repo

import feature_repo.services
from feature_repo.store import REPO, definitions
from firstmile.settings import load_settings
from firstmile.vocabulary import MODELS


@pytest.fixture(autouse=True)
def as_feast_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feast imports the file by its path below the working directory, in a process that has not imported it yet."""
    monkeypatch.chdir(REPO.parent)
    monkeypatch.delitem(sys.modules, "feature_repo.manifest", raising=False)


def found_by_feast() -> dict[tuple[str, str], object]:
    found = parse_repo(REPO)
    kinds = (found.entities, found.feature_views, found.on_demand_feature_views, found.feature_services)
    return {(type(each).__name__, each.name): each for kind in kinds for each in kind if each.name != "__dummy"}


def registered_by_apply() -> dict[tuple[str, str], object]:
    return {(type(each).__name__, each.name): each for each in definitions(load_settings())}


def test_manifest_gives_feast_what_apply_registers() -> None:
    assert found_by_feast() == registered_by_apply()


@pytest.mark.parametrize("models", [(*MODELS, "renewal"), MODELS[:1]])
def test_manifest_gives_a_service_for_each_model_of_any_number(
    models: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_repo.services, "SERVED", models)
    found = found_by_feast()
    assert {name for kind, name in found if kind == "FeatureService"} == {f"{model}_v1" for model in models}
    assert found == registered_by_apply()
