"""The worker's numbers and its health, as a browser or Prometheus gets them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.fake_backend import FakeBackend
from tests.unit.fake_schedules import FakeSchedules
from tests.unit.helpers import options, quiet_log, until
from tests.unit.test_process import process
from workers.backend import Backend, ExchangeRequest
from workers.contract import Completion, ExchangeAnswer, Outcome
from workers.errors import AnswerUnreadable, BackendRefused, BackendUnavailable, SettingsError
from workers.job import Job
from workers.ledger import UsageRow
from workers.metrics import Metrics
from workers.metrics_server import serve_metrics
from workers.settings import load_settings
from workers.worker import Worker

REQUIRED = {"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_SERVICE_ROLE_KEY": "key"}
REQUEST = ExchangeRequest(request_id="r", report=b"{}", max_tasks=1, lease_seconds=30)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    """How a worker might be."""

    running: int = 0
    waiting: int = 0
    draining: bool = False


class Script(FakeSchedules):
    """A backend that answers exchanges with the next of a list, or fails with it."""

    def __init__(self, *answers: ExchangeAnswer | Exception) -> None:
        super().__init__()
        self.answers = list(answers)

    async def register_worker(self, worker_id: str, info: Mapping[str, Any]) -> None:
        raise AssertionError(worker_id, info)

    async def stop_worker(self, worker_id: str) -> None:
        raise AssertionError(worker_id)

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        raise AssertionError(function, arguments)

    async def exchange_work(self, worker_id: str, request: ExchangeRequest) -> ExchangeAnswer:
        assert (worker_id, request) == ("w1", REQUEST)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Backend]:
        yield self


@contextmanager
def served(metrics: Metrics) -> Iterator[Callable[[str], httpx.Response]]:
    """Serve on any free port, and give what fetches a path from there."""
    with serve_metrics(metrics, "127.0.0.1", 0) as address, httpx.Client(base_url=address, trust_env=False) as client:
        yield client.get


def read(answer: httpx.Response) -> dict[str, float]:
    """Return the numbers of an answer by name and labels, e.g. slots or attempts_total/echo/completed."""
    assert answer.status_code == 200
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            name = sample.name.removeprefix("orchestrator_worker_")
            found["/".join([name, *(value for _, value in sorted(sample.labels.items()))])] = sample.value
    return found


def numbers(metrics: Metrics) -> dict[str, float]:
    with served(metrics) as get:
        return read(get("/metrics"))


async def exchange(metrics: Metrics, script: Script) -> None:
    """Go through all exchanges of a script."""
    async with metrics.observing(script.connect)() as backend:
        while script.answers:
            try:
                await backend.exchange_work("w1", REQUEST)
            except (AnswerUnreadable, BackendRefused, BackendUnavailable):
                continue


def make(**changes: Any) -> Metrics:
    return Metrics(**{"slots": 4, "answer_within": 30.0, **changes})


def test_metrics_are_in_prometheus_text_and_tell_of_the_process() -> None:
    with served(make()) as get:
        answer = get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = read(answer)
    assert found["slots"] == 4
    assert found["process_resident_memory_bytes"] > 1_000_000
    assert found["process_cpu_seconds_total"] > 0


def test_attempts_are_counted_by_method_and_outcome() -> None:
    metrics = make()
    for method, outcome, seconds, waited in (
        ("process", "completed", 0.3, 2.0),
        ("process", "completed", 400.0, 0.02),
        ("process", "failed", 0.02, None),
        ("converse", "cancelled", 7.0, 0.0),
    ):
        metrics.attempt_ended(method, outcome, seconds, waited)
    found = numbers(metrics)
    attempts = {name: value for name, value in found.items() if name.startswith("attempts_total")}
    assert attempts == {
        "attempts_total/process/completed": 2,
        "attempts_total/process/failed": 1,
        "attempts_total/converse/cancelled": 1,
    }
    assert found["attempt_seconds_count/process"] == 3
    assert found["attempt_seconds_sum/process"] == pytest.approx(400.32)
    assert [found[f"attempt_seconds_bucket/{edge}/process"] for edge in ("0.05", "0.5", "300.0", "900.0")] == [
        1,
        2,
        2,
        3,
    ]
    assert found["queue_wait_seconds_count/process"] == 2
    assert found["queue_wait_seconds_sum/process"] == pytest.approx(2.02)


async def test_exchanges_are_counted_by_what_became_of_them() -> None:
    metrics = make()
    beats = tuple(Outcome("t", kind, "ok") for kind in ("heartbeat", "completed", "heartbeat"))
    answers = (ExchangeAnswer(outcomes=beats), BackendUnavailable("away"), BackendUnavailable("away"))
    await exchange(metrics, Script(*answers, AnswerUnreadable("?"), BackendRefused("no"), ExchangeAnswer()))
    found = numbers(metrics)
    exchanges = {name: value for name, value in found.items() if name.startswith("exchanges_total")}
    assert exchanges == {
        "exchanges_total/answered": 2,
        "exchanges_total/unavailable": 2,
        "exchanges_total/unreadable": 1,
        "exchanges_total/refused": 1,
    }
    assert found["exchange_seconds_count"] == 2
    assert found["heartbeats_total"] == 2


def test_the_worker_is_shown_as_it_is_when_asked() -> None:
    metrics, stage = make(), Stage(running=3, waiting=2)
    metrics.watch(stage)
    with served(metrics) as get:
        found = read(get("/metrics"))
        assert [found[name] for name in ("running", "reports_waiting", "draining")] == [3, 2, 0]
        stage.running, stage.draining = 1, True
        found = read(get("/metrics"))
        assert [found[name] for name in ("running", "reports_waiting", "draining")] == [1, 2, 1]


async def test_a_worker_is_well_while_the_database_answers_in_time() -> None:
    clock = Clock()
    metrics, stage = make(clock=clock), Stage()
    metrics.watch(stage)
    with served(metrics) as get:
        clock.now += 5
        early = get("/healthz")
        assert (early.status_code, early.json()["reason"]) == (503, "The database has not answered yet.")
        await exchange(metrics, Script(ExchangeAnswer()))
        clock.now += 29
        assert read(get("/metrics"))["seconds_since_answer"] == 29
        well = get("/healthz")
        assert (well.status_code, well.headers["content-type"]) == (200, "application/json")
        assert well.json() == {"status": "ok", "draining": False, "seconds_since_answer": 29}
        await exchange(metrics, Script(BackendUnavailable("away"), AnswerUnreadable("?"), BackendRefused("no")))
        clock.now += 2
        stage.draining = True
        late = get("/healthz")
        assert late.status_code == 503
        assert late.json() == {
            "status": "unwell",
            "draining": True,
            "seconds_since_answer": 31,
            "reason": "The database has not answered for 31.0 seconds; 30 are allowed.",
        }
        await exchange(metrics, Script(ExchangeAnswer()))
        assert get("/healthz").status_code == 200


def test_other_paths_are_not_found() -> None:
    with served(make()) as get:
        assert get("/").status_code == 404
        assert get("/").json() == {"paths": ["/healthz", "/metrics"]}
        assert get("/metrics?name%5B%5D=orchestrator_worker_slots").text.count("# TYPE") == 1


def test_a_client_that_says_nothing_holds_up_nobody() -> None:
    with serve_metrics(make(), "127.0.0.1", 0) as address:
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)):
            assert httpx.get(f"{address}/metrics", timeout=5, trust_env=False).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/metrics", timeout=5, trust_env=False)


def test_a_port_that_is_taken_is_a_setting_to_correct() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = rf"^METRICS_PORT cannot be served: .+ \(127\.0\.0\.1 port {port}, see METRICS_HOST\)\.$"
        with pytest.raises(SettingsError, match=message), serve_metrics(make(), "127.0.0.1", port):
            pass


def test_a_worker_whose_port_is_taken_ends_with_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with process("http://127.0.0.1:1", tmp_path, METRICS_PORT=port) as run:
            _, errors = run.communicate(timeout=20)
    assert run.returncode == 2
    assert errors.startswith("orchestrator-worker: METRICS_PORT cannot be served: Address already in use")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "9100.5", "http"])
def test_a_port_out_of_range_is_refused(port: str) -> None:
    with pytest.raises(SettingsError, match="METRICS_PORT must be"):
        load_settings({**REQUIRED, "METRICS_PORT": port})


def test_nothing_is_served_unless_a_port_is_set() -> None:
    settings = load_settings({**REQUIRED, "METRICS_PORT": ""})
    assert (settings.metrics_port, settings.metrics_host) == (None, "127.0.0.1")
    settings = load_settings({**REQUIRED, "METRICS_PORT": "9100", "METRICS_HOST": "::1"})
    assert (settings.metrics_port, settings.metrics_host) == (9100, "::1")


async def frugal(job: Job) -> Completion:
    """Answer with what two model calls said."""
    rows = [UsageRow("p", "m", input_tokens=10, output_tokens=3, cost=cost) for cost in (0.25, job.claimed.task.params)]
    return Completion(response="Done.", usage=rows)


@pytest.mark.parametrize(("cost", "told"), [(0.5, {"cost": 0.75}), (None, {})])
async def test_a_worker_counts_and_writes_one_line_for_each_attempt(cost: float | None, told: dict[str, Any]) -> None:
    backend, metrics, log = FakeBackend(), make(), StringIO()
    task = backend.add_task("frugal", params=cost, agent_slug="writer", queue_seconds=1.5)
    worker = Worker(options(once=True), {"frugal": frugal}, metrics.observing(backend.connect), quiet_log(log), metrics)
    metrics.watch(worker)
    await asyncio.wait_for(worker.run(), 15)
    await until(lambda: task.status == "completed")
    (line,) = [entry for entry in map(json.loads, log.getvalue().splitlines()) if entry["event"] == "task"]
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "task",
        "level": "info",
        "task_id": task.id,
        "organization": "demo-org",
        "agent": "writer",
        "method": "frugal",
        "attempt": 1,
        "outcome": "completed",
        "queue_seconds": 1.5,
        "error_code": None,
        "input_tokens": 20,
        "output_tokens": 6,
        **told,
    }
    found = numbers(metrics)
    assert found["attempts_total/frugal/completed"] == 1
    assert found["queue_wait_seconds_sum/frugal"] == 1.5
    assert found["exchanges_total/answered"] >= 1
    assert (found["running"], found["reports_waiting"], found["draining"]) == (0, 0, 1)
