"""What a collector of spans is told: codes and names, nothing that an agent or a tool said."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.unit.http_server import Reply, Seen, serve
from workers.contract import ClaimedTask, TaskRow
from workers.errors import TaskFailure
from workers.otel import Collector
from workers.redaction import Redactor, Veil
from workers.reports import ReportQueue
from workers.settings import OtlpSettings
from workers.trace import Trace, Tracing

SECRET = "hunter2-key"
TASK = "01a20673-e425-7563-94b2-e9ba1ac5dc39"


def told(trace_context: str | None = None) -> tuple[list[Any], str]:
    """Send a few steps and the run; return the spans, and all that was sent as text."""
    bodies: list[bytes] = []

    def answer(seen: Seen) -> Reply:
        bodies.append(gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body)
        return Reply(headers={"content-type": "application/x-protobuf", "content-length": "0"})

    redactor = Redactor()
    redactor.remember(SECRET, "org")
    with serve(answer) as server:
        collector = Collector(OtlpSettings(url=f"{server.url}/v1/traces"), "w")
        task = TaskRow(TASK, "org", "process", f"Tell {SECRET}", 3, agent_slug="a", trace_context=trace_context)
        claimed = ClaimedTask(task, None, 1, "11111111-1111-4111-8111-111111111111")
        trace = Trace(claimed, ReportQueue(lambda: None), Veil(redactor, "org"), Tracing(False, collector))
        with trace.step("tool_call", "find", {"q": SECRET}) as step:
            step.output = SECRET
            step.fail(f"I cannot say {SECRET}, nor the customer's name: Smith")
        with pytest.raises(TaskFailure), trace.step("http_request", f"POST {SECRET}.example"):
            raise TaskFailure("endpoint_error", f"It said {SECRET}")
        collector.run_ended(claimed, 1.0, "endpoint_error")
        collector.close()
    requests = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    spans = [s for request in requests for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
    return spans, str(requests)


def kind_of(span: Any) -> list[str]:
    return [entry.value.string_value for entry in span.attributes if entry.key == "error.type"]


def test_what_a_tool_says_in_its_own_words_is_not_sent() -> None:
    spans, sent = told()
    assert [(span.name, kind_of(span)) for span in spans] == [
        ("execute_tool find", ["_OTHER"]),
        ("POST [redacted].example", ["endpoint_error"]),
        ("claim", []),
        ("invoke_agent a", ["endpoint_error"]),
    ]
    assert SECRET not in sent
    assert "Smith" not in sent
    assert {span.trace_id.hex() for span in spans} == {TASK.replace("-", "")}


def test_a_client_that_does_not_sample_is_sent_nothing() -> None:
    assert told(f"00-{'a' * 32}-{'b' * 16}-00")[0] == []
    spans, _ = told(f"00-{'a' * 32}-{'b' * 16}-ff")
    assert {span.trace_id.hex() for span in spans} == {"a" * 32}
