"""`firstmile retrain --watch` with real retrainings as its children: which signals are answered, which stay."""

import threading
from concurrent.futures import ThreadPoolExecutor

import orjson
from conftest import FreeSettings
from running import poll

from training.retrain_watch import Watch
from training.signals import FOLDER


def test_a_signal_stays_until_it_is_answered(free_settings: FreeSettings) -> None:
    settings, stopping = free_settings(), threading.Event()  # its MLflow is away
    folder = settings.home / FOLDER
    folder.mkdir(parents=True)
    (folder / "a-drift.json").write_bytes(orjson.dumps({"because": "drift", "models": ["activation"]}))
    (folder / "b-unknown.json").write_bytes(orjson.dumps({"because": "drift", "models": ["churn"]}))
    (folder / "c-none.json").write_text("{")
    with ThreadPoolExecutor(1) as pool:
        counts = pool.submit(Watch(settings, stopping).run)
        try:
            poll(lambda: (folder / "done" / "c-none.json").exists(), what="all signals looked at")
        finally:
            stopping.set()
    assert sorted(file.name for file in folder.glob("*.json")) == ["a-drift.json"]  # nothing could be trained
    assert orjson.loads((folder / "done" / "b-unknown.outcome.json").read_bytes()) == {"exit": 2, "has_judged": False}
    assert "Invalid JSON" in orjson.loads((folder / "done" / "c-none.outcome.json").read_bytes())["error"]
    assert counts.result() == {"signals": 2, "could_not": 1, "refused": 1, "refused_signals": 1}
