"""A decision made again from its record, through the bytes that Kafka holds: the same on every rung, or why not."""

import asyncio
import io
import time
from typing import Any

import fastavro
import numpy as np
import orjson
import pytest
from demo_product import RULES
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_builder import LEARNER, Row, Rows, booster, catalogue, experiments, ladder, model, models, policy

from firstmile.errors import UsageError
from firstmile.names import CHAMPION, ONLINE_MODEL
from firstmile.vocabulary import FORMATS, MODELS
from pipelines.topics import schema_text
from serving.answers import Basis, Decision
from serving.arms import ONLINE_LEARNER, THOMPSON
from serving.decide import run
from serving.evidence import evidence
from serving.facts import Facts
from serving.models import ScoringModel
from serving.online_model import LogisticModel
from serving.order import POPULAR, Draw, Order
from serving.policy import Policy
from serving.replay import answered_again, differences, reasons, repredicted
from serving.requests import Ask
from serving.versions import versions

SCHEMA = fastavro.parse_schema(orjson.loads(schema_text("personalization.decisions")))
USER = "AAA_2014J-1"
RECORD_BYTES = 4_096


def bytes_of(decision: Decision) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, decision.record(worker="w", sequence=0))
    return out.getvalue()


def logged(decision: Decision) -> dict[str, Any]:
    found = fastavro.schemaless_reader(io.BytesIO(bytes_of(decision)), SCHEMA, None)
    assert isinstance(found, dict)
    return found


def decide(on: Any, page: str = "/home", limit: int = 5) -> Decision:
    return asyncio.run(on.decide(Ask(USER, context={"page": page}, limit=limit), started_s=time.perf_counter()))


def online_model() -> ScoringModel:
    """As `firstmile learn` registers one."""
    names = models()["activation"].features
    ones = np.ones(len(names))
    return model(ONLINE_MODEL, booster=LogisticModel(names, ones, ones, ones / 50, -0.5))


def again(record: dict[str, Any], in_use: dict[str, ScoringModel], by: Policy | None = None) -> dict[str, Any]:
    is_scored = bool(record["features"])
    asked = [in_use[name] for name in record["models"] if name in (*MODELS, ONLINE_MODEL)] if is_scored else []
    predictions = repredicted(asked, record) if is_scored else record["predictions"]
    return differences(record, answered_again(record, by or policy(), predictions), predictions)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([i.content_id for i in catalogue().shelves["AAA_2014J"].items]), max_size=90),
    st.sampled_from(["/home", "/welcome"]),
    st.integers(1, 50),
    st.sampled_from(["model", "partial", "rules", "cold_start", "behind"]),
    st.sampled_from([CHAMPION, THOMPSON, ONLINE_LEARNER]),
)
def test_every_rung_comes_out_the_same(opened: list[str], page: str, limit: int, case: str, kind: str) -> None:
    in_use = {"partial": models("activation"), "rules": {}}.get(case, models())
    if kind == ONLINE_LEARNER and in_use:
        in_use = {**in_use, ONLINE_MODEL: online_model()}
    reader = Rows({USER: Row(opened=opened)}, lag_ms=10**6 if case == "behind" else 0.0)
    if case == "cold_start":
        reader.rows[USER] = Row({}, row_version_us=None)
    decision = decide(ladder(reader, in_use, drawn_from=experiments(kind)), page, limit)
    record = logged(decision)
    assert bool(record["drawn_format"]) == (kind == THOMPSON)
    assert decision.basis.rung == {"cold_start": "rules", "behind": "rules"}.get(case, case)
    assert again(record, in_use) == {}
    assert record["ranking"] == [item["content_id"] for item in decision.response()["recommended_content"]]


def test_the_cached_rung_comes_out_the_same() -> None:
    reader = Rows({USER: Row(opened=["877037"])})
    on = ladder(reader)
    decide(on)
    reader.error = OSError("gone")
    decision = decide(on, "/welcome")
    assert decision.basis.rung == "cached"
    assert again(logged(decision), models()) == {}


def test_shed_requests_come_out_the_same() -> None:
    decision = ladder(Rows()).shed(Ask(USER, limit=3), started_s=time.perf_counter())
    assert again(logged(decision), {}) == {}


def test_the_order_a_shelf_came_in_is_kept_and_used() -> None:
    order = Order(np.array([7, 2]), np.array([0.9, 0.3], np.float32), f"{POPULAR}:new")
    facts = Facts(features=dict(LEARNER), order=order, drawn=Draw("video", 0.25))
    answer = policy().answer(facts, limit=12)
    record = {
        **evidence(policy(), facts, Basis("rules")),
        "rung": "rules",
        "limit": 12,
        "features": {},
        "predictions": {},
        "segment": {name: str(value) for name, value in answer.segment.as_fields().items()},
        "flow": answer.flow,
        "ranking": [item.content.content_id for item in answer.items],
        "item_scores": [item.score for item in answer.items],
        "item_reasons": [item.reason for item in answer.items],
    }
    assert again(record, {}) == {}
    assert any(reason.endswith("popular:new") for reason in record["item_reasons"])
    assert again({**record, "order_items": [2, 7]}, {})
    assert any(reason.endswith("thompson:video") for reason in record["item_reasons"])
    assert again({**record, "drawn_format": "lesson"}, {})


def test_another_model_under_the_same_version_is_found_out() -> None:
    record = logged(decide(ladder(Rows({USER: Row()}))))
    other = {**models(), "disengagement": model("disengagement", booster=booster("disengagement", seed=3))}
    found = again(record, other)
    assert set(found) == {"predictions.disengagement"}
    same_files = Policy(policy().rules, policy().catalogue, record["versions"])
    assert reasons(record, same_files, found)[0].startswith("disengagement, version 1, does not say what it said")


def test_rules_that_have_changed_are_said_to_have() -> None:
    was = Policy(policy().rules, policy().catalogue, {"rules": "aaaa", "content": "cccc"})
    record = {**logged(decide(ladder(Rows({USER: Row()})))), "versions": was.versions}
    now = Policy(policy().rules, policy().catalogue, {"rules": "bbbb", "content": "cccc"})
    assert reasons(record, now, {"flow": {}}) == ["rules.yaml has changed since: its hash was aaaa, is bbbb"]
    assert "this code decides otherwise" in reasons(record, was, {"flow": {}})[0]


def test_versions_are_of_the_file_and_of_everything_on_the_shelves() -> None:
    found = versions(catalogue(), RULES)
    assert found == versions(catalogue(), RULES)
    assert {len(v) for v in found.values()} == {12}
    fewer = type(catalogue())({c: s for c, s in catalogue().shelves.items() if c != "AAA_2014J"})
    assert versions(fewer, RULES)["content"] != found["content"]


def test_a_record_is_small() -> None:
    # The names of features are most of it: the models of training read 66, those of the builder 4.
    wide = tuple(f"content_complete_{n}d_weight" for n in range(66))
    in_use = {"activation": model("activation", features=wide, booster=_Even())}
    values = {**LEARNER, **{f"opens_{f}": 3.0 for f in FORMATS}, **dict.fromkeys(wide, 1234.5)}
    opened = [i.content_id for i in catalogue().shelves["AAA_2014J"].items[:60]]
    record = bytes_of(decide(ladder(Rows({USER: Row(values, opened=opened)}), in_use)))
    assert 2_000 < len(record) < RECORD_BYTES


class _Even:
    def inplace_predict(self, data: Any) -> Any:
        return np.array([0.5], np.float32)


def test_places_beyond_a_shelf_that_has_shrunk_do_no_harm() -> None:
    record = logged(decide(ladder(Rows({USER: Row(opened=["877037"])}))))
    beyond = {"order_items": [10**6], "order_scores": [0.5], "order_reason": "popular:new"}
    assert again({**record, "seen": [*record["seen"], 10**6]}, models()) == {}
    assert "ranking" not in again({**record, **beyond}, models())


def test_deciding_for_nobody_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="REQUEST_ID"):
        run()
