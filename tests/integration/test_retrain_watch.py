"""`firstmile retrain --watch` with real retrainings as its children: which signals are answered, which stay."""

import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from conftest import FreeSettings
from running import poll

from firstmile.settings import Settings
from training.retrain import keep_watch
from training.signals import FOLDER


@pytest.fixture
def watched(free_settings: FreeSettings) -> Iterator[tuple[Settings, dict[str, int]]]:
    """A home whose MLflow is away, three signals in it, and what the watch counted once it has ended."""
    settings = free_settings()
    folder = settings.home / FOLDER
    folder.mkdir(parents=True)
    (folder / "a-drift.json").write_bytes(orjson.dumps({"because": "drift", "models": ["activation"]}))
    (folder / "b-unknown.json").write_bytes(orjson.dumps({"because": "drift", "models": ["churn"]}))
    (folder / "c-none.json").write_text("{")
    counts: dict[str, int] = {}
    stopping = threading.Event()
    watch = threading.Thread(target=lambda: counts.update(keep_watch(settings, stopping, data=Path("nowhere"))))
    watch.start()
    yield settings, counts
    stopping.set()
    watch.join(30)


def test_a_signal_stays_until_it_is_answered(watched: tuple[Settings, dict[str, int]]) -> None:
    settings, _ = watched
    folder = settings.home / FOLDER
    poll(lambda: (folder / "done" / "c-none.json").exists(), what="all signals looked at")
    assert sorted(file.name for file in folder.glob("*.json")) == ["a-drift.json"]  # nothing could be trained
    assert orjson.loads((folder / "done" / "b-unknown.outcome.json").read_bytes()) == {"exit": 2}
    assert "Invalid JSON" in orjson.loads((folder / "done" / "c-none.outcome.json").read_bytes())["error"]
