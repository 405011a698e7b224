"""Records nobody could use, on the real stream: listed with place and bytes, repaired, sent again, counted once."""

import base64
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import TopicPartition
from running import run, running
from test_stream import Sender, user, value, wait_for, wait_until_read
from typer.testing import CliRunner

from firstmile.broker import consumer
from firstmile.clock import SystemClock
from firstmile.names import DEAD_LETTER_REASONS, PROFILES, USER_ACTIONS
from firstmile.settings import Settings, as_environment
from firstmile.wire import HEADER, RecordWriter, Registry
from pipelines.dead_letter_log import dead_letters
from pipelines.deadletters import app
from pipelines.topics import schema_text

NO_SUCH_ID = 2_000_000_000
ONE = "page_view_total_count"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The shared stack, with a checkpoint of its own."""
    return stack.model_copy(update={"home": tmp_path_factory.mktemp("deadletters")})


@pytest.fixture(scope="module")
def sender(settings: Settings) -> Sender:
    return Sender(settings)


@pytest.fixture(scope="module")
def stream(settings: Settings) -> Iterator[None]:
    with running(settings, ["stream"], settings.home / "stream.log"):
        yield


def asked(settings: Settings, *words: str, code: int = 0) -> Json:
    """The verb's JSON, run in this process: a start of Python per question would be most of the test."""
    done = CliRunner().invoke(app, list(words), env=as_environment(settings))
    assert done.exit_code == code, (done.exception, done.stderr[-2000:])
    answer: Json = json.loads(done.stdout)
    return answer


def exported(settings: Settings, path: Path) -> dict[bytes, Json]:
    """The lines of an export by original bytes."""
    asked(settings, "list", "--limit", "0", "--export", str(path))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {base64.b64decode(line["value_base64"]): line for line in lines if line["value_base64"] is not None}


def stored(settings: Settings, line: Json) -> tuple[bytes | None, bytes | None]:
    """Key and value of the record at the place a dead letter names."""
    reader = consumer(settings, group=f"test-{uuid.uuid4()}")
    reader.assign([TopicPartition(line["topic"], line["partition"], line["offset"])])
    message = reader.poll(20)
    assert message is not None, line
    assert (message.error(), message.offset()) == (None, line["offset"])
    reader.close()
    return message.key(), message.value()


def unusable(sender: Sender) -> dict[str, tuple[str, bytes]]:
    """User and bytes by the reason they are refused for."""
    names = {reason: user() for reason in DEAD_LETTER_REASONS}
    good = {reason: sender.event(name) for reason, name in names.items()}
    made: dict[str, Callable[[str], bytes]] = {
        "bad_magic": lambda r: b"\x01" + good[r][1:],
        "unknown_schema": lambda r: HEADER.pack(0, NO_SUCH_ID) + good[r][HEADER.size :],
        "undecodable": lambda r: good[r][: HEADER.size + 20],
        "missing_key": lambda r: good[r],
        "impossible_time": lambda r: sender.event(names[r], event_time=5),
        "impossible_weight": lambda r: sender.event(names[r], weight=-1),
        "oversized": lambda r: sender.event(names[r], properties={"x": "y" * 70_000}),
    }
    return {reason: (names[reason], make(reason)) for reason, make in made.items()}


def repaired(line: Json, reason: str, name: str) -> Json:
    """What a person makes of a line."""
    now = line["at"]
    by_hand = {"message_id": name, "user_id": name, "name": "Page Viewed", "event_time": now, "received_at": now}
    record = line["record"] or by_hand
    changes: Json = {
        "impossible_time": {"event_time": record["received_at"]},
        "impossible_weight": {"weight": 1},
        "oversized": {"properties": {}},
    }
    return line | {"record": record | changes.get(reason, {})}


def test_every_reason_is_listed_with_its_place_and_comes_back_repaired(
    settings: Settings, sender: Sender, stream: None, tmp_path: Path
) -> None:
    wait_until_read(settings)
    before = asked(settings, "list")["by_topic"].get(USER_ACTIONS, {})
    bad = unusable(sender)
    for reason, (name, data) in bad.items():
        sender.producer.send(USER_ACTIONS, key=None if reason == "missing_key" else name, value=data)
    sender.producer.flush()
    wait_until_read(settings)

    told = asked(settings, "list", "--limit", "7")
    assert {r: told["by_topic"][USER_ACTIONS][r] - before.get(r, 0) for r in bad} == dict.fromkeys(bad, 1)
    assert {entry["reason"] for entry in told["newest"]} == set(bad)
    lines = {reason: exported(settings, tmp_path / "all.jsonl")[data] for reason, (_, data) in bad.items()}
    for reason, (name, data) in bad.items():
        line = lines[reason]
        assert (line["topic"], line["reason"], line["replayed"]) == (USER_ACTIONS, reason, None)
        assert stored(settings, line) == (None if reason == "missing_key" else name.encode(), data)
    assert lines["impossible_time"]["record"]["event_time"] == "1970-01-01T00:00:00.000005+00:00"
    assert lines["unknown_schema"]["record"] is None

    fixed = tmp_path / "fixed.jsonl"
    unfit = repaired(lines["oversized"], "oversized", "") | {"offset": 10**9}
    unfit["record"] = unfit["record"] | {"weight": -2}
    lasting = [repaired(lines[reason], reason, name) for reason, (name, _) in bad.items()]
    fixed.write_text("\n".join(json.dumps(line) for line in [lasting[0], unfit, *lasting[1:]]), encoding="utf-8")

    dry = asked(settings, "replay", "--file", str(fixed), "--dry-run", code=1)
    assert (dry["is_dry_run"], dry["n_sent"], dry["n_skipped"]) == (True, len(bad), 0)
    sent = asked(settings, "replay", "--file", str(fixed), code=1)
    assert (sent["n_sent"], sent["n_skipped"], sent["sent_by_topic"]) == (len(bad), 0, {USER_ACTIONS: len(bad)})
    assert [refusal["line"] for refusal in sent["refused"]] == [2]
    assert "impossible_weight: -2" in sent["refused"][0]["reason"]
    for name, _ in bad.values():
        wait_for(settings, name, ONE, 1)

    again = asked(settings, "replay", "--file", str(fixed), code=1)
    assert (again["n_sent"], again["n_skipped"]) == (0, len(bad))
    after = exported(settings, tmp_path / "after.jsonl")
    assert {after[data]["replayed"] for _, data in bad.values()} == {"repaired"}
    wait_until_read(settings)
    assert {value(settings, name, ONE) for name, _ in bad.values()} == {1.0}


@pytest.mark.slow
def test_a_schema_registered_since_lets_the_original_bytes_through(
    settings: Settings, sender: Sender, stream: None
) -> None:
    """The registry alone gives ids: the five after the newest are tried, one of them becomes the new schema's."""
    registry = Registry(settings.registry_url)
    probe = {"type": "record", "name": f"Probe_{uuid.uuid4().hex}", "fields": [{"name": "a", "type": "int"}]}
    newest = registry.register(f"probe-{uuid.uuid4()}", json.dumps(probe))
    by_id = {newest + i: user() for i in range(1, 6)}
    schema = json.loads(schema_text(USER_ACTIONS))
    schema["fields"].append({"name": f"added_{uuid.uuid4().hex[:8]}", "type": "string", "default": ""})
    for schema_id, name in by_id.items():
        body = sender.event(name)[HEADER.size :] + b"\x00"  # the added field: an empty text
        sender.send(name, HEADER.pack(0, schema_id) + body)
    wait_until_read(settings)
    assert {value(settings, name, ONE) for name in by_id.values()} == {0.0}

    registered = registry.register(USER_ACTIONS, json.dumps(schema))
    assert registered in by_id
    dry = asked(settings, "replay", "--reason", "unknown_schema", "--dry-run")
    sent = asked(settings, "replay", "--reason", "unknown_schema")
    assert sent["n_sent"] == dry["n_sent"] >= len(by_id)
    wait_for(settings, by_id[registered], ONE, 1)
    wait_until_read(settings)
    assert sum(value(settings, name, ONE) for name in by_id.values()) == 1

    # What died again is a new dead letter, at a new place.
    keys = Counter(letter.key for letter in dead_letters(settings))
    assert {i: keys[name.encode()] for i, name in by_id.items()} == {i: 2 - (i == registered) for i in by_id}
    again = asked(settings, "replay", "--reason", "unknown_schema", "--dry-run")
    assert again["n_skipped"] == sent["n_skipped"] + sent["n_sent"]
    told = asked(settings, "list", "--reason", "unknown_schema")
    assert sum(told["n_replayed"].values()) == again["n_skipped"]
    assert told["n_dead_letters"] == again["n_skipped"] + again["n_sent"]


def test_a_profile_is_repaired_with_its_own_schema(
    settings: Settings, sender: Sender, stream: None, tmp_path: Path
) -> None:
    name, now_us = user(), SystemClock().now_us()
    profile = {"message_id": name, "user_id": name, "updated_at": 7, "received_at": now_us, "traits": {"plan": "pro"}}
    data = RecordWriter(Registry(settings.registry_url), PROFILES).encode(profile)
    sender.send(name, data, topic=PROFILES)
    wait_until_read(settings)
    line = exported(settings, tmp_path / "all.jsonl")[data]
    assert (line["topic"], line["reason"], line["record"]["traits"]) == (PROFILES, "impossible_time", {"plan": "pro"})

    def replayed(record: Json, code: int) -> Json:
        (tmp_path / "one.jsonl").write_text(json.dumps(line | {"record": record}), encoding="utf-8")
        return asked(settings, "replay", "--file", str(tmp_path / "one.jsonl"), code=code)

    unfit = [
        (line["record"], "impossible_time: updated_at 1970"),
        (line["record"] | {"updated_at": "yesterday"}, "'yesterday' is no instant"),
        (line["record"] | {"updated_at": line["at"], "user_id": None}, "does not fit its schema"),
        (line["record"] | {"updated_at": line["at"], "trails": {}}, "unknown fields trails"),
    ]
    for record, why in unfit:
        assert why in replayed(record, 1)["refused"][0]["reason"]
    assert replayed(line["record"] | {"updated_at": line["at"]}, 0)["n_sent"] == 1
    wait_until_read(settings)
    # The repaired record did not become another dead letter.
    assert [x.value for x in dead_letters(settings) if x.key == name.encode()] == [data]


def test_no_schema_id_stops_the_stream(settings: Settings, sender: Sender, stream: None) -> None:
    """Ids that no int holds, of no Avro, of no record, and of a record that lacks what the stream needs."""
    registered = {
        "JSON": '{"type": "object", "properties": {"user_id": {"type": "string"}}}',
        "AVRO": '"string"',
        "AVRO ": '{"type": "record", "name": "Other", "fields": [{"name": "user_id", "type": "string"}]}',
    }
    ids = [1 << 31, (1 << 32) - 1]
    for kind, text in registered.items():
        body = {"schema": text, "schemaType": kind.strip()}
        answer = httpx.post(f"{settings.registry_url}/subjects/other-{uuid.uuid4()}/versions", json=body, timeout=30)
        ids.append(answer.raise_for_status().json()["id"])
    name = user()
    bad = [HEADER.pack(0, schema_id) + sender.event(name)[HEADER.size :] for schema_id in ids]
    sender.send(name, *bad, sender.event(name))
    wait_for(settings, name, ONE, 1)
    wait_until_read(settings)
    found = {x.value: x.reason for x in dead_letters(settings) if x.key == name.encode()}
    assert found == dict.fromkeys(bad, "unknown_schema")


def test_text_that_is_no_utf8_does_not_stop_the_stream(settings: Settings, sender: Sender, stream: None) -> None:
    name = user()
    texts = [("Page ??", {}), ("Page Viewed", {"page": "??"}), ("Page Viewed", {"??": "x"})]
    bad = [sender.event(name, event, properties=p).replace(b"??", b"\xc3\x28") for event, p in texts]
    sender.send(name, *bad, sender.event(name))
    wait_for(settings, name, ONE, 1)
    wait_until_read(settings)
    found = {x.value: x.reason for x in dead_letters(settings) if x.key == name.encode()}
    assert found == dict.fromkeys(bad, "undecodable")


def test_a_record_as_large_as_kafka_takes_does_not_stop_the_stream(
    settings: Settings, sender: Sender, stream: None
) -> None:
    name = user()
    data = os.urandom(1_048_400)  # the broker's limit is 1,048,588 with the batch's own bytes
    sender.send(name, data, sender.event(name))
    wait_for(settings, name, ONE, 1)
    wait_until_read(settings)
    assert [x.reason for x in dead_letters(settings) if x.value == data] == ["oversized"]


def test_an_unknown_reason_or_topic_lists_the_known_ones(settings: Settings) -> None:
    reason = run(settings, "deadletters", "list", "--reason", "bad_luck")
    assert (reason.returncode, reason.stdout) == (2, "")
    assert all(known in reason.stderr for known in ("'bad_luck'", *DEAD_LETTER_REASONS))
    topic = run(settings, "deadletters", "replay", "--topic", "onboarding.enriched")
    assert topic.returncode == 2
    assert USER_ACTIONS in topic.stderr
