"""Decisions as OpenTelemetry traces, when a collector's address is set: one span an answer, one below it per stage.

Made after the answer is known, from the times the ladder took anyway, and sent from a thread of the SDK's own: nothing
of it is on the way to an answer, and without the setting none of it is even imported.
"""

import time
from typing import TYPE_CHECKING

from serving.answers import Decision

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

NS_PER_MS = 1_000_000


class Traces:
    """Hands decisions to an exporter."""

    def __init__(self, exporter: "SpanExporter") -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "firstmile-serving"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("firstmile.serving")
        self._context = TraceContextTextMapPropagator()

    def decided(self, decision: Decision, traceparent: str | None) -> None:
        """Trace one answer, below the caller's span if it named one (W3C Trace Context).

        Stages follow each other, so each is drawn as beginning where the one before it ended.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        end_ns = time.time_ns()
        at_ns = end_ns - int(decision.latency_ms * NS_PER_MS)
        basis = decision.basis
        span = self._tracer.start_span(
            "POST /api/personalization",
            self._context.extract({"traceparent": traceparent} if traceparent else {}),
            kind=SpanKind.SERVER,
            start_time=at_ns,
            attributes={
                "firstmile.request_id": decision.request_id,
                "firstmile.rung": basis.rung,
                "firstmile.reasons": basis.reasons,
                "firstmile.arm": decision.assignment.arm,
                "firstmile.models": tuple(f"{name}:{version}" for name, version in basis.models.items()),
            },
        )
        for stage, ms in decision.stage_ms.items():
            child = self._tracer.start_span(stage, set_span_in_context(span), start_time=at_ns)
            at_ns += int(ms * NS_PER_MS)
            child.end(at_ns)
        span.end(end_ns)

    def stop(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def otlp_traces(url: str) -> Traces | None:
    """Traces to a collector's OTLP/HTTP address, for example http://127.0.0.1:4318/v1/traces; None without one."""
    if not url:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return Traces(OTLPSpanExporter(url))
