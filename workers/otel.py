"""Sends what attempts did to an OpenTelemetry collector: spans for claim, run and steps, by OTLP over HTTP.

Names are those of the semantic conventions for generative AI (v1.41). Inputs and outputs are not sent. Imported only
when a collector is set, since the SDK is an extra (`pip install orchestrator-ai[otel]`).

A task without `trace_context` begins a trace whose id is the task's; the span of a run is named by the last 16 digits
of the run's id. The database gives tasks below it a `trace_context` by the same rule, so that they hang together.
"""

from __future__ import annotations

import re
import time
from typing import Any

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.re import parse_env_headers

from workers.contract import ClaimedTask
from workers.redaction import Veil
from workers.settings import OtlpSettings
from workers.trace import Step

_KINDS = {"llm_call": SpanKind.CLIENT, "http_request": SpanKind.CLIENT, "agent_call": SpanKind.CLIENT}
_PROVIDERS = {"google": "gcp.gemini"}
_OPERATIONS = {"llm_call": "chat", "tool_call": "execute_tool", "agent_call": "invoke_agent"}
_KIND = re.compile("[A-Za-z][A-Za-z0-9_]{0,62}")
_SEND_SECONDS = 5


class Collector:
    """The watcher that sends spans; in batches, from a thread of its own, and never waited for but at the end."""

    def __init__(self, settings: OtlpSettings, worker_id: str) -> None:
        headers = parse_env_headers(settings.headers or "", liberal=True)
        exporter = OTLPSpanExporter(endpoint=settings.url, headers=headers, timeout=_SEND_SECONDS)
        self._ids = _Ids()
        resource = Resource.create({SERVICE_NAME: settings.service_name, SERVICE_INSTANCE_ID: worker_id})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("orchestrator-ai")

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        self._provider.shutdown()

    def step_ended(self, claimed: ClaimedTask, step: Step, veil: Veil) -> None:
        """Send a step as a span below its run."""
        name = veil.text(step.name)
        operation = _OPERATIONS.get(step.type)
        span = self._tracer.start_span(
            f"{operation} {name}" if operation is not None else name,
            context=_below(_run_context(claimed)),
            kind=_KINDS.get(step.type, SpanKind.INTERNAL),
            attributes={"orchestrator.step.type": step.type, **_attributes(step, name)},
            start_time=_nanoseconds(step.began_at),
        )
        if step.status == "failed":
            span.set_attribute("error.type", _kind_of(step.error))
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(step.ended_at or time.time()))

    def run_ended(self, claimed: ClaimedTask, began_at: float, error_code: str | None) -> None:
        """Send an attempt as a span, and below it how long its task was due before the claim."""
        task, run = claimed.task, _run_context(claimed)
        given = _given(task.trace_context)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.id": task.agent_slug,
            "gen_ai.agent.name": task.agent_name,
            "gen_ai.conversation.id": task.agent_conversation_id,
            "orchestrator.task.id": task.id,
            "orchestrator.run.id": claimed.lease_token,
            "orchestrator.organization": task.organization_slug,
            "orchestrator.method": task.method,
            "orchestrator.attempt": claimed.attempt,
            "error.type": error_code,
        }
        self._ids.next_trace, self._ids.next_span = run.trace_id, run.span_id
        span = self._tracer.start_span(
            f"invoke_agent {task.agent_slug}" if task.agent_slug else task.method,
            context=_below(given) if given is not None else api.set_span_in_context(api.INVALID_SPAN),
            attributes={name: value for name, value in attributes.items() if value is not None},
            start_time=_nanoseconds(began_at),
        )
        self._ids.next_trace = self._ids.next_span = None
        if error_code is not None:
            span.set_status(Status(StatusCode.ERROR))
        waited = self._tracer.start_span(
            "claim",
            context=_below(run),
            kind=SpanKind.CONSUMER,
            attributes={"orchestrator.task.id": task.id},
            start_time=_nanoseconds(began_at - (task.queue_seconds or 0.0)),
        )
        waited.end(_nanoseconds(began_at))
        span.end()


class _Ids(RandomIdGenerator):
    """Random ids, but where the next one is given."""

    next_trace: int | None = None
    next_span: int | None = None

    def generate_trace_id(self) -> int:
        return self.next_trace or super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self.next_span or super().generate_span_id()


def _given(traceparent: str | None) -> SpanContext | None:
    if traceparent is None:
        return None
    _, trace_id, span_id, flags = traceparent.split("-")  # As the database has checked.
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _run_context(claimed: ClaimedTask) -> SpanContext:
    """Return what names the span of a run, before there is one."""
    given = _given(claimed.task.trace_context)
    trace_id = given.trace_id if given is not None else int(claimed.task.id.replace("-", ""), 16)
    flags = given.trace_flags if given is not None else TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(
        trace_id, int(claimed.lease_token.replace("-", "")[-16:], 16), is_remote=False, trace_flags=flags
    )


def _below(parent: SpanContext) -> Context:
    return api.set_span_in_context(NonRecordingSpan(parent))


def _attributes(step: Step, name: str) -> dict[str, Any]:
    noted = step.metadata
    if step.type == "llm_call":
        found = {
            "gen_ai.provider.name": _PROVIDERS.get(str(noted.get("provider")), noted.get("provider")),
            "gen_ai.request.model": noted.get("model"),
            "gen_ai.response.finish_reasons": [noted["finish_reason"]] if "finish_reason" in noted else None,
        }
        if step.usage is not None:
            found["gen_ai.usage.input_tokens"] = step.usage.input_tokens
            found["gen_ai.usage.output_tokens"] = step.usage.output_tokens
            found["orchestrator.usage.cost"] = step.usage.cost
    elif step.type == "tool_call":
        found = {
            "gen_ai.tool.name": name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": noted.get("call_id"),
        }
    elif step.type == "agent_call":
        found = {"gen_ai.agent.id": name}
    else:
        found = {"http.response.status_code": noted.get("status") if step.type == "http_request" else None}
    found["gen_ai.operation.name"] = _OPERATIONS.get(step.type)
    return {key: value for key, value in found.items() if value is not None}


def _kind_of(error: str | None) -> str:
    """Return the code or class at the beginning of an error; what a tool says in its own words is not sent."""
    kind = (error or "").partition(":")[0]
    return kind if _KIND.fullmatch(kind) else "_OTHER"


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
