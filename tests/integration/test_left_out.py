"""Who is left out, through the real stream: no row, nothing enriched, but counted."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import settings_on_free_ports
from demo_product import with_file
from kafka_reading import end_offsets, records_since
from running import poll, running
from test_stream import NOW, Sender, user, value, wait_until_read

from feature_repo.reader import OnlineReader
from firstmile.local.stack import Stack
from firstmile.names import CONTEXT, ENRICHED
from firstmile.settings import Settings
from firstmile.wire import Record
from pipelines.topics import ensure_topics

BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
HOUR_US = 3_600_000_000

EVENTS = """
version: 2
families: {click: [cta.tapped], content_open: [lesson.opened]}
fields: {content_id: [lesson], format: [kind]}
formats: {clip: video}
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Settings]:
    """A stack of its own, where nobody else's events are counted, with a product's own words."""
    settings = with_file(settings_on_free_ports(tmp_path / "home"), tmp_path, "events", EVENTS)
    stack = Stack(settings, with_parent=True)
    stack.up(["kafka", "registry", "redis"])
    ensure_topics(settings)
    yield settings
    stack.down()


def enriched_of(own: Settings, before: dict[tuple[str, int], int]) -> dict[str, list[Record]]:
    """By user, in order."""
    found: dict[str, list[Record]] = {}
    for _, key, record in records_since(own, before):
        found.setdefault(key, []).append(record)
    return found


def send_both(sender: Sender, name: str, **values: Any) -> None:
    """An event and a context."""
    sender.send(name, sender.event(name, "cta.tapped", **values))
    said = {**values, "properties": {"device": "phone", **values.get("properties", {})}}
    sender.send(name, sender.event(name, "Context Observed", topic=CONTEXT, **said), topic=CONTEXT)


def test_who_is_left_out_is_counted_and_reaches_neither_row_nor_enriched_topic(own: Settings, tmp_path: Path) -> None:
    sender, before, log = Sender(own), end_offsets(own, (ENRICHED,)), tmp_path / "stream.log"
    robot, tester, insider, refuser, customer = user(), f"{user()}@example.com", user(), user(), user()
    unmapped = f"new name {uuid.uuid4()}"
    with running(own, ["stream"], log) as process:
        send_both(sender, robot, user_agent=BOT)
        send_both(sender, tester)
        send_both(sender, insider, properties={"internal": "true"})
        sender.profile(insider, email="ann@it.example.org", product="AAA")
        send_both(sender, refuser, consent=False)
        opened = {"lesson": "l1", "kind": "clip"}
        sender.send(
            customer,
            sender.event(customer, "lesson.opened", user_agent=FIREFOX, consent=True, properties=opened),
            sender.event(customer, unmapped, event_time=NOW() + HOUR_US),
            sender.event(customer, "cta.tapped", is_clamped=True),
        )
        # Spark's first batch takes its time on a busy machine.
        poll(lambda: value(own, customer, "events_1h_count") == 3, timeout_s=180, what="the customer's events")
        wait_until_read(own)
        process.terminate()
        process.wait(60)

    enriched = enriched_of(own, before)
    assert not enriched.keys() & {robot, tester, insider, refuser}
    assert [OnlineReader(own).read(name, NOW()) for name in (robot, tester, insider, refuser)] == [None] * 4
    assert value(own, customer, "opens_video") == 1
    first, future, flagged = enriched[customer]
    assert (first["family"], first["content_id"], first["format"]) == ("content_open", "l1", "video")
    assert [r["is_clamped"] for r in (first, future, flagged)] == [False, True, True]
    assert future["event_time"] == future["received_at"]

    told = " ".join(log.read_text().split()).partition("stream stopped:")
    totals = {name: int(n) for name, n in re.findall(r"'(n_\w+)': (\d+)", told[2])}
    counts = {name: totals[name] for name in totals if name.startswith("n_dropped_")}
    assert counts == {"n_dropped_bot": 2, "n_dropped_internal": 5, "n_dropped_consent": 2}
    assert (totals["n_clamped"], totals["n_unknown"], totals["n_dead_letters"]) == (2, 1, 0)
    assert unmapped in told[0]
