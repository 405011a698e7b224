"""Loading experiments: what is meant is taken, every mistake is refused with its line."""

from datetime import datetime
from pathlib import Path

import pytest
from demo_product import EXPERIMENTS

from firstmile.clock import to_us
from firstmile.errors import DataError
from firstmile.names import CHALLENGER, CHAMPION
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from serving.arms import DEFAULT_FLOW, KINDS, RULES
from serving.buckets import N_PLACES
from serving.experiments import Assignment, Experiments, Holdout
from serving.experiments_file import load_experiments

HEAD = "experiments:\n  - name: e\n"
ARM = "    arms: [{name: a, kind: champion, share: 1}]\n"


def load(folder: Path, text: str) -> Experiments:
    path = folder / "experiments.yaml"
    path.write_text(text)
    return load_experiments(path)


def test_shipped_file_gives_everybody_the_champion() -> None:
    assert load_experiments(EXPERIMENTS).assign("u1", {}, now_us=0) == Assignment("onboarding-v1", "champion")


def test_example_of_the_shipped_file_is_one(tmp_path: Path) -> None:
    lines = EXPERIMENTS.read_text().splitlines()
    example = lines[lines.index("# holdout: {share: 0.05, kind: default_flow}") : lines.index("experiments:")]
    on = load(tmp_path, "\n".join(line.removeprefix("# ") for line in example) + "\n")
    assert on.holdout == Holdout(DEFAULT_FLOW, 500)
    (found,) = on.experiments
    assert (found.name, found.seed, found.is_shadowed) == ("rules-or-models", "rules-or-models", True)
    assert [(arm.name, arm.kind) for arm in found.arms] == [("rules", RULES), ("models", CHAMPION)]
    moments = [us("2026-11-30T23:59Z"), us("2026-12-01T00:00Z"), us("2026-12-15T11:59Z"), us("2026-12-15T12:00Z")]
    assert [len(found.arms[1].places(t)) for t in moments] == [0, 500, 2_500, 5_000]
    assert found.when.holds({"request": {"page": "/home"}})


def us(text: str) -> int:
    return to_us(datetime.fromisoformat(text))


def test_a_seed_draws_anew(tmp_path: Path) -> None:
    halves = "    arms: [{name: a, kind: champion, share: 0.5}, {name: b, kind: rules, share: 0.5}]\n"
    one, other = load(tmp_path, HEAD + halves), load(tmp_path, HEAD + "    seed: again\n" + halves)
    users = [f"u{n}" for n in range(50)]
    assert [one.assign(u, {}, now_us=0).arm for u in users] != [other.assign(u, {}, now_us=0).arm for u in users]


def test_no_experiments_at_all_are_fine(tmp_path: Path) -> None:
    assert load(tmp_path, "experiments: []\n").assign("u1", {}, now_us=0) == Assignment(None, CHAMPION)


@pytest.mark.parametrize(
    "shares", [[0.16666] * 6, [0.33335, 0.33335, 0.3333], [0.00015, 0.99985], [0.00006, 0.00006, 0.99988]]
)
def test_shares_are_added_up_before_they_are_rounded(tmp_path: Path, shares: list[float]) -> None:
    arms = "".join(f"      - {{name: a{n}, kind: champion, share: {share}}}\n" for n, share in enumerate(shares))
    (found,) = load(tmp_path, f"{HEAD}    arms:\n{arms}").experiments
    taken = [at for arm in found.arms for at in arm.all_places()]
    assert len(taken) == len(set(taken)) <= N_PLACES
    assert 0 <= min(taken) <= max(taken) < N_PLACES
    assert all(arm.all_places() for arm in found.arms)
    assert [len(arm.all_places()) / N_PLACES for arm in found.arms] == pytest.approx(shares, abs=1.5 / N_PLACES)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_those_of_arms_and_shadows(tmp_path: Path, kind: str) -> None:
    arm = ARM.replace("champion", kind)
    assert load(tmp_path, HEAD + arm).kinds() == {kind}
    assert load(tmp_path, HEAD + "    shadow: challenger\n" + arm).kinds() == {kind, CHALLENGER}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (f"{HEAD}{ARM}colour: red\n", 4, "colour"),
        (f"{HEAD}    colour: red\n{ARM}", 3, "colour"),
        (f"{HEAD}    arms: []\n", 3, "at least 1"),
        (f"{HEAD}", 2, "arms"),
        (f"{HEAD}    name: f\n{ARM}", 3, "'name' is said twice"),
        (f"{HEAD}{ARM}  - name: e\n{ARM}", 4, "experiment 'e' is given twice"),
        (f"experiments:\n  - name: Bad Name\n{ARM}", 2, "name"),
        (f"experiments:\n  - name: holdout\n{ARM}", 2, "those held out"),
        (f"{HEAD}    shadow: champion\n{ARM}", 3, "unknown shadow 'champion'; known: challenger"),
        (f"{HEAD}    when: {{profile.plan: pro}}\n{ARM}", 3, "unknown group of fields 'profile.plan'; known: request"),
        (f"{HEAD}    when: {{request.colour: red}}\n{ARM}", 3, "unknown field of request 'colour'"),
        (f"{HEAD}    when: {{request.page: {{gte: 3}}}}\n{ARM}", 3, "compares a number field"),
        (f"holdout: {{share: 0}}\n{HEAD}{ARM}", 1, "greater than 0"),
        (f"holdout: {{share: 1}}\n{HEAD}{ARM}", 1, "less than 1"),
        (f"holdout: {{share: 0.1, kind: champion}}\n{HEAD}{ARM}", 1, "unknown kind of holdout 'champion'"),
    ],
)
def test_mistake_is_refused_with_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(DataError) as refused:
        load(tmp_path, text)
    assert f"experiments.yaml, line {line}: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("arms", "line", "said"),
    [
        (["{name: a, kind: magic, share: 1}"], 4, "unknown kind of arm 'magic'; known: challenger, champion"),
        (["{name: a, kind: champion}"], 4, "share"),
        (["{name: a, kind: champion, share: 1, colour: red}"], 4, "colour"),
        (["{name: a, kind: champion, share: 0}"], 4, "from 0.0001 to 1, not 0"),
        (["{name: a, kind: champion, share: 1.5}"], 4, "less than or equal to 1"),
        (["{name: a, kind: champion, share: .nan}"], 4, "than or equal to"),
        (["{name: a, kind: champion, share: half}"], 4, "share"),
        (["{name: holdout, kind: champion, share: 1}"], 4, "those held out"),
        (["{name: a, kind: champion, share: 0.1}", "{name: a, kind: rules, share: 0.1}"], 5, "'a' is given twice"),
        (["{name: a, kind: champion, share: 0.6}", "{name: b, kind: rules, share: 0.6}"], 3, "grow to 1.2 together"),
        (
            ["{name: a, kind: champion, share: 0.50002}", "{name: b, kind: rules, share: 0.50001}"],
            3,
            "grow to 1.00003 together",
        ),
        (["{name: a, kind: champion, share: []}"], 4, "at least 1"),
        (["{name: a, kind: champion, share: [{share: 1}]}"], 4, "from"),
        (["{name: a, kind: champion, share: [{from: soon, share: 1}]}"], 4, "from"),
        (["{name: a, kind: champion, share: [{from: 2026-12-01, share: 2}]}"], 4, "less than or equal to 1"),
        (["{name: a, kind: champion, share: [{from: 2026-12-01, share: 0}]}"], 4, "from 0.0001 to 1, not 0"),
        (
            [
                "name: a",
                "  kind: champion",
                "  share:\n        - {from: 2026-12-02, share: 0.1}\n        - {from: 2026-12-02, share: 0.2}",
            ],
            8,
            "not after the step before it",
        ),
        (
            [
                "name: a",
                "  kind: champion",
                "  share:\n        - {from: 2026-12-01, share: 0.3}\n        - {from: 2026-12-02, share: 0.2}",
            ],
            8,
            "a share only grows",
        ),
    ],
)
def test_mistake_in_an_arm_is_refused_with_file_and_line(tmp_path: Path, arms: list[str], line: int, said: str) -> None:
    is_flow = arms[0].startswith("{")
    text = "\n".join(f"      - {arm}" for arm in arms) if is_flow else "      - " + "\n      ".join(arms)
    with pytest.raises(DataError) as refused:
        load(tmp_path, f"{HEAD}    arms:\n{text}\n")
    assert f"experiments.yaml, line {line}: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff\xfe\x00", "is not UTF-8 at byte 0"),
        (b"experiments:\n\n\x00", "line 3: special characters are not allowed"),
        (b"experiments: &a [*a]", "in itself by an alias"),
        (b"experiments: " + b"[" * 1_000, "nested too deeply"),
        (b"experiments:\n  ? [a]\n  : b", "line 2: a key is a text or a number"),
        (b"experiments:\n- name: 2026-13-01", "line 2: '2026-13-01': month must be in 1..12"),
        (b"experiments:\n- name: !!bool maybe", "line 2: 'maybe' is not what its tag says"),
        (b"experiments:\n- name: !!timestamp soon", "line 2: 'soon' is not what its tag says"),
        (b"experiments:\n- name: !!int ''", "line 2: '' is not what its tag says"),
        (b"experiments:\n- share: !!float " + b"1:" * 200 + b"1", "is not what its tag says"),
        (b"experiments: [", "line 1: expected the node content"),
        (b"", "line 1"),
    ],
)
def test_what_is_no_yaml_of_ours_is_refused_all_the_same(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_bytes(text)
    with pytest.raises(DataError) as refused:
        load_experiments(path)
    assert str(path) in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize("attribute", AUDIT_ATTRIBUTES)
@pytest.mark.parametrize("group", ["request", "profile", "user_audit"])
def test_audit_attribute_is_refused(tmp_path: Path, group: str, attribute: str) -> None:
    with pytest.raises(DataError, match=r"line 3: .*audit attribute"):
        load(tmp_path, f"{HEAD}    when: {{{group}.{attribute}: x}}\n{ARM}")
