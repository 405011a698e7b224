"""Killed between any two steps, and started again from what is on the disk, the learner is the one never killed."""

import pickle
import random
from pathlib import Path

import pytest
from online_builder import ListLog, World, bounds, opened, recipe, shown, world

from firstmile.errors import DataError
from training.online_learning import Learning
from training.online_models import known
from training.online_snapshot import FILE, HEAD, read_snapshot, write_snapshot
from training.online_state import Recipe, State

N_DECISIONS = 120
STEPS = ("read", "joined", "learned", "written", "replaced")


class KilledError(BaseException):
    """Nobody catches it: whatever was in memory is gone."""


class Killer:
    """Kills after the n-th of all steps done, 0 = never."""

    def __init__(self, at: int = 0) -> None:
        self.at, self.steps = at, list[str]()

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if len(self.steps) == self.at:
            raise KilledError(step)


@pytest.fixture(scope="module")
def source() -> World:
    """Opens that follow the first feature, some decisions repeated."""
    rng = random.Random(3)
    facts, repeats = [], []
    for i in range(N_DECISIONS):
        row = (rng.uniform(0, 10), rng.uniform(0, 10), rng.uniform(0, 10) if i % 4 else float("nan"))
        decision = shown(f"r{i:03}", user=f"u{i % 3}", at=i, row=row, ranking=(f"c{i}",))
        facts.append(decision)
        if row[0] > 5:
            facts.append(opened(f"c{i}", user=decision.user_id, at=i + 5, delay=2))
        if i % 5 == 0:
            repeats.append((decision, rng.randint(0, 100_000_000)))
    return world(facts, repeats=repeats)


def learn(source: World, file: Path, *, seed: int, killer: Killer) -> State:
    """From what is on the disk to the end of the log, a snapshot every third step."""
    state = read_snapshot(file, recipe(), bounds())
    log = ListLog(source, state, seed=seed)
    learning = Learning(state, log, file, after=killer)
    while not log.is_read:
        learning.step()
        if random.Random(log.n_read).random() < 1 / 3:
            learning.snapshot()
    learning.snapshot()
    return state


def probes(state: State) -> list[float]:
    rng = random.Random(9)
    rows = [[rng.uniform(0, 10) for _ in range(3)] for _ in range(50)]
    return [m.probability(known(state.recipe.features, row)) for m in state.models.values() for row in rows]


def is_same(one: State, other: State) -> bool:
    """To the bit: predictions, figures, and everything counted of examples."""
    figures = [{n: q.figures() for n, q in s.quality.items()} for s in (one, other)]
    counts = [(s.n_learned, s.n_opened, s.joiner.n_open, s.joiner.counts["n_duplicates"]) for s in (one, other)]
    return probes(one) == probes(other) and figures[0] == figures[1] and counts[0] == counts[1]


@pytest.fixture(scope="module")
def uninterrupted(source: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[State, list[str]]:
    killer = Killer()
    state = learn(source, tmp_path_factory.mktemp("never") / FILE, seed=0, killer=killer)
    return state, killer.steps


def test_the_uninterrupted_learner_learns_every_decision_and_something_from_them(
    uninterrupted: tuple[State, list[str]], source: World
) -> None:
    state, steps = uninterrupted
    assert state.n_learned == N_DECISIONS
    assert state.n_opened == sum(is_opened for _, is_opened in source.expected())
    assert 20 < state.n_opened < 100
    assert set(steps) == set(STEPS)
    assert len(set(probes(state))) > 50


def test_killed_after_every_single_step_once_it_ends_the_same(
    uninterrupted: tuple[State, list[str]], source: World, tmp_path: Path
) -> None:
    whole, steps = uninterrupted
    killed_after = set()
    for at in range(1, len(steps) + 1):
        file = tmp_path / str(at) / FILE
        killer = Killer(at)
        with pytest.raises(KilledError):
            learn(source, file, seed=0, killer=killer)
        killed_after.add(killer.steps[-1])
        again = learn(source, file, seed=at, killer=Killer())
        assert is_same(again, whole), f"killed after step {at}, {killer.steps[-1]}"
    assert killed_after == set(STEPS)


@pytest.mark.parametrize("seed", range(5))
def test_killed_again_and_again_it_ends_the_same(
    seed: int, uninterrupted: tuple[State, list[str]], source: World, tmp_path: Path
) -> None:
    rng, file, n_kills = random.Random(seed), tmp_path / FILE, 0
    while True:
        try:
            state = learn(source, file, seed=rng.getrandbits(32), killer=Killer(rng.randint(1, 60)))
        except KilledError:
            n_kills += 1
            continue
        break
    assert n_kills > 2
    assert is_same(state, uninterrupted[0])


def test_a_snapshot_reads_back_as_it_was_and_leaves_nothing_beside_it(
    uninterrupted: tuple[State, list[str]], tmp_path: Path
) -> None:
    state, file = uninterrupted[0], tmp_path / "home" / FILE
    write_snapshot(file, state)
    again = read_snapshot(file, recipe(), bounds(max_open=5))
    assert is_same(again, state)
    assert (again.offsets, again.learner_id) == (state.offsets, state.learner_id)
    assert again.joiner.bounds.max_open == 5
    assert [f.name for f in file.parent.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "begins with b''"),
        (b"firstmile learner 9\nabc", "begins with b'firstmile learner 9"),
        (HEAD + b"garbage", "is no snapshot this version reads"),
        (HEAD + pickle.dumps({"a": 1}), "is no snapshot this version reads"),
    ],
)
def test_a_file_that_is_no_snapshot_is_refused_with_the_remedy(data: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_bytes(data)
    with pytest.raises(DataError, match=f"{says}.*move .*{FILE} away to learn anew"):
        read_snapshot(file, recipe(), bounds())


def test_another_window_is_refused_naming_both(tmp_path: Path) -> None:
    file = tmp_path / FILE
    write_snapshot(file, read_snapshot(file, recipe(), bounds()))
    changed: Recipe = recipe(window_s=1.0)
    with pytest.raises(DataError, match=r"window_s was 40\.0, is 1\.0"):
        read_snapshot(file, changed, bounds())
