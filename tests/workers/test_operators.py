"""What an operator sees and does while a worker runs: metrics, health, the log, a paused queue, dead letters."""

from __future__ import annotations

import signal
import socket
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.workers.conftest import Endpoint, Lab
from tests.workers.waiting import wait_for


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def health(address: str) -> dict[str, Any]:
    """Return what /healthz says, with its status; {} while nobody listens."""
    try:
        answer = httpx.get(f"{address}/healthz", trust_env=False)
    except httpx.ConnectError:
        return {}
    return {"code": answer.status_code, **answer.json()}


def number(address: str, name: str, **labels: str) -> float:
    text = httpx.get(f"{address}/metrics", trust_env=False).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(
        s.value for s in samples if s.name == f"orchestrator_worker_{name}" and labels.items() <= s.labels.items()
    )


def test_an_operator_watches_a_worker_from_its_start_to_its_drain(own_lab: Lab, endpoint: Endpoint) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    agent = own_lab.add_api_agent(endpoint.url)
    own_lab.post("rpc/pause_queue", organization_slug=own_lab.organization, reason="A test.")
    task_id = own_lab.add_task(agent)
    worker = own_lab.start_worker("--concurrency", "2", METRICS_PORT=port, DRAIN_SECONDS="20")
    wait_for(lambda: health(address).get("code") == 200, 30, "the worker is well")
    assert worker.lines(event="metrics", address=address)
    assert number(address, "slots") == 2
    wait_for(lambda: number(address, "exchanges_total", result="answered") >= 3, 10, "it asks again and again")
    assert own_lab.task(task_id)["status"] == "pending"
    assert endpoint.bodies == []

    endpoint.hold.set()
    own_lab.post("rpc/resume_queue", organization_slug=own_lab.organization)
    wait_for(lambda: number(address, "running") == 1, 10, "the task runs")
    worker.signal(signal.SIGTERM)
    wait_for(lambda: health(address).get("draining"), 5, "the worker drains")
    assert health(address)["code"] == 200
    endpoint.hold.clear()
    own_lab.await_task(task_id)
    assert worker.exit_code(10) == 0
    (line,) = worker.lines(event="task")
    assert (line["organization"], line["agent"], line["method"]) == (own_lab.organization, agent, "process")
    assert (line["task_id"], line["attempt"], line["outcome"]) == (task_id, 1, "completed")
    assert line["queue_seconds"] > 0.2
    assert line["duration_ms"] > 0


def test_dead_letters_come_back_and_end_well(own_lab: Lab, endpoint: Endpoint) -> None:
    address = f"http://127.0.0.1:{(port := free_port())}"
    agent = own_lab.add_api_agent(endpoint.url)
    endpoint.statuses += [404, 404]
    tasks = [own_lab.add_task(agent) for _ in range(2)]
    own_lab.start_worker(METRICS_PORT=port)
    for task_id in tasks:
        own_lab.await_task(task_id, "failed")
    letters = own_lab.sql.execute(
        "select * from public.dead_letters where organization_slug = %s", (own_lab.organization,)
    ).fetchall()
    assert [(row["error_code"], len(row["attempts"])) for row in letters] == [("endpoint_error", 1)] * 2
    answer = own_lab.post("rpc/redrive_tasks", organization_slug=own_lab.organization, error_code="endpoint_error")
    assert (answer["redriven"], answer["remaining"]) == (2, 0)
    for task_id in tasks:
        own_lab.await_task(task_id)
    counts = [number(address, "attempts_total", method="process", outcome=word) for word in ("failed", "completed")]
    assert counts == [2, 2]
    assert number(address, "attempt_seconds_count") == 4


def test_a_worker_without_a_database_says_so(own_lab: Lab) -> None:
    address = f"http://127.0.0.1:{(port := free_port())}"
    own_lab.start_worker("--lease-seconds", "3", METRICS_PORT=port, SUPABASE_URL="http://127.0.0.1:1")
    told = wait_for(lambda: health(address), 30, "somebody listens")
    assert (told["code"], told["status"]) == (503, "unwell")
    assert told["reason"] == "The database has not answered yet."
