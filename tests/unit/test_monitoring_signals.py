"""A report's drift asks for retraining, once for each champion, in a form that training reads."""

from pathlib import Path
from typing import Any

import pytest

from monitoring.signals import ask_to_retrain
from training.signals import Signal, taken, waiting


def summary(**shares: float) -> dict[str, Any]:
    """Champions of version 3 with so many of ten columns drifted."""
    return {
        "models": {
            model: {
                "version": "3",
                "share_drifted": share,
                "n_columns": 10,
                "n_drifted": round(10 * share),
                "drifted": [{"column": f"c{i}"} for i in range(round(10 * share))],
            }
            for model, share in shares.items()
        }
    }


def test_each_champion_over_the_bound_asks_in_training_s_own_form(tmp_path: Path) -> None:
    written = ask_to_retrain(tmp_path, summary(activation=0.5, disengagement=0.4, preference=0.9), at_share=0.5)
    assert [file for file, _ in waiting(tmp_path)] == written
    assert [signal for _, signal in waiting(tmp_path)] == [
        Signal(because="drift: 5 of 10 columns of activation 3, furthest c0, c1, c2", models=("activation",)),
        Signal(because="drift: 9 of 10 columns of preference 3, furthest c0, c1, c2", models=("preference",)),
    ]


def test_a_champion_asks_once_and_its_successor_again(tmp_path: Path) -> None:
    drifted = summary(activation=0.8)
    (file,) = ask_to_retrain(tmp_path, drifted, at_share=0.5)
    assert ask_to_retrain(tmp_path, drifted, at_share=0.5) == []
    taken(file, {"exit": 1})
    assert ask_to_retrain(tmp_path, drifted, at_share=0.5) == []
    drifted["models"]["activation"]["version"] = "4"
    assert len(ask_to_retrain(tmp_path, drifted, at_share=0.5)) == 1


@pytest.mark.parametrize(("share", "at_share"), [(1.0, 0.0), (0.49, 0.5), (0.0, 0.5)])
def test_nothing_is_asked_below_the_bound_or_when_it_is_off(tmp_path: Path, share: float, at_share: float) -> None:
    assert ask_to_retrain(tmp_path, summary(activation=share), at_share=at_share) == []
    assert waiting(tmp_path) == []
