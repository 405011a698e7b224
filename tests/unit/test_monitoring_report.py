"""Summary, page and files of one run, from figures made here; and the browser that serves them."""

import re
import threading
from collections.abc import Iterator
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from conftest import FreeSettings
from decision_records import NOON_US, decision_record

from firstmile.errors import ConflictError
from firstmile.settings import Settings
from monitoring.decisions import DecisionLog, frames
from monitoring.drift import ColumnDrift, ModelDrift, align
from monitoring.page import report_page
from monitoring.report import report_names, write
from monitoring.summary import Compared, summarize
from monitoring.ui import open_browser

EVIL = "<script>alert('x')</script>&\""


def column(name: str, score: float, threshold: float = 0.2) -> ColumnDrift:
    return ColumnDrift(name, score, threshold, 1.0, 2.0, 0.0, 0.0)


def compared(*columns: ColumnDrift, gone: str | None = None) -> Compared:
    frame = pd.DataFrame({"n_pages": [1.0]})
    left = frame.assign(**{gone: 1.0}) if gone else frame
    drift = ModelDrift(columns, align(left, frame), "<html>full</html>", b"{}")
    return Compared("3", n_current=30, n_users=12, n_reference=1_000, drift=drift)


def summary(records: list[Any] | None = None, **models: Compared) -> dict[str, Any]:
    log = DecisionLog(frames(records or [decision_record() for _ in range(4)]), 5, 1, 0, 7)
    found = models or {"activation": compared(column("n_pages", 0.3), column("prediction", 0.1))}
    return summarize(log, found, {"skill_level": f"no champion {EVIL}"}, made_us=NOON_US)


def test_the_summary_counts_what_was_logged() -> None:
    records = [
        *(decision_record(user_id="u1", latency_ms=float(i)) for i in range(1, 100)),
        decision_record(rung="cached", fallback=True, reasons=["features_late"], latency_ms=100.0, models={}),
        decision_record(
            rung="rules", reasons=["cold_start", "no_model"], latency_ms=0.0, feature_lag_ms=40.0, models={}
        ),
    ]
    found = summary(records)["decisions"]
    assert found["rungs"] == {"model": 99, "partial": 0, "cached": 1, "rules": 1, "default": 0}
    assert (found["n_decisions"], found["n_scored"], found["n_users"], found["n_fallback"]) == (101, 99, 3, 1)
    assert found["latency_ms"] == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    assert found["feature_lag_ms"] == {"p50": 40.0, "p90": 40.0, "p99": 40.0, "max": 40.0}
    assert found["models"] == {"activation": {"1": 99}}
    assert found["reasons"] == {"features_late": 1, "cold_start": 1, "no_model": 1}
    assert (found["n_records"], found["n_repeated"], found["n_older_unread"]) == (5, 1, 7)
    assert found["first_at"] == found["last_at"] == "2026-11-23T12:00:00+00:00"


def test_the_summary_says_what_drifted_by_how_much_and_whether_answers_moved() -> None:
    found = summary(
        activation=compared(column("a", 0.5), column("b", 0.1), column("c", 0.2), column("prediction", 0.1), gone="g"),
        disengagement=compared(column("a", 0.1), column("prediction", 0.4)),
    )["models"]
    activation = found["activation"]
    assert [(c["column"], c["score"], c["threshold"]) for c in activation["drifted"]] == [
        ("a", 0.5, 0.2),
        ("c", 0.2, 0.2),
    ]
    assert (activation["n_columns"], activation["n_drifted"], activation["share_drifted"]) == (4, 2, 0.5)
    assert [c["column"] for c in activation["predictions"]] == ["prediction"]
    assert (activation["is_prediction_drifted"], found["disengagement"]["is_prediction_drifted"]) == (False, True)
    assert activation["gone"] == ["g"]
    assert (activation["n_current"], activation["n_users"], activation["n_reference"]) == (30, 12, 1_000)


def test_the_summary_is_json_also_when_nothing_was_measured() -> None:
    records = [decision_record(latency_ms=float("nan"))]
    text = orjson.loads(orjson.dumps(summary(records)))
    assert text["decisions"]["latency_ms"]["p50"] is None


def test_the_page_says_it_in_words_and_links_the_full_reports() -> None:
    page = report_page(summary())
    text = unescape(re.sub(r"<[^>]+>", "", page))
    assert "4 decisions of 4 users" in text
    assert "2026-11-23 12:00:00 UTC" in text
    assert (
        "1 of 2 columns drifted (50%), its answers did not move. 30 decisions of 12 users against 1,000 training"
        in text
    )
    assert "Left out of 12 records: 1 repeated, 7 older than what a run looks at." in text
    assert 'href="drift-activation.html"' in page
    assert 'href="drift-activation.json"' in page


def test_everything_from_the_log_is_escaped() -> None:
    records = [decision_record(reasons=[EVIL], flow=EVIL, arm=EVIL, models={EVIL: EVIL}, rung="model")]
    found = compared(column(EVIL, 0.9), column("prediction", 0.1), gone=EVIL)
    page = report_page(summary(records, activation=found))
    assert "<script" not in page
    assert "alert('x')" not in page
    assert page.count("&lt;script&gt;") >= 7


def test_a_report_is_complete_and_latest_moves_to_the_newest(tmp_path: Path) -> None:
    found = {"activation": compared(column("prediction", 0.1))}
    first = write(tmp_path, summary(**found), found, made_us=NOON_US)
    assert first.name == "2026-11-23T12-00-00.000Z"
    assert sorted(p.name for p in first.iterdir()) == [
        "drift-activation.html",
        "drift-activation.json",
        "index.html",
        "summary.json",
    ]
    assert (tmp_path / "latest").resolve() == first
    second = write(tmp_path, summary(**found), found, made_us=NOON_US + 5_000)
    assert (tmp_path / "latest").resolve() == second
    assert report_names(tmp_path) == [second.name, first.name]
    with pytest.raises(ConflictError, match="run it again"):
        write(tmp_path, summary(**found), found, made_us=NOON_US)
    assert sorted(p.name for p in tmp_path.iterdir()) == [first.name, second.name, "latest"]


@pytest.fixture
def browser(free_settings: FreeSettings) -> Iterator[tuple[Settings, HTTPConnection]]:
    settings = free_settings()
    server = open_browser(settings)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    connection = HTTPConnection("127.0.0.1", settings.monitoring.ui_port, timeout=10)
    yield settings, connection
    connection.close()
    server.shutdown()
    server.server_close()
    thread.join(5)


def get(connection: HTTPConnection, path: str, method: str = "GET") -> tuple[int, str]:
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_browser_lists_reports_newest_first_and_shows_them(browser: tuple[Settings, HTTPConnection]) -> None:
    settings, connection = browser
    assert "firstmile monitor run" in get(connection, "/")[1]
    found = {"activation": compared(column("prediction", 0.1))}
    for made_us in (NOON_US, NOON_US + 60_000_000):
        write(settings.reports, summary(**found), found, made_us=made_us)
    status, text = get(connection, "/")
    assert status == 200
    links = re.findall(r'href="([^"]+)"', text)
    assert links == ["2026-11-23T12-01-00.000Z/", "2026-11-23T12-00-00.000Z/"]
    for link in (*links, "latest/"):
        assert "are the decisions still made" in get(connection, f"/{link}")[1]
    assert get(connection, f"/{links[0]}summary.json")[0] == 200


def test_the_browser_gives_nothing_outside_the_reports_and_takes_nothing(
    browser: tuple[Settings, HTTPConnection],
) -> None:
    settings, connection = browser
    settings.reports.mkdir(parents=True, exist_ok=True)
    (settings.home / "secret").write_text("secret")
    (settings.reports / "way-out").symlink_to(settings.home)
    (settings.reports / ".coming-x").mkdir()
    (settings.reports / ".coming-x" / "index.html").write_text("half")
    (settings.reports / "bare").mkdir()
    for path in ("/../secret", "/%2e%2e/secret", "/way-out/secret", "/.coming-x/index.html", "/bare/", "/nothing"):
        status, text = get(connection, path)
        assert (status, "secret" in text.replace(path, "")) == (404, False), path
    assert get(connection, "/latest", "DELETE")[0] == 501
    assert get(connection, "/latest", "PUT")[0] == 501


def test_a_port_in_use_is_named_with_its_setting(browser: tuple[Settings, HTTPConnection]) -> None:
    with pytest.raises(ConflictError, match=r"127\.0\.0\.1:\d+ cannot be used.*FIRSTMILE_MONITORING__UI_PORT"):
        open_browser(browser[0])


def test_a_distance_from_nothing_is_shown_as_a_dash() -> None:
    page = report_page(summary(activation=compared(ColumnDrift("prediction", 0.0, 0.1, np.nan, 1.0, 1.0, 0.0))))
    assert "<td class=n>–</td>" in page
