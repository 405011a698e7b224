"""Experiments that change while they run: who is in an arm stays out of every other."""

from pathlib import Path

import pytest
from playbook_files import SPLIT, Files
from serving_builder import NOW_US

from serving.arms import ROUNDING
from serving.buckets import N_PLACES
from serving.changes import carried_on, objection
from serving.experiments import HOLDOUT, Experiments
from serving.experiments_file import load_experiments
from serving.playbook import FILES, PlaybookFiles

USERS = [f"AAA_2014J-{n}" for n in range(400)]
ALL = "{name: %s, arms: [{name: a, kind: champion, share: 0.5}, {name: b, kind: rules, share: 0.5}]}"
ON_A, ON_B, NOT_A, NO_PAGE = (
    ALL.replace("arms", f"when: {{request.page: {page}}}, arms")
    for page in ("/a", "[/b, /c]", "{not: [/a, /d]}", "{known: false}")
)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def on(files: Files) -> PlaybookFiles:
    playbook = files.open()
    assert files.ok == dict.fromkeys(FILES, True)
    return playbook


def load(folder: Path, *experiments: str, head: str = "") -> Experiments:
    path = folder / "e.yaml"
    path.write_text(f"{head}experiments: [{', '.join(experiments)}]\n")
    return load_experiments(path)


def of(*shares: float, name: str = "e") -> str:
    """An experiment with arms a0, a1, … of these shares."""
    arms = ", ".join(f"{{name: a{n}, kind: champion, share: {share}}}" for n, share in enumerate(shares))
    return f"{{name: {name}, arms: [{arms}]}}"


def after(*versions: Experiments) -> tuple[Experiments, list[str | None]]:
    """What is in force after these files, and what was said against each but the first."""
    now, said = versions[0], []
    for found in versions[1:]:
        found = carried_on(now, found, now_us=NOW_US)
        said.append(objection(now, found, now_us=NOW_US))
        now = now if said[-1] else found
    return now, said


def arms_of(on: Experiments, page: str) -> dict[str, tuple[str | None, str]]:
    drawn = {user: on.assign(user, {"page": page} if page else {}, now_us=NOW_US) for user in USERS}
    return {user: (found.name, found.arm) for user, found in drawn.items() if found.name}


@pytest.mark.parametrize(
    "change",
    [
        ("kind: champion, share: 0.4", "kind: champion, share: 0.1"),
        ("kind: rules, share: 0.4", "kind: rules, share: 0.6"),
        ("kind: rules", "kind: challenger"),
        ("name: e", "name: e\n    seed: again"),
    ],
)
def test_arms_may_grow_shrink_and_change_what_answers(files: Files, on: PlaybookFiles, change: tuple[str, str]) -> None:
    before = on.current
    files.write("experiments", SPLIT.replace(*change))
    on.look()
    assert on.current.experiments.experiments != before.experiments.experiments
    assert files.ok["experiments"]


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (["{name: b, kind: rules, share: 0.4}", "{name: a, kind: champion, share: 0.4}"], "from arm a to arm b"),
        (["{name: c, kind: champion, share: 0.4}", "{name: b, kind: rules, share: 0.4}"], "from arm a to arm c"),
        (["{name: a, kind: champion, share: 0.9}"], "from arm b to arm a"),
    ],
)
def test_change_that_moves_users_between_arms_is_refused(
    files: Files, on: PlaybookFiles, caplog: pytest.LogCaptureFixture, arms: list[str], said: str
) -> None:
    before = on.current
    files.write("experiments", "".join([*SPLIT.splitlines(keepends=True)[:3], *(f"      - {arm}\n" for arm in arms)]))
    on.look()
    assert on.current is before
    assert not files.ok["experiments"]
    assert said in caplog.text


def test_holdout_is_for_good(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    files.write("experiments", "holdout: {share: 0.1}\n" + SPLIT)
    on = files.open()
    files.write("experiments", "holdout: {share: 0.2}\n" + SPLIT)
    on.look()
    assert on.current.experiments.holdout is not None
    assert on.current.experiments.holdout.n_places == 1_000
    assert "the share of the holdout changed" in caplog.text


def test_holdout_does_not_come_over_experiments_that_run(tmp_path: Path) -> None:
    now, held = load(tmp_path, of(0.5, 0.5)), load(tmp_path, of(0.5, 0.5), head="holdout: {share: 0.5}\n")
    assert {found.name for found in (held.assign(u, {}, now_us=NOW_US) for u in USERS)} == {HOLDOUT, "e"}
    _, (said,) = after(now, held)
    assert said is not None
    assert "take users out of the arms of e; give these other names" in said
    renamed = load(tmp_path, of(0.5, 0.5, name="f"), head="holdout: {share: 0.5}\n")
    assert after(now, renamed)[1] == [None]


@pytest.mark.parametrize("between", [(0.3, 0.5), (0.3, 0.1)])
def test_users_move_between_arms_by_several_changes_no_more_than_by_one(
    tmp_path: Path, between: tuple[float, ...]
) -> None:
    first, last = load(tmp_path, of(0.5, 0.5)), load(tmp_path, of(0.3, 0.7))
    shrunk = load(tmp_path, of(*between))
    assert after(first, last)[1] != [None]
    now, said = after(first, shrunk, last)
    assert said[0] is None
    assert "users of e would move from arm a0 to arm a1" in str(said[1])
    assert now.experiments == shrunk.experiments
    assert after(first, shrunk, load(tmp_path, of(0.4, 0.5)), first)[1] == [None, None, None]


def test_what_an_experiment_has_had_outlives_its_absence(tmp_path: Path) -> None:
    versions = [load(tmp_path, *text) for text in ([of(0.5, 0.5)], [], [of(0.3, 0.7)], [of(0.5, 0.4)])]
    assert [said is None for said in after(*versions)[1]] == [True, False, True]


def test_many_changes_are_remembered_in_little(tmp_path: Path) -> None:
    now, said = after(*(load(tmp_path, of(n / 100, 0.5 - n / 100)) for n in (*range(1, 40), *range(40, 1, -1))))
    assert len(now.past) == 2
    assert set(said[:1]) == {None}


@pytest.mark.parametrize(
    "ramp",
    [
        [(0.05, 0.1, 0.15), (0.1667, 0.3333, 0.5)],
        [(0.05, 0.1, 0.15), (0.0667, 0.1333, 0.2), (0.1667, 0.3333, 0.5)],
        [(0.1, 0.1, 0.1), (0.3334, 0.3333, 0.3333)],
        [(0.1, 0.1, 0.1), (0.3333, 0.3333, 0.3334)],
        [(0.0033, 0.0067, 0.01), (0.1667, 0.3333, 0.5)],
        [(0.02,) * 6, (0.16666,) * 6],
        [(0.01,) * 7, (0.0714,) * 7, (0.142857,) * 7],
    ],
)
def test_many_arms_grow_in_proportion_as_nearly_as_four_digits_allow(
    tmp_path: Path, ramp: list[tuple[float, ...]]
) -> None:
    versions = [load(tmp_path, of(*shares)) for shares in ramp]
    for n in range(1, len(versions)):
        before, (now, said) = after(*versions[:n])[0], after(*versions[: n + 1])
        assert set(said) == {None}
        drawn = [arms_of(on, "") for on in (before, now)]
        assert all(drawn[1][user] == arm for user, arm in drawn[0].items())
        for arm, share in zip(now.experiments[0].arms, ramp[n], strict=True):
            assert len(arm.all_places()) / N_PLACES == pytest.approx(share, abs=ROUNDING / N_PLACES)


@pytest.mark.parametrize(
    ("grown", "said"),
    [
        ((0.1, 0.1, 0.3), "arm a1 of e would be of other users"),
        ((0.01, 0.1, 0.1), "from arm a0 to arm a1"),
        ((0.3, 0.1, 0.1), "arm a1 of e would be of other users"),
    ],
)
def test_arm_between_others_keeps_its_users_or_the_change_is_refused(
    tmp_path: Path, grown: tuple[float, ...], said: str
) -> None:
    now, found = load(tmp_path, of(0.1, 0.1, 0.1)), load(tmp_path, of(*grown))
    assert said in str(after(now, found)[1][0])


def test_arm_between_others_may_shrink(tmp_path: Path) -> None:
    now, said = after(load(tmp_path, of(0.3, 0.3, 0.3)), load(tmp_path, of(0.3, 0.1, 0.3)))
    assert said == [None]
    drawn = [arms_of(on, "") for on in (load(tmp_path, of(0.3, 0.3, 0.3)), now)]
    assert all(drawn[0][user] == arm for user, arm in drawn[1].items())


@pytest.mark.parametrize(
    ("was", "now", "is_fine"),
    [
        ([ALL % "e"], [ALL % "new", ALL % "e"], False),
        ([ALL % "e"], [ALL % "e", ALL % "new"], True),
        ([ALL % "e"], [ALL % "new", ALL % "renamed"], True),
        ([ALL % "e"], [ON_A % "new", ALL % "e"], False),
        ([ON_B % "e"], [ON_A % "new", ON_B % "e"], True),
        ([ON_A % "e"], [NOT_A % "new", ON_A % "e"], True),
        ([ON_B % "e"], [NOT_A % "new", ON_B % "e"], False),
        ([NOT_A % "e"], [NO_PAGE % "new", NOT_A % "e"], True),
        ([ON_A % "f", ALL % "e"], [ON_A % "renamed", ALL % "e"], True),
        ([ON_A % "f", ALL % "e"], [ALL % "e"], True),
        ([ON_A % "f", ALL % "e"], [ALL % "e", ON_A % "f"], False),
        ([ON_A % "f", ON_B % "e"], [ON_B % "e", ON_A % "f"], True),
        ([ON_A % "e", ALL % "f"], [ON_B % "e", ALL % "f"], False),
    ],
)
def test_no_experiment_takes_users_out_of_one_that_runs(
    tmp_path: Path, was: list[str], now: list[str], is_fine: bool
) -> None:
    one, other = load(tmp_path, *was), load(tmp_path, *now)
    _, (said,) = after(one, other)
    assert (said is None) is is_fine
    going_on = {e.name for e in one.experiments} & {e.name for e in other.experiments}
    is_moved = False
    for page in ("/a", "/b", "/c", "/d", "/e", ""):
        before, later = arms_of(one, page), arms_of(other, page)
        is_moved |= any(before[u] != later.get(u) for u in before if before[u][0] in going_on)
    assert is_moved is not is_fine


def test_experiment_that_has_not_begun_may_change_as_one_likes(tmp_path: Path) -> None:
    later = (ALL % "e").replace("share: 0.5", "share: [{from: 2100-01-01, share: 0.5}]")
    head = "holdout: {share: 0.5}\n"
    assert after(load(tmp_path, later), load(tmp_path, ALL % "new", ALL % "e", head=head))[1] == [None]


def test_order_of_what_a_condition_says_does_not_matter(tmp_path: Path) -> None:
    both = ["{request.page: /a, request.locale: de}", "{request.locale: de, request.page: /a}"]
    versions = [load(tmp_path, (ALL % "e").replace("arms", f"when: {when}, arms")) for when in both]
    assert after(*versions)[1] == [None]
