"""The trace end to end: a real worker, agents that call agents, HTTP, and a collector that reads what it is sent."""

from __future__ import annotations

import gzip
import threading
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.stack import Stack
from tests.unit.agents.context_kit import AnsweringBackend
from tests.unit.agents.test_agents_ask import script
from tests.unit.agents.test_agents_context import TOOL_STOP
from tests.unit.http_server import Reply, Seen, serve
from tests.unit.wire import MODELS, stream
from tests.workers.conftest import Endpoint, Lab, laboratory
from tests.workers.test_agents_call import children, playing, run, start
from tests.workers.waiting import Row, wait_for

CLIENT = f"00-{'a' * 32}-{'b' * 16}-01"


class Collector:
    """An OTLP receiver over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self._lock = threading.Lock()

    def answer(self, seen: Seen) -> Reply:
        assert (seen.path, seen.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        body = gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.spans += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        return Reply(headers={"content-type": "application/x-protobuf", "content-length": "0"})


def attributes(span: Any) -> Row:
    found = {}
    for entry in span.attributes:
        kind = entry.value.WhichOneof("value")
        found[entry.key] = getattr(entry.value, kind) if kind != "array_value" else "list"
    return found


def span_of(run_row: Row) -> str:
    return str(run_row["id"]).replace("-", "")[-16:]


def test_a_tree_of_calls_is_traced_and_sent_as_spans(stack: Stack, tmp_path: Path) -> None:
    collector = Collector()
    with (
        playing(stack, f"trace-{uuid.uuid4().hex[:12]}", tmp_path) as (lab, server, _, writer, helper),
        serve(collector.answer) as receiver,
    ):
        lab.start_worker(
            OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=f"{server.url}/v1", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url
        )
        task_id = lab.add_task(writer, "2 parts, please", trace_context=CLIENT)
        lab.await_task(task_id)
        trace = lab.post("rpc/task_trace", task_id=task_id)
        asked, answered = trace["trees"]
        assert [(s["type"], s["status"]) for s in asked["steps"]] == [("llm_call", "completed")] + [
            ("agent_call", "completed")
        ] * 2
        assert {s["name"] for s in asked["steps"][1:]} == {helper}
        assert asked["steps"][1]["input"] == {"prompt": "Part 0"}
        for child in asked["children"]:
            (only,) = child["steps"]
            assert (child["run"]["agent_slug"], only["type"]) == (helper, "llm_call")
            assert only["output"]["parts"] == [{"content": "Helped.", "part_kind": "text"}]
        assert [s["type"] for s in answered["steps"]] == ["agent_call", "agent_call", "llm_call"]
        assert [s["output"] for s in answered["steps"][:2]] == ["Helped.", "Helped."]
        every = [*asked["steps"], *answered["steps"], *(s for child in asked["children"] for s in child["steps"])]
        bills = [bill for one in (task_id, *(c["id"] for c in children(lab, task_id))) for bill in lab.usage(str(one))]
        for counted in ("input_tokens", "output_tokens"):
            assert sum(s[counted] or 0 for s in every) == sum(bill[counted] for bill in bills) > 0
        assert abs(sum(s["cost"] or 0 for s in every) - float(sum(bill["cost"] for bill in bills))) < 1e-9
        assert "sk-test" not in str(trace)
        runs = lab.runs(task_id)
        wait_for(lambda: len(collector.spans) >= 4 + 4 + 8, 30, "all spans arrive")
    spans = collector.spans
    assert {span.trace_id.hex() for span in spans} == {"a" * 32}
    by_id = {span.span_id.hex(): span for span in spans}
    first = by_id[span_of(runs[0])]
    assert (first.name, first.parent_span_id.hex()) == (f"invoke_agent {writer}", "b" * 16)
    below = [span for span in spans if span.parent_span_id == first.span_id]
    assert Counter(span.name for span in below) == {
        "claim": 1,
        f"chat {MODELS['openai']}": 1,
        f"invoke_agent {helper}": 4,  # two calls, and the two runs that came of them
    }
    chat = attributes(next(span for span in below if span.name.startswith("chat")))
    named = {name.removeprefix("gen_ai."): value for name, value in chat.items() if name.startswith("gen_ai.")}
    assert named["operation.name"] == "chat"
    assert (named["provider.name"], named["request.model"]) == ("openai", MODELS["openai"])
    assert (named["usage.input_tokens"], named["usage.output_tokens"]) == (30, 15)


def test_requests_and_transforms_of_api_agents_are_traced_unless_it_is_off(
    stack: Stack, tmp_path: Path, endpoint: Endpoint
) -> None:
    def steps(lab: Lab, task_id: str) -> list[Row]:
        return [s for tree in lab.post("rpc/task_trace", task_id=task_id)["trees"] for s in tree["steps"]]

    with laboratory(stack, f"trace-{uuid.uuid4().hex[:12]}", tmp_path) as lab:
        agent = lab.add_api_agent(
            f"{endpoint.url}/v1?key=query-secret",
            request_transform={"prompt": "{{ task.prompt }}"},
            headers={"Authorization": "Bearer header-secret"},
        )
        worker = lab.start_worker()
        endpoint.statuses = [500]
        done = lab.add_task(agent, "Tide pools", backoff="0")
        lab.await_task(done)
        found = steps(lab, done)
        assert [(s["type"], s["status"]) for s in found] == [
            ("transform", "completed"),
            ("http_request", "failed"),
            ("transform", "completed"),
            ("http_request", "completed"),
        ]
        assert found[1]["error_message"].startswith("endpoint_error: ")
        assert (found[3]["input"], found[3]["metadata"]["status"]) == ({"json": {"prompt": "Tide pools"}}, 200)
        assert "secret" not in str(found)
        worker.kill()
        lab.start_worker(WORKER_TRACE="off")
        quiet = lab.add_task(agent, "Tide pools")
        lab.await_task(quiet)
        assert steps(lab, quiet) == []


async def test_a_model_saves_data_and_reads_it() -> None:
    database = AnsweringBackend(write_workflow_data={"id": "d1"}, read_workflow_data={"value": {"n": 1}})
    save = stream(
        "openai", ['{"key": "draft", "value": {"n": 1}, "tags": ["x"]}'], tool="save_data", stop=TOOL_STOP["openai"]
    )
    read = stream("openai", ['{"key": "draft"}'], tool="read_data", stop=TOOL_STOP["openai"])
    with serve(script(save, read, stream("openai", ["Done."]))) as server:
        result = await run("openai", server.url, tools={"share_data": {}}, database=database)
    fence = {"task_id": "t1", "attempt": 1, "lease_token": "token"}
    assert database.asked == [
        ("write_workflow_data", {**fence, "key": "draft", "value": {"n": 1}, "tags": ["x"]}),
        ("read_workflow_data", {**fence, "key": "draft"}),
    ]
    assert (result.text, '{\\"n\\":1}' in server.seen[2].body.decode()) == ("Done.", True)


def test_agents_of_one_tree_share_data_through_the_database(stack: Stack, tmp_path: Path) -> None:
    def models(seen: Seen) -> Reply:
        told = [message["content"] for message in seen.json["messages"] if message["role"] == "tool"]
        if "You help." in seen.body.decode():
            return (
                stream("openai", [f"Found {told[0]}"])
                if told
                else stream("openai", ['{"key": "draft"}'], tool="read_data", stop="tool_calls")
            )
        if not told:
            asked = '{"key": "draft", "value": "pools"}'
            return stream("openai", [asked], tool="save_data", stop="tool_calls")
        if len(told) == 1:
            tool = next(t["function"]["name"] for t in seen.json["tools"] if t["function"]["name"].startswith("call_"))
            return stream("openai", ['{"prompt": "Read it."}'], tool=tool, stop="tool_calls")
        return stream("openai", [told[1]])

    with laboratory(stack, f"trace-{uuid.uuid4().hex[:12]}", tmp_path) as lab, serve(models) as server:
        config: Row = {"provider": "openai", "model": MODELS["openai"], "tools": {"share_data": {}}}
        helper = lab.add_agent(context="You help.", llm_config=config)
        writer = lab.add_agent(llm_config={**config, "tools": {"share_data": {}, "call_agents": {"agents": [helper]}}})
        start(lab, server)
        task_id = lab.add_task(writer)
        assert 'Found \\"pools\\"' in lab.await_task(task_id)["response"]
        asked, _ = lab.post("rpc/task_trace", task_id=task_id)["trees"]
        assert [s["name"] for s in asked["steps"] if s["type"] == "tool_call"] == ["save_data"]
        (child,) = asked["children"]
        assert [s["name"] for s in child["steps"] if s["type"] == "tool_call"] == ["read_data"]
        latest = lab.post("rpc/latest_workflow_data", run_id=child["run"]["id"])
        assert [(row["key"], row["value"], row["created_by_agent"]) for row in latest] == [("draft", "pools", writer)]
