"""Workers that are told to leave at bad moments, and workers older than the schema."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx
import pytest

from localstack.paths import ROOT
from tests.stack import Stack
from tests.workers.chaos_invariants import assert_whole
from tests.workers.chaos_kit import Errand, Fleet, Ground
from tests.workers.chaos_proxy import Fault, Network, Sent, network
from tests.workers.chaos_worker import Script
from tests.workers.waiting import Row, wait_for

DRAIN_SECONDS = 1.0
GOODBYE_SECONDS = 1.5  # How long leaving may take without the database, after that.
FIRST_RELEASE = "0fcb49aac622"  # Its worker knows nothing of pauses, schedules and limits.


def running(ground: Ground) -> int:
    query = "select count(*) as running from public.tasks where organization_slug = any (%s) and status = 'in_progress'"
    return int(ground.rows(query, ground.organizations)[0]["running"])


# Leaving --------------------------------------------------------------------------------------------------------------


def test_workers_told_to_leave_one_after_the_other_lose_no_attempt(ground: Ground, fleet: Fleet) -> None:
    tasks = ground.add(*(Errand(Script(ms=ms), max_attempts=1) for ms in [50, 200, 600, 1500] * 4))
    leaving = [fleet.start(drain_seconds=0.5) for _ in range(3)]
    for worker in leaving:
        wait_for(lambda: running(ground) >= 4, 10, "they are at work")
        worker.signal(signal.SIGTERM)
        fleet.start(drain_seconds=5.0)
        assert worker.exit_code(5) == 0
    ground.await_all_final(30)
    fleet.drain()
    assert_whole(ground.sql, ground.organizations)
    assert [ground.task(task_id)["status"] for task_id in tasks] == ["completed"] * len(tasks)
    endings = [status for task_id in tasks for status, _ in ground.runs(task_id)]
    assert set(endings) == {"completed", "released"}


def test_a_second_signal_ends_a_worker_at_once_and_its_tasks_are_taken_over(ground: Ground, fleet: Fleet) -> None:
    worker = fleet.start(drain_seconds=60.0, lease_seconds=4)
    (task_id,) = ground.add(Errand(Script(ms=20_000, quick_from=2)))
    wait_for(lambda: running(ground) == 1, 10, "it is at work")
    worker.signal(signal.SIGTERM)
    time.sleep(0.2)
    assert worker.alive
    worker.signal(signal.SIGTERM)
    assert worker.exit_code(2) == 128 + signal.SIGTERM
    other = fleet.start(lease_seconds=2)
    ground.await_status(task_id, "completed")
    assert ground.runs(task_id) == [("abandoned", worker.id), ("completed", other.id)]
    assert_whole(ground.sql, ground.organizations)


def test_a_worker_told_to_leave_while_the_database_is_away_leaves_in_time(
    ground: Ground, fleet: Fleet, wire: Network
) -> None:
    worker = fleet.start(url=wire.url, drain_seconds=DRAIN_SECONDS, goodbye_seconds=GOODBYE_SECONDS, lease_seconds=2)
    (task_id,) = ground.add(Errand(Script(ms=20_000, quick_from=2)))
    wait_for(lambda: running(ground) == 1, 10, "it is at work")
    wire.away.set()
    wait_for(lambda: worker.lines(event="database_away"), 10, "it notices")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code(DRAIN_SECONDS + GOODBYE_SECONDS + 2) == 1
    fleet.start(lease_seconds=2)
    ground.await_status(task_id, "completed")
    assert [status for status, _ in ground.runs(task_id)] == ["abandoned", "completed"]
    assert_whole(ground.sql, ground.organizations)


def test_a_worker_told_to_leave_while_its_last_words_are_on_their_way_says_them_again(
    stack: Stack, ground: Ground, fleet: Fleet
) -> None:
    lost: list[Sent] = []

    def lose_results(sent: Sent) -> Fault:
        if "completed" in sent.carries and len(lost) < 3:
            lost.append(sent)
            return "lose_request"
        return "none"

    with network(stack.url, lose_results) as wire:
        worker = fleet.start(url=wire.url, drain_seconds=5.0, lease_seconds=20)
        (task_id,) = ground.add(Errand(Script(ms=20), conversation=0, max_attempts=1))
        wait_for(lambda: lost, 10, "the result is lost once")
        worker.signal(signal.SIGTERM)  # Nothing runs any more, but something is to be said.
        code = worker.exit_code(15)
    assert ground.task(task_id)["status"] == "completed", "the result was kept and said"
    assert code == 0
    assert_whole(ground.sql, ground.organizations)


# Upgrades -------------------------------------------------------------------------------------------------------------


def call(stack: Stack, function: str, **arguments: object) -> Row:
    key = stack.service_role_key
    headers = {"apikey": key, "Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{stack.url}/rest/v1/rpc/{function}", json=arguments, headers=headers, timeout=20)
    assert answer.is_success, answer.text
    found: Row = answer.json() if answer.content else {}
    return found


def test_the_schema_serves_what_a_worker_of_the_first_release_says(stack: Stack, ground: Ground) -> None:
    """The calls are those the worker of the first release made, key for key; so is what it reads of the answers."""
    who = {"hostname": "old", "pid": 1, "version": "0.1.0", "concurrency": 2, "methods": None, "organizations": None}
    call(stack, "register_worker", worker_id="old", info=who)
    tasks = ground.add(*[Errand(Script(), conversation=0)] * 3)

    def exchange(report: Row, max_tasks: int) -> Row:
        arguments = {"worker_id": "old", "request_id": str(uuid.uuid4()), "report": report, "max_tasks": max_tasks}
        return call(
            stack, "exchange_work", **arguments, lease_seconds=30, methods=None, organizations=ground.organizations
        )

    claimed = exchange({}, 3)
    assert {entry["task"]["id"] for entry in claimed["tasks"]} == set(tasks)
    known = {"task": dict, "agent": dict, "attempt": int, "lease_token": str, "run_id": str, "history": list}
    for entry in claimed["tasks"]:
        assert {key: type(entry[key]) for key in known} == known
        assert {"id", "organization_slug", "method", "prompt", "max_attempts", "params", "timeout_seconds"} <= entry[
            "task"
        ].keys()
    fences = [
        {"task_id": entry["task"]["id"], "attempt": entry["attempt"], "lease_token": entry["lease_token"]}
        for entry in claimed["tasks"]
    ]
    done = {
        "response": fences[0]["lease_token"],
        "response_metadata": {"agent_version": "1.0.0"},
        "llm_metadata": {"provider": "chaos"},
        "deliverable": {
            "title": "T",
            "type": "text",
            "format": "text",
            "content": fences[0]["lease_token"],
            "metadata": {},
        },
        "messages": [{"content": fences[0]["lease_token"], "metadata": {"agent_slug": "a"}}],
        "usage": [
            {
                "provider": "chaos",
                "model": "m",
                "input_tokens": 10,
                "output_tokens": 5,
                "cached_tokens": 0,
                "cost": None,
                "price_version": None,
            }
        ],
    }
    failure = {
        "error_code": "input_invalid",
        "error_message": "No",
        "retryable": False,
        "error_data": {},
        "usage": done["usage"],
    }
    report = {
        "heartbeats": [fence | {"progress": 10, "progress_message": "Going"} for fence in fences],
        "events": [fence | {"type": "partial", "data": {"text": "…"}} for fence in fences],
        "completed": [fences[0] | done],
        "failed": [fences[1] | failure],
        "released": [fences[2]],
    }
    answer = exchange(report, 0)
    assert {outcome["kind"] for outcome in answer["outcomes"]} == {
        "heartbeat",
        "event",
        "completed",
        "failed",
        "released",
    }
    assert {outcome["outcome"] for outcome in answer["outcomes"]} == {"ok"}
    assert (answer["cancel"], type(answer["next_poll_ms"])) == ([], int)
    by_task = {task_id: ground.task(task_id)["status"] for task_id in tasks}
    assert [by_task[str(fence["task_id"])] for fence in fences] == ["completed", "failed", "pending"]
    call(stack, "stop_worker", worker_id="old")


def test_a_worker_of_the_first_release_works_on_with_this_schema(stack: Stack, ground: Ground, tmp_path: Path) -> None:
    git = ["git", "-C", str(ROOT)]
    if subprocess.run(
        [*git, "cat-file", "-e", f"{FIRST_RELEASE}^{{commit}}"], check=False, capture_output=True
    ).returncode:
        pytest.skip(f"this checkout does not have commit {FIRST_RELEASE}: cloned without its history, or no clone")
    archive = subprocess.run([*git, "archive", FIRST_RELEASE, "workers"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "--extract", "--directory", str(tmp_path)], input=archive, check=True)
    tasks = ground.add(*(Errand(Script(), conversation=number % 2 or None) for number in range(4)))
    command = [sys.executable, "-m", "workers", "run", "--once", "--offline", "--organization", ground.organizations[0]]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path),
        "SUPABASE_URL": stack.url,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
        "LLM_OFFLINE_DELAY": "0.2",
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [ground.task(task_id)["status"] for task_id in tasks] == ["completed"] * 4, done.stderr
    assert [ground.runs(task_id)[0][0] for task_id in tasks] == ["completed"] * 4
