"""Experiments that change while they run: who is in an arm stays out of every other."""

from itertools import pairwise
from pathlib import Path

import pytest
from playbook_files import SPLIT, Files
from serving_builder import NOW_US

from serving.changes import objection
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


def of(*shares: float | str, name: str = "e") -> str:
    """An experiment with arms a0, a1, … of these shares."""
    arms = ", ".join(f"{{name: a{n}, kind: champion, share: {share}}}" for n, share in enumerate(shares))
    return f"{{name: {name}, arms: [{arms}]}}"


def after(*versions: Experiments) -> tuple[Experiments, list[str | None]]:
    """What is in force after these files, and what was said against each but the first."""
    now, said = versions[0], []
    for found in versions[1:]:
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


@pytest.mark.parametrize(
    "ramp",
    [
        [(0.05, 0.1, 0.15), (0.1, 0.2, 0.3), (0.15, 0.3, 0.45)],
        [(0.1, 0.1, 0.1), (0.2, 0.2, 0.2)],
        [(0.02,) * 6, (0.16,) * 6],
    ],
)
def test_many_arms_grow_in_proportion(tmp_path: Path, ramp: list[tuple[float, ...]]) -> None:
    versions = [load(tmp_path, of(*shares)) for shares in ramp]
    assert set(after(*versions)[1]) == {None}
    drawn = [arms_of(on, "") for on in versions]
    assert all(drawn)
    assert all(later[user] == arm for was, later in pairwise(drawn) for user, arm in was.items())


@pytest.mark.parametrize("at", range(3))
def test_any_of_many_arms_is_made_small_at_once_by_steps_that_end_at_its_share(tmp_path: Path, at: int) -> None:
    steps = "[{from: 2020-01-01, share: 0.05}, {from: 2099-01-01, share: 0.2}]"
    shares = [0.2, 0.2, 0.2]
    was, now = load(tmp_path, of(*shares)), load(tmp_path, of(*(steps if n == at else 0.2 for n in range(3))))
    assert after(was, now)[1] == [None]
    before, later = arms_of(was, ""), arms_of(now, "")
    assert {arm for _, arm in later.values()} == {"a0", "a1", "a2"}
    assert all(before[user] == arm for user, arm in later.items())
    gone = {before[user][1] for user in before.keys() - later.keys()}
    assert gone == {f"a{at}"}


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
    assert {arm for _, arm in drawn[1].values()} == {"a0", "a1", "a2"}
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
