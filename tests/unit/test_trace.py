"""The recorder of steps: what it sends and when, what it hides, what it leaves out."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from workers import trace as module
from workers.contract import ClaimedTask, Completion, Lease, TaskRow, completed
from workers.errors import InputNeeded, TaskFailure
from workers.job import Job
from workers.ledger import UsageRow
from workers.questions import InputRequest
from workers.redaction import Redactor, Veil
from workers.reports import ReportQueue
from workers.settings import load_settings
from workers.trace import MAX_STEPS, MAX_VALUE_BYTES, Step, Tracing, follow, step

LEASE = Lease("t1", 1, "token")


class Now:
    value = 0.0

    def __call__(self) -> float:
        return self.value


class Bench:
    """A job on a queue whose clock the test moves."""

    def __init__(self, redactor: Redactor | None = None, tracing: Tracing | None = None) -> None:
        self.now = Now()
        self.queue = ReportQueue(lambda: None, self.now)
        self.queue.open(LEASE, 600)
        claimed = ClaimedTask(TaskRow("t1", "org", "process", "Write", 3), None, 1, "token")
        self.job = Job(claimed, self.queue, Veil(redactor, "org"), tracing or Tracing())

    def sent(self, seconds: float = 1.0) -> list[tuple[str, Any]]:
        """Return what the exchange carries after some seconds: the kinds of items and their JSON."""
        self.now.value += seconds
        batch = self.queue.take(heartbeat_seconds=1e9, grace_seconds=5, max_items=100, max_bytes=10_000_000)
        self.queue.settle(batch)
        return [(item.kind, json.loads(item.text)) for item in batch.items]

    def steps(self) -> list[Any]:
        return [step for _, body in self.sent() for step in body.get("steps", [])]

    def finish(self) -> None:
        self.job.finish(completed(LEASE, Completion("Done.")))


async def test_the_steps_of_a_short_attempt_go_with_its_last_word() -> None:
    bench = Bench()
    with bench.job.step("llm_call", "m", {"a": 1}) as record:
        record.output = "b"
        record.usage = UsageRow("p", "m", 10, 5, cost=0.25)
        record.metadata = {"model": "m"}
    assert bench.sent(0.1) == []
    bench.finish()
    ((kind, body),) = bench.sent(0)
    (kept,) = body["steps"]
    assert (kind, body["response"], kept["sequence_number"], kept["status"]) == ("completed", "Done.", 1, "completed")
    assert (kept["input"], kept["output"], kept["metadata"]) == ({"a": 1}, "b", {"model": "m"})
    assert (kept["input_tokens"], kept["output_tokens"], kept["cost"]) == (10, 5, 0.25)
    assert kept["started_at"] <= kept["completed_at"]


async def test_the_steps_of_a_long_attempt_go_together_while_it_runs() -> None:
    bench = Bench()
    for number in range(3):
        with bench.job.step("tool_call", f"t{number}"):
            pass
    ((kind, body),) = bench.sent()
    assert (kind, body["task_id"], [entry["name"] for entry in body["steps"]]) == ("steps", "t1", ["t0", "t1", "t2"])
    bench.finish()
    ((_, last),) = bench.sent()
    assert "steps" not in last


async def test_a_step_that_takes_long_is_shown_and_then_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHOWN_AFTER", 0.01)
    bench = Bench()
    with bench.job.step("tool_call", "slow", "in") as record:
        while not (shown := bench.steps()):  # noqa: ASYNC110 - what is waited for is the queue, as the exchange sees it
            await asyncio.sleep(0.01)
        record.output = "out"
    (ended,) = bench.steps()
    assert [(entry["sequence_number"], entry["status"]) for entry in (*shown, ended)] == [
        (1, "running"),
        (1, "completed"),
    ]
    assert ("completed_at" in shown[0], ended["output"]) == (False, "out")


@pytest.mark.parametrize(
    ("error", "status", "problem"),
    [
        (TaskFailure("endpoint_error", "It broke."), "failed", "endpoint_error: It broke."),
        (ValueError("sk-secret"), "failed", "ValueError"),
        (asyncio.CancelledError("timeout"), "cancelled", "Stopped: timeout."),
        (InputNeeded(InputRequest("Which?")), "completed", None),
    ],
    ids=str,
)
async def test_how_a_step_ends_that_raises(error: BaseException, status: str, problem: str | None) -> None:
    bench = Bench()
    with pytest.raises(type(error)), bench.job.step("tool_call", "t"):
        raise error
    (kept,) = bench.steps()
    assert (kept["status"], kept.get("error_message")) == (status, problem)


async def test_secrets_are_hidden_in_every_part_also_across_a_cut() -> None:
    redactor = Redactor()
    redactor.remember("hunter2-hunter2", "org")
    bench = Bench(redactor)
    edge = "x" * (MAX_VALUE_BYTES // 3 - 8) + "hunter2-hunter2" + "y" * MAX_VALUE_BYTES
    with bench.job.step("tool_call", "to hunter2-hunter2", {"key": "hunter2-hunter2"}) as record:
        record.metadata = {"k": ["hunter2-hunter2"]}
        record.fail("no: hunter2-hunter2")
    with bench.job.step("tool_call", "long", edge):
        pass
    told = json.dumps(bench.steps())
    assert "hunter2" not in told
    assert told.count("[redacted]") >= 4


async def test_large_values_are_cut_and_a_run_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    with bench.job.step("tool_call", "large", "x" * 1_000_000) as record:
        record.output = {"small": 1}
    (kept,) = bench.steps()
    assert (len(kept["input"]), kept["output"]) == (MAX_VALUE_BYTES // 3, {"small": 1})
    assert kept["metadata"] == {"input_bytes": 1_000_002}
    monkeypatch.setattr(module, "MAX_RUN_BYTES", MAX_VALUE_BYTES // 3)
    with bench.job.step("tool_call", "late", "x" * 1000):
        pass
    (late,) = bench.steps()
    assert (late["name"], late["input"], late["metadata"]) == ("late", "", {"input_bytes": 1002})


async def test_no_more_steps_than_the_database_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_STEPS == 10_000
    monkeypatch.setattr(module, "MAX_STEPS", 2)
    bench = Bench()
    for _ in range(4):
        with bench.job.step("tool_call", "t") as record:
            record.output = "x"
    assert [entry["sequence_number"] for entry in bench.steps()] == [1, 2]
    assert not record.is_kept


async def test_nothing_is_recorded_when_it_is_off_or_nothing_runs() -> None:
    bench = Bench(tracing=Tracing(store=False))
    with bench.job.step("tool_call", "t") as record:
        record.output = "x"
    with step("tool_call", "nowhere") as nowhere:
        pass
    assert (bench.steps(), record.is_kept, nowhere.is_kept) == ([], False, False)


async def test_what_is_deeper_in_records_in_the_attempt_that_runs_there() -> None:
    benches = [Bench(), Bench()]

    async def attempt(bench: Bench, name: str) -> None:
        follow(bench.job.trace)
        await asyncio.sleep(0)
        with step("transform", name):
            await asyncio.sleep(0)

    await asyncio.gather(*(asyncio.create_task(attempt(b, str(n))) for n, b in enumerate(benches)))
    assert [[entry["name"] for entry in bench.steps()] for bench in benches] == [["0"], ["1"]]


async def test_a_watcher_hears_of_steps_although_they_are_not_stored() -> None:
    heard: list[str] = []

    class Listening:
        def step_ended(self, claimed: ClaimedTask, step: Step, veil: Veil) -> None:  # noqa: ARG002
            heard.append(step.name)

        def run_ended(self, claimed: ClaimedTask, began_at: float, error_code: str | None) -> None:
            raise NotImplementedError

    bench = Bench(tracing=Tracing(store=False, watcher=Listening()))
    with bench.job.step("tool_call", "t"):
        pass
    assert (heard, bench.steps()) == (["t"], [])


def test_settings_say_what_is_traced_and_where_to() -> None:
    base = {"SUPABASE_URL": "http://127.0.0.1", "SUPABASE_SERVICE_ROLE_KEY": "k"}
    plain = load_settings(base)
    assert (plain.trace, plain.otlp) == (True, None)
    told = load_settings({**base, "WORKER_TRACE": "off", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"})
    assert told.otlp is not None
    assert (told.trace, told.otlp.url) == (False, "http://c:4318/v1/traces")


def test_a_worker_that_sends_nothing_loads_no_sdk() -> None:
    check = "import sys, workers.__main__, workers.assembly; sys.exit('opentelemetry.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
