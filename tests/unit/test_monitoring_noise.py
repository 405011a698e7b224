"""The threshold of drift: what chance reaches, and no more."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from monitoring.noise import FLOOR, drift_threshold

Sample = Callable[[np.random.Generator, int], np.ndarray]

POPULATIONS: dict[str, Sample] = {
    "clicks with a long tail": lambda rng, n: np.where(rng.random(n) < 0.25, 0, np.floor(rng.lognormal(3, 1.4, n))),
    "small counts": lambda rng, n: rng.poisson(rng.gamma(0.6, 1.5, n)).astype(float),
    "probabilities": lambda rng, n: rng.beta(2, 3, n),
}


def alarms(sample: Sample, n: int, *, shift_std: float = 0.0, n_trials: int = 200) -> float:
    """Share of samples of the same, or a shifted, population that reach the threshold."""
    rng = np.random.default_rng(3)
    reference = sample(rng, 5_000)
    std = float(reference.std())
    threshold = drift_threshold(reference, n_current=n)
    scores = [wasserstein_distance(reference, sample(rng, n) + shift_std * std) / std for _ in range(n_trials)]
    return float(np.mean(np.array(scores) >= threshold))


@pytest.mark.parametrize("population", POPULATIONS)
@pytest.mark.parametrize("n", [20, 200, 2_000])
def test_samples_of_the_same_population_rarely_reach_it(population: str, n: int) -> None:
    assert alarms(POPULATIONS[population], n) <= 0.05


@pytest.mark.parametrize("population", POPULATIONS)
def test_a_shift_of_half_a_standard_deviation_reaches_it_with_two_hundred_decisions(population: str) -> None:
    assert alarms(POPULATIONS[population], 200, shift_std=0.5) >= 0.95


def test_it_falls_with_more_decisions_down_to_the_floor() -> None:
    reference = np.random.default_rng(0).normal(size=3_000)
    found = [drift_threshold(reference, n_current=n) for n in (1, 10, 100, 100_000)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 2
    assert found[-1] == FLOOR


def test_a_small_reference_is_noise_too() -> None:
    reference = np.random.default_rng(0).normal(size=50)
    assert drift_threshold(reference, n_current=1_000_000) > 2 * FLOOR


def test_a_constant_reference_has_no_noise() -> None:
    assert drift_threshold(np.full(100, 3.0), n_current=20) == FLOOR
