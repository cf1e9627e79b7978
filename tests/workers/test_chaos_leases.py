"""Leases, deadlines and cancelling, with workers that sleep, block, hang or do not listen."""

from __future__ import annotations

import signal
import time
import uuid

import httpx

from tests.stack import Stack
from tests.workers.chaos_invariants import assert_whole
from tests.workers.chaos_kit import Errand, Fleet, ForkedWorker, Ground
from tests.workers.chaos_proxy import Network
from tests.workers.chaos_worker import Script
from tests.workers.waiting import Row, wait_for

LEASE_SECONDS = 2
CANCEL_SECONDS = 2.0  # How soon a running task hears of it, says issue 4.
ROUNDS = 4
GRACE_SECONDS = 5.0  # How long the database waits for a living worker to say itself that the time is up.

RPC_ITEMS: dict[str, Row] = {
    "heartbeat_tasks": {"progress": 99, "progress_message": "late"},
    "add_task_events": {"type": "log", "message": "late"},
    "complete_tasks": {
        "response": "late",
        "deliverable": {"title": "Late", "type": "text", "format": "text", "content": "late"},
        "messages": [{"content": "late"}],
        "usage": [{"provider": "chaos", "model": "late", "input_tokens": 1, "output_tokens": 1, "cost": 1}],
    },
    "fail_tasks": {"error_code": "internal_error", "error_message": "late", "retryable": True},
    "release_tasks": {},
}


def everything(ground: Ground) -> dict[str, list[Row]]:
    """Return every row that hangs on the organization's tasks."""
    slugs = ground.organizations
    tables = {
        "tasks": "select * from public.tasks where organization_slug = any (%s) order by id",
        "runs": "select * from public.runs where organization_slug = any (%s) order by id",
        "usage_events": "select * from public.usage_events where organization_slug = any (%s) order by id",
        "deliverables": "select * from public.deliverables where organization_slug = any (%s) order by id",
        "deliverable_versions": "select v.* from public.deliverable_versions v join public.deliverables d"
        " on d.id = v.deliverable_id where d.organization_slug = any (%s) order by v.id",
        "messages": "select m.* from public.messages m join public.agent_conversations c"
        " on c.id = m.conversation_id where c.organization_slug = any (%s) order by m.id",
        "task_events": "select e.* from public.task_events e join public.tasks t on t.id = e.task_id"
        " where t.organization_slug = any (%s) order by e.id",
    }
    return {table: ground.rows(query, slugs) for table, query in tables.items()}


def begun(ground: Ground, *task_ids: str) -> bool:
    """Whether the agent has begun with each of the tasks."""
    query = (
        "select count(distinct task_id) as begun from public.task_events"
        " where task_id = any (%s::uuid[]) and message = 'begun'"
    )
    return ground.rows(query, list(task_ids)) == [{"begun": len(task_ids)}]


def lease_of(ground: Ground, task_id: str) -> Row:
    """Return what fences the newest attempt of a task."""
    query = (
        "select task_id::text, attempt, id::text as lease_token, worker_id from public.runs"
        " where task_id = %s order by created_at desc limit 1"
    )
    return ground.rows(query, task_id)[0]


def write_late(stack: Stack, lease: Row) -> dict[str, str]:
    """Write in every way there is about an attempt; return the outcome of each."""
    fence = {key: lease[key] for key in ("task_id", "attempt", "lease_token")}
    key = stack.service_role_key
    outcomes = {}
    with httpx.Client(headers={"apikey": key, "Authorization": f"Bearer {key}"}) as client:
        for function, item in RPC_ITEMS.items():
            body = {"worker_id": lease["worker_id"], "items": [fence | item]}
            answer = client.post(f"{stack.url}/rest/v1/rpc/{function}", json=body)
            assert answer.is_success, answer.text
            outcomes[function] = answer.json()[0]["outcome"]
    return outcomes


# Sleep ----------------------------------------------------------------------------------------------------------------


def sleep_and_speak_late(stack: Stack, ground: Ground, fleet: Fleet, wire: Network) -> set[str]:
    """Let a worker sleep until all it has is another's, and wake; return the kinds of what it was refused."""
    sleeper = fleet.start(url=wire.url, lease_seconds=LEASE_SECONDS)
    streams = ground.add(Errand(Script(ms=3000, quick_from=2), conversation=1), Errand(Script(ms=2500, quick_from=2)))
    wait_for(lambda: begun(ground, *streams), 10, "two agents write")
    (done,) = ground.add(Errand(Script(ms=30, sleeps=True), conversation=0))
    wait_for(sleeper.is_stopped, 10, "the third has its result, and the worker sleeps")
    lease = lease_of(ground, done)
    fleet.start(lease_seconds=LEASE_SECONDS)
    for task_id in (done, *streams):
        assert ground.await_status(task_id, "completed")["attempt"] == 2
    before = everything(ground)

    refused_from = len(wire.outcomes())
    sleeper.signal(signal.SIGCONT)

    def lost() -> set[str]:
        return {outcome["kind"] for outcome in wire.outcomes()[refused_from:] if outcome["outcome"] == "lost"}

    wait_for(lost, 10, "it reports what it had")
    assert set(write_late(stack, lease).values()) == {"lost"}
    fleet.drain()
    assert [outcome for outcome in wire.outcomes()[refused_from:] if outcome["outcome"] != "lost"] == []
    assert everything(ground) == before
    assert ground.runs(done)[0] == ("abandoned", sleeper.id)
    assert_whole(ground.sql, ground.organizations)
    return lost()


def test_a_worker_that_sleeps_between_its_result_and_its_report_is_refused_on_every_write(
    stack: Stack, ground: Ground, fleet: Fleet, wire: Network
) -> None:
    # What is refused first of an attempt silences the rest of it: one sleep may not show all.
    refused: set[str] = set()
    for _ in range(ROUNDS):
        refused |= sleep_and_speak_late(stack, ground, fleet, wire)
        if refused >= {"completed", "event", "heartbeat"}:
            break
    assert refused == {"completed", "event", "heartbeat"}


# Deadlines ------------------------------------------------------------------------------------------------------------


def test_an_agent_that_blocks_its_loop_for_three_leases_keeps_its_task(ground: Ground, fleet: Fleet) -> None:
    for _ in range(2):  # The other one would take it at once.
        fleet.start(lease_seconds=LEASE_SECONDS)
    (task_id,) = ground.add(Errand(Script(block_ms=3000 * LEASE_SECONDS), max_attempts=1))
    task = ground.await_status(task_id, "completed")
    assert (task["completed_at"] - task["started_at"]).total_seconds() > 3 * LEASE_SECONDS
    assert ground.runs(task_id) == [("completed", task["worker_id"])]
    assert_whole(ground.sql, ground.organizations)


def test_an_attempt_out_of_time_ends_and_is_tried_again_while_attempts_remain(ground: Ground, fleet: Fleet) -> None:
    fleet.start(lease_seconds=LEASE_SECONDS)
    slow = Script(ms=20_000)
    again, last = ground.add(
        Errand(Script(ms=20_000, quick_from=2), max_attempts=2), Errand(slow, max_attempts=1), timeout_seconds=1
    )
    task = ground.await_status(last, "timeout")
    assert (task["error_code"], task["attempt"]) == ("timeout", 1)
    assert 1 <= (task["completed_at"] - task["started_at"]).total_seconds() < 1 + GRACE_SECONDS
    ground.await_status(again, "completed")
    assert [status for status, _ in ground.runs(again)] == ["timeout", "completed"]
    assert_whole(ground.sql, ground.organizations)


def test_the_database_ends_an_attempt_out_of_time_whose_worker_hangs(ground: Ground, fleet: Fleet) -> None:
    hanging = fleet.start(lease_seconds=60)
    again, last = ground.add(
        Errand(Script(ms=20_000, quick_from=2), max_attempts=2),
        Errand(Script(ms=20_000), max_attempts=1),
        timeout_seconds=1,
    )
    wait_for(lambda: begun(ground, again, last), 10, "both run")
    hanging.signal(signal.SIGSTOP)
    other = fleet.start(lease_seconds=LEASE_SECONDS)
    task = ground.await_status(last, "timeout")
    assert (task["error_code"], task["worker_id"], task["lease_token"]) == ("timeout", hanging.id, None)
    ground.await_status(again, "completed")
    assert ground.runs(again) == [("timeout", hanging.id), ("completed", other.id)]
    hanging.signal(signal.SIGCONT)
    wait_for(lambda: len(hanging.lines(event="task")) == 2, 10, "it wakes and gives up")
    assert_whole(ground.sql, ground.organizations)


# Cancelling -----------------------------------------------------------------------------------------------------------


def await_end(worker: ForkedWorker, task_id: str, seconds: float) -> Row:
    """Wait until the agent has ended; return the worker's line about the attempt."""
    wait_for(lambda: worker.lines(event="task", task_id=task_id), seconds, "the agent ends")
    return worker.lines(event="task", task_id=task_id)[0]


def test_cancelling_stops_a_running_agent_in_two_seconds_although_all_slots_are_taken(
    stack: Stack, ground: Ground, fleet: Fleet
) -> None:
    worker = fleet.start(concurrency=2, lease_seconds=30, poll_interval=30.0)
    task_id, other = ground.add(*[Errand(Script(ms=20_000), conversation=0)] * 2)
    wait_for(lambda: begun(ground, task_id, other), 10, "both slots are taken")
    time.sleep(0.5)  # Nothing else is to be said.
    cancelled_at = time.monotonic()
    ground.rows("select public.cancel_task(%s)", task_id)
    line = await_end(worker, task_id, 5)
    assert time.monotonic() - cancelled_at < CANCEL_SECONDS + 0.2, "its agent was stopped in time"
    assert line["outcome"] == "cancelled"

    before = everything(ground)
    assert set(write_late(stack, lease_of(ground, task_id)).values()) == {"cancelled"}
    after = everything(ground)
    assert [row for row in after["task_events"] if str(row["task_id"]) == task_id] == [
        row for row in before["task_events"] if str(row["task_id"]) == task_id
    ]
    for table in ("usage_events", "deliverables", "deliverable_versions", "messages"):
        assert after[table] == before[table]
    assert ground.task(task_id)["status"] == "cancelled"
    ground.rows("select public.cancel_task(%s)", other)
    await_end(worker, other, 5)
    assert_whole(ground.sql, ground.organizations)


def test_an_agent_that_goes_on_after_it_was_cancelled_writes_nothing_more(ground: Ground, fleet: Fleet) -> None:
    worker = fleet.start(lease_seconds=LEASE_SECONDS)
    (task_id,) = ground.add(Errand(Script(ms=3000, stubborn=True), conversation=0))
    wait_for(lambda: begun(ground, task_id), 10, "it runs")
    ground.rows("select public.cancel_task(%s)", task_id)
    before = everything(ground)
    await_end(worker, task_id, 10)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code(10) == 0
    assert everything(ground) == before
    assert_whole(ground.sql, ground.organizations)


# Repeated calls -------------------------------------------------------------------------------------------------------


def test_a_request_sent_again_gets_its_answer_again_also_when_that_was_nothing(stack: Stack, ground: Ground) -> None:
    key = stack.service_role_key
    request = {"worker_id": "repeats", "max_tasks": 1, "organizations": ground.organizations}
    url = f"{stack.url}/rest/v1/rpc/exchange_work"
    with httpx.Client(headers={"apikey": key, "Authorization": f"Bearer {key}"}) as client:
        empty, full = str(uuid.uuid4()), str(uuid.uuid4())
        assert client.post(url, json=request | {"request_id": empty}).json()["tasks"] == []
        (task_id,) = ground.add(Errand(Script()))
        assert client.post(url, json=request | {"request_id": empty}).json()["tasks"] == []
        assert ground.task(task_id)["status"] == "pending", "a copy on its way late takes no work that nobody will do"
        claimed = client.post(url, json=request | {"request_id": full}).json()["tasks"]
        assert [entry["task"]["id"] for entry in claimed] == [task_id]
        assert client.post(url, json=request | {"request_id": full}).json()["tasks"] == claimed
    assert ground.runs(task_id) == [("running", "repeats")]
