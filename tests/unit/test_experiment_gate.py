"""What live traffic says of a version: refused when it was worse, and said when nobody has asked."""

from pathlib import Path

import orjson
import pytest

from training.experiment_gate import decisions_of, experiment_gate


@pytest.mark.parametrize(
    ("verdict", "passed", "said"),
    [
        ("better: activation +2.0 % [0.4, 3.1]", True, "live traffic says better: activation"),
        ("no difference", True, "live traffic says no difference"),
        ("worse: activation -2.1 % [-3.9, -0.4]", False, "-2.1 % [-3.9, -0.4]; promote another version"),
        ("splendid", False, "is 'splendid'; one of better, no difference, worse was expected"),
    ],
)
def test_a_verdict_decides_whatever_the_log_counts(verdict: str, passed: bool, said: str) -> None:
    for n_decisions in (None, 0, 500):
        found = experiment_gate(verdict, n_decisions)
        assert found is not None
        assert found.passed is passed
        assert said in found.reason


def test_live_traffic_without_a_verdict_is_said_and_holds_nobody_up() -> None:
    found = experiment_gate(None, 4_120)
    assert found is not None
    assert found.passed
    assert "4,120 decisions, and no experiment has a verdict on it" in found.reason
    assert experiment_gate(None, 0) is None
    assert experiment_gate(None, None) is None


def test_decisions_are_counted_by_the_last_report(tmp_path: Path) -> None:
    assert decisions_of(tmp_path, "activation", "3") is None
    (tmp_path / "latest").mkdir()
    summary = {"decisions": {"models": {"activation": {"3": 12}}}}
    (tmp_path / "latest" / "summary.json").write_bytes(orjson.dumps(summary))
    assert decisions_of(tmp_path, "activation", "3") == 12
    assert decisions_of(tmp_path, "activation", "4") == 0
    assert decisions_of(tmp_path, "preference", "3") == 0
