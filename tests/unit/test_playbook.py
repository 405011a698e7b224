"""The files of rules, content and experiments while serving runs: taken up when sound, refused once when not."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playbook_files import CONTENT, RULE_FILE, SPLIT, Files
from serving_builder import NOW_US

from firstmile.clock import FixedClock
from firstmile.errors import DataError
from serving.catalogue import GENERAL
from serving.facts import Facts
from serving.playbook import FILES, PlaybookFiles
from serving.policy_fields import FIELDS

WHEN_ON_A_PAGE = "  - {name: page, when: {request.page: /x}, flow: guided}\n"


class Breaking(dict[str, frozenset[str]]):
    """Fields that raise what nobody expects, once told."""

    is_broken = False

    def __contains__(self, key: object) -> bool:
        if self.is_broken:
            raise RuntimeError("a bug of ours")
        return super().__contains__(key)


class BrokenClock(FixedClock):
    """Raises what nobody expects."""

    def now_us(self) -> int:
        raise RuntimeError("a bug of ours")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def on(files: Files) -> Iterator[PlaybookFiles]:
    playbook = files.open()
    assert files.ok == dict.fromkeys(FILES, True)
    yield playbook
    playbook.stop()


def flow(on: PlaybookFiles) -> str:
    return on.current.policy.answer(Facts(), limit=1).flow


def titles(on: PlaybookFiles) -> list[str]:
    return [item.title for item in on.current.policy.catalogue.shelves[GENERAL].items]


def test_nothing_changed_keeps_the_very_same_playbook(on: PlaybookFiles) -> None:
    before = on.current
    on.look()
    assert on.current is before


def test_changed_rules_answer_the_next_request_and_not_one_that_began_before(files: Files, on: PlaybookFiles) -> None:
    before = on.current
    files.write("rules", RULE_FILE.replace("otherwise_flow: balanced", "otherwise_flow: tailored"))
    on.look()
    assert flow(on) == "tailored"
    assert before.policy.answer(Facts(), limit=1).flow == "balanced"
    assert on.current.experiments is before.experiments


def test_changed_content_is_shown(files: Files, on: PlaybookFiles) -> None:
    files.write("content", CONTENT.replace("title: T", "title: New"))
    on.look()
    assert titles(on) == ["New"]


def test_changed_experiments_draw_anew_and_leave_the_rules_alone(files: Files, on: PlaybookFiles) -> None:
    before = on.current
    files.write("experiments", SPLIT.replace("name: e", "name: f"))
    on.look()
    assert on.current.experiments.experiments[0].name == "f"
    assert on.current.policy is before.policy


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rules", RULE_FILE.replace("balanced", "slow"), "line 3: unknown flow 'slow'"),
        ("content", CONTENT.replace("document", "song"), "line 2: unknown format 'song'"),
        ("experiments", SPLIT.replace("0.4", "0.9"), "line 3: the shares of e grow to 1.8 together"),
    ],
)
def test_bad_file_keeps_the_last_good_one_and_is_said_once(
    files: Files, on: PlaybookFiles, caplog: pytest.LogCaptureFixture, name: str, text: str, said: str
) -> None:
    before, good = on.current, (files.folder / f"{name}.yaml").read_text()
    files.write(name, text)
    for _ in range(3):
        on.look()
    assert (on.current.policy, on.current.experiments) == (before.policy, before.experiments)
    assert files.ok == {**dict.fromkeys(FILES, True), name: False}
    assert caplog.text.count(said) == 1
    files.write(name, text + "# still wrong\n")
    on.look()
    assert caplog.text.count(said) == 1
    files.write(name, good)
    with caplog.at_level(logging.INFO):
        on.look()
    assert files.ok == dict.fromkeys(FILES, True)
    assert f"{name}.yaml is in force as changed" in caplog.text


def test_missing_file_keeps_the_last_good_one(
    files: Files, on: PlaybookFiles, caplog: pytest.LogCaptureFixture
) -> None:
    (files.folder / "rules.yaml").unlink()
    on.look()
    assert flow(on) == "balanced"
    assert "rules.yaml cannot be read" in caplog.text


def test_content_and_the_rules_that_need_it_come_into_force_together(files: Files, on: PlaybookFiles) -> None:
    files.write("content", CONTENT.replace("accept-terms", "new-terms"))
    on.look()
    assert titles(on) == ["T"]
    assert files.ok == {"content": False, "rules": False, "experiments": True}
    files.write("rules", RULE_FILE.replace("accept-terms", "new-terms"))
    on.look()
    assert [i.content_id for i in on.current.policy.catalogue.shelves[GENERAL].items] == ["new-terms"]
    assert files.ok == dict.fromkeys(FILES, True)


def test_bad_content_does_not_hold_up_good_rules(files: Files, on: PlaybookFiles) -> None:
    files.write("content", "items: []\n")
    files.write("rules", RULE_FILE.replace("otherwise_flow: balanced", "otherwise_flow: tailored"))
    on.look()
    assert (flow(on), titles(on)) == ("tailored", ["T"])
    assert files.ok == {"content": False, "rules": True, "experiments": True}


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("{hook: 'examples.oulad.catalogue:nothing'}", "line 3: examples.oulad.catalogue:nothing cannot be imported"),
        ("!!bool maybe", "line 3: 'maybe' is not"),
    ],
)
def test_content_that_is_wrong_in_any_way_is_said_and_hides_no_change_of_another_file(
    files: Files, on: PlaybookFiles, caplog: pytest.LogCaptureFixture, hook: str, said: str
) -> None:
    files.write("content", f"{CONTENT}shelves: {hook}\n")
    files.write("experiments", SPLIT.replace("name: e", "name: f"))
    on.look()
    assert files.ok == {"content": False, "rules": True, "experiments": True}
    assert on.current.experiments.experiments[0].name == "f"
    assert said in caplog.text
    with pytest.raises(DataError, match=r"content\.yaml, line 3"):
        files.open()


def test_error_nobody_expects_is_logged_with_its_traceback_and_holds_up_no_other_file(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    fields = Breaking(FIELDS)
    on = files.open(fields=fields)
    fields.is_broken = True
    files.write("rules", RULE_FILE + WHEN_ON_A_PAGE)
    files.write("experiments", SPLIT.replace("name: e", "name: f"))
    for _ in range(2):
        on.look()
    assert files.ok == {"content": True, "rules": False, "experiments": True}
    assert on.current.experiments.experiments[0].name == "f"
    assert caplog.text.count("RuntimeError: a bug of ours") == 1
    fields.is_broken = False
    files.write("rules", RULE_FILE.replace("otherwise_flow: balanced", "otherwise_flow: tailored"))
    on.look()
    assert (flow(on), files.ok["rules"]) == ("tailored", True)


def test_error_nobody_expects_of_the_experiments_shows_in_the_metric(files: Files) -> None:
    on = files.open(clock=BrokenClock(NOW_US))
    files.write("experiments", SPLIT.replace("kind: rules", "kind: challenger"))
    files.write("rules", RULE_FILE.replace("otherwise_flow: balanced", "otherwise_flow: tailored"))
    on.look()
    assert (flow(on), files.ok) == ("tailored", {"content": True, "rules": True, "experiments": False})


def test_bad_file_at_the_start_is_refused(files: Files) -> None:
    files.write("experiments", "experiments: {}\n")
    with pytest.raises(DataError, match=r"experiments\.yaml, line 1"):
        files.open()


def test_files_are_watched_in_the_background(files: Files) -> None:
    on = files.open(poll_s=0.01)
    on.start()
    try:
        files.write("rules", RULE_FILE.replace("otherwise_flow: balanced", "otherwise_flow: tailored"))
        wait_for(lambda: flow(on) == "tailored")
        files.write("rules", RULE_FILE)
        wait_for(lambda: flow(on) == "balanced")
    finally:
        on.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 20 s"
        threading.Event().wait(0.01)
