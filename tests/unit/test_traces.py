"""Traces: an answer's span below the caller's, its stages below it, with the times the ladder took."""

import asyncio
import time

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serving_builder import Row, Rows, ladder

from serving.answers import Decision
from serving.requests import Ask
from serving.traces import Traces, otlp_traces

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def decision() -> Decision:
    return asyncio.run(ladder(Rows({"u1": Row()})).decide(Ask("u1"), started_s=time.perf_counter()))


def test_answer_and_its_stages_are_one_trace_below_the_caller_s(decision: Decision) -> None:
    exporter = InMemorySpanExporter()
    traces = Traces(exporter)
    traces.decided(decision, CALLER)
    traces.stop()
    *stages, answer = exporter.get_finished_spans()
    assert [s.name for s in stages] == ["features", "models", "policy"]
    assert format(answer.context.trace_id, "032x") == CALLER.split("-")[1]
    assert answer.parent is not None
    assert format(answer.parent.span_id, "016x") == CALLER.split("-")[2]
    assert {s.parent.span_id for s in stages if s.parent} == {answer.context.span_id}
    assert answer.attributes is not None
    assert answer.attributes["firstmile.rung"] == "model"
    took_ms = [((s.end_time or 0) - (s.start_time or 0)) / 1e6 for s in stages]
    assert took_ms == pytest.approx(list(decision.stage_ms.values()), abs=0.01)
    assert ((answer.end_time or 0) - (answer.start_time or 0)) / 1e6 == pytest.approx(decision.latency_ms, abs=0.01)


@pytest.mark.parametrize("traceparent", [None, "", "nonsense"])
def test_answer_without_a_caller_s_span_begins_a_trace(decision: Decision, traceparent: str | None) -> None:
    exporter = InMemorySpanExporter()
    traces = Traces(exporter)
    traces.decided(decision, traceparent)
    traces.stop()
    assert exporter.get_finished_spans()[-1].parent is None


def test_without_an_address_there_are_no_traces() -> None:
    assert otlp_traces("") is None
